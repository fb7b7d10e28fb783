"""The ways in which the encoder can be told to work. None changes any id."""

import contextlib
from collections.abc import Iterator

from harmony._encode import use_caches
from harmony._segments import tiers, use_cuts, use_tier

BEST = tiers()[-1]
# tier, size of the caches, whether pieces are cut
WAYS = {
    **{tier: (tier, "", True) for tier in tiers()},
    "no caches": (BEST, "off", True),
    "tiny caches": (BEST, "tiny", True),
    "no cuts": (BEST, "", False),
    "plain": ("scalar", "off", False),
}


@contextlib.contextmanager
def working(way: str) -> Iterator[None]:
    tier, caches, cuts = WAYS[way]
    try:
        use_tier(tier)
        use_caches(caches)
        use_cuts(cuts)
        yield
    finally:
        use_tier("")
        use_caches("")
        use_cuts(True)
