"""Texts on which careless tokenizers take quadratic time: one function of the size, in UTF-8 bytes,
for each."""

import random
from collections.abc import Callable


def _repeat(unit: str, end: str = "") -> Callable[[int], str]:
    def text(n_bytes: int) -> str:
        return unit * (n_bytes // len(unit.encode())) + end

    return text


def _random_han(n_bytes: int) -> str:
    return "".join(map(chr, random.Random(1).choices(range(0x4E00, 0xA000), k=n_bytes // 3)))


def _random_kana(n_bytes: int) -> str:
    return "".join(map(chr, random.Random(2).choices(range(0x3041, 0x3097), k=n_bytes // 3)))


def _random_bytes_as_latin1(n_bytes: int) -> str:
    # Half of the characters take two bytes in UTF-8.
    return random.Random(3).randbytes(n_bytes * 2 // 3).decode("latin-1")


def _random_lower(n_bytes: int) -> str:
    return "".join(random.Random(4).choices("abcdefghijklmnopqrstuvwxyz", k=n_bytes))


FAMILIES: dict[str, Callable[[int], str]] = {
    "one letter": _repeat("a"),
    "spaces": _repeat(" "),
    "newlines": _repeat("\n"),
    "one digit": _repeat("7"),
    "circumflex": _repeat("^"),
    "emoji": _repeat("\U0001f600"),
    "random han": _random_han,
    "combining marks": _repeat("\u0301"),
    "random bytes as latin-1": _random_bytes_as_latin1,
    "random lower-case letters": _random_lower,
    "random kana": _random_kana,
    # Tokens of many lengths compete for such runs: the longest one is wrong again and again.
    "dashes": _repeat("-"),
    "equals signs": _repeat("="),
    "laughter": _repeat("lol"),
    # One piece that the first alternative reads to the end before it finds no lower-case letter.
    "upper-case letters": _repeat("A"),
    # Each change of class is a place where the letter alternatives can start, or go back to.
    "upper and caseless in turn": _repeat("Aª"),
    "marks and upper-case in turn": _repeat("\u0301A"),
    "mark runs before upper-case": _repeat("\u0301" * 64 + "A"),
    "case flips": _repeat("aA"),
    # The last newline of a run of white space decides where every space before it belongs.
    "spaces, one newline at the end": _repeat(" ", "\n"),
    "spaces, a letter at the end": _repeat(" ", "x"),
    "newline then spaces": _repeat("\n "),
    "tabs and newlines": _repeat("\t\t\n"),
    "ideographic spaces": _repeat("\u3000"),
    "apostrophes": _repeat("'"),
    "contractions": _repeat("'s"),
    "letters with contractions": _repeat("a'll"),
    "slashes after punctuation": _repeat("/\n"),
    # Every one of them could be the start of a special token.
    "starts of special tokens": _repeat("<|"),
    "special tokens without their end": _repeat("<|start"),
    "reserved tokens cut short": _repeat("<|reserved_20101"),
}
