"""How many random examples the suite draws: HARMONY_EXAMPLES multiplies every such number (a float,
1 unless set)."""

import os

FACTOR = float(os.environ.get("HARMONY_EXAMPLES", "1"))


def scaled(count: int) -> int:
    return max(1, round(count * FACTOR))
