"""Parsing for those who have text instead of ids.

    text  ->  markers and bytes  ->  StreamableParser  ->  events

A special token is recognised by its name, which may come in pieces: what may still become one is
held back. All other text is fed byte by byte, so that nothing depends on how the text was cut.

`parse_stripped_text` is for text that has lost its special tokens. It guesses, and nothing here
calls it.
"""

from __future__ import annotations

import copy
import re
from array import array

from typing_extensions import Self

import harmony
from harmony.events import Diagnostic, ParseEvent
from harmony.messages import Author, Message, Role, TextContent
from harmony.parsed import ParsedMessage
from harmony.parser import StreamableParser
from harmony.special_tokens import O200K_HARMONY_SPECIALS

_Span = tuple[int, int]

# Names of special tokens look like this; "<" only begins one.
_MARKER = re.compile(r"<\|[^<|]+\|>")
_BEGINNINGS = frozenset(
    name[:length] for name in O200K_HARMONY_SPECIALS for length in range(1, len(name))
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class TextStreamParser:
    """Reads a stream of text, in pieces of any size, into messages; it never raises.

    As `StreamableParser(encoding, role, on_error="recover")`, but every `token_span` counts
    characters of the text. Names of special tokens are special tokens, wherever they stand: text
    cannot tell them from the same characters in ordinary tokens. A lone surrogate is U+FFFD.
    """

    def __init__(self, encoding: harmony.HarmonyEncoding, role: Role | str | None = None) -> None:
        self._parser = StreamableParser(encoding, role, on_error="recover")
        self._byte_ids = [encoding.encode_single_token(bytes([byte])) for byte in range(256)]
        self._held = ""
        self._n_characters = 0
        # The character at which each id begins.
        self._starts = array("Q")
        self._messages: list[ParsedMessage] = []

    def __copy__(self) -> Self:
        """One that goes its own way from here on, like that of a StreamableParser."""
        return copy.deepcopy(self)

    def process(self, text: str) -> list[ParseEvent]:
        """Feed the next piece of text. What may be the beginning of a special token waits until it
        is one, or cannot be."""
        text = self._held + text
        ids: list[int] = []
        at = 0
        for match in _MARKER.finditer(text):
            token = O200K_HARMONY_SPECIALS.get(match[0])
            if token is not None:
                self._add_text(ids, text[at : match.start()])
                ids.append(token)
                self._starts.append(self._n_characters)
                self._n_characters += len(match[0])
                at = match.end()
        stop = text.rfind("<", at)
        if stop < 0 or text[stop:] not in _BEGINNINGS:
            stop = len(text)
        self._held = text[stop:]
        self._add_text(ids, text[at:stop])
        return self._with_characters(self._parser.process_many(ids))

    def finish(self) -> list[ParseEvent]:
        """Tell the end of the text: what was held back is text, content that is open a message."""
        ids: list[int] = []
        self._add_text(ids, self._held)
        self._held = ""
        events = self._parser.process_many(ids) + self._parser.finish()
        return self._with_characters(events)

    @property
    def messages(self) -> list[ParsedMessage]:
        """The complete messages: a new list of the same objects each time."""
        for message in self._parser.messages[len(self._messages) :]:
            self._messages.append(self._measured(message.model_copy()))
        return self._messages[:]

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """What had to be repaired so far: a new list each time."""
        return [
            made._replace(token_span=self._characters(made.token_span))
            for made in self._parser.diagnostics
        ]

    def _add_text(self, ids: list[int], text: str) -> None:
        for character in _SURROGATE.sub("\ufffd", text):
            spelled = character.encode()
            ids += [self._byte_ids[byte] for byte in spelled]
            self._starts.extend([self._n_characters] * len(spelled))
            self._n_characters += 1

    def _characters(self, span: _Span) -> _Span:
        start, stop = span
        first = self._starts[start] if start < len(self._starts) else self._n_characters
        if start == stop:
            return first, first
        # A span may end inside a character, where a part of it came out.
        last = self._starts[stop - 1]
        while stop < len(self._starts) and self._starts[stop] == last:
            stop += 1
        return first, self._starts[stop] if stop < len(self._starts) else self._n_characters

    def _measured(self, message: ParsedMessage) -> ParsedMessage:
        """The same message, with its span in characters."""
        complete, end_token, span = message._origin
        message._origin = complete, end_token, self._characters(span)
        return message

    def _with_characters(self, events: list[ParseEvent]) -> list[ParseEvent]:
        result = []
        for event in events:
            event = event._replace(token_span=self._characters(event.token_span))
            if event.parsed is not None:
                header, text, (complete, end_token, span) = event.parsed
                origin = complete, end_token, self._characters(span)
                event = event._replace(parsed=(header, text, origin))
            if event.diagnostic is not None:
                span = event.token_span
                event = event._replace(diagnostic=event.diagnostic._replace(token_span=span))
            result.append(event)
        return result


_CHANNEL = "(?:analysis|commentary|final(?!ly|i[sz]|ist|ity))"
_TYPE = r"(?:json|code)(?=\s*[\[{(\"])"
# A name ends where no name goes on; what is glued to it begins behind a letter or a digit.
_TO = r"\s*to=(?P<{}>[\w.\-]+?)(?:(?=[\s\[{{(]|$)|(?<=[^\W_])(?={}))"
# assistant[ to=NAME]CHANNEL[ to=NAME][ TYPE], as its words stand when the markers are gone.
_STRIPPED_HEADER = re.compile(
    rf"(?P<role>assistant)?(?:{_TO.format('before', _CHANNEL)}\s*)?"
    rf"(?P<channel>{_CHANNEL})?(?:{_TO.format('after', _TYPE)})?"
    rf"(?:\s*(?P<type>{_TYPE}))?"
)
_STRIPPED_BOUNDARY = re.compile(rf"assistant(?=\s*to=[\w.\-]|{_CHANNEL})")


def parse_stripped_text(text: str) -> list[ParsedMessage]:
    """The messages in a completion of the assistant whose special tokens were left out:
    `analysis...assistantfinal...`.

    A guess, for there is nothing left to know it by: `assistant` right before a channel or a `to=`
    field begins a message, wherever it stands. A channel at the very beginning counts if another
    message follows, or if neither a small letter nor a space comes after it. A message is complete
    if another follows. Each `token_span` counts characters.
    """
    if not text:
        return []
    starts = [match.start() for match in _STRIPPED_BOUNDARY.finditer(text)]
    if starts[:1] != [0]:
        starts.insert(0, 0)
    messages: list[ParsedMessage] = []
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=True):
        header = _STRIPPED_HEADER.match(text, start, stop)
        assert header is not None  # it matches the empty text
        begin = header.end()
        is_named = bool(header["role"] or header["before"])
        is_sure = len(starts) > 1 or not (
            text[begin : begin + 1].islower() or text[begin : begin + 1] == " "
        )
        if not is_named and not (header["channel"] and (is_sure or header["after"])):
            message = Message.from_role_and_content(Role.ASSISTANT, text[start:stop])
        else:
            message = Message(
                author=Author(role=Role.ASSISTANT),
                content=[TextContent(text=text[begin:stop])],
                channel=header["channel"],
                recipient=header["after"] or header["before"],
                content_type=header["type"],
            )
        if not message.content[0].text.strip() and stop < len(text):  # type: ignore[attr-defined]
            continue
        parsed = ParsedMessage(**dict(message))
        parsed._origin = stop < len(text), None, (start, stop)
        messages.append(parsed)
    return messages
