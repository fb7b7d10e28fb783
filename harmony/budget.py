"""Conversations that fit a context: what is oldest goes first.

The conversation is rendered once, which gives the number of ids of each message; what is left after
some are dropped is then a matter of adding. Which analysis rendering leaves out depends on the
messages that are left, so that is looked at anew for each of the few candidates.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import numpy as np

from harmony.calls import calls_of_results
from harmony.encoding import load_harmony_encoding
from harmony.errors import RenderError
from harmony.messages import Conversation, Message, RenderConversationConfig, Role
from harmony.render import analysis_left_out, analysis_policy

# `<|start|>` and the role, an id each.
_IDS_OF_NEXT_TURN = 2


def fit(
    conversation: Conversation,
    max_tokens: int,
    *,
    keep: Callable[[Message, int], bool] | None = None,
    next_turn_role: Role | str | None = None,
    config: RenderConversationConfig | None = None,
) -> Conversation:
    """A conversation of the same messages that renders to at most `max_tokens` ids.

    Drops whole messages, the oldest first and no more than needed; a call and its result go
    together. System and developer messages and the user's last message stay, and so does every
    message for which `keep(message, index)` is true. Counted are the ids that `render_conversation`
    gives with `config`, and the beginning of the next turn, if there is a `next_turn_role`.

    Raises RenderError if what has to stay is too long already, and as rendering does.
    """
    config = RenderConversationConfig() if config is None else config
    rendered = load_harmony_encoding("HarmonyGptOss").render_annotated(
        conversation, config=config.model_copy(update={"auto_drop_analysis": False})
    )
    messages = rendered.messages
    counts = np.bincount(rendered.message_index, minlength=len(messages)).tolist()
    policy = analysis_policy(config)
    budget = max_tokens - (_IDS_OF_NEXT_TURN if next_turn_role is not None else 0)
    stays = _pinned(messages, keep)
    droppable = [unit for unit in _units(messages) if not any(stays[index] for index in unit)]

    def left(n_dropped: int) -> list[int]:
        dropped = {index for unit in droppable[:n_dropped] for index in unit}
        return [index for index in range(len(messages)) if index not in dropped]

    def fits(n_dropped: int) -> bool:
        indices = left(n_dropped)
        left_out = analysis_left_out([messages[index] for index in indices], policy)
        total = sum(counts[index] for at, index in enumerate(indices) if at not in left_out)
        return bool(total <= budget)

    candidates = range(len(droppable) + 1)
    if any(messages[index].channel == "analysis" for index in left(len(droppable))):
        # Analysis that stays is rendered once the answer after it is dropped.
        n_dropped = next(filter(fits, candidates), len(candidates))
    else:
        # With one message less there are not more ids, so those that fit are the last ones.
        n_dropped = bisect.bisect_left(candidates, True, key=fits)
    if n_dropped == len(candidates):
        raise RenderError(
            f"what has to stay of the conversation does not fit into {max_tokens} tokens"
        )
    return Conversation(messages=[conversation.messages[index] for index in left(n_dropped)])


def _pinned(messages: Sequence[Message], keep: Callable[[Message, int], bool] | None) -> list[bool]:
    """Of each message whether it has to stay."""
    pinned = [
        message.author.role in (Role.SYSTEM, Role.DEVELOPER)
        or (keep is not None and bool(keep(message, index)))
        for index, message in enumerate(messages)
    ]
    users = [index for index, m in enumerate(messages) if m.author.role is Role.USER]
    if users:
        pinned[users[-1]] = True
    return pinned


def _units(messages: Sequence[Message]) -> list[list[int]]:
    """Messages that go together, by index, in the order in which they begin: calls with their
    results, all others alone."""
    units: list[list[int]] = []
    unit_of: dict[int, list[int]] = {}
    calls = calls_of_results(messages)
    for index in range(len(messages)):
        if index in calls:
            unit_of[calls[index]].append(index)
        else:
            unit_of[index] = [index]
            units.append(unit_of[index])
    return units
