"""Special tokens: names <-> ids, and where they stand in a text.

A special token is a name such as `<|start|>` with an id of its own, outside the ranks. Text never
becomes one unless the caller allows it. Names are looked for with one compiled pattern per set of
names, kept between calls; for the built-in vocabularies, whose names share a beginning, a text
without that beginning needs no pattern at all.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from harmony.errors import HarmonyError

FIRST_SPECIAL = 199_998
LAST_SPECIAL = 201_088
_HARMONY_NAMES = {
    199_998: "<|startoftext|>",
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
}
O200K_HARMONY_SPECIALS = {
    _HARMONY_NAMES.get(token, f"<|reserved_{token}|>"): token
    for token in range(FIRST_SPECIAL, LAST_SPECIAL + 1)
}
O200K_BASE_SPECIALS = {"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018}


def _shared_beginning(names: Iterable[str]) -> str:
    """The longest string that every name starts with."""
    first, last = min(names, default=""), max(names, default="")
    length = 0
    while length < len(first) and first[length] == last[length]:
        length += 1
    return first[:length]


@functools.lru_cache(maxsize=64)
def _pattern_of(names: frozenset[str], as_bytes: bool) -> re.Pattern:
    """Any of these names; where several start at one place, the longest."""
    longest_first = sorted(names, key=len, reverse=True)
    if as_bytes:
        return re.compile(b"|".join(re.escape(name.encode()) for name in longest_first))
    # What the names begin with comes first, once: the engine then skips to it quickly.
    shared = _shared_beginning(longest_first)
    endings = "|".join(re.escape(name[len(shared) :]) for name in longest_first)
    return re.compile(f"{re.escape(shared)}(?:{endings})")


class SpecialTokens:
    """The special tokens of one vocabulary. Read-only."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        self.names = frozenset(ids)
        self.name_of = {token: name for name, token in ids.items()}
        # What every name begins with; "" (which is in every text) if nothing.
        self.marker = _shared_beginning(ids)

    def refuse(self, text: str | bytes, disallowed: frozenset[str]) -> None:
        """Raise HarmonyError if one of the `disallowed` strings occurs in `text`."""
        if not disallowed:
            return
        as_bytes = not isinstance(text, str)
        if disallowed <= self.names and not self._may_hold_name(text):
            return
        found = _pattern_of(disallowed, as_bytes).search(text)
        if found:
            name = found.group().decode() if as_bytes else found.group()
            raise_disallowed_special_token(name)

    def spans(self, text: str | bytes, allowed: frozenset[str]) -> Iterator[tuple[int, int, int]]:
        """(start, stop, id) of each `allowed` name in `text`, from left to right."""
        allowed = allowed & self.names
        if not allowed or not self._may_hold_name(text):
            return
        as_bytes = not isinstance(text, str)
        for found in _pattern_of(allowed, as_bytes).finditer(text):
            name = found.group().decode() if as_bytes else found.group()
            yield found.start(), found.end(), self.ids[name]

    def _may_hold_name(self, text: str | bytes) -> bool:
        if isinstance(text, str):
            return self.marker in text
        return bytes.find(text, self.marker.encode()) >= 0 if isinstance(text, bytes) else True


def names_from(value: Collection[str], option: str) -> frozenset[str]:
    """The strings of an `allowed_special` or `disallowed_special` argument."""
    names = frozenset(value)
    for name in names:
        if not isinstance(name, str):
            raise ValueError(
                f"invalid {option}: {name!r} is {type(name).__name__}, "
                "names of special tokens are str"
            )
    return names


def raise_disallowed_special_token(token: str) -> None:
    """Raise the HarmonyError for text that looks like a special token which is not allowed."""
    raise HarmonyError(
        "Encountered text corresponding to disallowed special token "
        f"{token!r}.\n"
        "If you want this text to be encoded as a special token, pass it to `allowed_special`, "
        f"e.g. `allowed_special={{{token!r}, ...}}`.\n"
        "If you want this text to be encoded as normal text, disable the check for this token by "
        f"passing `disallowed_special=(enc.special_tokens_set - {{{token!r}}})`.\n"
        "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
    )
