"""The o200k split pattern on Unicode 16, run by the standard library's `re`.

`re` has no \\p{Lu}. So every character is first replaced by a stand-in, one per class of the
pattern, and the pattern is written over the stand-ins. Order of alternatives, greed and
backtracking, in which the difficulty lies, are then those of a real regular expression engine.

Characters that the pattern names one by one stand for themselves: the apostrophe, the slash, the
space, the two newline characters, and the letters of the contractions in every case they fold from
(U+017F is a lower-case s).
"""

import re
from itertools import accumulate

import unicodedata2

assert unicodedata2.unidata_version == "16.0.0", "the pattern is fixed to the classes of Unicode 16"

# The White_Space property, whole. Neither U+001C-001F nor U+200B are in it, though Python calls the
# first ones spaces.
WHITE_SPACE = frozenset(
    map(chr, [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)])
)
WHITE_SPACE |= frozenset("\u2028\u2029\u202f\u205f\u3000")

NAMED = frozenset("'/ \r\n" + "strevmld" + "STREVMLD" + "\u017f")

CASELESS, MARK, NUMBER, BLANK, OTHER = "o^9_."
STAND_INS = {
    "Lu": "X",
    "Lt": "X",
    "Ll": "x",
    "Lm": CASELESS,
    "Lo": CASELESS,
    "Mn": MARK,
    "Mc": MARK,
    "Me": MARK,
    "Nd": NUMBER,
    "Nl": NUMBER,
    "No": NUMBER,
}

UPPER = "XSTREVMLD"
LOWER = "xstrevmld\u017f"
LETTER = UPPER + LOWER + CASELESS
SPACE = r" \r\n" + BLANK
BEFORE_LOWER = f"[{UPPER}{CASELESS}\\{MARK}]"
LOWERED = f"[{LOWER}{CASELESS}\\{MARK}]"
PREFIX = rf"[^\r\n{LETTER}{NUMBER}]?"
CONTRACTION = r"(?:'[sS\u017f]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"

PATTERN = re.compile(
    "|".join(
        [
            f"{PREFIX}{BEFORE_LOWER}*{LOWERED}+{CONTRACTION}",
            f"{PREFIX}{BEFORE_LOWER}+{LOWERED}*{CONTRACTION}",
            f"{NUMBER}{{1,3}}",
            rf" ?[^{SPACE}{LETTER}{NUMBER}]+[\r\n/]*",
            rf"[{SPACE}]*[\r\n]+",
            f"[{SPACE}]+(?![^{SPACE}])",
            f"[{SPACE}]+",
        ]
    )
)


def stand_in(character: str) -> str:
    if character in NAMED:
        return character
    if character in WHITE_SPACE:
        return BLANK
    return STAND_INS.get(unicodedata2.category(character), OTHER)


class _Translation(dict):
    """For `str.translate`: classifies each code point when it is first met."""

    def __missing__(self, codepoint: int) -> str:
        self[codepoint] = stand_in(chr(codepoint))
        return self[codepoint]


_TRANSLATION = _Translation()


def split(text: str) -> list[str]:
    pieces = []
    end = 0
    for match in PATTERN.finditer(text.translate(_TRANSLATION)):
        assert match.start() == end, "the pattern covers any text without a gap"
        end = match.end()
        pieces.append(text[match.start() : end])
    assert end == len(text)
    return pieces


def piece_ends(text: str) -> list[int]:
    """Where each piece ends, in bytes of the UTF-8 text."""
    return list(accumulate(len(piece.encode()) for piece in split(text)))
