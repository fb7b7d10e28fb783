"""Streams of ids for a parser: well-formed ones, damaged ones, and ones that never had a form.

Seeded and fast, for hundreds of thousands of streams. `random_streams` mixes all kinds.
"""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

RETURN, CONSTRAIN, CHANNEL, START, END, MESSAGE, CALL = (
    200002, 200003, 200005, 200006, 200007, 200008, 200012,
)  # fmt: skip
STOPS = (RETURN, END, CALL)
CONTROLS = (START, MESSAGE, CHANNEL, CONSTRAIN, *STOPS)
FIRST_SPECIAL, LAST_SPECIAL = 199_998, 201_088
UNKNOWN = (LAST_SPECIAL + 1, 201_500, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)

ROLES = (None, "user", "assistant", "system", "developer", "tool")
CHANNELS = ("analysis", "commentary", "final")

# Words and separators of headers: plain ones, odd ones, and ones that mean something elsewhere.
WORDS = [
    "user", "assistant", "system", "developer", "tool", "Assistant", "assis", "tant",
    "functions.f", "functions.get_weather", "browser.search", "python", "to=", "to=functions.f",
    "to=assistant", "to=a", "to", "=", "json", "code", "<|constrain|>", "<|constrain|>json",
    "<|channel|>", "<|channel|>final", "<|channel|>analysis", "<|channel|>commentary",
    "<|channel|>x", "<|chan", "nel|>", "<", "all", "x", "y", "z", "user:bob", "to=to=",
    "assistant<|channel|>", "é", "中文", "e\u0301", "\u200d", '"', "\\", "\x00", "\x1c", "\x7f",
    "\u202e", "😀", "<|start|>", "<|end|>", "<|endoftext|>", "<|reserved_200017|>", "'", "\u0903",
]  # fmt: skip
SPACES = [
    " ", " ", " ", " ", "", "", "  ", "\n", "\t", "\r\n", "\x0b", "\x0c", "\x85", "\u00a0",
    "\u2003", "\u202f", "\u3000", "\u2028", "\x1f", "\ufeff",
]  # fmt: skip
TEXTS = [
    "Hello", " world", "", " ", "\n\n", '{"city": "Tokyo"}', "def f(x):\n    return x\n",
    "naïve café", "中文字", "日本語テキスト", "한국어", "😀👩\u200d👩\u200d👧", "\ufffd",
    "a\ufffdb", "<|start|>", "<|end|>", "<|", "|>", "0123456789", "\u0301", "\x00", "𝐚𐐨",
    "The quick brown fox jumps over the lazy dog.", "x" * 40, "\t\x0b\r",
]  # fmt: skip


class Stream(NamedTuple):
    kind: str
    ids: list[int]
    role: str | None
    strict: bool


