"""Messages from their JSON, read as the reference reads it.

The reference renders nothing but the JSON that `to_json` gives, so that text defines what an object
with such a method means: what may be missing, where null stands for nothing, which types are
refused. Keys that are not known are ignored; an object may also be written as the list of its
members, and a name of an enumeration as {"<name>": null}.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from harmony.messages import (
    Author,
    ChannelConfig,
    Content,
    DeveloperContent,
    Message,
    ReasoningEffort,
    ResponseFormat,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
)
from harmony.tool_schema import MAX_VALUES, number_as_read

_MAX_DEPTH = 127


def json_of(thing: Any, kind: str) -> str:
    """The `to_json` of a message or conversation; `kind` says which of them.

    Raises what that raises, and ValueError if it recurses without end.
    """
    try:
        text: str = thing.to_json()
    except RecursionError as error:
        raise ValueError(f"invalid {kind} JSON: recursion limit exceeded") from error
    return text


def read_message(text: str, exact_numbers: bool) -> Message:
    """The message that this JSON stands for, in plain objects.

    Numbers are those the reference reads, or with `exact_numbers` those that are written. Raises
    ValueError if the JSON stands for no message, TypeError if it is no text.
    """
    _check_text(text)
    reader = _Reader(exact_numbers)
    try:
        return reader.message(reader.parse(text), "message", depth=1)
    except ValueError as error:
        raise ValueError(f"invalid message JSON: {error}") from None


def read_conversation(text: str, exact_numbers: bool) -> list[Message]:
    """The messages of the conversation that this JSON stands for; as `read_message`."""
    _check_text(text)
    reader = _Reader(exact_numbers)
    try:
        return reader.conversation(reader.parse(text))
    except ValueError as error:
        raise ValueError(f"invalid conversation JSON: {error}") from None


def refuse_enormous(messages: Any) -> None:
    """Raise ValueError if a tool's parameters hold more than MAX_VALUES values, before JSON is made
    of them: objects that refer to each other again and again stand for endless text."""
    if not isinstance(messages, (list, tuple)):
        return
    for message in messages:
        content = getattr(message, "content", None)
        if not isinstance(content, (list, tuple)):
            continue
        for item in content:
            formats = getattr(item, "response_formats", None)
            for about in formats.values() if isinstance(formats, dict) else ():
                _refuse_enormous_parameters(getattr(about, "json_schema", None))
            tools = getattr(item, "tools", None)
            for namespace in tools.values() if isinstance(tools, dict) else ():
                tools_of_namespace = getattr(namespace, "tools", None)
                if isinstance(tools_of_namespace, (list, tuple)):
                    for tool in tools_of_namespace:
                        _refuse_enormous_parameters(getattr(tool, "parameters", None))


def _refuse_enormous_parameters(parameters: Any) -> None:
    values_left = MAX_VALUES
    waiting = [(parameters, 0)]
    while waiting:
        value, depth = waiting.pop()
        # What is nested more deeply is refused when it is read, or when JSON is made of a cycle.
        if depth == _MAX_DEPTH or not isinstance(value, (dict, list, tuple)):
            continue
        values_left -= len(value)
        if values_left < 0:
            raise ValueError(f"the parameters of a tool hold more than {MAX_VALUES} values")
        members = value.values() if isinstance(value, dict) else value
        waiting += [(member, depth + 1) for member in members]


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"to_json must give a str, not {type(text).__name__}")
    text.encode()  # for the UnicodeEncodeError of a lone surrogate


class _AsRead(float):
    """A number as the reference reads it, which knows the one that is written."""

    written: int | float

    @classmethod
    def of(cls, text: str, written: int | float) -> _AsRead:
        number = cls(number_as_read(text))
        number.written = written
        return number


def _as_written(value: Any) -> Any:
    """The same JSON value with every number as it is written."""
    if type(value) is dict:
        return {key: _as_written(member) for key, member in value.items()}
    if type(value) is list:
        return [_as_written(member) for member in value]
    return value.written if type(value) is _AsRead else value


class _Reader:
    """Reads one JSON text. `where` names a value in errors."""

    def __init__(self, exact_numbers: bool) -> None:
        self._exact_numbers = exact_numbers
        # By id, the objects in which keys occur more than once, with these keys.
        self._repeated: dict[int, tuple[dict[str, Any], set[str]]] = {}

    def parse(self, text: str) -> Any:
        try:
            return json.loads(
                text,
                object_pairs_hook=self._object,
                parse_float=self._float,
                parse_int=self._integer,
                parse_constant=self._constant,
            )
        except RecursionError:
            raise ValueError("recursion limit exceeded") from None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            seen: set[str] = set()
            repeated = {key for key, _ in pairs if key in seen or seen.add(key)}  # type: ignore[func-returns-value]
            self._repeated[id(members)] = members, repeated
        return members

    def _float(self, text: str) -> float:
        as_read = _AsRead.of(text, float(text))
        return as_read.written if self._exact_numbers else as_read

    def _integer(self, text: str) -> int | float:
        if text == "-0":
            return -0.0
        value = int(text)
        as_read = _AsRead.of(text, value)
        if self._exact_numbers or -(2**63) <= value < 2**64:
            return value
        return as_read

    def _constant(self, text: str) -> float:
        raise ValueError(f"{text} is no number of JSON")

    def _members(self, value: Any, where: str, *names: str) -> list[Any]:
        """The members `names` of an object, in the order of the reference; a name that ends in "?"
        may be missing, which is None."""
        if type(value) is list:
            if len(value) != len(names):
                raise ValueError(f"{where} has {len(value)} members instead of {len(names)}")
            return value
        if type(value) is not dict:
            raise _wrong(where, "an object", value)
        repeated = self._repeated.get(id(value), (value, ()))[1]
        members = []
        for name in names:
            key = name.rstrip("?")
            if key in repeated:
                raise ValueError(f"{where} has more than one {key}")
            if key == name and key not in value:
                raise ValueError(f"{where} has no {key}")
            members.append(value.get(key))
        return members

    # Each of these makes one kind of object.

    def conversation(self, value: Any) -> list[Message]:
        (messages,) = self._members(value, "the conversation", "messages")
        return [
            self.message(message, f"message {index}", depth=3)
            for index, message in enumerate(_list(messages, "messages"))
        ]

    def message(self, value: Any, where: str, depth: int) -> Message:
        if type(value) is not dict:
            raise _wrong(where, "an object", value)
        _check_values(value, where, _MAX_DEPTH + 1 - depth)
        role, name, recipient, content, channel, content_type = self._members(
            value, where, "role", "name?", "recipient?", "content", "channel?", "content_type?"
        )
        author = Author.model_construct(
            role=Role(_name(role, f"role of {where}", Role)),
            name=_optional_text(name, f"name of {where}"),
        )
        return Message.model_construct(
            author=author,
            content=self._content(content, f"content of {where}"),
            recipient=_optional_text(recipient, f"recipient of {where}"),
            channel=_optional_text(channel, f"channel of {where}"),
            content_type=_optional_text(content_type, f"content_type of {where}"),
        )

    def _content(self, value: Any, where: str) -> list[Content]:
        if type(value) is str:
            return [TextContent.model_construct(text=value)]
        return [self._content_item(item, where) for item in _list(value, where)]

    def _content_item(self, value: Any, where: str) -> Content:
        if type(value) is list and value:
            kind, *value = value
        else:
            (kind,) = self._members(value, where, "type")
        if kind == "text":
            (text,) = self._members(value, where, "text")
            return TextContent.model_construct(text=_text(text, f"text in {where}"))
        if kind == "system_content":
            return self._system_content(value, where)
        if kind == "developer_content":
            instructions, tools = self._members(value, where, "instructions?", "tools?")
            # The reference knows nothing of these, nor of their place in a list.
            formats = value.get("response_formats") if type(value) is dict else None
            return DeveloperContent.model_construct(
                instructions=_optional_text(instructions, f"instructions in {where}"),
                tools=self._namespaces(tools, f"tools in {where}"),
                response_formats=self._formats(formats, f"response_formats in {where}"),
            )
        raise _wrong(f"type in {where}", "text, system_content or developer_content", kind)

    def _system_content(self, value: Any, where: str) -> SystemContent:
        identity, effort, tools, date, cutoff, channels = self._members(
            value,
            where,
            "model_identity?",
            "reasoning_effort?",
            "tools?",
            "conversation_start_date?",
            "knowledge_cutoff?",
            "channel_config?",
        )
        if effort is not None:
            effort = ReasoningEffort(_name(effort, f"reasoning_effort in {where}", ReasoningEffort))
        return SystemContent.model_construct(
            model_identity=_optional_text(identity, f"model_identity in {where}"),
            reasoning_effort=effort,
            tools=self._namespaces(tools, f"tools in {where}"),
            conversation_start_date=_optional_text(date, f"conversation_start_date in {where}"),
            knowledge_cutoff=_optional_text(cutoff, f"knowledge_cutoff in {where}"),
            channel_config=self._channel_config(channels, f"channel_config in {where}"),
        )

    def _channel_config(self, value: Any, where: str) -> ChannelConfig | None:
        if value is None:
            return None
        channels, required = self._members(value, where, "valid_channels", "channel_required")
        if type(required) is not bool:
            raise _wrong(f"channel_required in {where}", "true or false", required)
        return ChannelConfig.model_construct(
            valid_channels=[
                _text(channel, f"a channel in {where}") for channel in _list(channels, where)
            ],
            channel_required=required,
        )

    def _namespaces(self, value: Any, where: str) -> dict[str, ToolNamespaceConfig] | None:
        if value is None:
            return None
        if type(value) is not dict:
            raise _wrong(where, "an object", value)
        return {key: self._namespace(value[key], f"{key!r} in {where}") for key in value}

    def _namespace(self, value: Any, where: str) -> ToolNamespaceConfig:
        name, description, tools = self._members(value, where, "name", "description?", "tools")
        return ToolNamespaceConfig.model_construct(
            name=_text(name, f"name of {where}"),
            description=_optional_text(description, f"description of {where}"),
            tools=[self._tool(tool, f"a tool of {where}") for tool in _list(tools, where)],
        )

    def _formats(self, value: Any, where: str) -> dict[str, ResponseFormat] | None:
        if value is None:
            return None
        if type(value) is not dict:
            raise _wrong(where, "an object", value)
        return {key: self._format(value[key], f"{key!r} in {where}") for key in value}

    def _format(self, value: Any, where: str) -> ResponseFormat:
        schema, description = self._members(value, where, "json_schema", "description?")
        if type(schema) is not dict:
            raise _wrong(f"json_schema of {where}", "an object", schema)
        return ResponseFormat.model_construct(
            # The reference does not read these, so its numbers have no place in them.
            json_schema=_as_written(schema),
            description=_optional_text(description, f"description of {where}"),
        )

    def _tool(self, value: Any, where: str) -> ToolDescription:
        name, description, parameters = self._members(
            value, where, "name", "description", "parameters?"
        )
        return ToolDescription.model_construct(
            name=_text(name, f"name of {where}"),
            description=_text(description, f"description of {where}"),
            parameters=parameters,
        )


def _wrong(where: str, expected: str, value: Any) -> ValueError:
    shown = repr(value)
    if len(shown) > 100:
        shown = shown[:100] + "..."
    return ValueError(f"{where} must be {expected}, not {shown}")


def _text(value: Any, where: str) -> str:
    if type(value) is not str:
        raise _wrong(where, "a string", value)
    return value


def _optional_text(value: Any, where: str) -> str | None:
    return None if value is None else _text(value, where)


def _list(value: Any, where: str) -> list[Any]:
    if type(value) is not list:
        raise _wrong(where, "a list", value)
    return value


def _name(value: Any, where: str, enumeration: type[Enum]) -> str:
    """The value of a member of `enumeration`, written as such or as {"<value>": null}."""
    names = [member.value for member in enumeration]
    if type(value) is dict and len(value) == 1:
        ((name, nothing),) = value.items()
        if nothing is not None and nothing != {}:
            raise _wrong(f"{name!r} of {where}", "null", nothing)
    else:
        name = value
    if type(name) is not str or name not in names:
        raise _wrong(where, f"one of {', '.join(names)}", value)
    return name


def _check_values(value: Any, where: str, depth: int) -> None:
    """Raise ValueError for a lone surrogate, or more than `depth` nested containers."""
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"lone surrogate in {where}") from None
    elif type(value) is dict or type(value) is list:
        if not depth:
            raise ValueError(f"recursion limit exceeded in {where}")
        for member in value:
            _check_values(member, where, depth - 1)
        if type(value) is dict:
            for member in value.values():
                _check_values(member, where, depth - 1)
