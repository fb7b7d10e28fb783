"""The recovering parser, whole streams at once, written after the rules one by one.

The stream is first spelled out in *units*: one for every byte of an ordinary token, one for every
special token and every id outside the vocabulary. Everything else is a place in that list. What
text means is looked up anew at each step, so that nothing has to be kept up to date; this is
quadratic, and meant to be.

    ids -> units -> items (words and control tokens) of a header -> Fields -> Parsed
                 -> bytes of a content -> text

Comments in quotation marks cite the rules. A header is read by `lead` (its text before the first
marker), `whole_header` (one that reaches `<|message|>`) and `front` (one that does not), which
collect fields; `resolve` decides between them.

An id outside the vocabulary, in a header, is treated as a special token without a meaning.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import unicodedata2

from reference.splitter import WHITE_SPACE

FIRST_SPECIAL, LAST_SPECIAL = 199_998, 201_088
RETURN, CONSTRAIN, CHANNEL, START, END, MESSAGE, CALL = (
    200002, 200003, 200005, 200006, 200007, 200008, 200012,
)  # fmt: skip
STOPS = (RETURN, END, CALL)
MARKERS = (CHANNEL, CONSTRAIN, MESSAGE)

ROLES = ("user", "assistant", "system", "developer", "tool")
CHANNELS = ("analysis", "commentary", "final")
TYPES = ("json", "code", "text")
BRACKETS = "()[]{}"

_ROLE = "|".join(ROLES)
_CHANNEL = "|".join(f"(?i:{channel})" for channel in CHANNELS)
# Whole words: "A doubled role word is one role; a role word glued to a known channel name is both."
_ROLE_WORD = re.compile(rf"(?P<role>{_ROLE})(?P=role)*(?P<channel>{_CHANNEL})?")
_ROLE_FRONT = re.compile(rf"(?P<role>{_ROLE})(?P=role)*")
_CHANNEL_FRONT = re.compile(_CHANNEL)
_TYPE_FRONT = re.compile("json|code")
_SPACE = "".join(sorted(WHITE_SPACE))
_FILLER = "?.,:;!-"
# What the reference takes for white space between words.
_PLAIN_SPACE = " \t\n\f\r"


class Parsed(NamedTuple):
    role: str
    name: str | None
    channel: str | None
    recipient: str | None
    content_type: str | None
    text: str
    complete: bool
    end_token: int | None
    token_span: tuple[int, int]


class Diagnostic(NamedTuple):
    kind: str
    token_span: tuple[int, int]
    message_index: int | None  # of the message whose span it lies in
    text: str


class Parse(NamedTuple):
    messages: list[Parsed]
    diagnostics: list[Diagnostic]
    skipped: list[tuple[int, int]]


class Character(NamedTuple):
    text: str
    start: int  # units
    stop: int
    is_broken: bool  # stands for bytes that are no UTF-8


class Word(NamedTuple):
    text: str
    start: int  # units
    stop: int


class Control(NamedTuple):
    """A special token, or an id outside the vocabulary."""

    id: int
    start: int  # units
    stop: int


Item = Word | Control


class RoleWord(NamedTuple):
    role: str
    word: Word | None  # None: another word in its place means it
    is_plain: bool


class Recipient(NamedTuple):
    """A `to=` field."""

    name: str
    start: int
    stop: int


@dataclass
class Fields:
    """What a header says, in the order in which it says it."""

    roles: list[RoleWord] = field(default_factory=list)
    tool: Word | None = None  # the unknown role word
    lead_channels: list[Word] = field(default_factory=list)  # without `<|channel|>`
    channels: list[Word] = field(default_factory=list)
    recipients: list[Recipient] = field(default_factory=list)
    function_slots: list[Word] = field(default_factory=list)  # `functions.x` after `<|channel|>`
    left_over: list[Word] = field(default_factory=list)
    types: list[Word] = field(default_factory=list)  # after `<|constrain|>`


class Header(NamedTuple):
    role: str
    tool: str | None
    channel: str | None
    recipient: str | None
    content_type: str | None


def parse(
    ids: Iterable[int],
    role: str | None,
    decode_token: Callable[[int], bytes],
    max_messages: int | None = None,
) -> Parse:
    """`role`: the hint; `decode_token`: the bytes of an id below 199,998."""
    parser = _Parser(list(ids), role, decode_token)
    parser.run(max_messages)
    return parser.result()


# Characters and words


def has_substance(text: str) -> bool:
    return any(
        is_letter_or_digit(character)
        or character in BRACKETS
        or (unicodedata2.category(character) == "So" and character != "\ufffd")
        for character in text
    )


def is_letter_or_digit(character: str) -> bool:
    return unicodedata2.category(character)[0] in "LN"


def known_channel(word: str) -> str | None:
    """ "Known channels match in any letter case and are stored in lower case." """
    return word.lower() if word.lower() in CHANNELS else None


def is_function(word: str) -> bool:
    """`functions.x`."""
    return word.startswith("functions.") and word != "functions."


def is_known_word(word: str) -> bool:
    """Header words that need not look at their neighbours."""
    return (
        _ROLE_WORD.fullmatch(word) is not None
        or known_channel(word) is not None
        or word in TYPES
        or is_function(word)
    )


class _Parser:
    def __init__(
        self, ids: list[int], hint: str | None, decode_token: Callable[[int], bytes]
    ) -> None:
        self.ids = ids
        self.hint = hint
        # A byte, or an id that is no ordinary token; and the place of the id it comes from.
        self.units: list[int] = []
        self.tokens: list[int] = []
        for place, token in enumerate(ids):
            spelled = list(decode_token(token)) if token < FIRST_SPECIAL else [token]
            self.units += spelled
            self.tokens += [place] * len(spelled)
        self.messages: list[Parsed] = []
        self.skipped: list[tuple[int, int]] = []
        self.diagnostics: list[tuple[str, tuple[int, int], str]] = []

    def run(self, max_messages: int | None) -> None:
        at = 0
        if not self.ids and self.hint is not None:
            self.report("TRUNCATED_HEADER", 0, 0)
        while at < len(self.units):
            if max_messages is not None and len(self.messages) >= max_messages:
                # "past `max_messages` the rest of the stream is one skipped span"
                self.report("LIMIT", at, len(self.units), "")
                self.skip(at, len(self.units))
                break
            before = at
            at = self.read_next(at)
            assert at > before, "no step goes nowhere"

    def result(self) -> Parse:
        spans = [message.token_span for message in self.messages]

        def index_of(kind: str, span: tuple[int, int]) -> int | None:
            # Between two messages: what ended the first belongs to it, all else to the second.
            is_of_first = kind == "UNTERMINATED_MESSAGE"
            for index, (start, stop) in enumerate(spans):
                begins_inside = start < span[0] <= stop if is_of_first else start <= span[0] < stop
                if begins_inside and span[1] <= stop:
                    return index
            return None

        diagnostics = [
            Diagnostic(kind, span, index_of(kind, span), text)
            for kind, span, text in sorted(self.diagnostics, key=lambda made: (made[1], made[0]))
        ]
        skipped: list[tuple[int, int]] = []
        for start, stop in self.skipped:
            if skipped and skipped[-1][1] == start:
                start = skipped.pop()[0]
            skipped.append((start, stop))
        return Parse(self.messages, diagnostics, skipped)

    # Places

    def is_special(self, at: int) -> bool:
        """Not a byte: a special token or an id outside the vocabulary."""
        return self.units[at] >= FIRST_SPECIAL

    def find(self, wanted: Iterable[int], start: int, stop: int) -> int | None:
        return next((at for at in range(start, stop) if self.units[at] in wanted), None)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Units -> ids."""
        if start == stop:
            token = self.tokens[start] if start < len(self.tokens) else len(self.ids)
            return token, token
        return self.tokens[start], self.tokens[stop - 1] + 1

    def report(self, kind: str, start: int, stop: int, text: str | None = None) -> None:
        if text is None:
            text = "".join(character.text for character in self.characters(start, stop))
        self.diagnostics.append((kind, self.span(start, stop), text))

    def skip(self, start: int, stop: int) -> None:
        self.skipped.append(self.span(start, stop))

    # Text

    def characters(self, start: int, stop: int) -> list[Character]:
        """Of the bytes between two places; what is not a byte ends a sequence of UTF-8."""
        characters: list[Character] = []
        at = start
        while at < stop:
            if self.is_special(at):
                at += 1
                continue
            end = at
            while end < stop and not self.is_special(end):
                end += 1
            characters += decoded(bytes(self.units[at:end]), list(range(at, end)))
            at = end
        return characters

    def text(self, start: int, stop: int) -> str:
        return "".join(character.text for character in self.characters(start, stop))

    def items(self, start: int, stop: int) -> list[Item]:
        """ "It is read from *tokens*: a control token is never part of a word. Words are separated
        by Unicode white space. Other special tokens and ids outside the vocabulary separate words
        too." """
        items: list[Item] = []
        at = start
        while at < stop:
            if self.is_special(at):
                items.append(Control(self.units[at], at, at + 1))
                at += 1
                continue
            end = at
            while end < stop and not self.is_special(end):
                end += 1
            word: list[Character] = []
            for character in [*self.characters(at, end), Character(" ", end, end, False)]:
                if character.text not in WHITE_SPACE:
                    word.append(character)
                elif word:
                    text = "".join(letter.text for letter in word)
                    items.append(Word(text, word[0].start, word[-1].stop))
                    word = []
            at = end
        return items

    # One message, or something between messages

    def read_next(self, at: int) -> int:
        """Read what stands at a place where a header may begin; the place after it."""
        if self.units[at] != START and self.units[at] not in MARKERS and self.is_special(at):
            return self.between_messages(at)
        begin = at
        while at < len(self.units) and self.units[at] == START:
            # "`<|start|><|start|>` is one start." If the role was given, the prompt holds one.
            if at > begin or (at == 0 and self.hint is not None):
                self.report("REPEATED_START", at, at + 1)
            at += 1
        has_start = at > begin
        end = self.find((MESSAGE, START, *STOPS), at, len(self.units))
        header_end = len(self.units) if end is None else end
        marker = self.find(MARKERS, at, header_end + 1 if end is not None else header_end)
        if marker is not None and self.lead_is_text(at, marker, header_end, has_start):
            if has_substance(self.text_after_role(at, marker, has_start)):
                # "a message of its own: a header without `<|message|>`, which a marker ends too"
                return self.header_without_message(begin, at, marker, has_start)
            if not has_start:
                self.report("SKIPPED_TEXT", at, marker)
                self.skip(begin, marker)
                return marker
        if end is not None and self.units[end] == MESSAGE:
            return self.header_with_message(begin, at, end, has_start)
        return self.header_without_message(begin, at, header_end, has_start)

    def between_messages(self, at: int) -> int:
        """ "Repeated stops, `<|endoftext|>`, padding and other special tokens are skipped with a
        diagnostic." """
        self.report_control(self.units[at], at, "REPEATED_TERMINATOR")
        self.skip(at, at + 1)
        return at + 1

    def report_control(self, token: int, at: int, kind: str) -> None:
        self.report("UNKNOWN_TOKEN" if token > LAST_SPECIAL else kind, at, at + 1)

    # "Text before the first marker"

    def lead_is_text(self, at: int, marker: int, end: int, has_start: bool) -> bool:
        return self.lead(at, marker, end, has_start, marker_follows=True, any_word=True) is None

    def text_after_role(self, at: int, marker: int, has_start: bool) -> str:
        if has_start:
            items = self.items(at, marker)
            if items and isinstance(items[0], Word) and _ROLE_WORD.fullmatch(items[0].text):
                at = items[0].stop
        return self.text(at, marker)

    def lead(
        self,
        at: int,
        marker: int,
        end: int,
        has_start: bool,
        *,
        marker_follows: bool,
        any_word: bool,
        at_end_of_stream: bool = False,
    ) -> tuple[Fields, int] | None:
        """The fields of text that "holds header words only", and the place after them; None of
        other text.

        `any_word`: "one word of any kind right after a `to=` field" is a header word. `end`: of the
        header; a name cut in two goes on behind the marker.
        """
        items = self.items(at, end)
        fields = Fields()
        place = at
        i = 0
        if has_start:
            while i < len(items) and items[i].start < marker and isinstance(items[i], Control):
                i += 1
            if i < len(items) and items[i].start < marker:
                word = items[i]
                assert isinstance(word, Word)
                if self.take_role(fields, word) or self.take_role_place(fields, word):
                    place = word.stop
                    i += 1
                elif marker_follows and not word.text.startswith("to="):
                    # "a tool's name if only header words stand between it and a marker"
                    fields.tool = word
                    place = word.stop
                    i += 1
        is_after_recipient = False
        while i < len(items) and items[i].start < marker:
            item = items[i]
            if isinstance(item, Control):
                i += 1
                continue
            field_and_next = self.recipient_field(items, i, at_end_of_stream)
            if field_and_next:
                recipient, i = field_and_next
                fields.recipients.append(recipient)
                place = recipient.stop
                is_after_recipient = True
                continue
            # "Before a `to=` field a role word is the role of a header without a start, a channel
            # name the channel [...]; after it both are left-over words."
            taken = not fields.recipients and (
                self.take_later_role(fields, item, has_start)
                or self.take_lead_channel(fields, item)
            )
            if not taken:
                if not is_known_word(item.text) and not (any_word and is_after_recipient):
                    return None
                fields.left_over.append(item)
            is_after_recipient = False
            place = item.stop
            i += 1
        return fields, place

    def take_role(self, fields: Fields, word: Word) -> bool:
        match = _ROLE_WORD.fullmatch(word.text)
        if not match:
            return False
        fields.roles.append(RoleWord(match["role"], word, word.text == match["role"]))
        if match["channel"]:
            channel = Word(match["channel"], word.stop - len(match["channel"]), word.stop)
            fields.lead_channels.append(channel)
        return True

    def take_later_role(self, fields: Fields, word: Word, has_start: bool) -> bool:
        match = _ROLE_WORD.fullmatch(word.text)
        if not match:
            return False
        if has_start and [role.role for role in fields.roles[:1]] != [match["role"]]:
            return False
        return self.take_role(fields, word)

    def take_lead_channel(self, fields: Fields, word: Word) -> bool:
        if not known_channel(word.text):
            return False
        fields.lead_channels.append(word)
        return True

    def take_role_place(self, fields: Fields, word: Word) -> bool:
        """ "`to=…` where the role should be means assistant; so does a known channel name there
        (which is then the channel)." Whether the word is used up."""
        if not word.text.startswith("to=") and not known_channel(word.text):
            return False
        fields.roles.append(RoleWord("assistant", None, False))
        return self.take_lead_channel(fields, word)

    # "Recipient"

    def recipient_field(
        self, items: list[Item], i: int, at_end_of_stream: bool = False
    ) -> tuple[Recipient, int] | None:
        """The `to=` field that begins with item `i`, and the next item."""
        word = items[i]
        if not isinstance(word, Word):
            return None
        if at_end_of_stream and word.text == "to" and i == len(items) - 1:
            # "a last `to` counts as `to=`"
            return Recipient("", word.start, word.stop), i + 1
        if not word.text.startswith("to="):
            return None
        last, name = word, word.text.removeprefix("to=")
        i += 1
        if not name and i < len(items):
            # "`to= x` too"
            after = items[i]
            if isinstance(after, Word) and not after.text.startswith("to="):
                last, name = after, after.text
                i += 1
        # "joined only when `<|channel|>` stands directly between a `to=` name and a word that
        # starts with `.`"
        while name and i + 1 < len(items):
            between, rest = items[i], items[i + 1]
            if not (isinstance(between, Control) and between.id == CHANNEL):
                break
            if not (isinstance(rest, Word) and rest.text.startswith(".")):
                break
            if not last.stop == between.start == rest.start - 1:
                break
            last = rest
            name += rest.text
            i += 2
        return Recipient(name, word.start, last.stop), i

    # A header that reaches `<|message|>`

    def header_with_message(self, begin: int, at: int, message: int, has_start: bool) -> int:
        fields, texts = self.whole_header(at, message, has_start)
        if not has_start and (begin > 0 or self.hint is None):
            self.report("MISSING_START", begin, begin)
        if not has_start and fields.roles and begin == 0 and self.hint is not None:
            self.report("REPEATED_ROLE", begin, begin)
        if has_start and not fields.roles and fields.tool is None:
            self.report("UNKNOWN_ROLE", at, at)
        self.report_odd_text(at, message)
        header = self.resolve(fields, begin, reaches_message=True)
        content = self.content(message + 1, len(self.units), texts)
        if not content.text and content.ended_by in (START, CHANNEL):
            self.report("EMPTY_MESSAGE_DROPPED", begin, content.stop)
            self.skip(begin, content.stop)
            return content.stop
        return self.finish(begin, header, content.text, content)

    def whole_header(self, at: int, message: int, has_start: bool) -> tuple[Fields, list[int]]:
        """The fields, and the places of the bytes that are "put in front of the content"."""
        marker = self.find(MARKERS, at, message + 1)
        assert marker is not None
        lead = self.lead(at, marker, message, has_start, marker_follows=True, any_word=True)
        if lead is None:
            # "Text without substance is skipped with a diagnostic", after the role word if any.
            items = self.items(at, marker)
            fields, place = Fields(), at
            first = items[0] if has_start and items else None
            if isinstance(first, Word) and self.take_role(fields, first):
                place = first.stop
            self.report("SKIPPED_TEXT", place, marker)
            place = marker
        else:
            fields, place = lead
            place = max(place, marker)
        for control in self.items(at, place):
            if isinstance(control, Control) and control.id not in MARKERS:
                self.report_control(control.id, control.start, "SKIPPED_WORDS")
        texts: list[int] = []
        items = self.items(place, message)
        i = 0
        while i < len(items):
            item = items[i]
            if isinstance(item, Word):
                field_and_next = self.recipient_field(items, i)
                if field_and_next:
                    recipient, i = field_and_next
                    fields.recipients.append(recipient)
                else:
                    fields.left_over.append(item)
                    i += 1
            elif item.id == CHANNEL:
                i = self.take_channel(fields, items, i)
            elif item.id == CONSTRAIN:
                i = self.take_constrain(fields, items, i, texts)
            else:
                self.report_control(item.id, item.start, "SKIPPED_WORDS")
                i += 1
        return fields, texts

    def take_channel(self, fields: Fields, items: list[Item], i: int) -> int:
        """ "The last `<|channel|>` with a value (the next word, before any control token) wins. A
        `to=` or `functions.x` there is no value." """
        marker, word = items[i], items[i + 1] if i + 1 < len(items) else None
        if not isinstance(word, Word) or word.text.startswith("to="):
            self.report("EMPTY_CHANNEL", marker.start, marker.stop)
            return i + 1
        if word.start > marker.stop:
            self.report("SKIPPED_WORDS", marker.stop, word.start)
        (fields.function_slots if is_function(word.text) else fields.channels).append(word)
        return i + 2

    def take_constrain(self, fields: Fields, items: list[Item], i: int, texts: list[int]) -> int:
        """ "The last `<|constrain|>` + word. `<|constrain|>` followed by more than one word (`to=`
        fields aside) is text." """
        marker = items[i]
        run_end = i + 1
        while run_end < len(items) and isinstance(items[run_end], Word):
            run_end += 1
        words: list[Word] = []
        recipients: list[Recipient] = []
        i += 1
        while i < run_end:
            item = items[i]
            assert isinstance(item, Word)
            field_and_next = self.recipient_field(items, i)
            if field_and_next:
                recipient, i = field_and_next
                recipients.append(recipient)
            else:
                words.append(item)
                i += 1
        if len(words) > 1:
            # "put in front of the content, less its leading white space"
            start = marker.stop
            stop = next(at for at in range(start, len(self.units)) if self.is_special(at))
            self.report("CONSTRAIN_TEXT", marker.start, stop)
            characters = self.characters(start, stop)
            first = next(c for c in characters if c.text not in WHITE_SPACE)
            texts += range(first.start, stop)
            return run_end
        fields.recipients += recipients
        fields.types += words
        after = words[0].start if words else items[i - 1].stop
        if not words or after > marker.stop:
            self.report("SKIPPED_WORDS", marker.start, after)
        return i

    # A header that does not

    def header_without_message(self, begin: int, at: int, end: int, has_start: bool) -> int:
        """ "A header that ends without `<|message|>` (a stop, a start, or the end of the stream
        comes first, or a marker after text of its own)." `end` is the place of what ends it."""
        is_last = end == len(self.units)
        fields, rest, taken, is_truncated = self.front(at, end, has_start, is_last)
        if is_truncated:
            self.report("TRUNCATED_HEADER", begin, end)
            self.skip(begin, end)
            return end
        # "The rest is verbatim the content, read as if `<|message|>` stood before it"
        is_own_text = not is_last and self.units[end] in MARKERS
        content = self.content(rest, end if is_own_text else len(self.units))
        # "If anything was taken, white space before the rest is dropped."
        text = content.text.lstrip(_SPACE) if taken else content.text
        if not has_substance(text):
            # "No substance left: no message, a diagnostic."
            is_header = has_start or rest > at
            nothing_left = "TRUNCATED_HEADER" if is_last and not text else "EMPTY_HEADER"
            self.report(nothing_left if is_header else "SKIPPED_TEXT", begin, content.stop)
            self.skip(begin, content.stop)
            return content.stop
        self.report_front(begin, at, rest, has_start)
        header = self.resolve(fields, begin, reaches_message=False)
        return self.finish(begin, header, text, content)

    def report_front(self, begin: int, at: int, rest: int, has_start: bool) -> None:
        is_bare = not has_start and rest == at
        self.report("BARE_TEXT" if is_bare else "MISSING_MESSAGE", rest, rest)
        self.report_broken(self.characters(at, rest))
        for item in self.items(at, rest):
            if isinstance(item, Control) and item.id not in MARKERS:
                self.report_control(item.id, item.start, "SKIPPED_WORDS")

    def front(
        self, at: int, end: int, has_start: bool, is_last: bool
    ) -> tuple[Fields, int, bool, bool]:
        """ "Take from the front, in any order, the last of each wins".

        The fields; where the rest begins; whether anything was taken; whether the stream ends
        within a header (`is_last`: it ends with this one).
        """
        marker = self.find(MARKERS, at, end)
        fields, rest = self.front_lead(at, end, marker, has_start, is_last)
        taken = bool(fields.roles or fields.tool) or fields != Fields()
        is_truncated = False
        while True:
            items = self.items(rest, end)
            while items and isinstance(items[0], Control) and items[0].id not in MARKERS:
                items.pop(0)
            after = (
                self.front_recipient(fields, items, is_last)
                or self.front_type(fields, items)
                or self.front_channel(fields, items, end)
                or self.front_constrained(fields, items)
            )
            if after is not None:
                rest, taken = after, True
            elif not items or isinstance(items[0], Word) or self.is_constrained(items):
                break
            else:
                # A marker that nothing could be taken after: the channel's, or one without a word.
                marked = items[0]
                rest = marked.stop
                if (
                    len(items) > 1
                    and isinstance(items[1], Word)
                    and self.is_unread(items[1:], is_last)
                ):
                    # "an unknown channel value with nothing at all after it"
                    is_truncated = marked.id == CHANNEL and items[1].stop == end
                    break
        is_truncated |= self.is_unknown_role_only(fields, at, end, has_start)
        # "any header that has read a `to=` or `functions.x`"
        is_truncated |= bool(fields.recipients or fields.function_slots)
        is_truncated |= any(is_function(word.text) for word in fields.left_over)
        return fields, rest, taken, is_last and is_truncated

    def front_lead(
        self, at: int, end: int, marker: int | None, has_start: bool, is_last: bool
    ) -> tuple[Fields, int]:
        """ "text before the first marker, if it holds header words only (a word of any kind is none
        here); else, after `<|start|>`, the role word" """
        lead_end = end if marker is None else marker
        lead = self.lead(
            at,
            lead_end,
            end,
            has_start,
            marker_follows=marker is not None,
            any_word=False,
            at_end_of_stream=is_last,
        )
        if lead is not None:
            fields, rest = lead
            return fields, rest if marker is None else max(rest, marker)
        fields, rest = Fields(), at
        if has_start:
            rest = self.front_role(fields, at, lead_end)
        if marker is not None and not has_substance(self.text(rest, marker)):
            self.report("SKIPPED_TEXT", rest, marker)
            rest = marker
        return fields, rest

    def front_role(self, fields: Fields, at: int, lead_end: int) -> int:
        """ "the role word, if the next character is not a letter or digit (`assistant`: whatever
        comes next)"; a channel glued to it, or "in the role's place"."""
        word = next((item for item in self.items(at, lead_end) if isinstance(item, Word)), None)
        if word is None:
            return at
        role, length = "assistant", 0
        match = _ROLE_FRONT.match(word.text)
        if match:
            role, length = match["role"], match.end()
        channel = _CHANNEL_FRONT.match(word.text, length)
        if channel and ends_word(word.text, channel.end()):
            fields.roles.append(RoleWord(role, word, False))
            place = self.place_in(word, channel.end())
            fields.lead_channels.append(Word(channel[0], place - len(channel[0]), place))
            return self.after_filler(place, lead_end, channel[0])
        if match and (role == "assistant" or ends_word(word.text, length)):
            fields.roles.append(RoleWord(role, word, word.text == role))
            return self.place_in(word, length)
        if word.text.startswith("to="):
            fields.roles.append(RoleWord("assistant", None, False))
        return at

    def front_recipient(self, fields: Fields, items: list[Item], is_last: bool) -> int | None:
        field_and_next = self.recipient_field(items, 0, is_last) if items else None
        if field_and_next is None:
            return None
        fields.recipients.append(field_and_next[0])
        return field_and_next[0].stop

    def front_type(self, fields: Fields, items: list[Item]) -> int | None:
        """ "`json` or `code` after a recipient, before a bracket or with nothing after it" """
        if not items or not isinstance(items[0], Word):
            return None
        word = items[0]
        match = _TYPE_FRONT.match(word.text)
        if not match or not (fields.recipients or fields.function_slots):
            return None
        after = word.text[match.end() :]
        if not after and len(items) > 1 and isinstance(items[1], Word):
            after = items[1].text
        if after and after[0] not in BRACKETS:
            return None
        place = self.place_in(word, match.end())
        fields.left_over.append(Word(match[0], word.start, place))
        return place

    def front_channel(self, fields: Fields, items: list[Item], end: int) -> int | None:
        """ "channel value, after `<|channel|>` [...], if it is a known channel name and the next
        character is not a letter or digit; `functions.x` after `<|channel|>`" """
        if not is_marked_word(items, CHANNEL):
            return None
        word = items[1]
        assert isinstance(word, Word)
        if is_function(word.text):
            fields.function_slots.append(word)
            return word.stop
        match = _CHANNEL_FRONT.match(word.text)
        if not match or not ends_word(word.text, match.end()):
            return None
        place = self.place_in(word, match.end())
        fields.channels.append(Word(match[0], word.start, place))
        return self.after_filler(place, end, match[0])

    def front_constrained(self, fields: Fields, items: list[Item]) -> int | None:
        """ "`<|constrain|>` + `json` or `code`, or + one word with nothing after it" """
        if not self.is_constrained(items):
            return None
        word = items[1]
        assert isinstance(word, Word)
        match = _TYPE_FRONT.match(word.text)
        if match and ends_word(word.text, match.end()):
            place = self.place_in(word, match.end())
            fields.types.append(Word(match[0], word.start, place))
            return place
        if len(items) > 2 and isinstance(items[2], Word):
            return None
        fields.types.append(word)
        return word.stop

    def is_constrained(self, items: list[Item]) -> bool:
        return is_marked_word(items, CONSTRAIN) and self.recipient_field(items, 1) is None

    def is_unread(self, items: list[Item], is_last: bool) -> bool:
        return self.recipient_field(items, 0, is_last) is None

    def is_unknown_role_only(self, fields: Fields, at: int, end: int, has_start: bool) -> bool:
        """ "an unknown role word (no known one at its front) with nothing but header words after
        it" """
        items = self.items(at, end)
        while items and isinstance(items[0], Control) and items[0].id not in MARKERS:
            items.pop(0)
        if not has_start or fields.roles or not items or not isinstance(items[0], Word):
            return False
        i = 1
        while i < len(items):
            item = items[i]
            field_and_next = self.recipient_field(items, i, at_end_of_stream=True)
            if field_and_next:
                i = field_and_next[1]
            elif isinstance(item, Control) or is_known_word(item.text):
                i += 1
            else:
                return False
        return True

    def place_in(self, word: Word, length: int) -> int:
        """The place after so many characters of a word."""
        return self.characters(word.start, word.stop)[length - 1].stop

    def after_filler(self, at: int, end: int, channel: str) -> int:
        """ "Right after the channel, repetitions of that same channel name and of `? . , : ; ! -`
        around them are filler." """
        end = next((place for place in range(at, end) if self.is_special(place)), end)
        characters = self.characters(at, end)
        text = "".join(character.text for character in characters)
        repetition = re.compile(f"[{re.escape(_FILLER)}{_SPACE}]*(?i:{channel})")
        length = 0
        while (match := repetition.match(text, length)) and ends_word(text, match.end()):
            length = match.end()
        if not length:
            return at
        while text[length : length + 1] in list(_FILLER):
            length += 1
        return characters[length - 1].stop

    # What the fields mean

    def resolve(self, fields: Fields, start: int, *, reaches_message: bool) -> Header:
        role = fields.roles[-1].role if fields.roles else self.hint or "assistant"
        tool = None
        if fields.tool:
            role, tool = "tool", fields.tool.text
            if not fields.recipients:
                self.report("UNKNOWN_ROLE", fields.tool.start, fields.tool.stop)
        elif fields.roles and role == "tool":
            tool = "tool"
        self.report_roles(fields, start)
        channel = self.resolve_channel(fields)
        recipient, left = self.resolve_recipient(fields, role)
        last_left = left[-1] if left else None
        has_type = last_left is not None and (
            last_left.text in TYPES or channel in ("final", "analysis") or bool(fields.recipients)
        )
        type_word = None
        content_type = None
        if fields.types:
            type_word = fields.types[-1]
            content_type = "<|constrain|>" + type_word.text
            for word in fields.types[:-1]:
                self.report("SKIPPED_WORDS", word.start, word.stop)
        elif has_type:
            type_word = left.pop()
            content_type = type_word.text
        # "If none was, a sole word still left over after `commentary` is the recipient."
        if (
            not fields.recipients
            and recipient is None
            and channel == "commentary"
            and len(left) == 1
            and any(
                known_channel(word.text) == "commentary" and word.start < left[0].start
                for word in fields.channels + fields.lead_channels
            )
        ):
            word = left.pop()
            self.report("RECIPIENT_REPAIRED", word.start, word.stop)
            recipient = real_recipient(word.text, role)
        # "Other left-over words are skipped with a diagnostic."
        for word in left:
            self.report("SKIPPED_WORDS", word.start, word.stop)
        follows = type_word and any(to.start < type_word.start for to in fields.recipients)
        if reaches_message and type_word and not follows:
            # The reference knows a content type only behind a recipient.
            self.report("RECIPIENT_REPAIRED", type_word.start, type_word.stop)
        return Header(role, tool, channel, recipient, content_type)

    def report_roles(self, fields: Fields, start: int) -> None:
        for number, role in enumerate(fields.roles):
            if role.word is None:
                self.report("UNKNOWN_ROLE", start, start)
            elif number or not role.is_plain:
                self.report("REPEATED_ROLE", role.word.start, role.word.stop)

    def resolve_channel(self, fields: Fields) -> str | None:
        for word in fields.lead_channels:
            self.report("EMPTY_CHANNEL", word.start, word.stop)
        values = [*fields.lead_channels, *fields.channels]
        for word in values[1:]:
            self.report("REPEATED_CHANNEL", word.start, word.stop)
        if not values:
            return None
        word = values[-1]
        known = known_channel(word.text)
        if known is None:
            self.report("UNKNOWN_CHANNEL", word.start, word.stop)
            return word.text
        if known != word.text:
            self.report("CHANNEL_CASE", word.start, word.stop)
        return known

    def resolve_recipient(self, fields: Fields, role: str) -> tuple[str | None, list[Word]]:
        """ "The last real one wins. Without a real one the last `functions.x` is the recipient, in
        the channel slot or left over." And the words that are still left over."""
        real = [field for field in fields.recipients if real_recipient(field.name, role)]
        left = list(fields.left_over)
        for number, recipient in enumerate(fields.recipients):
            verbatim = self.text(recipient.start, recipient.stop) == "to=" + recipient.name
            cut = self.find((CHANNEL,), recipient.start, recipient.stop) is not None
            if number or recipient not in real or cut or not verbatim:
                self.report("RECIPIENT_REPAIRED", recipient.start, recipient.stop)
        for word in fields.function_slots:
            self.report("RECIPIENT_REPAIRED", word.start, word.stop)
        if real:
            return real[-1].name, left
        functions = [word for word in left if is_function(word.text)] + fields.function_slots
        if not functions:
            return None, left
        last = max(functions, key=lambda word: word.start)
        if last in left:
            left.remove(last)
            self.report("RECIPIENT_REPAIRED", last.start, last.stop)
        return last.text, left

    def report_odd_text(self, at: int, stop: int) -> None:
        """What the reference reads in another way, in a header that it could read."""
        characters = self.characters(at, stop)
        self.report_broken(characters)
        for place, character in enumerate(characters):
            if character.text in WHITE_SPACE and character.text not in _PLAIN_SPACE:
                self.report("SKIPPED_WORDS", character.start, character.stop)
            # A marker spelled with ordinary tokens.
            for marker in ("<|channel|>", "<|constrain|>"):
                spelled = characters[place : place + len(marker)]
                is_one_text = spelled[-1].stop - character.start == len(marker)
                if is_one_text and "".join(letter.text for letter in spelled) == marker:
                    self.report("CONSTRAIN_TEXT", character.start, character.stop)

    # "Inside content"

    def content(self, at: int, limit: int, front: Iterable[int] = ()) -> "Content":
        """What stands up to a stop, a start, a channel or a place; `front`: places of bytes that
        stand before it."""
        places = list(front)
        spelled = [self.units[place] for place in places]
        ended_by = None
        while at < limit:
            unit = self.units[at]
            if not self.is_special(at):
                spelled.append(unit)
                places.append(at)
            elif unit in STOPS or unit in (START, CHANNEL):
                ended_by = unit
                break
            elif unit > LAST_SPECIAL:
                # "An id outside the vocabulary becomes U+FFFD, in place"
                self.report("UNKNOWN_TOKEN", at, at + 1, str(unit))
                spelled += "�".encode()
                places += [at] * 3
            else:
                self.report("CONTROL_IN_CONTENT", at, at + 1)
            at += 1
        if ended_by is None and at < len(self.units):
            ended_by = self.units[at]
        characters = decoded(bytes(spelled), places)
        self.report_broken(characters)
        text = "".join(character.text for character in characters)
        assert text == bytes(spelled).decode("utf-8", "replace")
        return Content(text, at + 1 if ended_by in STOPS else at, ended_by)

    def report_broken(self, characters: list[Character]) -> None:
        for character in characters:
            if character.is_broken:
                self.report("INVALID_UTF8", character.start, character.stop, character.text)

    def finish(self, begin: int, header: Header, text: str, content: "Content") -> int:
        role, name, recipient = header.role, header.tool, header.recipient
        if name is not None and name != "tool" and content.ended_by == CALL:
            # "the finished message has role assistant and that recipient, with a diagnostic"
            self.report("RECIPIENT_REPAIRED", begin, content.stop, name)
            role, name, recipient = "assistant", None, real_recipient(name, "assistant")
        if content.ended_by in (START, CHANNEL):
            self.report("UNTERMINATED_MESSAGE", content.stop, content.stop)
        complete = content.ended_by in STOPS
        self.messages.append(
            Parsed(
                role,
                name,
                header.channel,
                recipient,
                header.content_type,
                text,
                complete,
                content.ended_by if complete else None,
                self.span(begin, content.stop),
            )
        )
        return content.stop


