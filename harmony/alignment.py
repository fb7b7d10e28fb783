"""Which characters of a message an id stands for: for logprobs, highlights and spans of labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harmony.encoding import load_harmony_encoding
from harmony.training import RenderedConversation, TokenPart


def character_spans(rendered: RenderedConversation) -> NDArray[np.int64]:
    """int64[n, 2]: for each id of the content of a message the characters (start, stop) that it
    holds a part of, counted in the joined texts of that message; (-1, -1) for all other ids.

    Ids that share a character overlap there. For every message the spans run from 0 to its last
    character without a gap.
    """
    encoding = load_harmony_encoding("HarmonyGptOss")
    spans = np.full((len(rendered.ids), 2), -1, np.int64)
    content = np.flatnonzero(rendered.part == TokenPart.CONTENT)
    if not len(content):
        return spans
    lengths = np.array([len(t) for t in encoding.decode_tokens_bytes(rendered.ids[content])])
    utf8 = np.frombuffer(encoding.decode_bytes(rendered.ids[content]), np.uint8)
    # The number of characters that begin at or before each byte.
    begun = np.cumsum((utf8 & 0xC0) != 0x80)
    ends = np.cumsum(lengths)
    owner = rendered.message_index[content]
    is_first = np.append(True, owner[1:] != owner[:-1])
    first_of = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    # No message ends inside a character, so each begins with one.
    before = begun[(ends - lengths)[first_of]] - 1
    spans[content, 0] = begun[ends - lengths] - 1 - before
    spans[content, 1] = begun[ends - 1] - before
    return spans
