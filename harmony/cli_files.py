"""What all commands do alike: read files or standard input, and end in one line when something is
wrong with one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click

from harmony.errors import HarmonyError
from harmony.visible import visible

_ID_LIMIT = 1 << 32
_NO_BLANK = re.compile(r"\S")


def contents(files: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file; "-", and no file at all, is standard input."""
    for name in files or ("-",):
        with blamed_on(name):
            content = standard_input().read() if name == "-" else Path(name).read_bytes()
        yield name, content


def standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ValueError("standard input is closed")
    return sys.stdin.buffer


@contextmanager
def blamed_on(name: str) -> Iterator[None]:
    """End the command with one line that names the file if something is wrong with it."""
    try:
        yield
    except (HarmonyError, OSError, OverflowError, TypeError, ValueError) as error:
        fail(name, error.strerror if isinstance(error, OSError) else error)


def read_ids(name: str, content: bytes) -> list[int]:
    """Ids written as numbers between blanks, as JSON lists, or as `encode --json` writes them."""
    try:
        ids = _ids_in(content)
    except RecursionError:
        fail(name, "not a list of token ids (nested too deeply)")
    except ValueError as error:
        fail(name, f"not a list of token ids ({error})")
    for position, token in enumerate(ids):
        # A bool is an int for Python.
        if type(token) is not int or not 0 <= token < _ID_LIMIT:
            fail(name, f"not a list of token ids ({_shown(token)} at position {position} is none)")
    return ids


def _ids_in(content: bytes) -> list[Any]:
    try:
        # Editors and shells put a byte order mark before the ids.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = error.start
        problem = f"byte 0x{content[position]:02x} at position {position} is not UTF-8"
        raise ValueError(problem) from None
    if text.lstrip()[:1] in ("[", "{"):
        return [token for document in json_documents(text) for token in _ids_of(document)]
    return [_number(word) for word in text.split()]


def json_documents(text: str) -> Iterator[Any]:
    """The JSON documents that stand one after the other, each in as many lines as it likes."""
    decoder = json.JSONDecoder()
    stop = 0
    while found := _NO_BLANK.search(text, stop):
        document, stop = decoder.raw_decode(text, found.start())
        yield document


def _ids_of(document: Any) -> list[Any]:
    if isinstance(document, dict):
        if "ids" not in document:
            raise ValueError('an object without "ids"')
        document = document["ids"]
    if not isinstance(document, list):
        raise ValueError(f"{_shown(document)} in place of a list")
    return document


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"{_shown(word)} is no number of a token")
    return int(word)


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]


def shown_name(name: str) -> str:
    """The name of a file as it may be written anywhere: names can hold all that contents can."""
    return visible(click.format_filename(name), "")


def fail(name: str, problem: object) -> NoReturn:
    """End with one line on standard error and exit code 1."""
    first_line = visible(str(problem).strip().partition("\n")[0], "")
    if "disallowed special token" in first_line:
        first_line += " Use --special text, --special token or --allow NAME."
    elif "while expecting start token" in first_line:
        first_line += ". Use --role if <|start|> and the role are in the prompt, or --recover."
    click.echo(f"harmony: error: {shown_name(name)}: {first_line}", err=True)
    sys.exit(1)
