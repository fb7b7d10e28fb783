"""ParsedMessage: a message with what its parser knows of it, and three ways to look at messages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from pydantic import PrivateAttr

from harmony.calls import FUNCTIONS, is_call
from harmony.messages import Message, Role, TextContent
from harmony.special_tokens import O200K_HARMONY_SPECIALS

_CALL = O200K_HARMONY_SPECIALS["<|call|>"]


class ParsedMessage(Message):
    """A message that a parser read.

    It equals, dumps and shows itself as the Message it is; the attributes below are not part of it
    and read-only.
    """

    # complete, end_token, token_span
    _origin: tuple[bool, int | None, tuple[int, int]] = PrivateAttr((False, None, (0, 0)))

    @property
    def complete(self) -> bool:
        """Whether an end token ended it."""
        return self._origin[0]

    @property
    def end_token(self) -> int | None:
        """The id that ended it: `<|return|>`, `<|end|>` or `<|call|>`; None if it is unfinished."""
        return self._origin[1]

    @property
    def token_span(self) -> tuple[int, int]:
        """(start, stop): where in the input it stands, from its header to its end token."""
        return self._origin[2]

    @property
    def tool_name(self) -> str | None:
        """The tool that is called, without `functions.`; None if none is, or a built-in one."""
        if not is_call(self.author.role, self.recipient):
            return None
        assert self.recipient is not None
        return self.recipient.removeprefix(FUNCTIONS)

    @property
    def tool_arguments(self) -> str | None:
        """The text of a call's arguments; None if no tool is called."""
        return None if self.tool_name is None else _text_of(self)

    @property
    def tool_arguments_json(self) -> Any:
        """The arguments of a call as JSON has them; None if no tool is called, or if they are not
        JSON."""
        arguments = self.tool_arguments
        if arguments is None:
            return None
        try:
            return json.loads(arguments, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None

    @property
    def tool_arguments_complete(self) -> bool:
        """Whether a tool is called and its arguments are one whole JSON text."""
        arguments = self.tool_arguments
        if arguments is None:
            return False
        try:
            # Numbers stay text: those of any length are JSON.
            json.loads(arguments, parse_int=str, parse_float=str, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        # Pydantic compares instances of one class only.
        if not isinstance(other, Message):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __repr_name__(self) -> str:
        return "Message"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _text_of(message: Message) -> str:
    return "".join(item.text for item in message.content if isinstance(item, TextContent))


class ToolCall(NamedTuple):
    """A call of a tool that is not built in; `arguments` is JSON text."""

    name: str
    arguments: str


class Views(NamedTuple):
    """What the messages of a completion come to; None where there is nothing."""

    reasoning: str | None
    content: str | None
    tool_calls: list[ToolCall]


def views(messages: Iterable[ParsedMessage]) -> Views:
    """The three things that a server answers with.

    `tool_calls`: those whose arguments are complete JSON. `reasoning`: what the assistant said on
    the analysis channel, also to built-in tools, but for these calls. `content`: what it said to
    nobody in particular on another known channel, or on none, unless `<|call|>` ended it. Parts are
    stripped, empty ones left out, and joined by newlines.
    """
    reasoning: list[str] = []
    content: list[str] = []
    calls: list[ToolCall] = []
    for message in messages:
        if message.author.role is not Role.ASSISTANT:
            continue
        text = _text_of(message)
        name = message.tool_name
        if name is not None:
            if message.tool_arguments_complete:
                calls.append(ToolCall(name, text))
        elif message.channel == "analysis":
            reasoning.append(text.strip())
        if (
            message.channel in ("final", "commentary", None)
            and message.recipient is None
            and message.end_token != _CALL
        ):
            content.append(text.strip())
    return Views(_joined(reasoning), _joined(content), calls)


def _joined(parts: list[str]) -> str | None:
    return "\n".join(part for part in parts if part) or None
