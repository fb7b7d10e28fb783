"""What files hold: conversations in one of three written forms, as JSON.

harmony      {"messages": [...]} as `Conversation.to_json` writes it
chat         a Chat Completions request, or its messages alone
responses    a Responses request
"""

from __future__ import annotations

import json
from typing import Any

from harmony.errors import ConversionError
from harmony.messages import Conversation
from harmony.openai import conversation_from_chat, conversation_from_responses

FORMS = ("harmony", "chat", "responses")

# Keys of a request that say what is to be said; the others say how, and to whom.
_CHAT_KEYS = ("messages", "tools", "reasoning_effort", "response_format")
_RESPONSES_KEYS = ("input", "instructions", "tools", "reasoning", "text")


def conversation_from_document(document: Any, form: str = "auto") -> Conversation:
    """The conversation in a parsed JSON document; `form` is one of FORMS, or "auto".

    Raises ConversionError for what is no such document.
    """
    if form == "auto":
        form = form_of(document)
    if isinstance(document, list):
        document = {"messages": document}
    if not isinstance(document, dict):
        raise ConversionError("document", "is neither an object nor a list of messages")
    if form == "responses":
        return conversation_from_responses(**_only(document, _RESPONSES_KEYS, "input"))
    if form == "chat":
        return conversation_from_chat(**_only(document, _CHAT_KEYS, "messages"))
    try:
        return Conversation.from_json(json.dumps(document))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ConversionError("messages", f"{type(error).__name__}: {error}") from None


def form_of(document: Any) -> str:
    """The form in which a document is written. What may be several is a chat: most files are."""
    if isinstance(document, dict):
        if "input" in document and "messages" not in document:
            return "responses"
        messages = document.get("messages")
        if isinstance(messages, list) and any(map(_is_harmony, messages)):
            return "harmony"
    return "chat"


def _is_harmony(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    if any(key in message for key in ("channel", "recipient", "content_type")):
        return True
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") in ("system_content", "developer_content")
        for part in content
    )


def _only(document: dict[str, Any], keys: tuple[str, ...], needed: str) -> dict[str, Any]:
    return {needed: document.get(needed)} | {key: document[key] for key in keys if key in document}
