"""Headers as models write them: ids of a header -> what it says, and what had to be repaired.

    ids  ->  HeaderText  ->  words and marks  ->  _Fields  ->  Header

This is the reader of the recovering parser; `header.read_header` is that of the other two. It reads
ids, not the text they decode to: a control token is never part of a word, and a word that looks
like a control token is a word. To search them together, a header is written as one `str` in which
each id that is no text stands as a lone surrogate, which no text can hold.

The law and the rules: docs/recovery.md. Three questions are asked:

judge        Text stands before the first marker. Is it part of the header?
read_header  `<|message|>` came. What does the header say?
read_front   It did not, and something else ended the header. Which words in front are header, and
             what of the rest is content?

Nothing here is looked at more often than a fixed number of times, so that reading is linear in the
length of the header. Positions in answers are indices of ids, from the beginning of the header.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from harmony.events import DiagnosticKind as Kind
from harmony.header import CHANNEL, CONSTRAIN, START, WHITE_SPACE, Header
from harmony.messages import Role

FIRST_SPECIAL, LAST_SPECIAL = 199_998, 201_088

_ROLES = {role.value: role for role in Role}
_CHANNELS = ("analysis", "commentary", "final")
_TYPES = ("json", "code", "text")
_BRACKETS = "()[]{}"
_CONSTRAIN_MARK = "<|constrain|>"

# Ids that are no text, each as one character.
_AT_CHANNEL, _AT_CONSTRAIN, _AT_CONTROL, _AT_UNKNOWN = "\ud800", "\ud801", "\ud802", "\ud803"
_MARKS = _AT_CHANNEL + _AT_CONSTRAIN + _AT_CONTROL + _AT_UNKNOWN
_MARK_OF = {CHANNEL: _AT_CHANNEL, CONSTRAIN: _AT_CONSTRAIN}
# An ill-formed sequence of one, two or three bytes, for which U+FFFD will stand.
_BROKEN = "\udf01\udf02\udf03"
_TO_SHOW = str.maketrans({**dict.fromkeys(_MARKS, None), **dict.fromkeys(_BROKEN, "\ufffd")})


def _broken(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _BROKEN[error.end - error.start - 1], error.end


codecs.register_error("harmony.broken", _broken)

_GAP = re.compile(f"[{WHITE_SPACE}]*")
_WORD = re.compile(f"[^{WHITE_SPACE}{_MARKS}]+")
_WHOLE_WORDS = re.compile(f".*[{WHITE_SPACE}]", re.DOTALL)
_ANY_MARK = re.compile(f"[{_MARKS}]")
_NO_MARKER = re.compile(f"[{_AT_CONTROL}{_AT_UNKNOWN}]")
_MARKER = re.compile(f"[{_AT_CHANNEL}{_AT_CONSTRAIN}]")
_ANY_BROKEN = re.compile(f"[{_BROKEN}]")
# What openai_harmony reads in another way: white space that does not end its words, and markers in
# ordinary tokens. (A channel that it ends at another "<" is reported as an unknown one.)
_ODD_SPACE = "".join(character for character in WHITE_SPACE if character not in " \t\n\f\r")
_ODD = re.compile(rf"[{_BROKEN}{_ODD_SPACE}]|<(?=\|(?:channel|constrain)\|>)")

_ANY_ROLE = "|".join(_ROLES)
_ANY_CHANNEL = "|".join(f"(?i:{channel})" for channel in _CHANNELS)
_ROLE_WORD = re.compile(rf"(?P<role>{_ANY_ROLE})(?P=role)*(?P<channel>{_ANY_CHANNEL})?")
_ROLE_FRONT = re.compile(rf"(?P<role>{_ANY_ROLE})(?P=role)*")
_CHANNEL_FRONT = re.compile(_ANY_CHANNEL)
_TYPE_FRONT = re.compile("json|code")
_FILLER = "?.,:;!-"
_REPETITION = {
    channel: re.compile(f"[{re.escape(_FILLER)}{WHITE_SPACE}]*(?i:{channel})")
    for channel in _CHANNELS
}
_FILLERS = re.compile(f"[{re.escape(_FILLER)}]*")
_SURELY_SUBSTANCE = re.compile(r"[0-9A-Za-z()\[\]{}]")

# A diagnostic about ids of a header: kind, span, text.
Report = tuple[Kind, int, int, str]


class Verdict:
    """What text before the first marker is."""

    HEADER = 0
    CONTENT = 1  # a message of its own
    NOTHING = 2  # nothing that anybody would read


class Reading(NamedTuple):
    """A header that reached `<|message|>`."""

    header: Header
    # Text that belongs to the content: (index of an id, its bytes or the end of them).
    prefix: tuple[tuple[int, bytes], ...]
    reports: tuple[Report, ...]


class Piece(NamedTuple):
    """Part of a header that did not: a message, or ids to skip.

    The content begins with id `content`, of whose bytes, and those of the ids after it, the first
    `n_dropped` are header.
    """

    header: Header | None
    start: int
    stop: int
    content: int
    n_dropped: int
    reports: tuple[Report, ...]


class _Word(NamedTuple):
    text: str
    start: int  # characters of the HeaderText
    stop: int


class _RoleWord(NamedTuple):
    role: str
    word: _Word | None  # None: another word in its place means it
    is_plain: bool


@dataclass
class _Fields:
    """What a header says, in the order in which it says it."""

    roles: list[_RoleWord] = field(default_factory=list)
    tool: _Word | None = None  # the unknown role word
    lead_channels: list[_Word] = field(default_factory=list)  # without `<|channel|>`
    channels: list[_Word] = field(default_factory=list)
    recipients: list[_Word] = field(default_factory=list)  # names of `to=` fields
    function_slots: list[_Word] = field(default_factory=list)  # `functions.x` after `<|channel|>`
    left_over: list[_Word] = field(default_factory=list)
    types: list[_Word] = field(default_factory=list)  # after `<|constrain|>`


def has_substance(text: str) -> bool:
    """Whether a reader would miss it: letters, digits, brackets, symbols such as an emoji."""
    if _SURELY_SUBSTANCE.search(text):
        return True
    return any(_is_letter_or_digit(c) or _is_symbol(c) for c in text if c > "\x7f")


def _is_letter_or_digit(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) == "So" and character != "\ufffd"


def _ends_word(text: str, at: int) -> bool:
    """Whether what ends at `at` may end there: no letter or digit goes on with it."""
    return at >= len(text) or not _is_letter_or_digit(text[at])


def _known_channel(word: str) -> str | None:
    return word.lower() if word.lower() in _CHANNELS else None


def _is_function(word: str) -> bool:
    return word.startswith("functions.") and word != "functions."


def _is_header_word(word: str) -> bool:
    """Words that are header wherever they stand. `to=` fields are, too; they may be two words."""
    return (
        _ROLE_WORD.fullmatch(word) is not None
        or _known_channel(word) is not None
        or word in _TYPES
        or _is_function(word)
    )


def real_recipient(name: str, role: str) -> str | None:
    """`functions.` without a name is none, nor is the assistant one of its own messages."""
    if not name or name == "functions." or (role == "assistant" and name == "assistant"):
        return None
    return name


class HeaderText:
    """Ids as a `str`, and the way back from its characters to the ids.

    `offset`: bytes of the first id to leave out. `is_content`: special tokens are nothing, an
    unknown id is U+FFFD; sequences of UTF-8 go on across them.
    """

    def __init__(
        self,
        ids: Sequence[int],
        decode_bytes: Callable[[Sequence[int]], bytes],
        *,
        offset: int = 0,
        is_content: bool = False,
    ) -> None:
        self.ids = ids
        self._decode_bytes = decode_bytes
        self._offset = offset
        self._is_content = is_content
        self._id_starts: list[int] | None = None
        self._byte_starts: Sequence[int] = ()
        parts: list[str] = []
        run = bytearray()
        at = 0
        while at < len(ids):
            stop = at
            while stop < len(ids) and ids[stop] < FIRST_SPECIAL:
                stop += 1
            if stop > at:
                run += decode_bytes(ids[at:stop])[0 if at else offset :]
            if stop < len(ids):
                if not is_content:
                    parts += run.decode("utf-8", "harmony.broken"), _mark(ids[stop])
                    run.clear()
                elif ids[stop] > LAST_SPECIAL:
                    run += b"\xef\xbf\xbd"
            at = stop + 1
        parts.append(run.decode("utf-8", "harmony.broken"))
        self.text = "".join(parts)

    def shown(self, start: int = 0, stop: int | None = None) -> str:
        """Characters as people see them: without marks, U+FFFD for what is no UTF-8."""
        return self.text[start:stop].translate(_TO_SHOW)

    def place(self, at: int) -> tuple[int, int]:
        """(index of the id, offset in its bytes) of a character."""
        self._measure()
        assert self._id_starts is not None
        byte = self._byte_starts[at]
        index = bisect_right(self._id_starts, byte) - 1
        return index, byte - self._id_starts[index] + (0 if index else self._offset)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Characters -> ids."""
        if start == stop:
            index = self.place(start)[0]
            return index, index
        self._measure()
        assert self._id_starts is not None
        last = self._byte_starts[stop] - 1
        return self.place(start)[0], bisect_right(self._id_starts, last)

    def _measure(self) -> None:
        """Where each id and each character begins, counted in bytes; a mark counts as one."""
        if self._id_starts is not None:
            return
        lengths = [
            len(self._decode_bytes((token,))) if token < FIRST_SPECIAL else self._length_of(token)
            for token in self.ids
        ]
        if lengths:
            lengths[0] -= self._offset
        starts = list(accumulate(lengths, initial=0))
        if starts[-1] == len(self.text):
            self._byte_starts = range(starts[-1] + 1)
        else:
            self._byte_starts = list(accumulate(map(_byte_length, self.text), initial=0))
        self._id_starts = starts

    def _length_of(self, token: int) -> int:
        if not self._is_content:
            return 1
        return 3 if token > LAST_SPECIAL else 0

    def broken(self, start: int, stop: int) -> Iterator[Report]:
        for match in _ANY_BROKEN.finditer(self.text, start, stop):
            yield Kind.INVALID_UTF8, *self.span(*match.span()), "\ufffd"


