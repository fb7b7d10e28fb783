"""Growth on the release build: instructions, counted by valgrind, at 64 and 128 KiB of each family.

What test_growth.py counts are steps of ours; this counts everything, with the conversion of the
text and the search for special tokens, in the build that people run. All families share one
process: `os.getppid()`, which nobody else calls, marks the end of each measurement, and callgrind
writes a file of counts each time it returns.
"""

import re
import shutil
import subprocess
import sys

import pytest
from families import FAMILIES
from processes import environment

from harmony._bpe import build_mode

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif(
        build_mode() != "release", reason="the release build is the one to count instructions of"
    ),
]

AT_MOST = 2.3
SMALL, LARGE = 2**16, 2**17
PROGRAM = """
import os, sys
import harmony
from families import FAMILIES

tokenizer = harmony.get_tokenizer("o200k_harmony")
tokenizer.encode("what is made on first use <|")
texts = [make(int(n_bytes)) for make in FAMILIES.values() for n_bytes in sys.argv[1:]]
os.getppid()
for text in texts:
    tokenizer.encode(text)
    os.getppid()
"""


@pytest.fixture(scope="module")
def instructions(tmp_path_factory):
    """family -> instructions of `encode` for the small and for the large text."""
    counts = tmp_path_factory.mktemp("callgrind") / "counts"
    done = subprocess.run(
        [
            *[
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={counts}",
                "--dump-after=getppid",
            ],
            *[sys.executable, "-c", PROGRAM, str(SMALL), str(LARGE)],
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # The first file holds everything up to the first mark, the one without a number what comes
    # after the last.
    files = [counts.with_name(f"counts.{number}") for number in range(2, 2 + 2 * len(FAMILIES))]
    totals = [int(re.search(r"(?m)^totals: (\d+)$", file.read_text())[1]) for file in files]
    return dict(zip(FAMILIES, zip(totals[::2], totals[1::2], strict=True), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_families(instructions, family):
    small, large = instructions[family]
    assert small > SMALL / 4, "each character is looked at"
    assert large <= AT_MOST * small
