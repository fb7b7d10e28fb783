"""What a fresh process pays: the modules it imports, the tables it maps."""

from pathlib import Path

import pytest
from processes import run

import harmony

FIRST_ENCODE = """
import harmony
encoding = harmony.load_harmony_encoding("HarmonyGptOss")
assert encoding.encode("hello world") == [24912, 2375]
assert encoding.encode("<|start|>x", allowed_special="all") == [200006, 87]
assert encoding.decode([24912, 2375]) == "hello world"
assert harmony.get_tokenizer("o200k_base").count_tokens("hello") == 1
"""
PRINT_MODULES = "\nimport sys\nprint(*sys.modules)"


@pytest.fixture(scope="module")
def imported():
    """Names of the modules that a first encode imports beyond what numpy does."""
    with_numpy = set(run("import numpy" + PRINT_MODULES).split())
    return set(run(FIRST_ENCODE + PRINT_MODULES).split()) - with_numpy


@pytest.mark.parametrize(
    "package", ["pydantic", "pydantic_core", "regex", "tiktoken", "openai_harmony", "click", "rich"]
)
def test_encoding_imports_no(imported, package):
    assert "harmony" in imported
    assert package not in {name.partition(".")[0] for name in imported}


@pytest.mark.parametrize(
    "module", ["socket", "ssl", "http", "urllib.request", "asyncio", "ftplib", "requests"]
)
def test_no_network_code_is_imported(imported, module):
    assert module not in imported


def test_importing_the_package_alone_loads_nothing_compiled():
    modules = run("import harmony" + PRINT_MODULES).split()
    assert [name for name in modules if name.startswith("harmony.")] == []
    assert "numpy" not in modules


# Each mapping of the table file as "permissions, private dirty kB, size kB".
PRINT_MAPPINGS = (
    FIRST_ENCODE
    + """
import re, sys
with open("/proc/self/smaps") as file:
    mappings = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", file.read())
for mapping in mappings:
    if sys.argv[1] in mapping:
        sizes = dict(re.findall(r"(?m)^(\\w+): +(\\d+) kB", mapping))
        print(mapping.split()[1], sizes["Private_Dirty"], sizes["Size"])
"""
)


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="mappings are read from /proc (Linux)"
)
def test_the_tables_are_one_mapped_file_that_processes_share():
    tables = Path(harmony.__file__).parent / "data" / "o200k.tables"
    mappings = [line.split() for line in run(PRINT_MAPPINGS, str(tables)).splitlines()]
    assert len(mappings) == 1, "mapped once, by both encodings"
    permissions, private_dirty, size = mappings[0]
    assert permissions.startswith("r--"), "nobody can write to it"
    assert int(private_dirty) == 0, "no page of it is this process's own"
    assert int(size) * 1024 >= tables.stat().st_size


def test_load_returns_the_same_tables(encoding):
    assert harmony.load_harmony_encoding("HarmonyGptOss") is encoding


@pytest.mark.parametrize("module", ["arrow", "datasets", "ray"])
def test_without_pyarrow_the_error_says_what_to_install(module):
    printed = run(
        f"""
import sys
sys.modules["pyarrow"] = None
try:
    import harmony.{module}
except ImportError as error:
    print(error)
"""
    )
    assert "pip install 'cyharmony[datasets]'" in printed
