"""How many random examples the suite draws: HARMONY_EXAMPLES multiplies every such number (a float,
1 unless set). And by how much sizes are divided in the debug build."""

import os

from harmony._bpe import build_mode

FACTOR = float(os.environ.get("HARMONY_EXAMPLES", "1"))
# The debug build is an order of magnitude slower, and proportions show at any size.
SHRINK = 8 if build_mode() == "debug" else 1


def scaled(count: int) -> int:
    return max(1, round(count * FACTOR))