def _mark(token: int) -> str:
    return _AT_UNKNOWN if token > LAST_SPECIAL else _MARK_OF.get(token, _AT_CONTROL)


def _byte_length(character: str) -> int:
    code = ord(character)
    if code < 0x800:
        return 1 if code < 0x80 else 2
    if 0xD800 <= code <= 0xDFFF:
        return _BROKEN.find(character) + 1 or 1
    return 3 if code < 0x10000 else 4


class HeaderReader:
    """Reads the headers of one stream after the other; `hint`: the role of those that name none."""

    def __init__(self, decode_bytes: Callable[[Sequence[int]], bytes], hint: Role | None) -> None:
        self._decode_bytes = decode_bytes
        self._hint = (hint or Role.ASSISTANT).value

    def judge(self, ids: Sequence[int]) -> int:
        """The Verdict about the ids of a header up to its first marker."""
        header = _Header(self._text(ids), self._hint)
        if header.lead(len(header.text), marker_follows=True, any_word=True) is not None:
            return Verdict.HEADER
        at = header.after_starts
        word = header.word(at)
        if header.has_start and word and _ROLE_WORD.fullmatch(word.text):
            at = word.stop
        return Verdict.CONTENT if has_substance(header.source.shown(at)) else Verdict.NOTHING

    def is_content(self, ids: Sequence[int]) -> bool:
        """Whether a header without a marker so far is content, whatever comes after these ids.

        It is if its whole words are more than header words, and no field in front that the end of
        the stream would make a truncated header of it.
        """
        source = self._text(ids)
        whole = _WHOLE_WORDS.match(source.text)
        if whole is None:
            return False
        source.text = whole[0]
        header = _Header(source, self._hint)
        if header.lead(len(source.text), marker_follows=True, any_word=True) is not None:
            return False
        rest, is_truncated = header.front(at_end_of_stream=True)
        return not is_truncated and has_substance(source.shown(rest))

    def shown(self, ids: Sequence[int]) -> str:
        """The text of ids as a diagnostic shows it."""
        return self._text(ids).shown()

    def read_header(self, ids: Sequence[int], is_prompted: bool) -> Reading:
        """`ids`: up to `<|message|>`. `is_prompted`: the prompt held `<|start|>` and the role."""
        header = _Header(self._text(ids), self._hint)
        prefix = header.read_whole(is_prompted)
        return Reading(header.resolved, prefix, tuple(header.reports))

    def read_front(
        self, ids: Sequence[int], *, at_end_of_stream: bool, is_stopped: bool
    ) -> Iterator[Piece]:
        """The messages and skipped parts of a header that has no `<|message|>`.

        What ended it is the end of the stream, a stop (`is_stopped`), or something else.
        """
        source = self._text(ids)
        start = 0
        while start < len(source.text):
            header = _Header(source, self._hint, start)
            piece, start = header.read_front(at_end_of_stream, is_stopped)
            yield piece

    def _text(self, ids: Sequence[int]) -> HeaderText:
        return HeaderText(ids, self._decode_bytes)


