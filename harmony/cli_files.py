"""What all commands do alike: read files or standard input, and end in one line when something is
wrong with one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import click

from harmony.errors import HarmonyError

_ID_LIMIT = 1 << 32


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
    """Ids written as numbers between blanks, as a JSON list, or as `encode --json` writes them,
    one object a line."""
    try:
        text = content.decode("ascii").strip()
        if text.startswith("["):
            ids = json.loads(text)
        elif text.startswith("{"):
            ids = [token for line in text.splitlines() for token in json.loads(line)["ids"]]
        else:
            ids = [int(word) for word in text.split()]
    except KeyError:
        fail(name, 'not a list of token ids (an object without "ids")')
    except (ValueError, TypeError, RecursionError) as error:
        fail(name, f"not a list of token ids ({error})")
    for position, token in enumerate(ids):
        # A bool is an int for Python.
        if type(token) is not int or not 0 <= token < _ID_LIMIT:
            shown = json.dumps(token)[:40]
            fail(name, f"not a list of token ids ({shown} at position {position} is none)")
    return list(ids)


def fail(name: str, problem: object) -> NoReturn:
    """End with one line on standard error and exit code 1."""
    from harmony.view.looks import visible  # here, because most commands need no pydantic

    first_line = visible(str(problem).strip().partition("\n")[0], "")
    if "disallowed special token" in first_line:
        first_line += " Use --special text, --special token or --allow NAME."
    elif "while expecting start token" in first_line:
        first_line += ". Use --role if <|start|> and the role are in the prompt, or --recover."
    click.echo(f"harmony: error: {name}: {first_line}", err=True)
    sys.exit(1)
