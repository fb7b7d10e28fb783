"""What a parser tells beside messages: diagnostics, events, and how many ids went where.

Plain tuples with names: immutable, comparable, picklable, and nothing that needs pydantic.
"""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple, NoReturn, TypedDict

import harmony


class DiagnosticKind(str, Enum):
    """What a recovering parser had to repair, skip or take for something else."""

    MISSING_START = "MISSING_START"
    REPEATED_START = "REPEATED_START"
    REPEATED_ROLE = "REPEATED_ROLE"
    UNKNOWN_ROLE = "UNKNOWN_ROLE"
    EMPTY_CHANNEL = "EMPTY_CHANNEL"
    REPEATED_CHANNEL = "REPEATED_CHANNEL"
    UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"
    CHANNEL_CASE = "CHANNEL_CASE"
    RECIPIENT_REPAIRED = "RECIPIENT_REPAIRED"
    SKIPPED_WORDS = "SKIPPED_WORDS"
    CONSTRAIN_TEXT = "CONSTRAIN_TEXT"
    MISSING_MESSAGE = "MISSING_MESSAGE"
    TRUNCATED_HEADER = "TRUNCATED_HEADER"
    EMPTY_HEADER = "EMPTY_HEADER"
    BARE_TEXT = "BARE_TEXT"
    SKIPPED_TEXT = "SKIPPED_TEXT"
    REPEATED_TERMINATOR = "REPEATED_TERMINATOR"
    UNTERMINATED_MESSAGE = "UNTERMINATED_MESSAGE"
    CONTROL_IN_CONTENT = "CONTROL_IN_CONTENT"
    EMPTY_MESSAGE_DROPPED = "EMPTY_MESSAGE_DROPPED"
    INVALID_UTF8 = "INVALID_UTF8"
    UNKNOWN_TOKEN = "UNKNOWN_TOKEN"
    LIMIT = "LIMIT"

    def __str__(self) -> str:
        return self.value


class Diagnostic(NamedTuple):
    """One repair, at the ids of the input that `token_span` (start, stop) names.

    `message_index`: which message the ids belong to; None if they were skipped. A repair may stand
    between two ids: then the span is empty. `text`: the text that was skipped or repaired, if any.
    """

    kind: DiagnosticKind
    token_span: tuple[int, int]
    message_index: int | None
    text: str


class ParseEventKind(str, Enum):
    """What a ParseEvent tells."""

    MESSAGE_START = "MESSAGE_START"
    DELTA = "DELTA"
    MESSAGE_END = "MESSAGE_END"
    DIAGNOSTIC = "DIAGNOSTIC"

    def __str__(self) -> str:
        return self.value


class MessageHeader(NamedTuple):
    """The header fields of a message; `name` is that of a tool."""

    role: harmony.Role
    name: str | None
    channel: str | None
    recipient: str | None
    content_type: str | None


class _Event(NamedTuple):
    kind: ParseEventKind
    message_index: int | None
    token_span: tuple[int, int]
    header: MessageHeader | None = None
    text: str | None = None
    # What the message is made of: header, text, and where it stands.
    parsed: tuple[Any, str, tuple[bool, int | None, tuple[int, int]]] | None = None
    diagnostic: Diagnostic | None = None


class ParseEvent(_Event):
    """One thing that happened in a stream; of the last four attributes `kind` says which is set.

    MESSAGE_START (`header`) comes with the first text of a message, or with its end if it has none.
    DELTA (`text`): more content; the deltas of a message add up to it. MESSAGE_END (`message`) is
    authoritative: a call that looked like a tool's own message is what it really was. DIAGNOSTIC
    (`diagnostic`): of a recovering parser.

    `message_index`: the place of the message in `messages`; None for ids that were skipped.
    `token_span`: (start, stop) in the input; for MESSAGE_START the header, for a delta the ids at
    which its text came out.
    """

    @cached_property
    def message(self) -> harmony.ParsedMessage | None:
        """The message that ended: an object of its own, made when it is first asked for."""
        if self.parsed is None:
            return None
        from harmony._parser import new_message

        return new_message(self.parsed)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an event cannot be changed: {name}")


class TokenCounts(TypedDict):
    """Ids read so far, by what they were: each is in one of the four."""

    reasoning: int
    content: int
    tool_arguments: int
    control: int
