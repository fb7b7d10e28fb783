"""Ids in, OpenAI-shaped deltas out: ChatStream.

What clients assemble from the deltas is what `chat_message_from` makes of the finished messages:
the same joining of parts, the same white space left out, done as the text comes in.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from typing import Any

from typing_extensions import Self

from harmony.errors import ParseError
from harmony.events import MessageHeader, ParseEvent, ParseEventKind
from harmony.messages import Author, Message
from harmony.openai.chat import finish_reason_of, is_lost_call, kind_of, tool_call
from harmony.openai.dialogue import text_of
from harmony.openai.names import called_function
from harmony.parser import StreamableParser


class _Joined:
    """Parts joined by line breaks, without white space around each, while they come in."""

    def __init__(self) -> None:
        self._has_parts = False
        self._in_part = False
        self._blanks: list[str] = []

    def begin(self) -> None:
        """A new part begins; white space that ended the last one is gone."""
        self._in_part = False
        self._blanks = []

    def feed(self, text: str) -> str:
        """What can be said now that `text` is known to follow."""
        if not self._in_part:
            text = text.lstrip()
        said = text.rstrip()
        if not said:
            self._blanks.append(text)
            return ""
        before = self._blanks if self._in_part else ["\n"] * self._has_parts
        self._in_part = self._has_parts = True
        self._blanks = [text[len(said) :]]
        return "".join([*before, said])


class ChatStream:
    """Turns ids into the streaming deltas of the Chat Completions API.

    `parser`: a StreamableParser at the beginning of a completion, better with `on_error="recover"`.
    Its other results (`diagnostics`, `token_counts`, `messages`) can be read from it at any time.
    `call_id_prefix`: calls have the ids `call_0`, `call_1`, ... after it.

    Both methods return a list of choices, `{"index": 0, "delta": {...}, "finish_reason": ...}`; a
    delta holds `role` (once), `content`, `reasoning` and `tool_calls`. Deltas that arrive in one
    call are joined, so a chunk of many ids gives few choices.

    Text off the final channel is said when its message ends, because only then it is known whether
    the model meant to call something; reasoning, answers and arguments are said as they come in.
    """

    def __init__(self, parser: StreamableParser, *, call_id_prefix: str = "call_") -> None:
        self.parser = parser
        self._prefix = call_id_prefix
        self._said_role = False
        self._n_calls = 0
        self._joined = {"content": _Joined(), "reasoning": _Joined()}
        # Where the text of the message that is coming in goes; None: held until it has ended.
        self._kind: str | None = None
        self._deltas: list[dict[str, Any]] = []

    def __copy__(self) -> Self:
        """One that goes its own way from here on, with a copy of the parser."""
        return copy.deepcopy(self)

    def process_many(self, ids: Iterable[int]) -> list[dict[str, Any]]:
        """The choices that `ids` give rise to; often there are none. Raises as the parser does;
        what came before an error is said by the next call."""
        try:
            events = self.parser.process_many(ids)
        except ParseError as error:
            self._take_all(error.events or [])
            raise
        self._take_all(events)
        return self._choices(None)

    def finish(self, finish_reason: str | None = None) -> list[dict[str, Any]]:
        """The stream has ended: what was held back, and a last choice with the reason.

        That is "tool_calls", "stop", or "length" if the last message is unfinished; a server that
        knows better, because it takes stop tokens out of the ids for one, says so. One call only.
        """
        self._take_all(self.parser.finish())
        return self._choices(finish_reason or finish_reason_of(self.parser.messages))

    def _take_all(self, events: list[ParseEvent]) -> None:
        for event in events:
            self._take(event)

    def _take(self, event: ParseEvent) -> None:
        if event.kind is ParseEventKind.MESSAGE_START and event.header is not None:
            self._begin(event.header)
        elif event.kind is ParseEventKind.DELTA and event.text is not None:
            if self._kind is not None:
                self._say(event.text)
        elif event.kind is ParseEventKind.MESSAGE_END and event.message is not None:
            self._end(event.message)

    def _begin(self, header: MessageHeader) -> None:
        message = Message(
            author=Author(role=header.role, name=header.name),
            channel=header.channel,
            recipient=header.recipient,
        )
        kind = kind_of(message)
        self._kind = None if kind == "content" and header.channel != "final" else kind
        if self._kind is not None:
            self._open(message, self._kind)

    def _open(self, message: Message, kind: str) -> None:
        if kind == "tool_calls":
            function = called_function(message.recipient)
            assert function is not None
            call = tool_call(f"{self._prefix}{self._n_calls}", function, "")
            self._deltas.append({"tool_calls": [{"index": self._n_calls, **call}]})
            self._n_calls += 1
        else:
            self._joined[kind].begin()

    def _say(self, text: str) -> None:
        if self._kind == "tool_calls":
            arguments = {"index": self._n_calls - 1, "function": {"arguments": text}}
            self._deltas.append({"tool_calls": [arguments]})
        elif self._kind is not None and (said := self._joined[self._kind].feed(text)):
            self._deltas.append({self._kind: said})

    def _end(self, message: Message) -> None:
        kind = kind_of(message)
        if self._kind is None and kind is not None and not is_lost_call(message):
            self._kind = kind
            self._open(message, kind)
            self._say(text_of(message))
        self._kind = None

    def _choices(self, finish_reason: str | None) -> list[dict[str, Any]]:
        deltas, self._deltas = _merged(self._deltas), []
        if finish_reason is not None:
            deltas.append({})
        if deltas and not self._said_role:
            self._said_role = True
            deltas[0] = {"role": "assistant", **deltas[0]}
        choices: list[dict[str, Any]] = [
            {"index": 0, "delta": delta, "finish_reason": None} for delta in deltas
        ]
        if finish_reason is not None:
            choices[-1]["finish_reason"] = finish_reason
        return choices


def _merged(deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbours that go to the same place, as one."""
    merged: list[dict[str, Any]] = []
    for place, same in itertools.groupby(deltas, key=_place):
        first, *rest = same
        if isinstance(place, int):
            function = first["tool_calls"][0]["function"]
            more = [delta["tool_calls"][0]["function"]["arguments"] for delta in rest]
            function["arguments"] = "".join([function["arguments"], *more])
        else:
            first[place] = "".join([first[place], *(delta[place] for delta in rest)])
        merged.append(first)
    return merged


def _place(delta: dict[str, Any]) -> Any:
    """Where a delta goes to: the index of a call, or the name of a field."""
    ((field, value),) = delta.items()
    return value[0]["index"] if field == "tool_calls" else field
