"""Chat Completions: requests -> conversations and back, and completions as one chat message.

One message of a chat is up to three things in harmony: reasoning (the analysis channel), text, and
calls, in that order. Text is on the final channel; together with calls it is what the model says
before it acts, on the commentary channel. Where that rule does not give the right channel, the
message has a `phase`, "commentary" or "final_answer", as messages of the Responses API do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from harmony.calls import calls_of_results
from harmony.errors import ConversionError
from harmony.messages import Conversation, Message, Role, SystemContent
from harmony.openai.dialogue import (
    CHANNEL_OF_PHASE,
    PHASE_OF_CHANNEL,
    Dialogue,
    arguments_of,
    functions_from,
    instructions_of,
    opening_of,
    refuse_header,
    text_of,
    texts_of,
)
from harmony.openai.fields import Field, entries_given, given
from harmony.openai.names import called_function
from harmony.render import CALL

# request -> conversation


def conversation_from_chat(
    messages: Sequence[dict[str, Any]],
    *,
    tools: Sequence[dict[str, Any]] | None = None,
    reasoning_effort: str | None = None,
    response_format: dict[str, Any] | None = None,
    system: SystemContent | None = None,
) -> Conversation:
    """The conversation that a Chat Completions request holds. Parameters as in the request.

    It begins with a system message: `system`, or SystemContent.new(), with `reasoning_effort`
    ("low", "medium", "high") if that is given. Messages of the roles system and developer are the
    developer's instructions; the first message declares `tools` and `response_format`. Assistant
    messages may hold `reasoning` (or `reasoning_content`, or `thinking`), `content` and
    `tool_calls`; a tool's result finds its call by `tool_call_id`. What cannot stand in an
    identifier is escaped in names of functions, `get_x2d_weather`; all that goes back has the
    names that came in.

    Raises ConversionError, which names the path, for what cannot be expressed: unknown roles and
    parts, images, results without a call, arguments that are not JSON.
    """
    return conversation_with_places(
        messages,
        tools=tools,
        reasoning_effort=reasoning_effort,
        response_format=response_format,
        system=system,
    )[0]


def conversation_with_places(
    messages: Sequence[dict[str, Any]],
    *,
    tools: Sequence[dict[str, Any]] | None = None,
    reasoning_effort: str | None = None,
    response_format: dict[str, Any] | None = None,
    system: SystemContent | None = None,
) -> tuple[Conversation, list[range]]:
    """As `conversation_from_chat`, with the place in the conversation, as indices, of what each of
    `messages` has become. Results that stand together may have exchanged theirs."""
    dialogue = Dialogue()
    ends = [0]
    for message in Field(messages, "messages").entries():
        _READERS[_role(message)](dialogue, message)
        ends.append(len(dialogue.messages))
    conversation = dialogue.conversation(
        system,
        given(reasoning_effort, "reasoning_effort"),
        functions_from([_function(tool) for tool in entries_given(tools, "tools")]),
        given(response_format, "response_format"),
    )
    n_before = len(conversation.messages) - ends[-1]  # what no message of the chat became
    places = [range(n_before + start, n_before + end) for start, end in itertools.pairwise(ends)]
    return conversation, places


def _role(message: Field) -> str:
    return message["role"].word(*_READERS)


def _function(tool: Field) -> tuple[Field, Field]:
    tool["type"].word("function")
    function = tool["function"]
    return function["name"], function


def _name(message: Field) -> str | None:
    name = message.get("name")
    return name.text() if name else None


def _read_instructions(dialogue: Dialogue, message: Field) -> None:
    dialogue.instructions(message, message["content"].texts(), _name(message))


def _read_user(dialogue: Dialogue, message: Field) -> None:
    dialogue.user(message, message["content"].texts(), _name(message))


def _read_result(dialogue: Dialogue, message: Field) -> None:
    dialogue.result(message["tool_call_id"], message["content"].texts())


def _read_assistant(dialogue: Dialogue, message: Field) -> None:
    for unknown in ("audio", "function_call"):
        if (field := message.get(unknown)) is not None:
            field.fail("is not supported; calls are in tool_calls")
    name = _name(message)
    reasoning = _reasoning(message)
    calls = list(calls_field.entries()) if (calls_field := message.get("tool_calls")) else []
    said = [field for key in ("content", "refusal") if (field := message.get(key)) is not None]
    texts = [text for field in said for text in field.texts()]
    phase = message.get("phase")
    if reasoning:
        dialogue.reasoning(message, [reasoning], name)
    # Clients send empty content along with calls.
    if any(texts) or (said and (not calls or phase is not None)):
        channel = "commentary" if calls else "final"
        if phase is not None:
            channel = CHANNEL_OF_PHASE[phase.word(*CHANNEL_OF_PHASE)]
        dialogue.text(message, texts, channel, name)
    elif not reasoning and not calls:
        message["content"]
    ids = set()
    for call in calls:
        if (kind := call.get("type")) is not None:
            kind.word("function")
        function = call["function"]
        call_id = call["id"]
        if call_id.some_text() in ids:
            call_id.fail("another call of this message has the same id")
        ids.add(call_id.value)
        dialogue.call_function(
            call_id, function["name"].some_text(), function["arguments"].json_text(), name
        )


def _reasoning(message: Field) -> str:
    texts = {key: field.text() for key in _REASONING if (field := message.get(key)) is not None}
    if len(set(texts.values())) > 1:
        message.fail(f"{', '.join(texts)} are names of one thing, and differ")
    return next(iter(texts.values()), "")


# Its name with servers now, with those before, and in the chat template and data of gpt-oss.
_REASONING = ("reasoning", "reasoning_content", "thinking")
_READERS = {
    "system": _read_instructions,
    "developer": _read_instructions,
    "user": _read_user,
    "assistant": _read_assistant,
    "tool": _read_result,
}

# conversation -> request


def chat_request_from(conversation: Conversation) -> dict[str, Any]:
    """The arguments of `conversation_from_chat` that give `conversation` again.

    `messages`, and `tools`, `reasoning_effort`, `response_format` and `system` if they are needed.
    Calls are numbered: `call_0`, `call_1`, ... Oddities of headers that a model wrote (a call on
    the analysis channel, say, or of a function whose name is no identifier) and of results come
    out as they should have been, and text of several parts as one where a chat has no parts. A
    conversation without a system message comes back with one.

    Raises ConversionError, which names the message, for what a chat cannot hold: calls of the
    built-in tools, whose place is the Responses API, declarations of other namespaces than
    functions, arguments that are not JSON, reasoning that says nothing, and headers of users and
    developers that say more than a name.
    """
    opening = opening_of(conversation)
    calls = calls_of_results(conversation.messages)
    request: dict[str, Any] = {"messages": _Chat(opening.messages, calls).messages}
    if opening.functions:
        request["tools"] = [
            {"type": "function", "function": function} for function in opening.functions
        ]
    if opening.effort:
        request["reasoning_effort"] = opening.effort
    if opening.system:
        request["system"] = opening.system
    if opening.response_format:
        about = dict(opening.response_format)
        kind = about.pop("type")
        request["response_format"] = {"type": kind, **({kind: about} if about else {})}
    return request


class _Chat:
    """Messages of a chat, made of those of a conversation; `calls`: of each result the index of its
    call."""

    def __init__(self, numbered: Sequence[tuple[int, Message]], calls: dict[int, int]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._calls = calls
        self._call_ids: dict[int, str] = {}
        for index, message in numbered:
            self._add(index, message, f"messages[{index}]")
        self._close()

    def _add(self, index: int, message: Message, path: str) -> None:
        role = message.author.role
        if role is Role.ASSISTANT:
            self._add_to_assistant(index, message, path)
            return
        self._close()
        if role is Role.TOOL:
            if index not in self._calls:
                raise ConversionError(path, f"no call of {message.author.name!r} waits for this")
            self._put("tool", message, path, tool_call_id=self._call_ids[self._calls[index]])
            return
        refuse_header(message, path)
        if role is Role.USER:
            self._put("user", message, path)
        else:
            self._put("developer", message, path, content=instructions_of(message, path))

    def _put(self, role: str, message: Message, path: str, **fields: Any) -> None:
        name = {} if role == "tool" or not message.author.name else {"name": message.author.name}
        content = {} if "content" in fields else {"content": _content(texts_of(message, path))}
        self.messages.append({"role": role, **name, **fields, **content})

    def _add_to_assistant(self, index: int, message: Message, path: str) -> None:
        function = called_function(message.recipient)
        if function is not None:
            entry = self._entry(message, after=("reasoning", "content", "tool_calls"))
            call_id = self._call_ids[index] = f"call_{len(self._call_ids)}"
            entry.setdefault("tool_calls", []).append(
                tool_call(call_id, function, arguments_of(message, path))
            )
        elif message.recipient is not None:
            raise ConversionError(path, f"a chat cannot hold a message to {message.recipient!r}")
        elif message.channel == "analysis":
            reasoning = text_of(message, path)
            if not reasoning:
                raise ConversionError(path, "a chat cannot hold reasoning that says nothing")
            self._entry(message, after=())["reasoning"] = reasoning
        else:
            entry = self._entry(message, after=("reasoning",))
            entry["content"] = _content(texts_of(message, path))
            entry["phase"] = PHASE_OF_CHANNEL.get(message.channel or "final", "final_answer")
            if entry["phase"] == "final_answer":
                self._close()

    def _entry(self, message: Message, after: tuple[str, ...]) -> dict[str, Any]:
        """The message of the chat that this one becomes part of, behind what it may follow."""
        name = {"name": message.author.name} if message.author.name else {}
        entry = self._open
        if entry is not None and (
            entry.get("name") != message.author.name
            or not {"reasoning", "content", "tool_calls"}.intersection(entry) <= set(after)
        ):
            self._close()
            entry = None
        if entry is None:
            entry = self._open = {"role": "assistant", **name}
        return entry

    def _close(self) -> None:
        entry, self._open = self._open, None
        if entry is None:
            return
        calls = "tool_calls" in entry
        if entry.get("phase") == ("commentary" if calls else "final_answer") and (
            not calls or any(Field(entry["content"], "content").texts())
        ):
            del entry["phase"]
        entry.setdefault("content", None)
        self.messages.append(entry)


def _content(texts: list[str]) -> str | list[dict[str, str]]:
    if len(texts) == 1:
        return texts[0]
    return [{"type": "text", "text": text} for text in texts]


def tool_call(call_id: str, function: str, arguments: str) -> dict[str, Any]:
    """An entry of `tool_calls`."""
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": function, "arguments": arguments},
    }


# completion -> message


def chat_message_from(
    messages: Iterable[Message], *, call_id_prefix: str = "call_"
) -> dict[str, Any]:
    """One message of a chat that says what `messages`, the parsed completion, say.

    `content` (None if there is none): text of the assistant to nobody in particular, on the final
    or commentary channel or on none; `reasoning`: its analysis, with what it wrote there for
    built-in tools; both joined by line breaks, without white space around each part. `tool_calls`:
    calls of functions, on any channel, with the ids `call_0`, `call_1`, ... after
    `call_id_prefix`; arguments are as the model wrote them, also if they are no JSON. Calls of
    built-in tools on other channels are not in it, and neither are messages of others.

    A message that ends in `<|call|>` without saying whom it calls is left out, unless it is on the
    final channel.
    """
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    for message in messages:
        kind = kind_of(message)
        text = text_of(message)
        if kind == "tool_calls":
            function = called_function(message.recipient)
            assert function is not None
            calls.append(tool_call(f"{call_id_prefix}{len(calls)}", function, text))
        elif kind == "reasoning":
            reasoning.append(text.strip())
        elif kind == "content" and not is_lost_call(message):
            content.append(text.strip())
    result: dict[str, Any] = {"role": "assistant", "content": _joined(content)}
    if joined := _joined(reasoning):
        result["reasoning"] = joined
    if calls:
        result["tool_calls"] = calls
    return result


def _joined(parts: list[str]) -> str | None:
    return "\n".join(filter(None, parts)) or None


def kind_of(message: Message) -> str | None:
    """Which field of a chat message it goes into: tool_calls, reasoning, content, or none."""
    if message.author.role is not Role.ASSISTANT:
        return None
    if called_function(message.recipient) is not None:
        return "tool_calls"
    if message.channel == "analysis":
        return "reasoning"
    if message.recipient is None and message.channel in ("final", "commentary", None):
        return "content"
    return None


def is_lost_call(message: Message) -> bool:
    """Whether a message without recipient was meant for a tool, as far as its end can tell.

    Not on the final channel: what is said there is shown while it comes in, before its end.
    """
    return (
        message.recipient is None
        and message.channel != "final"
        and getattr(message, "end_token", None) == CALL
    )


def finish_reason_of(messages: Sequence[Message]) -> str:
    """The `finish_reason` of a completion: "length" if its last message is unfinished, else
    "tool_calls" if functions are called, else "stop"."""
    if messages and not getattr(messages[-1], "complete", True):
        return "length"
    return "tool_calls" if any(kind_of(m) == "tool_calls" for m in messages) else "stop"
