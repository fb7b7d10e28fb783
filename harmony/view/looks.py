"""What characters and tokens look like where some could not be seen, or could do harm."""

from __future__ import annotations

import unicodedata

from harmony.encoding import HarmonyEncoding

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


def token_look(encoding: HarmonyEncoding, token: int) -> tuple[str, bool]:
    """A token as text that can be seen, and whether it is a control token or none at all."""
    try:
        content = encoding.decode_single_token_bytes(token)
    except (KeyError, OverflowError):
        return f"[no token {token}]", True
    if encoding.is_special_token(token):
        return content.decode(), True
    try:
        return visible(content.decode().replace("\n", "↵"), ""), False
    except UnicodeDecodeError:
        return f"<{content.hex(' ')}>", False
