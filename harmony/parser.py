"""Ids -> messages: StreamableParser. _parser.pyx has the automaton, header.py reads headers.

    ids  ->  _parser  ->  header  ->  messages

What is decided here: what arguments may be, and how parsers are copied and pickled.
"""

from __future__ import annotations

import copy
import math
import operator
import sys
from array import array
from collections.abc import Iterable
from enum import Enum
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

import harmony
from harmony import workers
from harmony._parse_batch import parse_rows
from harmony._parser import Parser, check_ids, uint32_array
from harmony.messages import Role
from harmony.parsed import ParsedMessage
from harmony.tokenizer import TokenIds

if TYPE_CHECKING:
    from harmony.header import Header


class StreamState(Enum):
    """What a parser expects next."""

    EXPECT_START = "ExpectStart"
    HEADER = "Header"
    CONTENT = "Content"


_STATES = tuple(StreamState)
_ROWS_AT_ONCE = 256
# Ids. Fewer are parsed before a second thread would have begun.
_PARALLEL_ABOVE = 100_000
_ROLES = {role.value: role for role in Role}


class StreamableParser(Parser):
    """Reads a stream of ids, one at a time, into messages.

    `role`: the role of the first message, if `<|start|>` and the role are in the prompt and the
    stream begins after them; None if it begins with `<|start|>`. `strict=False`: a stop token in a
    header ends it; if the role was given, the text of the header is the message.

    `on_error="recover"`: no ids are refused. What models get wrong is repaired (docs/recovery.md)
    and told in `diagnostics`; `strict` makes no difference, and `role` is that of every message
    that names none.

    `max_header_tokens` and `max_messages`: more ids in a header (from `<|start|>` on, without
    `<|message|>`), more messages in a stream are an error; a recovering parser reads what the
    header has so far and goes on with content, or skips the rest of the stream.

    One parser serves one stream at a time. It can be copied and pickled at any point.
    """

    def __init__(
        self,
        encoding: harmony.HarmonyEncoding,
        role: Role | str | None,
        *,
        strict: bool = True,
        on_error: str = "raise",
        max_header_tokens: int | None = None,
        max_messages: int | None = None,
    ) -> None:
        # Each of these may raise; openai_harmony looks at the arguments in this order.
        role_text = _role_text(role)
        encoding._codec  # noqa: B018
        is_strict = _checked_strict(strict)
        mode = _mode(is_strict, on_error)
        limits = (
            _checked_limit("max_header_tokens", max_header_tokens),
            _checked_limit("max_messages", max_messages),
        )
        super().__init__(encoding, _role_of(role_text), mode, _STATES, *limits)
        self._arguments = encoding, role, is_strict, on_error, *limits

    def reset(self, role: Role | str | EllipsisType | None = ...) -> Self:
        """Forget everything: the next id is the first of a new stream. Returns the parser.

        `role`: of its first message, as in the constructor; the same as before if it is left out.
        """
        new_role = self._arguments[1] if isinstance(role, EllipsisType) else role
        self._restart(_role_of(_role_text(new_role)))
        self._arguments = self._arguments[0], new_role, *self._arguments[2:]
        return self

    @property
    def state_data(self) -> dict[str, Any]:
        """The state with all that belongs to it: ids of the header, or header and content.

        `content_tokens` are the ids of the text that has come out so far, encoded piece by piece as
        it came out (of a recovering parser: as a whole), not the ids that were fed. Costs as much
        as the content is long.
        """
        data: dict[str, Any] = {"state": self.state.value}
        if self.state is StreamState.HEADER:
            data["header_tokens"] = self._header_tokens()
        elif self.state is StreamState.CONTENT:
            data["header"] = _written(self._fields())
            encode = self._arguments[0].encode_ordinary
            data["content_tokens"] = [
                token for chunk in self._content_chunks() for token in encode(chunk)
            ]
        return data

    def copy(self) -> Self:
        """A parser that stands where this one stands; from here on each goes its own way.

        Its messages are new objects: what was assigned to those of this parser is not in them.
        """
        twin = type(self).__new__(type(self))
        self._copy_into(twin)
        twin.__dict__.update(self.__dict__)
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = self.copy()
        memo[id(self)] = twin
        arguments = twin.__dict__.pop("_arguments")
        twin.__dict__.update(copy.deepcopy(twin.__dict__, memo), _arguments=arguments)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        tokens, ends = self._recipe()
        recipe = (type(self), *self._arguments, array("I", tokens), ends)
        return _fed_again, recipe, self.__dict__


def _fed_again(
    parser_class: type[StreamableParser],
    encoding: harmony.HarmonyEncoding,
    role: Role | str | None,
    strict: bool,
    on_error: str,
    max_header_tokens: int | None,
    max_messages: int | None,
    tokens: array[int],
    ends: tuple[int, ...],
) -> StreamableParser:
    """Unpickle: a new parser, fed as the pickled one was. Encodings are pickled by name."""
    parser = parser_class.__new__(parser_class)
    StreamableParser.__init__(
        parser,
        encoding,
        role,
        strict=strict,
        on_error=on_error,
        max_header_tokens=max_header_tokens,
        max_messages=max_messages,
    )
    parser._feed_again(np.asarray(tokens, dtype=np.uint32), ends)
    return parser


