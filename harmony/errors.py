"""Every exception that this package raises on its own account.

Wrong types of arguments stay TypeError, integers out of range OverflowError, as the standard
library has them. What goes wrong with the *content* of the arguments is a HarmonyError.
"""

from __future__ import annotations

from typing import Any

import harmony


class HarmonyError(RuntimeError):
    """Base of all errors of this package, under the name that openai_harmony gives it.

    `row`: the index of the text or conversation in a batch that it is about, None outside batches.
    """

    row: int | None = None


class RenderError(HarmonyError):
    """A conversation cannot be written in the format: the caller's fault."""


class ConversionError(HarmonyError):
    """A request, or a conversation, has no counterpart in the other form.

    Attributes: `path`, where the trouble is (`messages[3].tool_calls[0].function.arguments`, say),
    and `problem`.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        # The state: the row that it names, and its text, which says so.
        return type(self), (self.path, self.problem), {**vars(self), "args": self.args}


class ParseError(HarmonyError):
    """Ids do not follow the format: the fault of whoever made them.

    Attributes, None where nothing is known: `position`, the index of the id that was refused among
    all ids fed (their number, if the stream ended too early); `token`, that id (None at the end of
    the stream); `state`, the StreamState in which it came. `events`: what `process_many` had to
    tell of the ids before; `row`, the index of the completion, from `parse_batch`.
    """

    position: int | None = None
    token: int | None = None
    state: object = None
    events: list[harmony.ParseEvent] | None = None
    row: int | None = None


class VocabularyError(HarmonyError):
    """A vocabulary or its table file is missing, damaged or not what it should be."""


class DatasetError(HarmonyError):
    """A file of a data set cannot be read or written, or a row of it cannot be used.

    Attributes, None where nothing is known: `file`, its path; `row`, the line or row in it, from 1.
    """

    file: str | None = None

    @classmethod
    def of(cls, problem: object, file: str | None, row: int | None = None) -> DatasetError:
        """The error for a row of a file, or the file as a whole."""
        where = "" if file is None else f"{file}: " if row is None else f"{file}, row {row}: "
        error = cls(f"{where}{problem}")
        error.file, error.row = file, row
        return error


class UnknownTokenError(HarmonyError):
    """An id that stands for no token.

    Attributes, None where nothing is known: `token`, the id, and `position`, its index among the
    ids given.
    """

    token: int | None = None
    position: int | None = None

    @classmethod
    def of(cls, token: int, position: int) -> UnknownTokenError:
        """The error for `token`, the id at `position`."""
        error = cls(f"Invalid token for decoding: {token}")
        error.token, error.position = token, position
        return error


class InvalidUtf8Error(HarmonyError, UnicodeDecodeError):
    """Bytes given as text are not UTF-8.

    Also a UnicodeDecodeError, with its attributes: `object`, `start`, `end` (byte offsets) and
    `reason`.
    """

    def __init__(self, encoding: str, object: bytes, start: int, end: int, reason: str) -> None:
        UnicodeDecodeError.__init__(self, encoding, object, start, end, reason)

    __str__ = UnicodeDecodeError.__str__

    @classmethod
    def at(cls, text: bytes, start: int) -> InvalidUtf8Error:
        """The error for `text`, whose first malformed sequence starts at byte `start`."""
        try:
            text[start : start + 4].decode("utf-8")
        except UnicodeDecodeError as error:
            return cls("utf-8", text, start, start + error.end, error.reason)
        # Another thread has written to the buffer since.
        return cls("utf-8", text, start, start + 1, "changed while it was read")


def name_row(error: Exception, row: int) -> Exception:
    """The same exception, which from now on says which row of a batch it is about."""
    error.row = row  # type: ignore[attr-defined]
    if isinstance(error, UnicodeDecodeError):
        error.reason += f" (row {row})"
        # Pickles are made of these.
        error.args = (*error.args[:-1], error.reason)
    else:
        error.args = (f"row {row}: {error}",)
    return error


HarmonyError.__module__ = "harmony"
