"""Every Python block of the README and the docs runs as it is written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", WITH_CODE, ids=[page.name for page in WITH_CODE])
def test_code_runs(page, capsys, monkeypatch):
    # One of them puts this package in the place of another.
    monkeypatch.setitem(sys.modules, "openai_harmony", sys.modules.get("openai_harmony"))
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


def test_what_the_readme_says_comes_out(capsys):
    """The comments beside the calls in the README tell the truth."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    claims = re.findall(r"^(encoding\.\S.*?)\s+# (\[.*\])$", text, re.MULTILINE)
    assert claims
    import harmony

    encoding = harmony.load_harmony_encoding("HarmonyGptOss")
    for call, result in claims:
        assert eval(call, {"encoding": encoding}) == eval(result), call


def test_the_page_shows_the_automaton_that_runs():
    script = ROOT / "scripts" / "describe_automaton.py"
    assert subprocess.run([sys.executable, str(script), "check"], cwd=ROOT).returncode == 0, (
        f"docs/design.md is stale: python {script.relative_to(ROOT)}"
    )


def test_the_reference_says_what_the_docstrings_say():
    program = ROOT / "scripts" / "make_reference.py"
    done = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
