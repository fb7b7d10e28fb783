"""Conversations, messages and rendered results in a notebook: HTML without any script."""

from __future__ import annotations

import functools
import html
from importlib.resources import files

from harmony.messages import Conversation, Message
from harmony.training import RenderedConversation
from harmony.view.looks import token_look
from harmony.view.replay import Entry, Replay, replay
from harmony.visible import visible

# More than this is not drawn: notebooks keep what they show.
_MOST_MESSAGES = 200
_MOST_TOKENS = 5_000


def html_of(source: Conversation | Message | RenderedConversation) -> str | None:
    """The `_repr_html_` of these; None, which means the plain `repr`, for what cannot be rendered.

    A rendered result is shown with its tokens, those that the loss counts underlined.
    """
    try:
        read = replay(source)
    except Exception:  # content of a class of one's own may raise anything
        return None
    with_tokens = isinstance(source, RenderedConversation) and len(read.ids) <= _MOST_TOKENS
    sections = [_section(read, entry, with_tokens) for entry in read.entries[:_MOST_MESSAGES]]
    if (n_more := len(read.entries) - _MOST_MESSAGES) > 0:
        sections.append(f"<p>… and {n_more:,} more</p>")
    return f'<style>{_style()}</style><div class="harmony">{"".join(sections)}</div>'


@functools.cache
def _style() -> str:
    return (files("harmony.view") / "notebook.css").read_text(encoding="utf-8")


def _section(read: Replay, entry: Entry, with_tokens: bool) -> str:
    message = entry.message
    title, classes = "skipped", []
    about = []
    if message is not None:
        title = message.author.role.value
        classes.append(title)
        about = [message.author.name, message.channel]
        about.append(message.recipient and f"→ {message.recipient}")
        about.append(message.content_type)
        if message.channel == "analysis":
            classes.append("analysis")
        if entry.is_left_out:
            classes.append("out")
            about.append("(left out of the ids)")
    shown = " ".join(_escaped(part, "") for part in about if part)
    return (
        f'<section class="{" ".join(classes)}"><h4>{title} <small>{shown}</small></h4>'
        f"<p>{_escaped(entry.text)}</p>{_tokens(read, entry) if with_tokens else ''}</section>"
    )


def _tokens(read: Replay, entry: Entry) -> str:
    pieces = []
    for position in range(*entry.span):
        token = read.ids[position]
        text, is_control = token_look(read.encoding, token)
        trained = ' class="t"' if read.mask is not None and read.mask[position] else ""
        tag = "b" if is_control else "i"
        shown = html.escape(text).replace("↵", "↵\n")
        pieces.append(f'<{tag}{trained} title="{token} at {position}">{shown}</{tag}>')
    return f"<div>{''.join(pieces)}</div>"


def _escaped(text: str, keep: str = "\n\t") -> str:
    return html.escape(visible(text, keep))
