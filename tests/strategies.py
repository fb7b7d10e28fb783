"""Texts that hurt a tokenizer.

`ATOMS` are short strings, grouped by what they are good for. Two things draw from them:
`random_texts`, a seeded generator fast enough for hundreds of thousands of texts, and hypothesis
strategies, which shrink what they find.
"""

import functools
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from hypothesis import strategies as st
from reference.splitter import WHITE_SPACE, stand_in

CONTRACTIONS = [
    "'" + letters
    for lower in ("s", "t", "re", "ve", "m", "ll", "d")
    for letters in sorted({lower, lower.upper(), lower.title(), lower[:1] + lower[1:].upper()})
]
NEWLINES = ["\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\n\r"]
SPECIALS = [
    *["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>"],
    *["<|call|>", "<|startoftext|>", "<|endoftext|>", "<|endofprompt|>"],
    *["<|reserved_200000|>", "<|reserved_200014|>", "<|reserved_200018|>", "<|reserved_201088|>"],
]
NEARLY_SPECIAL = [
    *["<|", "|>", "<", "<|star", "<|start", "<|start|", "<|start>", "<|start |>", "<|START|>"],
    *["<|<|end|>", "<|end|>|>", "<|en<|end|>d|>", "<|refusal|>", "\uff1cstart\uff1e"],
    *["<|reserved_199998|>", "<|reserved_200002|>", "<|reserved_201089|>", "<|reserved_0200014|>"],
    "<|reserved_",
]

# Letters that a reader could take for others are written by their numbers.
ATOMS: dict[str, list[str]] = {
    "lower": [*"abestrvmldxyzßéяωǆﬁ𐐨ꭰ\u017f\U0001d41a"],
    "upper": [*"ABESTRVMLDXYZÉЯΣǄİ𐐀Ა\u13a0\U0001d400"],
    "title": [*"ǅǈǋǲᾈῼ"],
    "modifier": [*"ʰˮᵃ々ーๆـｰ\U00016b40"],
    "caseless": [*"ªºƻאعกकあア中한𐀀\u01c0\U000323af"],
    "mark": [*"\u0301\u0308\u0345\u0903\u094d\u20dd\u3099\ufe0f\U000e0100"],
    "number": [*"01٣९²½Ⅷ௲\u3007\U0001d7d7\U0001fbf0", "42", "999", "1234"],
    "space": [" ", "  ", "   ", "\t", "\t\t", *sorted(WHITE_SPACE)],
    "newline": [*NEWLINES, " \n", "\n ", "\t\r\n  ", "\u3000\n", "\x0b\n", "\u2028\n", "\u0085\r"],
    "not a space": [*"\x1c\x1d\x1e\x1f\u180e\u200b\u200c\u200d\u2060\ufeff"],
    "punctuation": [*"!.,:;-_=+*#/\\^~`|(){}[]<>\"'@$%&?€«。、「\u2019\u0000", "//", "/\n"],
    "contraction": [
        *CONTRACTIONS,
        *["'", "''", "'l", "'r", "'v", "'x", "'st", "'s's", "'LL've", "\u2019s", "'\u017f"],
    ],
    "special": [*SPECIALS, *NEARLY_SPECIAL],
    "emoji": [
        *["😀", "🫠", "\u2620", "👍🏽", "🇩🇪", "❤\ufe0f", "1\ufe0f\u20e3"],
        *["👩\u200d👩\u200d👧", "🏴\U000e0067\U000e007f"],
    ],
    "cjk": [
        *"的一是不了我他这中大国人上们時書語漢字𠀀豈㍿",
        *["ひらがな", "カタカナ", "한국어", "안녕", "ﾊﾝｶｸ"],
    ],
    "word": [
        *["the", "Hello", "WORLD", "camelCase", "HTTPServer", "snake_case", "naïve"],
        *["Straße", "ΕΛΛΆΔΑ", "don't"],
    ],
    "width": [*"\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"],
}


@functools.cache
def scalar_values() -> list[str]:
    """Every code point that can stand in valid text: all but the surrogates."""
    return [chr(codepoint) for codepoint in range(0x110000) if not 0xD800 <= codepoint < 0xE000]


@functools.cache
def class_edges() -> list[str]:
    """Both characters at every place where the class of the pattern changes from one code point to
    the next."""
    edges = []
    for before, character in pairwise(scalar_values()):
        if stand_in(before) != stand_in(character):
            edges += [before, character]
    return edges


def random_texts(count: int, seed: int, vocabulary: Sequence[str] = ()) -> Iterator[str]:
    """`count` short texts, the same for the same seed; `vocabulary` adds tokens, whole and cut."""
    rng = random.Random(seed)
    groups = [*ATOMS.values(), class_edges()]
    if vocabulary:
        groups += [_cut_tokens(rng, vocabulary)] * 3
    for _ in range(count):
        yield _random_text(rng, groups)


def _random_text(rng: random.Random, groups: list[list[str]]) -> str:
    # Few groups in one text: what goes wrong goes wrong between two or three classes.
    chosen = rng.choices(groups, k=rng.randint(1, 4))
    parts = [rng.choice(rng.choice(chosen)) for _ in range(rng.randint(1, 12))]
    if rng.random() < 0.15:
        at = rng.randrange(len(parts))
        parts[at] *= rng.randint(2, 40)
    return "".join(parts)


def _cut_tokens(rng: random.Random, vocabulary: Sequence[str]) -> list[str]:
    """Long tokens whole, and both halves of a cut: the pieces merging must not be tempted by."""
    cut = []
    for token in rng.sample(vocabulary, min(len(vocabulary), 4000)):
        at = rng.randint(0, len(token))
        cut += [token, token[:at], token[at:]]
    return [text for text in cut if text]


# Hypothesis

_atoms = st.one_of([st.sampled_from(group) for group in ATOMS.values()])
_characters = st.characters(exclude_categories=("Cs",))
_runs = st.builds(str.__mul__, st.one_of(_atoms, _characters), st.integers(2, 300))


def texts(max_parts: int = 20) -> st.SearchStrategy[str]:
    """Valid text."""
    return st.lists(st.one_of(_atoms, _atoms, _characters, _runs), max_size=max_parts).map("".join)


def surrogate_texts() -> st.SearchStrategy[str]:
    """Text with surrogates, alone, paired and in the wrong order."""
    surrogates = st.sampled_from(
        ["\ud800", "\udbff", "\udc00", "\udfff", "\ud83d\ude00", "\ude00\ud83d", "\ud83d"]
    )
    return st.lists(st.one_of(surrogates, _atoms, _characters), max_size=12).map("".join)


def damaged_utf8() -> st.SearchStrategy[bytes]:
    """Bytes that are UTF-8 here and there: random ones, and valid text with bytes put in, cut and
    overwritten."""
    hostile = st.sampled_from(
        [
            b"\x80",
            b"\xbf",
            b"\xc0\x80",
            b"\xe2\x82",
            b"\xed\xa0\x80",
            b"\xf0\x9f",
            b"\xf4\x90\x80\x80",
            b"\xff",
        ]
    )
    valid = texts(4).map(str.encode)
    cut = st.tuples(valid, st.integers(0, 8)).map(lambda pair: pair[0][: -pair[1] or None])
    return st.lists(st.one_of(st.binary(max_size=20), hostile, valid, cut), max_size=6).map(
        b"".join
    )


def token_ids(last: int = 201_088) -> st.SearchStrategy[list[int]]:
    """Ids of the vocabulary; most of them no encoding of anything, many cut inside a character."""
    return st.lists(st.one_of(st.integers(0, last), st.integers(0, 255)), max_size=30)