class Content(NamedTuple):
    text: str
    stop: int  # behind the stop, if one ended it
    ended_by: int | None  # the id; None: the end of the stream


def decoded(data: bytes, places: list[int]) -> list[Character]:
    """Characters of bytes that stand at `places`; U+FFFD for each maximal subpart of what is no
    UTF-8."""
    characters: list[Character] = []
    at = 0
    while at < len(data):
        try:
            text, stop, broken = data[at:].decode(), len(data), None
        except UnicodeDecodeError as error:
            stop = at + error.start
            text, broken = data[at:stop].decode(), (stop, at + error.end)
        for character in text:
            end = at + len(character.encode())
            characters.append(Character(character, places[at], places[end - 1] + 1, False))
            at = end
        if broken:
            at = broken[1]
            characters.append(Character("�", places[broken[0]], places[at - 1] + 1, True))
    return characters


def ends_word(text: str, at: int) -> bool:
    """ "the next character is not a letter or digit" """
    return at >= len(text) or not is_letter_or_digit(text[at])


def is_marked_word(items: list[Item], marker: int) -> bool:
    return (
        len(items) > 1
        and isinstance(items[0], Control)
        and items[0].id == marker
        and isinstance(items[1], Word)
    )


def real_recipient(name: str, role: str) -> str | None:
    """ "`functions.` without a name is no recipient"; "`to=assistant` on an assistant's message is
    noise" """
    if not name or name == "functions." or (role == "assistant" and name == "assistant"):
        return None
    return name


# Views

_BUILT_IN_TOOLS = ("python", "browser", "container")


def is_call(message: Parsed) -> bool:
    """To a tool that is not built in."""
    recipient = message.recipient
    if message.role != "assistant" or recipient is None:
        return False
    return recipient.split(".")[0] not in _BUILT_IN_TOOLS and recipient not in (*ROLES, "all")


def is_complete_json(text: str) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def tool_calls(messages: list[Parsed]) -> list[tuple[str, str]]:
    return [
        (message.recipient.removeprefix("functions."), message.text)
        for message in messages
        if message.recipient is not None and is_call(message) and is_complete_json(message.text)
    ]


def reasoning(messages: list[Parsed]) -> str | None:
    return _joined(
        message.text
        for message in messages
        if message.role == "assistant" and message.channel == "analysis" and not is_call(message)
    )


def content(messages: list[Parsed]) -> str | None:
    return _joined(
        message.text
        for message in messages
        if message.role == "assistant"
        and message.channel in ("final", "commentary", None)
        and message.recipient is None
        and message.end_token != CALL
    )


def _joined(texts: Iterable[str]) -> str | None:
    parts = [text.strip() for text in texts]
    return "\n".join(part for part in parts if part) or None
