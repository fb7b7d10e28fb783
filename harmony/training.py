"""Conversations -> ids with what a trainer asks for: which message and part an id belongs to, and
which ids the model itself writes.

All of it is read off the rendered ids: no text becomes a control token, so each message runs from
one `<|start|>` to the next, and its header ends with its only `<|message|>`. The arrays of a batch
hold all rows one after another; a single conversation is a batch of one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from harmony import render, workers
from harmony.batch import TokenBatch, join, position
from harmony.errors import RenderError, name_row
from harmony.header import MESSAGE, START
from harmony.messages import Conversation, Message, RenderConversationConfig, Role

if TYPE_CHECKING:
    from harmony.tokenizer import Tokenizer

TrainOn = Literal["assistant", "last_turn", "final_only"] | Callable[[Message, int], Any]

PRESETS = ("assistant", "last_turn", "final_only")

_ROLES = list(Role)
_CODE_OF_ROLE = {role: code for code, role in enumerate(_ROLES)}
_ASSISTANT = _CODE_OF_ROLE[Role.ASSISTANT]
_USER = _CODE_OF_ROLE[Role.USER]

# What the prompt already holds of an assistant's message: `<|start|>` and the role, an id each.
_IDS_IN_PROMPT = 2
# Conversations that a thread renders at a time.
_ROWS_PER_CHUNK = 64
# Different channels that the int16 of a batch tells apart.
_MOST_CHANNELS = 1 << 15


class TokenPart(IntEnum):
    """The part of a message that an id belongs to."""

    START = 0  # `<|start|>`
    HEADER = 1  # from the role to `<|message|>`
    CONTENT = 2
    END = 3  # `<|end|>`, `<|call|>` or `<|return|>`


class RenderedBatch(TokenBatch):
    """Rendered conversations in one array each, by token (n), message (k) and row (m).

    `ids` uint32[n] and `offsets` int64[m + 1] as in a TokenBatch. `message_index` int32[n]: the
    message an id belongs to, counted in its conversation as it was given; -1 in the open next turn.
    `part` uint8[n]: its TokenPart. `role` uint8[k], an index into `list(Role)`, and `channel`
    int16[k], an index into the tuple `channels` or -1, say what all messages are, those that were
    left out as well; the messages of row `i` are those from `message_offsets[i]` (int64[m + 1]) to
    the next, and the list `messages[i]`.
    """

    __slots__ = (
        "channel",
        "channels",
        "message_index",
        "message_offsets",
        "messages",
        "part",
        "role",
    )

    def __init__(
        self,
        ids: NDArray[np.uint32],
        offsets: NDArray[np.int64],
        message_index: NDArray[np.int32],
        part: NDArray[np.uint8],
        message_offsets: NDArray[np.int64],
        messages: list[list[Message]],
        role: NDArray[np.uint8],
        channel: NDArray[np.int16],
        channels: tuple[str, ...],
    ) -> None:
        super().__init__(ids, offsets)
        self.message_index = message_index
        self.part = part
        self.message_offsets = message_offsets
        self.messages = messages
        self.role = role
        self.channel = channel
        self.channels = channels

    @overload  # type: ignore[override]
    def __getitem__(self, index: int) -> RenderedConversation: ...
    @overload
    def __getitem__(self, index: slice) -> RenderedBatch: ...

    def __getitem__(self, index: int | slice) -> RenderedConversation | RenderedBatch:
        if not isinstance(index, slice):
            return RenderedConversation(self, position(index, len(self)))
        offsets = super().__getitem__(index).offsets
        tokens = slice(offsets[0], offsets[-1])
        start = index.indices(len(self))[0]
        message_offsets = self.message_offsets[start : start + len(offsets)]
        messages = slice(message_offsets[0], message_offsets[-1])
        return RenderedBatch(
            self.ids[tokens],
            offsets - offsets[0],
            self.message_index[tokens],
            self.part[tokens],
            message_offsets - message_offsets[0],
            self.messages[start : start + len(offsets) - 1],
            self.role[messages],
            self.channel[messages],
            self.channels,
        )

    def __iter__(self) -> Iterator[RenderedConversation]:  # type: ignore[override]
        for row in range(len(self)):
            yield RenderedConversation(self, row)

    def loss_mask(self, train_on: TrainOn = "assistant") -> NDArray[np.bool_]:
        """bool[n]: the ids to train on, which are those that the model samples.

        `train_on`: which messages of the assistant: "assistant" (all), "last_turn" (those after the
        last user message that is rendered), "final_only" (those on the final channel), or a
        function (message, index in its conversation) -> bool.
        """
        return _loss_mask(self, train_on)


class RenderedConversation:
    """A rendered conversation: its ids, and what each belongs to.

    `ids` uint32[n]; `message_index` int32[n], into the conversation as it was given, -1 in the open
    next turn; `part` uint8[n], a TokenPart; `messages`, a list; `role` uint8[k], an index into
    `list(Role)`, and `channel` int16[k], an index into the tuple `channels` or -1, for each of
    them, left out or not.
    """

    __slots__ = (
        "_batch",
        "channel",
        "channels",
        "ids",
        "message_index",
        "messages",
        "part",
        "role",
    )

    def __init__(self, batch: RenderedBatch, row: int) -> None:
        tokens = slice(batch.offsets[row], batch.offsets[row + 1])
        messages = slice(batch.message_offsets[row], batch.message_offsets[row + 1])
        self.ids = batch.ids[tokens]
        self.message_index = batch.message_index[tokens]
        self.part = batch.part[tokens]
        self.messages = batch.messages[row]
        self.role = batch.role[messages]
        self.channel = batch.channel[messages]
        self.channels = batch.channels
        self._batch = batch if len(batch) == 1 else None

    def __len__(self) -> int:
        return len(self.ids)

    def loss_mask(self, train_on: TrainOn = "assistant") -> NDArray[np.bool_]:
        """bool[n]: the ids to train on, as `RenderedBatch.loss_mask` has them."""
        if self._batch is None:
            self._batch = RenderedBatch(
                self.ids,
                np.array([0, len(self.ids)], np.int64),
                self.message_index,
                self.part,
                np.array([0, len(self.messages)], np.int64),
                [self.messages],
                self.role,
                self.channel,
                self.channels,
            )
        return self._batch.loss_mask(train_on)

    def _repr_html_(self) -> str | None:
        from harmony.view.notebook import html_of

        return html_of(self)

    def __repr__(self) -> str:
        return f"<RenderedConversation of {len(self.messages)} messages, {len(self):,} ids>"


def render_annotated(
    tokenizer: Tokenizer,
    conversation: Conversation,
    next_turn_role: Role | str | None,
    config: RenderConversationConfig | None,
    for_training: bool,
) -> RenderedConversation:
    """`HarmonyEncoding.render_annotated`."""
    row = _render(tokenizer, conversation, next_turn_role, config, for_training)
    return _annotated([row], render.analysis_policy(config))[0]


def render_batch(
    tokenizer: Tokenizer,
    conversations: Iterable[Conversation],
    num_threads: int | None,
    config: RenderConversationConfig | None,
    for_training: bool,
    annotated: bool,
) -> TokenBatch:
    """`HarmonyEncoding.render_batch`."""
    if isinstance(conversations, Conversation):
        raise TypeError("conversations must be a list of conversations, not one Conversation")
    rows = list(conversations)

    def work(chunk: int) -> list[tuple[list[Message], array[int]]]:
        start = chunk * _ROWS_PER_CHUNK
        rendered = []
        for row, conversation in enumerate(rows[start : start + _ROWS_PER_CHUNK], start):
            try:
                messages, ids = _render(tokenizer, conversation, None, config, for_training)
            except Exception as error:
                raise name_row(error, row) from None
            rendered.append((messages, array("I", ids)))
        return rendered

    chunks = workers.run(work, -(-len(rows) // _ROWS_PER_CHUNK), num_threads)
    rendered = [row for chunk in chunks for row in chunk]
    if annotated:
        return _annotated(rendered, render.analysis_policy(config))
    return join(ids for _, ids in rendered)


def _render(
    tokenizer: Tokenizer,
    conversation: Conversation,
    next_turn_role: Role | str | None,
    config: RenderConversationConfig | None,
    for_training: bool,
) -> tuple[list[Message], list[int]]:
    """The messages of a conversation, plain if it is not, and its ids."""
    if for_training and next_turn_role is not None:
        raise RenderError(
            "a conversation for training has no open next turn: give next_turn_role or for_training"
        )
    opening = []
    if next_turn_role is not None:
        opening = render.opening_of(conversation, next_turn_role, config)
    messages, ids = render.render_messages(tokenizer, conversation, config, opening)
    if for_training:
        render.end_for_training(messages, ids)
    return messages, ids


def _annotated(rows: Sequence[tuple[list[Message], Sequence[int]]], policy: str) -> RenderedBatch:
    joined = join(ids for _, ids in rows)
    ids, offsets = joined.ids, joined.offsets
    n_ids = len(ids)
    is_start = ids == START
    starts = np.flatnonzero(is_start)
    # For each rendered message its index in the conversation; one more than those is an open turn.
    indices: list[int] = []
    starts_before = np.searchsorted(starts, offsets)
    for row, (messages, _) in enumerate(rows):
        left_out = render.analysis_left_out(messages, policy)
        indices += [index for index in range(len(messages)) if index not in left_out]
        if len(indices) < starts_before[row + 1]:
            indices.append(-1)
    index_of = np.array(indices, np.int32)
    rendered = np.cumsum(is_start) - 1  # of each id: which of the rendered messages it belongs to
    part = np.full(n_ids, TokenPart.CONTENT, np.uint8)
    # The header of an open turn ends where its row does.
    header_ends = np.append(starts[1:], n_ids) - 1
    header_ends[index_of >= 0] = np.flatnonzero(ids == MESSAGE)
    part[np.arange(n_ids) <= header_ends[rendered]] = TokenPart.HEADER
    part[(np.append(starts[1:], n_ids) - 1)[index_of >= 0]] = TokenPart.END
    part[starts] = TokenPart.START
    of_all = [message for messages, _ in rows for message in messages]
    codes: dict[str, int] = {}
    channel = [-1 if m.channel is None else codes.setdefault(m.channel, len(codes)) for m in of_all]
    message_offsets = np.cumsum([0, *(len(messages) for messages, _ in rows)], dtype=np.int64)
    if len(codes) > _MOST_CHANNELS:
        first = channel.index(_MOST_CHANNELS)
        row = int(np.searchsorted(message_offsets, first, side="right")) - 1
        error = RenderError(
            f"a batch has at most {_MOST_CHANNELS:,} different channels; render less"
        )
        raise name_row(error, row)
    return RenderedBatch(
        ids,
        offsets,
        index_of[rendered],
        part,
        message_offsets,
        [messages for messages, _ in rows],
        np.array([_CODE_OF_ROLE[m.author.role] for m in of_all], np.uint8),
        np.array(channel, np.int16),
        tuple(codes),
    )


def _loss_mask(batch: RenderedBatch, train_on: TrainOn) -> NDArray[np.bool_]:
    n_ids = len(batch.ids)
    is_start = batch.part == TokenPart.START
    starts = np.flatnonzero(is_start)
    row_of = np.searchsorted(batch.offsets, starts, side="right") - 1
    index_of = batch.message_index[starts]
    # The last item of the two tables below stands for the open turn, which is nobody's yet.
    in_all = np.where(index_of < 0, -1, batch.message_offsets[row_of] + index_of)
    role = np.append(batch.role, np.uint8(255))[in_all]
    channel = np.append(batch.channel, np.int16(-1))[in_all]
    is_assistant = role == _ASSISTANT
    # The model writes `<|start|>assistant` itself when it goes on after a message of its own, which
    # it does not after a call.
    last_ids = batch.ids[np.append(starts[1:], n_ids) - 1] if n_ids else batch.ids
    goes_on = np.zeros(len(starts), np.bool_)
    goes_on[1:] = is_assistant[:-1] & (last_ids[:-1] != render.CALL) & (row_of[1:] == row_of[:-1])
    if callable(train_on):
        picked = np.array(
            [
                bool(assistant and train_on(batch.messages[row][index], index))
                for assistant, row, index in zip(
                    is_assistant.tolist(), row_of.tolist(), index_of.tolist(), strict=True
                )
            ],
            np.bool_,
        )
    elif train_on == "assistant":
        picked = is_assistant
    elif train_on == "final_only":
        final = batch.channels.index("final") if "final" in batch.channels else -2
        picked = is_assistant & (channel == final)
    elif train_on == "last_turn":
        last_user = np.full(len(batch), -1, np.int64)
        users = np.flatnonzero(role == _USER)
        last_user[row_of[users]] = users  # of several in a row the last one stays
        picked = is_assistant & (np.arange(len(starts)) > last_user[row_of])
    else:
        raise ValueError(
            f"train_on must be one of {', '.join(PRESETS)} or a function, not {train_on!r}"
        )
    first = starts + np.where(goes_on, 0, _IDS_IN_PROMPT)
    rendered = np.cumsum(is_start) - 1
    mask: NDArray[np.bool_] = picked[rendered] & (np.arange(n_ids) >= first[rendered])
    return mask
