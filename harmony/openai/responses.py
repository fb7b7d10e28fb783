"""The Responses API: requests -> conversations and back, and messages as items.

One item is one message of harmony, but for built-in tools: there the result is part of the item of
the call. Messages of the assistant have a `phase`, "commentary" or "final_answer"; without one, a
message right before a call is commentary, any other final.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harmony.calls import calls_of_results, is_built_in
from harmony.errors import ConversionError
from harmony.messages import Conversation, Message, Role, SystemContent
from harmony.openai import builtin
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

# request -> conversation


def conversation_from_responses(
    input: str | Sequence[dict[str, Any]],
    *,
    instructions: str | None = None,
    tools: Sequence[dict[str, Any]] | None = None,
    reasoning: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    system: SystemContent | None = None,
) -> Conversation:
    """The conversation that a Responses request holds. Parameters as in the request.

    It begins with a system message: `system`, or SystemContent.new(), with `reasoning["effort"]` if
    that is given, and the browser and python tools if `tools` has web_search or code_interpreter.
    `instructions` are the developer's first message, which also declares functions and
    `text["format"]`. The same conversation as a chat gives the same ids.

    Raises ConversionError as `conversation_from_chat` does; also for encrypted reasoning.
    """
    dialogue = Dialogue()
    if instructions is not None:
        field = Field(instructions, "instructions")
        dialogue.instructions(field, [field.text()])
    whole = Field(input, "input")
    if isinstance(input, str):
        dialogue.user(whole, [whole.text()])
    else:
        items = list(whole.entries())
        kinds = [_kind(item) for item in items]
        for item, kind, next_kind in zip(items, kinds, [*kinds, ""][1:], strict=True):
            if kind == "message":
                _read_message(dialogue, item, is_before_call=next_kind in _CALLS)
            elif kind in builtin.READERS:
                dialogue.built_in(item, builtin.READERS[kind](item))
            else:
                _READERS[kind](dialogue, item)
    functions = []
    for tool in entries_given(tools, "tools"):
        kind = tool["type"].word("function", *_BUILT_IN_TOOLS)
        if kind == "function":
            functions.append((tool["name"], tool))
        else:
            system = SystemContent.new() if system is None else system.model_copy(deep=True)
            _BUILT_IN_TOOLS[kind](system)
    about_reasoning, about_text = given(reasoning, "reasoning"), given(text, "text")
    return dialogue.conversation(
        system,
        about_reasoning and about_reasoning.get("effort"),
        functions_from(functions),
        about_text and about_text.get("format"),
    )


def _kind(item: Field) -> str:
    kind = item.get("type")
    return "message" if kind is None else kind.word("message", *_READERS, *builtin.READERS)


def _read_message(dialogue: Dialogue, item: Field, *, is_before_call: bool) -> None:
    role = item["role"].word("user", "system", "developer", "assistant")
    texts = item["content"].texts()
    name_field = item.get("name")
    name = name_field.text() if name_field else None
    if role == "user":
        dialogue.user(item, texts, name)
    elif role == "assistant":
        phase = item.get("phase")
        channel = "commentary" if is_before_call else "final"
        if phase is not None:
            channel = CHANNEL_OF_PHASE[phase.word(*CHANNEL_OF_PHASE)]
        dialogue.text(item, texts, channel, name)
    else:
        dialogue.instructions(item, texts, name)


def _read_reasoning(dialogue: Dialogue, item: Field) -> None:
    if (encrypted := item.get("encrypted_content")) is not None:
        encrypted.fail("was encrypted by somebody else; only they can read it")
    # A summary stands in for reasoning that was not sent.
    for key in ("content", "summary"):
        if (field := item.get(key)) is not None and (texts := field.texts()):
            dialogue.reasoning(item, texts)
            return


def _read_call(dialogue: Dialogue, item: Field) -> None:
    dialogue.call_function(item["call_id"], item["name"].some_text(), item["arguments"].json_text())


def _read_output(dialogue: Dialogue, item: Field) -> None:
    dialogue.result(item["call_id"], item["output"].texts())


_READERS = {
    "reasoning": _read_reasoning,
    "function_call": _read_call,
    "function_call_output": _read_output,
}
_CALLS = {"function_call", *builtin.READERS}
_BUILT_IN_TOOLS = {
    "web_search": SystemContent.with_browser_tool,
    "web_search_preview": SystemContent.with_browser_tool,
    "code_interpreter": SystemContent.with_python_tool,
}

# conversation -> request


def responses_request_from(conversation: Conversation) -> dict[str, Any]:
    """The arguments of `conversation_from_responses` that give `conversation` again.

    `input`, and `tools`, `reasoning`, `text` and `system` if they are needed. Items are as in
    `responses_items_from`. Oddities of headers come out as in `chat_request_from`, and a
    conversation without a system message comes back with one.

    Raises ConversionError, which names the message, for what such a request cannot hold: results
    of built-in tools that do not stand right behind their call, arguments that are not JSON,
    names of an assistant that reasons or calls, and headers of users and developers that say more
    than a name.
    """
    opening = opening_of(conversation)
    calls = calls_of_results(conversation.messages)
    request: dict[str, Any] = {"input": _Items(opening.messages, calls, strict=True).items}
    if opening.functions:
        request["tools"] = [{"type": "function", **function} for function in opening.functions]
    if opening.effort:
        request["reasoning"] = {"effort": opening.effort}
    if opening.response_format:
        request["text"] = {"format": opening.response_format}
    if opening.system:
        request["system"] = opening.system
    return request


# messages -> items


def responses_items_from(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """`messages`, a parsed completion for one, as items of the Responses API.

    Types: message, reasoning, function_call, function_call_output, and those of built-in tools
    (`web_search_call`, `code_interpreter_call`, `mcp_call`). Items are numbered, `msg_0`, `fc_1`,
    and so are calls, `call_0`, `call_1`: the same messages always give the same items. A message
    that was cut short has the status "incomplete". What no item can say, such as the result of a
    call that nobody made, is left out.
    """
    known = list(messages)
    return _Items(list(enumerate(known)), calls_of_results(known), strict=False).items


class _Items:
    """Items made of messages; `calls`: of each result the index of its call; `strict`: what cannot
    be expressed is an error."""

    def __init__(
        self, numbered: Sequence[tuple[int, Message]], calls: dict[int, int], *, strict: bool
    ) -> None:
        self.items: list[dict[str, Any]] = []
        self._strict = strict
        self._calls = calls
        self._n_functions_called = 0
        # Items of calls, by the index of the message.
        self._item_of: dict[int, dict[str, Any]] = {}
        for index, message in numbered:
            self._add(index, message, f"messages[{index}]")

    def _add(self, index: int, message: Message, path: str) -> None:
        role = message.author.role
        if role is Role.ASSISTANT:
            self._item_of[index] = self._add_assistant(message, path)
        elif role is Role.TOOL:
            self._add_result(index, message, path)
        else:
            if self._strict:
                refuse_header(message, path)
            if role is Role.USER:
                self._put_message(message, texts_of(message, path), "input_text")
            else:
                self._add_instructions(message, path)

    def _refuse(self, path: str, problem: str) -> None:
        if self._strict:
            raise ConversionError(path, problem)

    def _add_instructions(self, message: Message, path: str) -> None:
        try:
            instructions = instructions_of(message, path)
        except ConversionError:
            if self._strict:
                raise
        else:
            self._put_message(message, [instructions], "input_text")

    def _put_message(self, message: Message, texts: list[str], kind: str, **fields: Any) -> None:
        author = message.author
        more: dict[str, Any] = {"annotations": []} if kind == "output_text" else {}
        self.items.append(
            {
                "type": "message",
                "id": f"msg_{len(self.items)}",
                "role": author.role.value,
                **({} if author.name is None else {"name": author.name}),
                **fields,
                "content": [{"type": kind, "text": text, **more} for text in texts],
            }
        )

    def _add_assistant(self, message: Message, path: str) -> dict[str, Any]:
        item = self._item_of_call(message, path)
        if item is None and message.channel == "analysis":
            texts = texts_of(message, path)
            if not texts:
                self._refuse(path, "reasoning without any part has no place in a request")
            item = {
                "type": "reasoning",
                "id": f"rs_{len(self.items)}",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": text} for text in texts],
                "status": _status(message),
            }
        if item is not None:
            if message.author.name:
                self._refuse(path, f"an item of type {item['type']} has no name of its author")
            self.items.append(item)
            return item
        phase = PHASE_OF_CHANNEL.get(message.channel or "final", "final_answer")
        texts = texts_of(message, path)
        self._put_message(message, texts, "output_text", status=_status(message), phase=phase)
        return self.items[-1]

    def _item_of_call(self, message: Message, path: str) -> dict[str, Any] | None:
        recipient, number = message.recipient, len(self.items)
        if recipient is None:
            return None
        if is_built_in(recipient):
            return builtin.item_of_call(recipient, text_of(message, path), number, _status(message))
        function = called_function(recipient)
        if function is None:
            self._refuse(path, f"a request cannot hold a message to {recipient!r}")
            return None
        self._n_functions_called += 1
        return {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"call_{self._n_functions_called - 1}",
            "name": function,
            "arguments": (arguments_of if self._strict else text_of)(message, path),
            "status": _status(message),
        }

    def _add_result(self, index: int, message: Message, path: str) -> None:
        name = message.author.name
        if index not in self._calls:
            self._refuse(path, f"no call of {name!r} waits for this result")
            return
        call = self._calls[index]
        item = self._item_of[call]
        texts = texts_of(message, path)
        if item["type"] != "function_call":
            if call != index - 1:
                self._refuse(path, f"this result of {name!r} does not follow its call")
            builtin.add_result(item, texts)
            return
        parts = [{"type": "input_text", "text": text} for text in texts]
        self.items.append(
            {
                "type": "function_call_output",
                "call_id": item["call_id"],
                "output": texts[0] if len(texts) == 1 else parts,
            }
        )


def _status(message: Message) -> str:
    return "completed" if getattr(message, "complete", True) else "incomplete"
