"""What a stream of ids looks like to the parser, id by id: the matter of every view.

The ids of a conversation are those it renders to. They are read by a recovering parser, so that
whatever the ids are there is something to see, and what was repaired is seen as well.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harmony.encoding import HarmonyEncoding, load_harmony_encoding
from harmony.events import Diagnostic, ParseEvent, ParseEventKind
from harmony.messages import Conversation, Message, RenderConversationConfig, Role, TextContent
from harmony.parser import StreamableParser, StreamState
from harmony.special_tokens import O200K_HARMONY_SPECIALS
from harmony.training import RenderedConversation, TrainOn

_START = O200K_HARMONY_SPECIALS["<|start|>"]


class Entry(NamedTuple):
    """A message of the stream, or ids that belong to none (`message` is None then).

    `is_left_out`: the message is in the conversation, but rendering leaves it out: it has no ids.
    `span`: its ids. `header_stop`: how many ids were read when its header was known. `text`: its
    content. `cuts`: pairs (ids read, characters of the text that had come out by then), where that
    changed.
    """

    message: Message | None
    span: tuple[int, int]
    header_stop: int
    text: str
    cuts: list[tuple[int, int]]
    is_left_out: bool = False


class Replay(NamedTuple):
    """A stream as its parser saw it.

    `parts`: one letter for each id: S start, H header, C content, E end, - none of a message.
    `states`: the parser's state before the first id and after each. `diagnostics`: pairs of a
    diagnostic and the number of ids read when it came. `mask`: of each id whether the loss counts
    it; None for streams that nobody rendered.
    """

    encoding: HarmonyEncoding
    ids: list[int]
    parts: str
    states: list[StreamState]
    entries: list[Entry]
    diagnostics: list[tuple[Diagnostic, int]]
    mask: Sequence[bool] | None

    @property
    def messages(self) -> list[Message]:
        """What the stream comes to."""
        return [entry.message for entry in self.entries if entry.message and not entry.is_left_out]


def replay(
    source: Conversation | Message | RenderedConversation | Iterable[int],
    *,
    role: Role | str | None = None,
    config: RenderConversationConfig | None = None,
    train_on: TrainOn = "assistant",
) -> Replay:
    """Read `source`: a conversation, a message, a rendered conversation, or ids.

    `role`: as for a parser, if the ids begin after `<|start|>` and the role. `config`: how a
    conversation is rendered; `train_on`: the preset of its loss mask.
    """
    encoding = load_harmony_encoding("HarmonyGptOss")
    if isinstance(source, Message):
        source = Conversation.from_messages([source])
    if isinstance(source, Conversation):
        source = encoding.render_annotated(source, config=config)
    if isinstance(source, RenderedConversation):
        mask = source.loss_mask(train_on).tolist()
        read = _Reader(encoding, source.ids.tolist(), role).replay(mask)
        rendered_indices = set(source.message_index.tolist())
        return read._replace(entries=_with_left_out(read, source.messages, rendered_indices))
    return _Reader(encoding, [operator.index(token) for token in source], role).replay(None)


def entries_of_diagnostics(read: Replay) -> list[int]:
    """Of each diagnostic the index of the entry that it is about: that of its message, or that of
    its ids. A repair between two ids has the position of the second, which may begin another
    message."""
    messages = [
        index for index, entry in enumerate(read.entries) if entry.message and not entry.is_left_out
    ]
    starts = [entry.span[0] for entry in read.entries]
    indices = []
    for what, _ in read.diagnostics:
        if what.message_index is not None:
            indices.append(messages[what.message_index])
        else:
            # What came at the end of the stream is behind all ids.
            position = min(what.token_span[0], len(read.ids) - 1)
            indices.append(max(0, bisect_right(starts, position) - 1))
    return indices


def _with_left_out(
    read: Replay, messages: Sequence[Message], rendered_indices: set[int]
) -> list[Entry]:
    """The entries, and between them the messages that rendering left out."""
    # Headers that do not say what they should may read as other messages.
    if len(read.entries) != len(rendered_indices):
        return read.entries
    entries = iter(read.entries)
    result = []
    at = 0
    for index, message in enumerate(messages):
        if index in rendered_indices:
            result.append(next(entries))
            at = result[-1].span[1]
        else:
            result.append(Entry(message, (at, at), at, text_of(message), [], is_left_out=True))
    # The open next turn belongs to no message.
    return [*result, *entries]


class _Reader:
    """Feeds ids one by one and notes what happens."""

    def __init__(self, encoding: HarmonyEncoding, ids: list[int], role: Role | str | None) -> None:
        self.encoding = encoding
        self.ids = ids
        self.parser = StreamableParser(encoding, role, on_error="recover")
        self.states = [self.parser.state]
        self.diagnostics: list[tuple[Diagnostic, int]] = []
        # Of each message: where its header stops, and its cuts.
        self.headers: dict[int, int] = {}
        self.cuts: dict[int, list[tuple[int, int]]] = {}
        for n_read, token in enumerate(ids, start=1):
            self.take(self.parser.process_many([token]), n_read)
            self.states.append(self.parser.state)
        self.take(self.parser.finish(), len(ids))
        self.states[-1] = self.parser.state

    def take(self, events: list[ParseEvent], n_read: int) -> None:
        for event in events:
            index = event.message_index
            if event.diagnostic is not None:
                self.diagnostics.append((event.diagnostic, n_read))
            elif index is None:
                continue
            elif event.kind is ParseEventKind.MESSAGE_START:
                self.headers[index] = event.token_span[1]
            elif event.text is not None:
                cuts = self.cuts.setdefault(index, [])
                before = cuts[-1][1] if cuts else 0
                cuts.append((n_read, before + len(event.text)))

    def replay(self, mask: Sequence[bool] | None) -> Replay:
        entries: list[Entry] = []
        parts: list[str] = []
        at = 0
        for index, message in enumerate(self.parser.messages):
            start, stop = message.token_span
            self.skip(entries, parts, at, start)
            header_stop = self.headers[index]
            cuts = self.cuts.get(index, [])
            entries.append(Entry(message, (start, stop), header_stop, text_of(message), cuts))
            parts += self.parts(start, header_stop, stop, message.end_token is not None)
            at = stop
        self.skip(entries, parts, at, len(self.ids))
        return Replay(
            self.encoding,
            self.ids,
            "".join(parts),
            self.states,
            entries,
            self.diagnostics,
            mask,
        )

    def skip(self, entries: list[Entry], parts: list[str], start: int, stop: int) -> None:
        if start < stop:
            entries.append(Entry(None, (start, stop), stop, "", []))
            parts += "-" * (stop - start)

    def parts(self, start: int, header_stop: int, stop: int, has_end: bool) -> str:
        end = stop - 1 if has_end else stop
        first = min(header_stop, end)
        letters = "H" * (first - start) + "C" * (end - first) + "E" * has_end
        if letters[:1] == "H" and self.ids[start] == _START:
            letters = "S" + letters[1:]
        return letters


def text_of(message: Message) -> str:
    """The text of a parsed message."""
    return "".join(item.text for item in message.content if isinstance(item, TextContent))