def parse_messages_from_completion_tokens(
    encoding: harmony.HarmonyEncoding,
    tokens: Iterable[int],
    role: Role | str | None = None,
    *,
    strict: bool = True,
    on_error: str = "raise",
) -> list[ParsedMessage]:
    """The messages in `tokens`, all of them fed to a new StreamableParser, then the end.

    Raises what the parser raises first; then nothing is returned.
    """
    ids: list[int] | tuple[int, ...] | NDArray[np.uint32] | None = None
    if isinstance(tokens, np.ndarray):
        ids = uint32_array(tokens)
    if ids is None:
        ids = tokens if type(tokens) is list or type(tokens) is tuple else list(tokens)
    role_text = _role_text(role)
    try:
        is_strict = _checked_strict(strict)
        mode = _mode(is_strict, on_error)
        parser = Parser(encoding, _role_of(role_text), mode, _STATES)
    except (TypeError, ValueError):
        # If the ids are wrong too, it is them that openai_harmony complains about.
        check_ids(list(ids))
        raise
    parser._feed_all(ids)
    return parser.process_eos().messages


def parse_batch(
    encoding: harmony.HarmonyEncoding,
    token_lists: Iterable[TokenIds],
    role: Role | str | None = None,
    *,
    strict: bool = True,
    on_error: str = "raise",
    num_threads: int | None = None,
) -> list[list[ParsedMessage]]:
    """The messages of many completions, a list for each.

    Worked on by `num_threads` threads (None: one for each CPU), a chunk of completions at a time.
    Raises what the parser raises first, with the number of the completion before its text and as
    the attribute `row`; then nothing is returned.
    """
    mode = _mode(_checked_strict(strict), on_error)
    given_role = _role_of(_role_text(role))
    n_threads = workers.thread_count(num_threads)
    rows = list(token_lists)
    if _n_ids(rows) <= _PARALLEL_ABOVE:
        n_threads = 1

    def parser_of(is_first: bool) -> Parser:
        return Parser(encoding, given_role if is_first else None, mode, _STATES)

    def parse_chunk(chunk: int) -> list[list[ParsedMessage]]:
        start = chunk * size
        return parse_rows(parser_of, rows[start : start + size], start)

    # Several for each thread, so that none waits long for the last; not too large, for the ids and
    # texts of a chunk are held at once.
    size = max(1, min(_ROWS_AT_ONCE, len(rows) // (4 * n_threads)))
    chunks = workers.run(parse_chunk, -(-len(rows) // size), n_threads)
    return [messages for chunk in chunks for messages in chunk]


def _n_ids(rows: list[TokenIds]) -> float:
    """How many ids these are; of something without a length nobody knows."""
    try:
        return sum(map(len, rows))  # type: ignore[arg-type]
    except Exception:  # from a class of the caller's; what is wrong with it is said row by row
        return math.inf


def _role_text(role: Any) -> str | None:
    """The word for a role, which may be text as well; AttributeError for what is neither."""
    if role is None:
        return None
    # A Role is a str, too; NumPy's strings are no more than that.
    if isinstance(role, str) and not hasattr(role, "value"):
        return str.__str__(role)
    return str(role.value)


def _role_of(role_text: str | None) -> Role | None:
    if role_text is None:
        return None
    if role_text not in _ROLES:
        role_text.encode()  # UnicodeEncodeError for a surrogate, as in openai_harmony
        raise ValueError(f"unknown role: {role_text}")
    return _ROLES[role_text]


def _checked_strict(strict: object) -> bool:
    """The argument `strict`: a bool, numpy's included, or None, which is True."""
    kind = type(strict)
    if strict is None:
        return True
    if kind is bool or kind is np.bool_:
        return bool(strict)
    raise TypeError(f"argument 'strict': '{kind.__name__}' object cannot be converted to 'PyBool'")


def _mode(is_strict: bool, on_error: object) -> int:
    """The number of the table that the automaton runs on."""
    if on_error not in ("raise", "recover"):
        raise ValueError(f"on_error must be 'raise' or 'recover', not {on_error!r}")
    if on_error == "recover":
        return 2
    return 0 if is_strict else 1


def _checked_limit(name: str, limit: int | None) -> int | None:
    if limit is None:
        return None
    limit = operator.index(limit)
    if limit < 1:
        raise ValueError(f"{name} must be positive, not {limit}")
    return min(limit, sys.maxsize)


def _written(header: Header) -> dict[str, Any]:
    """A Header in the shape of `state_data`."""
    role, name, channel, recipient, content_type = header
    return {
        "author": {"role": role.value} if name is None else {"role": role.value, "name": name},
        "recipient": recipient,
        "channel": channel,
        "content_type": content_type,
    }
