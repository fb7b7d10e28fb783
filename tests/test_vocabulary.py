"""The table file: a damaged, missing or foreign one is refused when it is loaded, with its name."""

import random
import shutil

import pytest
from processes import run
from scale import scaled

from harmony.errors import HarmonyError, VocabularyError
from harmony.vocabulary import O200K_TABLES, load_rank_tables


@pytest.fixture
def tables(tmp_path):
    return shutil.copy(O200K_TABLES, tmp_path / "copied.tables")


def assert_refused(path) -> None:
    with pytest.raises(VocabularyError) as raised:
        load_rank_tables(path)
    assert isinstance(raised.value, HarmonyError)
    assert str(path) in str(raised.value)


def test_a_copy_is_as_good_as_the_original(tables):
    ranks = load_rank_tables(tables)
    assert ranks.id_of(b"hello") == 24912
    assert load_rank_tables(str(tables)).id_of(b"hello world") is None


def test_a_missing_file(tmp_path):
    assert_refused(tmp_path / "missing.tables")


def test_an_empty_file(tables):
    tables.write_bytes(b"")
    assert_refused(tables)


def test_a_folder(tmp_path):
    assert_refused(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"\0", b"harmony\0", b"IQ== 0\n" * 1000, bytes(100_000)],
    ids=lambda each: repr(each[:8]),
)
def test_a_foreign_file(tables, content):
    tables.write_bytes(content)
    assert_refused(tables)


@pytest.mark.parametrize("kept", [1, 7, 8, 60, 200, 4095, 4096, 100_000, -4096, -1])
def test_a_truncated_file(tables, kept):
    content = tables.read_bytes()
    tables.write_bytes(content[:kept])
    assert_refused(tables)


def test_a_file_with_something_after_its_end(tables):
    with open(tables, "ab") as file:
        file.write(bytes(4096))
    assert_refused(tables)


def test_a_file_made_from_another_vocabulary(tables):
    with pytest.raises(VocabularyError, match="another"):
        load_rank_tables(tables, source_sha256="0" * 64)


def used_bytes(content: bytes) -> list[int]:
    """Positions that hold something, from every part of the file; between the arrays there is only
    padding."""
    rng = random.Random(1)
    header = range(600)
    body = [
        at for at in rng.sample(range(len(content)), 400) if content[at] and content[at] != 0xFF
    ]
    return [at for at in [*header, *body] if content[at]]


def test_a_flipped_bit(tables):
    content = bytearray(tables.read_bytes())
    rng = random.Random(2)
    positions = rng.sample(used_bytes(content), scaled(120))
    for at in positions:
        bit = 1 << rng.randrange(8)
        content[at] ^= bit
        tables.write_bytes(content)
        assert_refused(tables)
        content[at] ^= bit
    tables.write_bytes(content)
    load_rank_tables(tables)


LOAD = """
import sys
from pathlib import Path
import harmony.vocabulary
harmony.vocabulary.O200K_TABLES = Path(sys.argv[1])
names = {harmony.load_harmony_encoding: "HarmonyGptOss", harmony.get_tokenizer: "o200k_base"}
for load, name in names.items():
    try:
        load(name)
    except harmony.HarmonyError as error:
        print(type(error).__name__, error)
"""


def test_loading_an_encoding_tells_what_is_wrong(tables):
    content = bytearray(tables.read_bytes())
    content[len(content) // 2] ^= 1
    tables.write_bytes(content)
    lines = run(LOAD, str(tables)).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("VocabularyError") and str(tables) in line for line in lines)
