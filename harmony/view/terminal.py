"""A stream in a terminal: coloured by role, channel and part; and two streams side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harmony.view.looks import token_look
from harmony.view.replay import Entry, Replay, entries_of_diagnostics
from harmony.visible import visible

_STYLES = {
    "system": "bright_black",
    "developer": "magenta",
    "user": "blue",
    "assistant": "green",
    "tool": "yellow",
}
_CONTROL = "dark_orange3"
_TOKENS = ("", "underline")
_PARTS = {"S": "start", "H": "header", "C": "content", "E": "end", "-": "skipped"}


def show(replay: Replay, console: Console | None = None, *, ids: bool = False) -> None:
    """Print a stream; `ids`: with each token and its id."""
    console = Console() if console is None else console
    for renderable in renderables(replay, ids=ids):
        console.print(renderable)


def renderables(replay: Replay, *, ids: bool = False) -> Iterator[RenderableType]:
    """The stream message by message, as rich prints it."""
    notes = defaultdict(list)
    for (diagnostic, _), owner in zip(
        replay.diagnostics, entries_of_diagnostics(replay), strict=True
    ):
        notes[owner].append(diagnostic)
    for index, entry in enumerate(replay.entries):
        parts: list[RenderableType] = [_title(entry)]
        if entry.text:
            parts.append(Text(visible(entry.text), style=_body_style(entry)))
        if ids and not entry.is_left_out:
            parts.append(_tokens(replay, *entry.span))
        for diagnostic in notes[index]:
            text = f"{diagnostic.kind} {visible(diagnostic.text, '')}"
            parts.append(Text(text, style=_CONTROL))
        yield Group(parts[0], Padding(Group(*parts[1:]), (0, 0, 1, 2)))


def _title(entry: Entry) -> Text:
    message = entry.message
    if message is None:
        return Text("skipped", style="bright_black")
    role = message.author.role.value
    title = Text(role, style=f"bold {_STYLES[role]}")
    if message.author.name:
        title.append(f" {visible(message.author.name, '')}", _STYLES[role])
    if message.channel:
        title.append(f" {visible(message.channel, '')}", "bright_black")
    if message.recipient:
        title.append(f" → {visible(message.recipient, '')}")
    if message.content_type:
        title.append(f" {visible(message.content_type, '')}", "bright_black")
    if entry.is_left_out:
        title.append("  left out of the ids", _CONTROL)
    elif not getattr(message, "complete", True):
        title.append("  unfinished", _CONTROL)
    return title


def _body_style(entry: Entry) -> str:
    message = entry.message
    return "bright_black" if message is not None and message.channel == "analysis" else ""


def _tokens(replay: Replay, start: int, stop: int) -> Text:
    line = Text()
    for position in range(start, stop):
        token = replay.ids[position]
        text, is_control = token_look(replay.encoding, token)
        line.append(text, _CONTROL if is_control else _TOKENS[position % 2])
        line.append(f" {token} ", "bright_black")
    return line


# two streams


def first_difference(a: list[int], b: list[int]) -> int | None:
    """The first position at which two lists of ids differ; None if they are equal."""
    for position, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return position
    return None if len(a) == len(b) else min(len(a), len(b))


def difference(a: Replay, b: Replay, names: tuple[str, str], context: int = 6) -> Table | None:
    """Two streams side by side around the first id that differs; None if all are equal."""
    at = first_difference(a.ids, b.ids)
    if at is None:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right", style="bright_black")
    for name in names:
        table.add_column(Text(visible(name, "")), overflow="fold")
        table.add_column("id", justify="right", style="bright_black")
        table.add_column("", style="bright_black")
    stop = min(at + context + 1, max(len(a.ids), len(b.ids)))
    for position in range(max(0, at - context), stop):
        cells = [_cells(replay, position, position >= at) for replay in (a, b)]
        left, right = (cell or (Text("-"), "", "") for cell in cells)
        table.add_row(f"{position:,}", *left, *right)
    return table


def _cells(replay: Replay, position: int, may_differ: bool) -> tuple[Text, str, str] | None:
    if position >= len(replay.ids):
        return None
    token = replay.ids[position]
    text, is_control = token_look(replay.encoding, token)
    style = _CONTROL if is_control else "bold" if may_differ else "bright_black"
    return Text(text, style=style), str(token), _PARTS[replay.parts[position]]