class StreamMaker:
    """`encode_ordinary`: of the tokenizer; `decode_bytes`: the bytes of a list of ids."""

    def __init__(self, rng: random.Random, encoding) -> None:
        self.rng = rng
        self.encoding = encoding
        self.broken = [
            token for token in range(FIRST_SPECIAL) if not _is_utf8(encoding.decode_bytes([token]))
        ]
        self.kinds: list[tuple[str, Callable[[], list[int]]]] = [
            ("well-formed", self.well_formed),
            ("mutated", self.mutated),
            ("mutated", self.mutated),
            ("header", self.odd_headers),
            ("header", self.odd_headers),
            ("random", self.random_ids),
            ("broken utf-8", self.broken_utf8),
            ("broken utf-8", self.broken_utf8),
            ("truncated", self.truncated),
            ("bare text", self.bare_text),
        ]

    def stream(self) -> Stream:
        rng = self.rng
        kind, make = rng.choice(self.kinds)
        ids = make()
        role = rng.choice(ROLES)
        if role and ids[:1] == [START] and rng.random() < 0.7:
            # As a server sees it: the prompt ended in <|start|> and the role.
            ids = ids[1:] if rng.random() < 0.2 else ids[2:]
        return Stream(kind, ids, role, rng.random() < 0.5)

    # parts

    def _encode(self, text: str) -> list[int]:
        """With control tokens in the text as tokens, or spelled out now and then."""
        if self.rng.random() < 0.1:
            return self.encoding.encode_ordinary(text)
        return self.encoding.encode(text, allowed_special="all")

    def _text(self, most: int = 5) -> list[int]:
        text = "".join(self.rng.choices(TEXTS, k=self.rng.randint(0, most)))
        return self.encoding.encode_ordinary(text)

    def _one_id(self) -> int:
        rng = self.rng
        return rng.choice(
            (
                lambda: rng.choice(CONTROLS),
                lambda: rng.choice(CONTROLS),
                lambda: rng.randrange(256),
                lambda: rng.randrange(FIRST_SPECIAL),
                lambda: rng.choice(self.broken),
                lambda: rng.randint(FIRST_SPECIAL, LAST_SPECIAL),
                lambda: rng.choice(UNKNOWN),
                lambda: rng.choice((220, 198, 197, 173781, 1428, 17196, 12606, 4108, 316)),
            )
        )()

    def _message(self) -> list[int]:
        rng = self.rng
        role = rng.choice(ROLES[1:])
        header = role
        if role == "tool":
            header = rng.choice(("functions.f", "browser.search", "python"))
        to = rng.choice(("", "", " to=functions.f", " to=assistant", " to=python"))
        channel = rng.choice(("", *("<|channel|>" + name for name in CHANNELS)))
        header += to + channel if rng.random() < 0.5 else channel + to
        if rng.random() < 0.3:
            header += rng.choice((" <|constrain|>json", " json", "<|constrain|>json", " code"))
        return [
            START,
            *self.encoding.encode(header, allowed_special="all"),
            MESSAGE,
            *self._text(),
            rng.choice(STOPS),
        ]

    # kinds

    def well_formed(self) -> list[int]:
        return [token for _ in range(self.rng.randint(1, 4)) for token in self._message()]

    def mutated(self) -> list[int]:
        rng = self.rng
        ids = self.well_formed()
        for _ in range(rng.randint(1, 3)):
            if not ids:
                break
            at = rng.randrange(len(ids))
            change = rng.randrange(7)
            if change == 0:
                del ids[at]
            elif change == 1:
                ids.insert(at, ids[at])
            elif change == 2:
                other = rng.randrange(len(ids))
                ids[at], ids[other] = ids[other], ids[at]
            elif change == 3:
                ids[at] = rng.choice(CONTROLS)
            elif change == 4:
                ids.insert(at, self._one_id())
            elif change == 5:
                ids[at] = self._one_id()
            else:
                ids[at:at] = self._text(1)
        return ids

    def truncated(self) -> list[int]:
        ids = self.well_formed() if self.rng.random() < 0.5 else self.mutated()
        return ids[: self.rng.randint(0, len(ids))]

    def odd_headers(self) -> list[int]:
        rng = self.rng
        ids: list[int] = []
        for _ in range(rng.randint(1, 3)):
            header = rng.choice(SPACES) if rng.random() < 0.3 else ""
            if rng.random() < 0.5:
                header += rng.choice(("assistant", "user", "tool", "functions.f"))
            for _ in range(rng.randint(0, 4)):
                header += rng.choice(SPACES) + rng.choice(WORDS)
            if rng.random() < 0.3:
                header += rng.choice(SPACES)
            ids += [START, *self._encode(header)]
            if rng.random() < 0.05:
                ids.append(self._one_id())
            if rng.random() < 0.9:
                ids.append(MESSAGE)
            ids += self._text(2)
            if rng.random() < 0.9:
                ids.append(rng.choice(STOPS))
        return ids

    def random_ids(self) -> list[int]:
        return [self._one_id() for _ in range(self.rng.randint(0, 25))]

    def broken_utf8(self) -> list[int]:
        rng = self.rng
        ids: list[int] = []
        for _ in range(rng.randint(1, 2)):
            ids += [START, 173781, MESSAGE]
            for _ in range(rng.randint(1, 14)):
                chance = rng.random()
                if chance < 0.45:
                    ids.append(rng.choice(self.broken))
                elif chance < 0.6:
                    ids.append(rng.randrange(256))
                elif chance < 0.65:
                    ids.append(rng.choice(UNKNOWN))
                elif chance < 0.7:
                    ids.append(rng.choice((START, MESSAGE, CHANNEL, 199999, 201088)))
                elif chance < 0.85:
                    # A character cut into single bytes, perhaps not all of them.
                    cut = rng.choice(("é", "中", "😀", "\ud7ff", "\uffff", "\U0010ffff")).encode()
                    cut = cut[: rng.randint(1, len(cut))]
                    ids += [self.encoding.encode_single_token(bytes([byte])) for byte in cut]
                else:
                    ids += self._text(1)
            ids.append(rng.choice(STOPS))
        return ids

    def bare_text(self) -> list[int]:
        rng = self.rng
        ids = self._text(2)
        for _ in range(rng.randint(0, 3)):
            ids += self._encode(rng.choice(SPACES) + rng.choice(WORDS))
        return ids + [rng.choice(STOPS)] * rng.randint(0, 2) + self._text(1)


def random_streams(count: int, seed: int, encoding) -> Iterator[Stream]:
    """`count` streams, the same for the same seed."""
    maker = StreamMaker(random.Random(seed), encoding)
    for _ in range(count):
        yield maker.stream()


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
