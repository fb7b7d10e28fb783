"""Programs run in a fresh interpreter: what is measured there owes nothing to the tests before."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = str(Path(__file__).parent)


def environment(**variables: str) -> dict[str, str]:
    """The environment of this process; the modules of this folder can be imported in it."""
    search_path = os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": search_path, **variables}


def run(program: str, *arguments: str, **variables: str) -> str:
    """Standard output of a Python program; its failure is ours."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
