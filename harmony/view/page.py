"""One HTML page that shows a stream: everything in one file, nothing loaded from elsewhere.

page.html has the places, page.css the looks, page.js draws what is in the JSON that is put into the
page. The page's own policy allows exactly that script and that style sheet, and no connection.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

from harmony.view.replay import Entry, Replay, entries_of_diagnostics

_PLACE = re.compile(r"\{\{(\w+)\}\}")


def page(replay: Replay, *, title: str = "Conversation") -> str:
    """The page, as text to be written to a file in UTF-8."""
    script, style = _file("page.js"), _file("page.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    places = {
        "policy": policy,
        "title": html.escape(title),
        "style": style,
        "data": _inside_script(page_data(replay)),
        "script": script,
    }
    return _PLACE.sub(lambda place: places[place[1]], _file("page.html"))


@functools.cache
def _file(name: str) -> str:
    return (files("harmony.view") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()


def _inside_script(value: Any) -> str:
    """JSON that a page may hold in a script element: nothing in it can end or begin a tag."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page_data(replay: Replay) -> dict[str, Any]:
    """What page.js draws; lengths of text count UTF-16 units, as scripts do."""
    encoding = replay.encoding
    names: dict[int, str] = {}
    token_bytes: dict[int, str | None] = {}
    for token in set(replay.ids):
        try:
            content = encoding.decode_single_token_bytes(token)
        except (KeyError, OverflowError):
            token_bytes[token] = None
            continue
        token_bytes[token] = content.hex()
        if encoding.is_special_token(token):
            names[token] = content.decode()
    number = iter(range(len(replay.entries)))
    return {
        "ids": replay.ids,
        "bytes": token_bytes,
        "names": names,
        "parts": replay.parts,
        "states": "".join(state.value[0] for state in replay.states),
        "mask": None if replay.mask is None else "".join("01"[bit] for bit in replay.mask),
        "entries": [
            _entry(entry, next(number) if entry.message else None) for entry in replay.entries
        ],
        "diagnostics": [
            {
                "kind": str(what.kind),
                "span": what.token_span,
                "text": what.text,
                "at": at,
                "entry": entry,
            }
            for (what, at), entry in zip(
                replay.diagnostics, entries_of_diagnostics(replay), strict=True
            )
        ],
    }


def _entry(entry: Entry, number: int | None) -> dict[str, Any]:
    fields = {
        "span": entry.span,
        "headerStop": entry.header_stop,
        "text": entry.text,
        "cuts": _utf16_cuts(entry),
    }
    message = entry.message
    if message is None:
        return fields
    return {
        **fields,
        "number": number,
        "role": message.author.role.value,
        "name": message.author.name,
        "channel": message.channel,
        "recipient": message.recipient,
        "type": message.content_type,
        "complete": getattr(message, "complete", True),
        "out": entry.is_left_out,
        "code": message.recipient is not None and message.author.role.value == "assistant",
    }


def _utf16_cuts(entry: Entry) -> list[tuple[int, int]]:
    if entry.text.isascii():
        return entry.cuts
    cuts = []
    length = at = 0
    for n_read, n_characters in entry.cuts:
        length += len(entry.text[at:n_characters].encode("utf-16-le")) // 2
        at = n_characters
        cuts.append((n_read, length))
    return cuts
