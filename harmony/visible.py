"""Text with everything that is not seen, or could do harm, as an escape."""

from __future__ import annotations

import unicodedata

# Kinds of characters that are not seen, that turn text around, or that a terminal obeys.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def visible(text: str, keep: str = "\n\t") -> str:
    """`text` with everything that is not seen as its escape, such as `\\x1b`; `keep` stays."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _UNSEEN
        else character.encode("unicode_escape").decode()
        for character in text
    )
