"""The encoder takes no more instructions for a byte than was recorded: a loss shows without a
clock."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks is not an installed package

from benchmarks import instructions
from harmony._bpe import build_mode
from harmony._segments import tiers

SLACK = 1.05
RECORD = instructions.recorded().get(instructions.key())

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif(build_mode() != "release", reason="counts are of the release build"),
    pytest.mark.skipif(
        RECORD is None, reason=f"benchmarks/results has no counts for {instructions.key()}"
    ),
]


@pytest.mark.parametrize("tier", instructions.TIERS)
def test_instructions_for_each_byte(tier):
    if tier not in tiers():
        pytest.skip(f"this processor has no {tier}")
    for name, value in instructions.count(tier).items():
        assert value <= SLACK * RECORD[tier][name], f"{name}: the record is {RECORD[tier][name]}"
