"""What a conversation or a stream of ids looks like: in a terminal, on a page, in a notebook.

replay      reads a stream id by id and notes what the parser makes of it
page        one HTML page without anything from elsewhere
terminal    text with colours, through rich
notebook    the `_repr_html_` of conversations and messages
"""

from harmony.view.page import page
from harmony.view.replay import Entry, Replay, replay

__all__ = ["Entry", "Replay", "page", "replay"]
