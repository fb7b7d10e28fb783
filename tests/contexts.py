"""Every code point of Unicode in surroundings that ask a splitter to look at it."""

from collections.abc import Iterator

from strategies import scalar_values

# "@" is the code point on trial. Each unit ends in a character that keeps it apart from the next
# one.
CONTEXTS = {
    "between lower-case letters": "a@b. ",
    "between upper-case letters": "A@B. ",
    "after a case change": "aB@c. ",
    "between digits": "1@2. ",
    "between spaces": " @ x ",
    "between newlines": "\n@\nx. ",
    "between punctuation": "!@!x ",
    "between an apostrophe and s": "x'@s ",
    "between an apostrophe and a space": "x'@ ",
    "before a contraction": "x@'s ",
    "between marks": "x\u0301@\u0301x ",
    "between caseless letters": "\u4e2d@\u4e2d. ",
    "after a space, before a letter": "x @y. ",
    "four in a row": " @@@@ x",
}
CODE_POINTS_IN_A_TEXT = 4096
# From here on nearly all is unassigned or private, of one class: one context has all of it, each of
# the others one code point of so many.
RARE, RARE_STEP = 0x40000, 16
EVERYTHING = CONTEXTS["between lower-case letters"]


def code_point_texts(context: str) -> Iterator[str]:
    """All of Unicode in one context, a few thousand code points to the text."""
    characters = scalar_values()
    assert len(characters) == 0x110000 - 0x800
    if context != EVERYTHING:
        first = RARE + len(context) % RARE_STEP
        characters = [
            *filter(chr(RARE).__gt__, characters),
            *map(chr, range(first, 0x110000, RARE_STEP)),
        ]
    for start in range(0, len(characters), CODE_POINTS_IN_A_TEXT):
        yield "".join(
            context.replace("@", each) for each in characters[start : start + CODE_POINTS_IN_A_TEXT]
        )
