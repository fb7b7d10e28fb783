"""Reading what strangers send: a value and the path to it, which every error names."""

from __future__ import annotations

import json
import math
import reprlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from harmony.errors import ConversionError

# The reference reads at most 117 nested containers in the parameters of a function.
MAX_DEPTH = 100

_TEXT_PARTS = ("text", "input_text", "output_text", "reasoning_text", "summary_text", "refusal")
_OTHER_PARTS = {
    "image_url": "an image",
    "input_image": "an image",
    "input_audio": "audio",
    "file": "a file",
    "input_file": "a file",
}


class Field:
    """A value somewhere in a request. Whatever is not as asked for raises ConversionError."""

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def fail(self, problem: str) -> NoReturn:
        raise ConversionError(self.path, problem)

    def __getitem__(self, key: str) -> Field:
        """A member that must be there."""
        member = self.get(key)
        if member is None:
            Field(None, f"{self.path}.{key}" if self.path else key).fail("is missing")
        return member

    def get(self, key: str) -> Field | None:
        """A member, or None if it is missing or null."""
        if not isinstance(self.value, Mapping):
            self._wrong("an object")
        value = self.value.get(key)
        return None if value is None else Field(value, f"{self.path}.{key}")

    def entries(self) -> Iterator[Field]:
        """The entries of a list."""
        if not isinstance(self.value, Sequence) or isinstance(self.value, (str, bytes)):
            self._wrong("a list")
        for index, value in enumerate(self.value):
            yield Field(value, f"{self.path}[{index}]")

    def text(self) -> str:
        """A string that is valid Unicode."""
        if not isinstance(self.value, str):
            self._wrong("a string")
        # Not str(...), which gives an enumeration's name instead of its value.
        text = str.__str__(self.value)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.fail(f"holds a lone surrogate at character {error.start}")
        return text

    def some_text(self) -> str:
        """A string that is not empty."""
        return self.text() or self.fail("is empty")

    def word(self, *words: str) -> str:
        """One of `words`."""
        if not isinstance(self.value, str) or self.value not in words:
            self._wrong(f"one of {', '.join(words)}")
        return str.__str__(self.value)

    def number(self, *numbers: int) -> int:
        """One of `numbers`."""
        # True is 1 for Python, though not for JSON.
        if isinstance(self.value, bool) or self.value not in numbers:
            self._wrong(f"one of {', '.join(map(str, numbers))}")
        return int(self.value)

    def json_text(self) -> str:
        """A string that is JSON, as it is."""
        text = self.text()
        try:
            json.loads(text, parse_constant=_refuse_constant, parse_int=str)
        except ValueError as error:
            self.fail(f"is not JSON: {error}")
        except RecursionError:
            self.fail("is nested too deeply")
        return text

    def texts(self) -> list[str]:
        """The content of a message: a string, or a list of parts that are text."""
        if isinstance(self.value, str):
            return [self.text()]
        return [part._part() for part in self.entries()]

    def _part(self) -> str:
        if isinstance(self.value, str):
            return self.text()
        kind = self["type"]
        name = kind.text()
        if name in _OTHER_PARTS:
            kind.fail(f"the models read text only, and this is {_OTHER_PARTS[name]}")
        if name not in _TEXT_PARTS:
            kind._wrong("text")
        return self["refusal" if name == "refusal" else "text"].text()

    def json_object(self) -> dict[str, Any]:
        """An object of JSON values, such as a schema: plain, finite, and not nested too deeply."""
        if not isinstance(self.value, Mapping):
            self._wrong("an object")
        plain: dict[str, Any] = self._plain(MAX_DEPTH)
        return plain

    def _plain(self, depth: int) -> Any:
        value = self.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text()
        if isinstance(value, int):
            # Rendering writes numbers as the reference does, which reads them as doubles.
            return int(value) if abs(value) <= sys.float_info.max else self._wrong("a double")
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else self._wrong("a finite number")
        if not depth:
            self.fail(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(value, Mapping):
            return {
                Field(key, self.path).text(): Field(member, f"{self.path}.{key}")._plain(depth - 1)
                for key, member in value.items()
            }
        return [entry._plain(depth - 1) for entry in self.entries()]

    def _wrong(self, expected: str) -> NoReturn:
        self.fail(f"must be {expected}, not {_shown(self.value)}")


def given(value: Any, path: str) -> Field | None:
    """An optional argument, or None if it is not there."""
    return None if value is None else Field(value, path)


def entries_given(value: Any, path: str) -> list[Field]:
    """The entries of an optional argument that is a list."""
    return [] if value is None else list(Field(value, path).entries())


def _shown(value: Any) -> str:
    """A value in an error: what is long or nested deeply is cut short."""
    return _short.repr(value)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
