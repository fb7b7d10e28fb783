"""Names of functions <-> recipients, and which recipient means that a function is called.

In a prompt functions are declared as TypeScript, so their names must be identifiers, and a
recipient ends at white space. Names of functions may be anything, `get-weather` for one. What
cannot stand in an identifier is written as its code point, `get_x2d_weather`; what looks like such
an escape is escaped itself, so that every name comes back. An identifier stays as it is.
"""

from __future__ import annotations

import re
import sys

from harmony.calls import FUNCTIONS, is_call
from harmony.messages import Role

_ESCAPE = re.compile(r"_x([0-9a-f]{1,6})_")
# An underscore that may be read as the beginning of an escape, once what follows is escaped.
_MAY_LOOK_ESCAPED = re.compile(r"_(?=x[0-9a-f]{1,6}(.))", re.DOTALL)


def to_identifier(name: str) -> str:
    """The identifier that stands for a function's name in prompts.

    The same as `name` if that is an identifier already, and without escapes in it.
    """
    name = _MAY_LOOK_ESCAPED.sub(
        lambda found: "_" if found[1] != "_" and _may_stand(found[1]) else "_x5f_", name
    )
    escaped = "".join(
        character if _may_stand(character) else f"_x{ord(character):x}_" for character in name
    )
    if escaped[:1].isidentifier():
        return escaped
    return f"_x{ord(escaped[0]):x}_{escaped[1:]}" if escaped else ""


def _may_stand(character: str) -> bool:
    """In an identifier, behind its first character."""
    return ("_" + character).isidentifier()


def from_identifier(identifier: str) -> str:
    """The name that `to_identifier` wrote as `identifier`."""
    return _ESCAPE.sub(_character, identifier)


def _character(escape: re.Match[str]) -> str:
    code = int(escape[1], 16)
    if code > sys.maxunicode or 0xD800 <= code < 0xE000:
        return escape[0]
    return chr(code)


def called_function(recipient: str | None) -> str | None:
    """The name of the function that a message of the assistant to `recipient` calls, or None.

    The recipient alone decides, not the channel: about half of the real calls arrive on analysis.
    """
    if recipient is None or not is_call(Role.ASSISTANT, recipient):
        return None
    return from_identifier(recipient.removeprefix(FUNCTIONS))
