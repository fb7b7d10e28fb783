"""Conversations in the shapes of OpenAI's two APIs, plain dicts in and out.

    Chat Completions    conversation_from_chat, chat_request_from, chat_message_from
    Responses           conversation_from_responses, responses_request_from, responses_items_from
    streaming           ChatStream

    fields     reads what strangers send; every error names the path of what is wrong
    names      names of functions <-> recipients; which recipient is a call
    dialogue   what both APIs can say, put together as messages
    builtin    the items of the built-in tools
    chat, responses, stream    one API each
    weights    which messages of a data set for fine-tuning are not trained on

The package `openai` is neither needed nor imported. Header fields are always validated.
"""

from harmony.openai.chat import (
    chat_message_from,
    chat_request_from,
    conversation_from_chat,
    finish_reason_of,
)
from harmony.openai.responses import (
    conversation_from_responses,
    responses_items_from,
    responses_request_from,
)
from harmony.openai.stream import ChatStream

__all__ = [
    "ChatStream",
    "chat_message_from",
    "chat_request_from",
    "conversation_from_chat",
    "conversation_from_responses",
    "finish_reason_of",
    "responses_items_from",
    "responses_request_from",
]
