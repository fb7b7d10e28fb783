"""The `weight` of messages in OpenAI's format for fine-tuning: 0 says not to train on this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harmony.messages import Role
from harmony.openai.fields import Field


def not_trained_on(messages: Sequence[dict[str, Any]]) -> list[int]:
    """The indices of the messages whose weight is 0.

    Raises ConversionError for a weight other than 0 and 1, and for one on a message that is not the
    assistant's.
    """
    fields = Field(messages, "messages").entries()
    return [index for index, message in enumerate(fields) if _weight(message) == 0]


def _weight(message: Field) -> int:
    weight = message.get("weight")
    if weight is None:
        return 1
    if message["role"].value != Role.ASSISTANT:
        weight.fail("is for messages of the assistant, which alone are trained on")
    return weight.number(0, 1)
