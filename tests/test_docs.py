"""Every Python block and every `harmony` command of the README, the docs and the help texts runs as
it is written."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from test_public_names import MODULE

from harmony.cli import main

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


def test_the_migration_guide_has_every_name():
    page = (ROOT / "docs" / "guide" / "migrate.md").read_text(encoding="utf-8")
    assert [name for name in MODULE if f"`{name}`" not in page] == []


def test_fenced_blocks_are_python_or_pictures():
    """What is fenced as another language would be run by nobody."""
    for page in PAGES:
        fences = re.findall(r"^ *```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) % 2 == 0
        assert set(fences[::2]) <= {"python", ""} and set(fences[1::2]) <= {""}, page


def commands_of_pages():
    """Indented lines with a command of ours in them."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for command in re.findall(r"^    (\S.*)$", text, re.MULTILINE):
            if re.search(r"(^|\| )harmony ", command):
                yield page.name, command


def commands_of_help():
    for name in ["", *main.list_commands(click.Context(main))]:
        text = CliRunner().invoke(main, [*filter(None, [name]), "--help"]).output
        _, _, examples = text.partition("Examples:\n")
        for line in examples.partition("\n\n")[0].splitlines():
            yield f"harmony {name} --help", line.strip()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the commands are about, and `harmony` on the path."""
    pa = pytest.importorskip("pyarrow")
    example = ROOT / "examples" / "conversation.json"
    conversation = json.loads(example.read_text(encoding="utf-8"))
    request = {"messages": [{"role": "user", "content": "Frost tonight?"}], "model": "m"}
    ids = "200005 17196 200008 13225 200002"
    texts = json.dumps({"text": "Frost in Malmö"}) + "\n"
    files = {
        **dict.fromkeys(["notes.txt", "README.md"], "Some notes.\n"),
        "prompt.txt": "<|start|>user<|message|>hi<|end|>",
        **dict.fromkeys(["chat.json", "before.json"], json.dumps(conversation)),
        "after.json": json.dumps({"messages": conversation["messages"][:3]}),
        "request.json": json.dumps(request),
        "chats.jsonl": json.dumps(conversation) + "\n" + json.dumps(request) + "\n",
        **dict.fromkeys(["answer.ids", "completion.ids", "expected.ids", "ids"], ids),
        "actual.ids": ids.replace("13225", "12194"),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    for name in "web.jsonl.zst", "web-1.jsonl.zst", "web-2.jsonl.zst":
        with pa.CompressedOutputStream(str(tmp_path / name), "zstd") as file:
            file.write(texts.encode())
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "harmony").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harmony "$@"\n')
    (programs / "harmony").chmod(0o755)
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(not shutil.which("bash"), reason="the commands are written for bash")
@pytest.mark.parametrize(("where", "command"), [*commands_of_pages(), *commands_of_help()])
def test_commands_run(workplace, where, command):
    before = set(workplace.iterdir())
    # A file that grows for ever would keep the test waiting.
    command = command.replace("tail -f ", "cat ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=workplace, capture_output=True, text=True
    )
    differs = command.startswith("harmony diff")
    assert done.returncode == (3 if differs else 0), done.stderr
    assert done.stdout or set(workplace.iterdir()) > before or "completion" in command


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
