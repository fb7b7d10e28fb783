"""The header of a message, both ways: fields -> ids, and text of a header -> fields.

    <|start|> WHO [:NAME] [ to=RECIPIENT] [<|channel|>CHANNEL] [ CONTENT_TYPE] <|message|>

or, for the assistant and on request, with the recipient behind the channel. WHO is the role, or the
name of a tool. When written, each part is encoded by itself, which is what makes ids of parts that
never change constants: they stand below, and tests hold them to the vocabulary.

When read, a header is the text that its ids decode to, so a control token in it looks like the same
characters in ordinary tokens, as for openai_harmony. The order of the steps is the order in which
they are tried; each works on what the steps before it left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from harmony.errors import ParseError, RenderError
from harmony.messages import Role
from harmony.special_tokens import O200K_HARMONY_SPECIALS
from harmony.tool_schema import NotPlainError

START = O200K_HARMONY_SPECIALS["<|start|>"]
CHANNEL = O200K_HARMONY_SPECIALS["<|channel|>"]
CONSTRAIN = O200K_HARMONY_SPECIALS["<|constrain|>"]
MESSAGE = O200K_HARMONY_SPECIALS["<|message|>"]

ROLE_IDS = {
    "user": [1428],
    "assistant": [173781],
    "system": [17360],
    "developer": [77944],
    "tool": [17952],
}
_CHANNEL_IDS = {
    "analysis": [35644],
    "commentary": [12606, 815],
    "final": [17196],
}
_BLANK = [220]
_CHANNEL_MARK = "<|channel|>"
_CONSTRAIN_MARK = "<|constrain|>"

_WHO = {role: [START, *ids] for role, ids in ROLE_IDS.items() if role != "tool"}
_ON_CHANNEL = {channel: [CHANNEL, *ids] for channel, ids in _CHANNEL_IDS.items()}
_CONTENT_TYPES = {_CONSTRAIN_MARK + "json": [*_BLANK, CONSTRAIN, 4108]}

# Headers of a role and a channel (or none) and nothing else. A tool needs a name.
PLAIN_HEADERS: dict[str, dict[str | None, list[int]]] = {
    "tool": {},
    **{
        role: {
            None: [*who, MESSAGE],
            **{channel: [*who, *ids, MESSAGE] for channel, ids in _ON_CHANNEL.items()},
        }
        for role, who in _WHO.items()
    },
}

# What ends a field when a header is read, or is not meant to be seen: white space and control
# characters.
# The property White_Space. str.strip() and str.split() without an argument would also take U+001C
# to U+001F, which belong to names here.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_REFUSED = frozenset(WHITE_SPACE + "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)])))
_LOOKS_LIKE_A_MARKER = re.compile(r"<\|\w+\|>")

Encode = Callable[[str], list[int]]


def plain_text(text: object) -> str:
    """`text`, if it is a `str` and nothing derived from it, without lone surrogates.

    Raises NotPlainError or UnicodeEncodeError otherwise.
    """
    if type(text) is not str:
        raise NotPlainError
    if not text.isascii():
        text.encode()
    return text


def header_ids(
    encode: Encode,
    role: str,
    name: str | None,
    recipient: str | None,
    channel: str | None,
    content_type: str | None,
    channel_first: bool = False,
) -> list[int]:
    """The ids of a header; `role` is the role's value, a field that is None is left out.

    `channel_first`: the channel of an assistant's message comes before the recipient. Raises
    RenderError for a tool without a name, and as `plain_text` does.
    """
    if role == "tool":
        if name is None:
            raise RenderError("Tools should have a name!")
        ids = [START, *encode(plain_text(name))]
    else:
        ids = _WHO[role].copy()
        if name is not None:
            ids += encode(":" + plain_text(name))
    recipient_ids: list[int] = []
    if recipient is not None and plain_text(recipient) != "all":
        recipient_ids = encode(" to=" + recipient)
    if not channel_first or role != "assistant":
        ids += recipient_ids
        recipient_ids = []
    if channel is not None:
        ids += _ON_CHANNEL.get(channel) or [CHANNEL, *encode(plain_text(channel))]
    ids += recipient_ids
    if content_type is not None:
        known = _CONTENT_TYPES.get(content_type)
        if known:
            ids += known
        elif plain_text(content_type).startswith(_CONSTRAIN_MARK):
            constraint = content_type[len(_CONSTRAIN_MARK) :]
            ids += [*_BLANK, CONSTRAIN, *encode(constraint)]
        else:
            ids += encode(" " + content_type)
    ids.append(MESSAGE)
    return ids


def refusal(
    role: str,
    name: str | None,
    recipient: str | None,
    channel: str | None,
    content_type: str | None,
) -> str | None:
    """Why these fields would not mean in a header what they say, naming the field; None if they do.

    Refused are white space, control characters and markers (one `<|constrain|>` may begin the
    content type), and what is read as something else: empty fields, "<" in a channel, which ends
    it, a tool with the name of another role, and a content type that reads as a recipient.
    """
    if role == "tool" and name in _WHO:
        return f"author.name {name!r} of a tool reads as another role"
    if content_type is not None and content_type.startswith("to="):
        return f"content_type {content_type!r} reads as a recipient"
    fields = {
        "author.name": name,
        "recipient": recipient,
        "channel": channel,
        "content_type": content_type,
    }
    for field, text in fields.items():
        if text is None:
            continue
        if not text:
            return f"{field} is empty"
        if field == "content_type":
            text = text.removeprefix(_CONSTRAIN_MARK)
        if not _REFUSED.isdisjoint(text):
            return f"{field} {text!r} holds white space or a control character"
        if any(found in O200K_HARMONY_SPECIALS for found in _LOOKS_LIKE_A_MARKER.findall(text)):
            return f"{field} {text!r} holds a marker"
        if field == "channel" and "<" in text:
            return f"{field} {text!r} would end before its '<'"
    return None


# text of a header -> fields

_CHANNEL_VALUE = re.compile(f"[^<{WHITE_SPACE}]*")

_ROLES = {role.value: role for role in Role}


# What a header says: role, name, channel, recipient, content type. A plain tuple, for one is made
# for every message.
Header = tuple[Role, str | None, str | None, str | None, str | None]


def read_header(text: str, given_role: Role | None) -> Header:
    """The fields of a header that `<|message|>` ended.

    `given_role` is the role that was known before the header began; then none is looked for.
    Raises ParseError, with the texts of openai_harmony.
    """
    channel, words = _channel_and_words(text)
    role, name, words = _take_role(words, given_role)
    recipient, content_type, words = _take_recipient_and_type(words)
    if words:
        raise ParseError(
            f"unexpected tokens remaining in message header: Some({_quoted(' '.join(words))})"
        )
    return role, name, channel, recipient, content_type


def read_bare_message(text: str, given_role: Role) -> tuple[Header, str]:
    """The message in a header that a stop token ended: its words are the content.

    Raises ParseError for a channel without a name.
    """
    channel, words = _channel_and_words(text)
    role, _, words = _take_role(words, given_role)
    return (role, None, channel, None, None), " ".join(words)


def _channel_and_words(text: str) -> tuple[str | None, list[str]]:
    """The value of the first channel marker, and the words that are left without the two."""
    channel = None
    marker = text.find(_CHANNEL_MARK)
    if marker >= 0:
        value = _CHANNEL_VALUE.match(text, marker + len(_CHANNEL_MARK))
        assert value is not None  # the pattern matches the empty text
        channel = value.group()
        if not channel:
            raise ParseError("channel marker present but no channel value found in header")
        text = text[:marker] + text[value.end() :]
    # A constrain marker begins a word.
    text = text.strip(WHITE_SPACE).replace(_CONSTRAIN_MARK, " " + _CONSTRAIN_MARK)
    # Words end at ASCII white space only; the vertical tab is not in it.
    text = text.replace("\t", " ").replace("\n", " ").replace("\f", " ").replace("\r", " ")
    return channel, [word for word in text.split(" ") if word]


def _take_role(words: list[str], given_role: Role | None) -> tuple[Role, str | None, list[str]]:
    """Role, name (tools that named themselves have one) and the words after them."""
    name = None
    if given_role is not None:
        role = given_role
    else:
        if not words:
            raise ParseError("message header did not contain a role")
        first = words[0]
        if first in _ROLES:
            role = _ROLES[first]
        elif len(words) > 1 or first.startswith("to="):
            role = Role.TOOL
            words = words[1:]
        else:
            raise ParseError(f"Unknown role: {first}")
        if role is Role.TOOL:
            name = first
    # Once, and also where the role was given: a header may repeat it.
    if words and words[0] == role.value:
        words = words[1:]
    return role, name, words


def _take_recipient_and_type(words: list[str]) -> tuple[str | None, str | None, list[str]]:
    """Recipient and content type, which stand at the end, and the words before them."""
    if not words:
        return None, None, []
    *before, last = words
    if last.startswith("to="):
        return last[3:], None, before
    if not before:
        return last, None, []
    *before, recipient = before
    return recipient.removeprefix("to="), last, before


# Marks that extend the character before them without being of a category that says so.
_EXTENDING = frozenset(
    "\u09be\u09d7\u0b3e\u0b57\u0bbe\u0bd7\u0cc0\u0cc2\u0cc7\u0cc8\u0cca\u0ccb\u0cd5\u0cd6\u0d3e"
    "\u0d57\u0dcf\u0ddf\u1715\u1734\u1b35\u1b3b\u1b3d\u1b43\u1b44\u1baa\u1bf2\u1bf3\u302e\u302f"
    "\ua953\ua9c0\uff9e\uff9f\U000111c0\U00011235\U0001133e\U0001134d\U00011357\U000114b0"
    "\U000114bd\U000115af\U000116b6\U00011930\U0001193d\U00016ff0\U00016ff1\U0001d165\U0001d166"
    "\U0001d16d\U0001d16e\U0001d16f\U0001d170\U0001d171\U0001d172"
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


def _quoted(text: str) -> str:
    """`text` in double quotes, with what cannot be seen or stands on another character escaped."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    seen = character.isprintable() and unicodedata.category(character) not in ("Mn", "Me")
    if seen and character not in _EXTENDING:
        return character
    return f"\\u{{{ord(character):x}}}"
