"""The `harmony` command: what it writes, and what it says when something is wrong."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import harmony
from harmony.cli import main

TEXT = "Hello, wörld! 今日は\r\n\tif x:\n<|star|> 🍅"


@pytest.fixture
def run():
    """Run the command in this process."""

    def run(*arguments, stdin=b""):
        return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)

    return run


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


def failed_with_one_line(result, *words):
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("harmony: error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    return True


def test_encode_a_file(run, text_file, encoding):
    result = run("encode", text_file)
    assert result.exit_code == 0
    assert [int(word) for word in result.stdout.split()] == encoding.encode(TEXT)


def test_encode_standard_input(run, encoding):
    for arguments in (["encode"], ["encode", "-"]):
        result = run(*arguments, stdin=TEXT.encode())
        assert [int(word) for word in result.stdout.split()] == encoding.encode(TEXT)


def test_encode_gives_a_line_to_each_file(run, text_file, tmp_path, encoding):
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    result = run("encode", empty, text_file)
    assert result.stdout == "\n" + " ".join(map(str, encoding.encode(TEXT))) + "\n"


def test_encode_to_json(run, text_file, encoding):
    result = run("encode", "--json", text_file)
    assert json.loads(result.stdout) == {"file": str(text_file), "ids": encoding.encode(TEXT)}


def test_the_other_encoding(run, text_file):
    result = run("encode", "--encoding", "o200k_base", "--special", "token", stdin=b"<|start|>")
    base = harmony.get_tokenizer("o200k_base")
    assert [int(word) for word in result.stdout.split()] == base.encode_ordinary("<|start|>")


@pytest.mark.parametrize("ids_as", [[], ["--json"]])
def test_encode_and_decode_are_inverse(run, text_file, ids_as):
    ids = run("encode", *ids_as, text_file).stdout_bytes
    assert run("decode", stdin=ids).stdout_bytes == TEXT.encode()


def test_decode_a_json_list(run, encoding):
    ids = json.dumps(encoding.encode(TEXT)).encode()
    assert run("decode", stdin=ids).stdout_bytes == TEXT.encode()


def test_decode_of_bytes_that_are_no_text(run):
    ids = b"9552"  # a blank and half of an emoji
    assert run("decode", stdin=ids).stdout_bytes == b" \xf0\x9f"
    assert run("decode", "--errors", "replace", stdin=ids).stdout_bytes == " �".encode()
    assert failed_with_one_line(run("decode", "--errors", "strict", stdin=ids), "utf-8")


def test_count(run, text_file, encoding):
    n_tokens = len(encoding.encode(TEXT))
    result = run("count", text_file, text_file)
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        str(n_tokens), str(n_tokens), str(2 * n_tokens),
    ]  # fmt: skip
    result = run("count", "--json", text_file)
    assert json.loads(result.stdout) == {
        "file": str(text_file), "tokens": n_tokens, "bytes": len(TEXT.encode()),
    }  # fmt: skip


def test_special_tokens(run, encoding):
    text = b"<|start|>user<|end|>"
    refused = run("encode", stdin=text)
    assert failed_with_one_line(refused, "<|start|>", "--special")
    as_text = run("encode", "--special", "text", stdin=text)
    assert [*map(int, as_text.stdout.split())] == encoding.encode_ordinary(text)
    as_tokens = run("encode", "--special", "token", stdin=text)
    assert [*map(int, as_tokens.stdout.split())] == [200006, 1428, 200007]
    one_allowed = run("encode", "--special", "text", "--allow", "<|end|>", stdin=text)
    assert [*map(int, one_allowed.stdout.split())][-1] == 200007
    assert failed_with_one_line(run("encode", "--allow", "<|end|>", stdin=text), "<|start|>")


def test_special_tokens_in_a_count(run, encoding):
    text = b"<|start|>user<|end|>"
    assert run("count", stdin=text).stdout.split()[0] == str(len(encoding.encode_ordinary(text)))
    assert run("count", "--special", "token", stdin=text).stdout.split()[0] == "3"
    assert failed_with_one_line(run("count", "--special", "refuse", stdin=text), "<|start|>")


def test_unknown_special_token(run):
    for command in ("encode", "count"):
        result = run(command, "--allow", "<|nosuch|>", stdin=b"x")
        assert result.exit_code == 2 and result.stdout == ""
        assert "--allow: o200k_harmony has no special token '<|nosuch|>'" in result.stderr


@pytest.mark.parametrize("command", ["encode", "decode", "count"])
def test_files_that_cannot_be_read(run, command, tmp_path):
    assert failed_with_one_line(run(command, tmp_path / "missing"), "missing", "No such file")
    assert failed_with_one_line(run(command, tmp_path), "directory")


def test_input_that_is_no_text(run):
    for command in ("encode", "count"):
        assert failed_with_one_line(run(command, stdin=b"ab\xff"), "0xff", "position 2")


@pytest.mark.parametrize(
    "ids",
    [
        *(b"1 two 3", b"[1, 2", b"[1, [2]]", b"[1.5]", b'{"file": 1}', b"\xff"),
        *(b"-1", b"4294967296", b"201089"),
    ],
)
def test_input_that_is_no_list_of_ids(run, ids):
    assert failed_with_one_line(run("decode", stdin=ids))


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ('{"ids": 5}', "(5 in place of a list)"),
        ("1 two", '("two" is no number of a token)'),
        ("\N{FULLWIDTH DIGIT ONE}", "is no number of a token"),
        (b"1 \xff", "(byte 0xff at position 2 is not UTF-8)"),
        ("[" * 100_000, "(nested too deeply)"),
        ('{\n"ids": [1 2]\n}', "line 2 column 11"),
    ],
)
def test_what_is_wrong_with_ids_is_said_in_words(run, ids, problem):
    assert failed_with_one_line(run("decode", stdin=ids), "not a list of token ids", problem)


def test_an_object_without_ids_is_called_that(run):
    for command in ("decode", "parse"):
        assert failed_with_one_line(run(command, stdin=b'{"tokens": [1]}'), 'without "ids"')


def test_wrong_usage(run):
    assert run("encode", "--special", "maybe").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_help_and_version(run):
    for arguments in (["--help"], ["encode", "--help"], ["decode", "-h"], ["count", "--help"]):
        result = run(*arguments)
        assert result.exit_code == 0 and "Usage" in result.stdout
    assert harmony.__version__ in run("--version").stdout


def test_the_command_as_a_process(text_file, encoding):
    """Standard input and output of a real process, through `python -m harmony`."""
    encoded = subprocess.run(
        [sys.executable, "-m", "harmony", "encode"], input=TEXT.encode(), capture_output=True
    )
    assert [*map(int, encoded.stdout.split())] == encoding.encode(TEXT)
    decoded = subprocess.run(
        [sys.executable, "-m", "harmony", "decode"], input=encoded.stdout, capture_output=True
    )
    assert decoded.stdout == TEXT.encode() and decoded.returncode == 0