class _Header:
    """One header in the course of being read: from character `begin` of its text."""

    def __init__(self, source: HeaderText, hint: str, begin: int = 0) -> None:
        self.source = source
        self.text = source.text
        self.hint = hint
        self.begin = begin
        # `<|start|>` comes first or not at all.
        self.n_starts = 0
        while begin == 0 and self.n_starts < len(source.ids) and source.ids[self.n_starts] == START:
            self.n_starts += 1
        self.has_start = self.n_starts > 0
        self.after_starts = begin + self.n_starts
        self.fields = _Fields()
        self.reports: list[Report] = []
        self.resolved: Header

    def report(self, kind: Kind, start: int, stop: int, text: str | None = None) -> None:
        if text is None:
            text = self.source.shown(start, stop)
        self.reports.append((kind, *self.source.span(start, stop), text))

    # words and marks

    def word(self, at: int) -> _Word | None:
        """The next word, unless a mark or the end comes first."""
        gap = _GAP.match(self.text, at)
        assert gap is not None
        match = _WORD.match(self.text, gap.end())
        if match is None:
            return None
        return _Word(match[0].translate(_TO_SHOW), *match.span())

    def mark(self, at: int) -> str:
        """The next mark, unless a word or the end comes first (then "")."""
        place = self.mark_place(at)
        character = self.text[place : place + 1]
        return character if character and character in _MARKS else ""

    def mark_place(self, at: int) -> int:
        gap = _GAP.match(self.text, at)
        assert gap is not None
        return gap.end()

    def is_at_end(self, at: int) -> bool:
        return self.mark_place(at) == len(self.text)

    def report_controls(self, start: int, stop: int) -> None:
        """Other special tokens and ids outside the vocabulary mean nothing in a header."""
        for match in _NO_MARKER.finditer(self.text, start, stop):
            is_unknown = match[0] == _AT_UNKNOWN
            self.report(Kind.UNKNOWN_TOKEN if is_unknown else Kind.SKIPPED_WORDS, *match.span())

    # `to=` fields

    def take_recipient(self, at: int, at_end_of_stream: bool = False) -> int | None:
        """The place after the `to=` field that stands next, if one does."""
        word = self.word(at)
        if word is None:
            return None
        if at_end_of_stream and word.text == "to" and self.is_at_end(word.stop):
            # The name has not come yet.
            self.fields.recipients.append(_Word("", word.start, word.stop))
            return word.stop
        if not word.text.startswith("to="):
            return None
        name, stop = word.text[3:], word.stop
        if not name:
            after = self.word(stop)
            if after and not after.text.startswith("to="):
                name, stop = after.text, after.stop
        # A name cut in two by a marker.
        parts = [name]
        while name and self.text.startswith(_AT_CHANNEL + ".", stop):
            rest = self.word(stop + 1)
            assert rest is not None
            parts.append(rest.text)
            stop = rest.stop
        self.fields.recipients.append(_Word("".join(parts), word.start, stop))
        return stop

    # text before the first marker

    def lead(
        self,
        marker: int,
        *,
        marker_follows: bool,
        any_word: bool,
        at_end_of_stream: bool = False,
    ) -> int | None:
        """Take the fields of text that holds header words only, up to `marker`; the place after it.
        None of other text, of which nothing is taken.

        `any_word`: any word right after a `to=` field is a header word.
        """
        fields = self.fields = _Fields()
        place = at = self.after_starts
        if self.has_start:
            while at < marker and (mark := self.mark(at)) and mark in _NO_MARKERS:
                at = self.mark_place(at) + 1
            word = self.word(at)
            if (
                word
                and word.start < marker
                and (
                    self.take_role(word)
                    or self.take_place_of_role(word)
                    or (marker_follows and not word.text.startswith("to=") and self.take_tool(word))
                )
            ):
                place = at = word.stop
        is_after_recipient = False
        while at < marker:
            word = self.word(at)
            if word is None:
                at = self.mark_place(at) + 1
                continue
            if word.start >= marker:
                break
            after = self.take_recipient(at, at_end_of_stream)
            if after is not None:
                place = at = after
                is_after_recipient = True
                continue
            is_taken = not fields.recipients and (
                self.take_later_role(word) or self.take_lead_channel(word)
            )
            if not is_taken:
                if not _is_header_word(word.text) and not (any_word and is_after_recipient):
                    self.fields = _Fields()
                    return None
                fields.left_over.append(word)
            is_after_recipient = False
            place = at = word.stop
        return place

    def take_role(self, word: _Word) -> bool:
        match = _ROLE_WORD.fullmatch(word.text)
        if not match:
            return False
        self.fields.roles.append(_RoleWord(match["role"], word, word.text == match["role"]))
        if match["channel"]:
            start = word.stop - len(match["channel"])
            self.fields.lead_channels.append(_Word(match["channel"], start, word.stop))
        return True

    def take_later_role(self, word: _Word) -> bool:
        """The role of a header without a start, or the role word once more."""
        match = _ROLE_WORD.fullmatch(word.text)
        if not match:
            return False
        if self.has_start:
            first = self.fields.roles[0].role if self.fields.roles else None
            if first != match["role"]:
                return False
        return self.take_role(word)

    def take_lead_channel(self, word: _Word) -> bool:
        if not _known_channel(word.text):
            return False
        self.fields.lead_channels.append(word)
        return True

    def take_place_of_role(self, word: _Word) -> bool:
        """Where the role should be, a `to=` field or a channel means the assistant. Whether the
        word is used up."""
        if not word.text.startswith("to=") and not _known_channel(word.text):
            return False
        self.fields.roles.append(_RoleWord("assistant", None, False))
        return self.take_lead_channel(word)

    def take_tool(self, word: _Word) -> bool:
        self.fields.tool = word
        return True

    # a header that reaches `<|message|>`

    def read_whole(self, is_prompted: bool) -> tuple[tuple[int, bytes], ...]:
        """Resolve the header; the bytes of it that are content."""
        match = _MARKER.search(self.text, self.after_starts)
        marker = match.start() if match else len(self.text)
        place = self.lead(marker, marker_follows=True, any_word=True)
        if place is None:
            # Text that nobody would miss, after the role word if there is one.
            place = self.after_starts
            word = self.word(place)
            if self.has_start and word and self.take_role(word):
                place = word.stop
            self.report(Kind.SKIPPED_TEXT, place, marker)
            place = marker
        place = max(place, marker)
        self.report_controls(self.after_starts, place)
        texts = self.read_rest(place)
        fields = self.fields
        begin, has_role = self.begin, bool(fields.roles)
        if not self.has_start and not is_prompted:
            self.report(Kind.MISSING_START, begin, begin)
        if not self.has_start and has_role and is_prompted:
            self.report(Kind.REPEATED_ROLE, begin, begin)
        if self.has_start and not has_role and fields.tool is None:
            self.report(Kind.UNKNOWN_ROLE, self.after_starts, self.after_starts)
        for odd in _ODD.finditer(self.text, self.after_starts):
            if odd[0] in _BROKEN:
                self.report(Kind.INVALID_UTF8, *odd.span())
            elif odd[0] == "<":
                self.report(Kind.CONSTRAIN_TEXT, *odd.span())
            else:
                self.report(Kind.SKIPPED_WORDS, *odd.span())
        self.resolved = self.resolve(reaches_message=True)
        return tuple(part for start, stop in texts for part in self.bytes_of(start, stop))

    def read_rest(self, at: int) -> list[tuple[int, int]]:
        """The fields behind the lead; where text stands that belongs to the content."""
        texts: list[tuple[int, int]] = []
        while not self.is_at_end(at):
            word = self.word(at)
            if word:
                after = self.take_recipient(at)
                if after is None:
                    self.fields.left_over.append(word)
                    after = word.stop
                at = after
                continue
            mark, place = self.mark(at), self.mark_place(at)
            if mark == _AT_CHANNEL:
                at = self.take_channel(place)
            elif mark == _AT_CONSTRAIN:
                at = self.take_constrain(place, texts)
            else:
                at = place + 1
                self.report_controls(place, at)
        return texts

    def take_channel(self, marker: int) -> int:
        word = self.word(marker + 1)
        if word is None or word.text.startswith("to="):
            self.report(Kind.EMPTY_CHANNEL, marker, marker + 1)
            return marker + 1
        if word.start > marker + 1:
            self.report(Kind.SKIPPED_WORDS, marker + 1, word.start)
        fields = self.fields
        (fields.function_slots if _is_function(word.text) else fields.channels).append(word)
        return word.stop

    def take_constrain(self, marker: int, texts: list[tuple[int, int]]) -> int:
        """One word is the content type; more are text. `to=` fields do not count."""
        start = marker + 1
        match = _ANY_MARK.search(self.text, start)
        run_stop = match.start() if match else len(self.text)
        words: list[_Word] = []
        n_recipients = len(self.fields.recipients)
        at = start
        while (word := self.word(at)) and at < run_stop:
            after = self.take_recipient(at)
            if after is None:
                words.append(word)
                after = word.stop
            at = after
        if len(words) > 1:
            del self.fields.recipients[n_recipients:]
            self.report(Kind.CONSTRAIN_TEXT, marker, run_stop)
            texts.append((self.mark_place(start), run_stop))
            return run_stop
        self.fields.types += words
        first = words[0].start if words else at
        if first > start or not words:
            self.report(Kind.SKIPPED_WORDS, marker, first)
        return at

    def bytes_of(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """The bytes of characters between which no mark stands, id by id."""
        if start == stop:
            return
        first, offset = self.source.place(start)
        last = self.source.span(start, stop)[1]
        for index in range(first, last):
            yield index, self.source._decode_bytes((self.source.ids[index],))[offset:]
            offset = 0

    # a header that does not

    def read_front(self, at_end_of_stream: bool, is_stopped: bool) -> tuple[Piece, int]:
        """The next piece, and the place of the header after it."""
        source, begin = self.source, self.begin
        rest, is_truncated = self.front(at_end_of_stream)
        if is_truncated:
            self.report(Kind.TRUNCATED_HEADER, begin, len(self.text))
            return self.skipped(begin, len(self.text), 0), len(self.text)
        next_channel = self.text.find(_AT_CHANNEL, rest)
        end = next_channel if next_channel >= 0 else len(self.text)
        index, offset = source.place(rest)
        stop = source.span(end, end)[0]
        content = HeaderText(
            source.ids[index:stop], source._decode_bytes, offset=offset, is_content=True
        )
        text = content.text.lstrip(WHITE_SPACE) if self.has_taken() else content.text
        if not has_substance(text):
            for broken, start, after, shown in content.broken(0, len(content.text)):
                self.reports.append((broken, index + start, index + after, shown))
            for match in _ANY_MARK.finditer(self.text, rest, end):
                is_unknown = match[0] == _AT_UNKNOWN
                kind = Kind.UNKNOWN_TOKEN if is_unknown else Kind.CONTROL_IN_CONTENT
                shown = str(source.ids[source.place(match.start())[0]]) if is_unknown else ""
                self.report(kind, *match.span(), shown)
            kind = Kind.SKIPPED_TEXT
            if self.has_start or rest > self.after_starts:
                nothing_came = at_end_of_stream and not text
                kind = Kind.TRUNCATED_HEADER if nothing_came else Kind.EMPTY_HEADER
            n_more = int(is_stopped and end == len(self.text))
            start = source.span(begin, begin)[0]
            self.reports.append((kind, start, stop + n_more, source.shown(begin, end)))
            return self.skipped(begin, end, n_more), end
        is_bare = not self.has_start and rest == self.after_starts
        self.report(Kind.BARE_TEXT if is_bare else Kind.MISSING_MESSAGE, rest, rest)
        self.reports += source.broken(self.after_starts, rest)
        self.report_controls(self.after_starts, rest)
        header = self.resolve(reaches_message=False)
        n_blank = len(content.text) - len(text)
        n_dropped = offset + len(content.text[:n_blank].encode())
        start = source.span(begin, begin)[0]
        return Piece(header, start, stop, index, n_dropped, tuple(self.reports)), end

    def skipped(self, start: int, stop: int, n_more: int) -> Piece:
        first, last = self.source.span(start, stop)
        return Piece(None, first, last + n_more, last, 0, tuple(self.reports))

    def has_taken(self) -> bool:
        return self.fields != _Fields()

    def front(self, at_end_of_stream: bool) -> tuple[int, bool]:
        """Take fields from the front. Where the rest begins, and whether the stream ends within
        the header."""
        rest = self.front_lead(at_end_of_stream)
        is_cut = False
        while True:
            at = rest
            while (mark := self.mark(at)) and mark in _NO_MARKERS:
                at = self.mark_place(at) + 1
            mark, place = self.mark(at), self.mark_place(at)
            after = self.take_recipient(at, at_end_of_stream)
            if after is None and not mark:
                after = self.front_type(at)
            elif mark == _AT_CHANNEL:
                after = self.front_channel(place)
            elif mark == _AT_CONSTRAIN:
                after = self.front_constrained(place)
            if after is not None:
                rest = after
                continue
            if not mark or self.constrained_word(place):
                break
            # A marker behind which nothing could be taken.
            rest = place + 1
            word = self.word(rest)
            if word and not self.is_recipient(word, at_end_of_stream):
                is_cut = mark == _AT_CHANNEL and word.stop == len(self.text)
                break
        fields = self.fields
        is_cut = (
            is_cut
            or bool(fields.recipients or fields.function_slots)
            or any(_is_function(word.text) for word in fields.left_over)
            or (at_end_of_stream and self.is_unknown_role_only())
        )
        return rest, at_end_of_stream and is_cut

    def is_recipient(self, word: _Word, at_end_of_stream: bool) -> bool:
        """Whether a `to=` field begins with this word."""
        if word.text.startswith("to="):
            return True
        return at_end_of_stream and word.text == "to" and self.is_at_end(word.stop)

    def front_lead(self, at_end_of_stream: bool) -> int:
        match = _MARKER.search(self.text, self.after_starts)
        lead_end = match.start() if match else len(self.text)
        place = self.lead(
            lead_end,
            marker_follows=match is not None,
            any_word=False,
            at_end_of_stream=at_end_of_stream,
        )
        if place is not None:
            return place if match is None else max(place, lead_end)
        rest = self.front_role(lead_end) if self.has_start else self.after_starts
        if match and not has_substance(self.source.shown(rest, lead_end)):
            self.report(Kind.SKIPPED_TEXT, rest, lead_end)
            return lead_end
        return rest

    def front_role(self, lead_end: int) -> int:
        """The role and a channel glued to it or in its place, at the front of other text."""
        at = self.after_starts
        while at < lead_end and self.mark(at):
            at = self.mark_place(at) + 1
        word = self.word(at)
        if word is None or word.start >= lead_end:
            return self.after_starts
        role, length = "assistant", 0
        match = _ROLE_FRONT.match(word.text)
        if match:
            role, length = match["role"], match.end()
        channel = _CHANNEL_FRONT.match(word.text, length)
        if channel and _ends_word(word.text, channel.end()):
            self.fields.roles.append(_RoleWord(role, word, False))
            stop = word.start + channel.end()
            self.fields.lead_channels.append(_Word(channel[0], word.start + length, stop))
            return self.after_filler(stop, channel[0])
        if match and (role == "assistant" or _ends_word(word.text, length)):
            self.fields.roles.append(_RoleWord(role, word, word.text == role))
            return word.start + length
        if word.text.startswith("to="):
            self.fields.roles.append(_RoleWord("assistant", None, False))
        return self.after_starts

    def front_type(self, at: int) -> int | None:
        """`json` or `code` after a recipient, before a bracket or with nothing after it."""
        word = self.word(at)
        if not word or not (self.fields.recipients or self.fields.function_slots):
            return None
        match = _TYPE_FRONT.match(word.text)
        if not match:
            return None
        after = word.text[match.end() :]
        if not after:
            next_word = self.word(word.stop)
            after = next_word.text if next_word else ""
        if after and after[0] not in _BRACKETS:
            return None
        stop = word.start + match.end()
        self.fields.left_over.append(_Word(match[0], word.start, stop))
        return stop

    def front_channel(self, marker: int) -> int | None:
        """A known channel, or `functions.x`, after the marker."""
        word = self.word(marker + 1)
        if not word:
            return None
        if _is_function(word.text):
            self.fields.function_slots.append(word)
            return word.stop
        match = _CHANNEL_FRONT.match(word.text)
        if not match or not _ends_word(word.text, match.end()):
            return None
        stop = word.start + match.end()
        self.fields.channels.append(_Word(match[0], word.start, stop))
        return self.after_filler(stop, match[0])

    def constrained_word(self, marker: int) -> _Word | None:
        """The word after `<|constrain|>`, if it is no `to=` field."""
        if self.text[marker : marker + 1] != _AT_CONSTRAIN:
            return None
        word = self.word(marker + 1)
        return None if word is None or word.text.startswith("to=") else word

    def front_constrained(self, marker: int) -> int | None:
        """`json` or `code` after the marker, or one word with nothing after it."""
        word = self.constrained_word(marker)
        if not word:
            return None
        match = _TYPE_FRONT.match(word.text)
        if match and _ends_word(word.text, match.end()):
            stop = word.start + match.end()
            self.fields.types.append(_Word(match[0], word.start, stop))
            return stop
        if self.word(word.stop):
            return None
        self.fields.types.append(word)
        return word.stop

    def after_filler(self, at: int, channel: str) -> int:
        """The place behind repetitions of the channel and the punctuation around them."""
        repetition = _REPETITION.get(channel.lower())
        place = at
        if repetition:
            while (match := repetition.match(self.text, place)) and _ends_word(
                self.text, match.end()
            ):
                place = match.end()
        if place == at:
            return at
        fillers = _FILLERS.match(self.text, place)
        assert fillers is not None
        return fillers.end()

    def is_unknown_role_only(self) -> bool:
        """Whether an unknown word stands in the place of the role, and only header words after."""
        if not self.has_start or self.fields.roles:
            return False
        at = self.after_starts
        while (mark := self.mark(at)) and mark in _NO_MARKERS:
            at = self.mark_place(at) + 1
        word = self.word(at)
        if not word:
            return False
        at = word.stop
        kept = self.fields
        self.fields = _Fields()
        try:
            while not self.is_at_end(at):
                word = self.word(at)
                if word is None:
                    at = self.mark_place(at) + 1
                    continue
                after = self.take_recipient(at, at_end_of_stream=True)
                if after is None:
                    if not _is_header_word(word.text):
                        return False
                    after = word.stop
                at = after
            return True
        finally:
            self.fields = kept

    # what the fields mean

    def resolve(self, *, reaches_message: bool) -> Header:
        fields = self.fields
        role = fields.roles[-1].role if fields.roles else self.hint
        tool = None
        if fields.tool:
            role, tool = "tool", fields.tool.text
            if not fields.recipients:
                self.report(Kind.UNKNOWN_ROLE, fields.tool.start, fields.tool.stop)
        elif fields.roles and role == "tool":
            tool = "tool"
        self.report_roles()
        channel = self.resolve_channel()
        left = list(fields.left_over)
        recipient = self.resolve_recipient(left, role)
        type_word, content_type = self.resolve_type(left, channel)
        # A sole word left over after `commentary` is a recipient.
        if (
            not fields.recipients
            and recipient is None
            and channel == "commentary"
            and len(left) == 1
            and any(
                _known_channel(word.text) == "commentary" and word.start < left[0].start
                for word in fields.channels + fields.lead_channels
            )
        ):
            word = left.pop()
            self.report(Kind.RECIPIENT_REPAIRED, word.start, word.stop)
            recipient = real_recipient(word.text, role)
        for word in left:
            self.report(Kind.SKIPPED_WORDS, word.start, word.stop)
        if reaches_message and type_word:
            follows = any(to.start < type_word.start for to in fields.recipients)
            if not follows:
                # openai_harmony knows a content type only behind a recipient.
                self.report(Kind.RECIPIENT_REPAIRED, type_word.start, type_word.stop)
        return _ROLES[role], tool, channel, recipient, content_type

    def report_roles(self) -> None:
        for number, role in enumerate(self.fields.roles):
            if role.word is None:
                self.report(Kind.UNKNOWN_ROLE, self.begin, self.begin)
            elif number or not role.is_plain:
                self.report(Kind.REPEATED_ROLE, role.word.start, role.word.stop)

    def resolve_channel(self) -> str | None:
        fields = self.fields
        for word in fields.lead_channels:
            self.report(Kind.EMPTY_CHANNEL, word.start, word.stop)
        values = [*fields.lead_channels, *fields.channels]
        for word in values[1:]:
            self.report(Kind.REPEATED_CHANNEL, word.start, word.stop)
        if not values:
            return None
        word = values[-1]
        known = _known_channel(word.text)
        if known is None:
            self.report(Kind.UNKNOWN_CHANNEL, word.start, word.stop)
            return word.text
        if known != word.text:
            self.report(Kind.CHANNEL_CASE, word.start, word.stop)
        return known

    def resolve_recipient(self, left: list[_Word], role: str) -> str | None:
        """The last real `to=` field; without one the last `functions.x`, which `left` loses."""
        fields = self.fields
        real = None
        for number, to in enumerate(fields.recipients):
            name = real_recipient(to.text, role)
            real = name or real
            # A mark in between is a name cut in two; a gap is a `to= x`.
            is_verbatim = self.text[to.start : to.stop].translate(_TO_SHOW) == "to=" + to.text
            is_cut = _AT_CHANNEL in self.text[to.start : to.stop]
            if number or name is None or is_cut or not is_verbatim:
                self.report(Kind.RECIPIENT_REPAIRED, to.start, to.stop)
        for word in fields.function_slots:
            self.report(Kind.RECIPIENT_REPAIRED, word.start, word.stop)
        if real:
            return real
        functions = [word for word in left if _is_function(word.text)]
        last = max([*functions, *fields.function_slots], key=lambda w: w.start, default=None)
        if last is None:
            return None
        if last in functions:
            left.remove(last)
            self.report(Kind.RECIPIENT_REPAIRED, last.start, last.stop)
        return last.text

    def resolve_type(
        self, left: list[_Word], channel: str | None
    ) -> tuple[_Word | None, str | None]:
        """The word of the content type, and the content type; a word of `left` is lost to it."""
        types = self.fields.types
        if types:
            for word in types[:-1]:
                self.report(Kind.SKIPPED_WORDS, word.start, word.stop)
            return types[-1], _CONSTRAIN_MARK + types[-1].text
        if left and (
            left[-1].text in _TYPES
            or channel in ("final", "analysis")
            or bool(self.fields.recipients)
        ):
            word = left.pop()
            return word, word.text
        return None, None


_NO_MARKERS = _AT_CONTROL + _AT_UNKNOWN
