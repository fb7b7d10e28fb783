"""Special tokens: names <-> ids, and where they stand in a text.

A special token is a name such as `<|start|>` with an id of its own, outside the ranks. Text never
becomes one unless the caller allows it. Names are looked for with one compiled pattern per set of
names, kept between calls; for the built-in vocabularies, whose names share a beginning, a text
without that beginning needs no pattern at all.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harmony.errors import HarmonyError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Text = str | Buffer

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


# Names that branch more often than this on their way, as those of special tokens never do, are
# tried one by one from there on: patterns cannot be nested without end.
MOST_BRANCHINGS = 12


@functools.lru_cache(maxsize=64)
def _pattern_of(names: frozenset[str], for_str: bool) -> re.Pattern[Any]:
    """Any of these names; where several start at one place, the longest."""
    # Sorted like this, a name comes before its own beginnings, which makes the longest win.
    pattern = _any_of(sorted(names, reverse=True), MOST_BRANCHINGS)
    return re.compile(pattern if for_str else pattern.encode("utf-8", "surrogatepass"))


def _any_of(names: list[str], most_branchings: int) -> str:
    """A pattern for any of these names, which decides by one character at a time: to try 1,091
    names in turn wherever one might begin would take hundreds of times as long."""
    if len(names) == 1 or most_branchings == 0:
        return "|".join(map(re.escape, names))
    shared = _shared_beginning(names)
    rest = [name[len(shared) :] for name in names]
    branches = [
        _any_of(list(group), most_branchings - 1)
        for _, group in itertools.groupby(rest, lambda name: name[:1])
    ]
    return f"{re.escape(shared)}(?:{'|'.join(branches)})"


class SpecialTokens:
    """The special tokens of one vocabulary. Read-only."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        self.names = frozenset(ids)
        self.name_of = {token: name for name, token in ids.items()}
        # What every name begins with; "" (which is in every text) if nothing.
        self.marker = _shared_beginning(ids)

    def may_occur_in(self, text: Text) -> bool:
        """False if `text` holds no special token: a quick look that settles most texts."""
        if isinstance(text, str):
            return bool(self.names) and self.marker in text
        return bool(self.names) and re.search(re.escape(self.marker.encode()), text) is not None

    def refuse(self, text: Text, disallowed: frozenset[str]) -> None:
        """Raise HarmonyError if one of the `disallowed` strings occurs in `text`."""
        for name in disallowed:
            if not isinstance(name, str):
                raise TypeError(f"disallowed_special holds {name!r}, which is not a str")
        found = disallowed and _pattern_of(disallowed, isinstance(text, str)).search(text)
        if found:
            raise_disallowed_special_token(_as_str(found.group()))

    def refuse_all_but(self, text: Text, allowed: frozenset[str]) -> None:
        """Raise HarmonyError if a special token that is not in `allowed` occurs in `text`."""
        if allowed is self.names:
            return
        pattern = _pattern_of(self.names, isinstance(text, str))
        found = pattern.search(text)
        while found:
            name = _as_str(found.group())
            if name not in allowed:
                raise_disallowed_special_token(name)
            found = pattern.search(text, found.start() + 1)

    def spans(self, text: Text, allowed: frozenset[str]) -> Iterator[tuple[int, int, int]]:
        """(start, stop, id) of each of the special tokens `allowed` in `text`, in order."""
        if allowed:
            for found in _pattern_of(allowed, isinstance(text, str)).finditer(text):
                yield found.start(), found.end(), self.ids[_as_str(found.group())]


def _as_str(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


def raise_disallowed_special_token(token: str) -> None:
    """Raise the HarmonyError for text that looks like a special token which is not allowed."""
    raise HarmonyError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        "If you want this text to be encoded as a special token, pass it to `allowed_special`, "
        f"e.g. `allowed_special={{'{token}', ...}}`.\n"
        "If you want this text to be encoded as normal text, disable the check for this token by "
        f"passing `disallowed_special=(enc.special_tokens_set - {{'{token}'}})`.\n"
        "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
    )
