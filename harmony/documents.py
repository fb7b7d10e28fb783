"""What files hold: conversations in one of three written forms, as JSON.

harmony      {"messages": [...]} as `Conversation.to_json` writes it, or the messages alone
chat         a Chat Completions request, or its messages alone
responses    a Responses request
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from harmony.errors import ConversionError
from harmony.messages import (
    Author,
    Content,
    Conversation,
    DeveloperContent,
    Message,
    Role,
    SystemContent,
    TextContent,
)
from harmony.openai import conversation_from_responses
from harmony.openai.chat import conversation_with_places
from harmony.openai.fields import Field
from harmony.openai.weights import not_trained_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harmony.training import RenderedConversation, TrainOn

FORMS = ("harmony", "chat", "responses")

_ROLES = [role.value for role in Role]

# Keys of a request that say what is to be said; the others say how, and to whom.
_CHAT_KEYS = ("messages", "tools", "reasoning_effort", "response_format")
# Functions as they were declared and asked for before there were tools.
_OLD_CHAT_KEYS = ("functions", "function_call")
_RESPONSES_KEYS = ("input", "instructions", "tools", "reasoning", "text")

# Fields of a message for what harmony says in messages of their own.
_IN_CHAT_MESSAGES = (
    "tool_calls",
    "tool_call_id",
    "function_call",
    "thinking",
    "reasoning",
    "reasoning_content",
    "refusal",
)
# Fields of a header.
_IN_HARMONY_MESSAGES = ("channel", "recipient", "content_type")
_OF_A_CHAT = "belongs to a chat, and this is read as harmony: take it out, or read this as a chat"
_OF_HARMONY = "belongs to harmony, and this is read as a chat: take it out, or read this as harmony"


# A conversation, and the indices of its messages whose weight says not to train on them.
_Weighted = tuple[Conversation, list[int]]


def conversation_from_document(document: Any, form: str = "auto") -> _Weighted:
    """The conversation in a parsed JSON document, and the indices of its messages that are not
    trained on; `form` is one of FORMS, or "auto".

    Raises ConversionError for what is no such document.
    """
    if form == "auto":
        form = form_of(document)
    if isinstance(document, list):
        document = {"messages": document}
    if not isinstance(document, dict):
        raise ConversionError("document", "is neither an object nor a list of messages")
    if form == "responses":
        return conversation_from_responses(**_only(document, _RESPONSES_KEYS, "input")), []
    if form == "chat":
        return conversation_of_chat(document)
    return conversation_of_harmony(document)


def loss_mask(
    rendered: RenderedConversation, left_out: list[int], train_on: TrainOn = "assistant"
) -> NDArray[np.bool_]:
    """The loss mask of a conversation that was in a document: whatever `train_on` says, messages
    with the indices `left_out` are not trained on."""
    mask = rendered.loss_mask(train_on)
    mask[np.isin(rendered.message_index, left_out)] = False
    return mask


def form_of(document: Any) -> str:
    """The form in which a document is written. What may be several is a chat: most files are."""
    messages = document
    if isinstance(document, dict):
        if "input" in document and "messages" not in document:
            return "responses"
        messages = document.get("messages")
    is_harmony = isinstance(messages, list) and any(map(_is_harmony, messages))
    return "harmony" if is_harmony else "chat"


def _is_harmony(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    if any(message.get(key) is not None for key in _IN_HARMONY_MESSAGES):
        return True
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") in ("system_content", "developer_content")
        for part in content
    )


def conversation_of_chat(document: dict[str, Any]) -> _Weighted:
    """The conversation of an object that is a chat, and the indices of its messages that are not
    trained on.

    Raises ConversionError for functions that are declared as they were before there were tools, and
    for what would be lost of harmony.
    """
    _refuse(document, "", _OLD_CHAT_KEYS, "is not read; functions are in tools")
    request = _only(document, _CHAT_KEYS, "messages")
    if isinstance(request["messages"], list):
        for index, message in enumerate(request["messages"]):
            _refuse(message, f"messages[{index}].", _IN_HARMONY_MESSAGES, _OF_HARMONY)
    conversation, places = conversation_with_places(**request)
    left_out = not_trained_on(request["messages"])
    return conversation, [at for index in left_out for at in places[index]]


def conversation_of_harmony(document: dict[str, Any]) -> _Weighted:
    """The conversation of an object as `Conversation.to_dict` makes it, and the indices of its
    messages that are not trained on.

    Raises ConversionError, which names the path, for messages that are not written so, and for what
    would be lost of a chat.
    """
    _refuse(document, "", (*_CHAT_KEYS[1:], *_OLD_CHAT_KEYS), _OF_A_CHAT)
    messages = Field(document.get("messages"), "messages")
    conversation = Conversation(messages=[*map(_message, messages.entries())])
    return conversation, not_trained_on(messages.value)


def _refuse(written: Any, path: str, keys: tuple[str, ...], problem: str) -> None:
    """Raise ConversionError if an object has one of these fields. One that is null or empty says
    nothing: where all rows have the same fields, others needed it."""
    if isinstance(written, dict):
        for key in filter(written.get, keys):
            raise ConversionError(path + key, problem)


def _message(written: Field) -> Message:
    _refuse(written.value, f"{written.path}.", _IN_CHAT_MESSAGES, _OF_A_CHAT)
    role = Role(written["role"].word(*_ROLES))
    content = written["content"]
    is_text = isinstance(content.value, str)
    return Message(
        author=Author(role=role, name=_optional_text(written, "name")),
        content=[_text(content)] if is_text else [*map(_content, content.entries())],
        channel=_optional_text(written, "channel"),
        recipient=_optional_text(written, "recipient"),
        content_type=_optional_text(written, "content_type"),
    )


def _optional_text(written: Field, key: str) -> str | None:
    field = written.get(key)
    return None if field is None else field.text()


def _content(written: Field) -> Content:
    kind = written["type"].word("text", "system_content", "developer_content")
    if kind == "text":
        return _text(written["text"])
    try:
        if kind == "system_content":
            return SystemContent.from_dict(written.value)
        return DeveloperContent.from_dict(written.value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([written.path, *map(str, first["loc"])])
        raise ConversionError(path, first["msg"]) from None


def _text(written: Field) -> TextContent:
    return TextContent(text=written.text())


def _only(document: dict[str, Any], keys: tuple[str, ...], needed: str) -> dict[str, Any]:
    return {needed: document.get(needed)} | {key: document[key] for key in keys if key in document}
