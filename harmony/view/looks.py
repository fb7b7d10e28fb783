"""What tokens look like."""

from __future__ import annotations

from harmony.encoding import HarmonyEncoding
from harmony.visible import visible


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
