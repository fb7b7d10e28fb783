"""First pass over text never seen: a new process per sample, so that no cache knows the text.

`python -m benchmarks.fresh_process TASK CONTENDER CORPUS LIMIT` loads one contender, encodes one
short text (the library is then ready, its caches are not), times one pass, prints it as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks import contenders, corpora
from benchmarks.timing import Sample, measure


def first_pass(
    task: str, contender: contenders.Contender, corpus: str, limit: int | None
) -> Sample:
    """One sample from a process of its own (which inherits the CPU this one is pinned to)."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.fresh_process",
        task,
        contender.key,
        corpus,
        str(limit or 0),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{contender.key} failed in a process of its own:\n{done.stderr}")
    sample: Sample = json.loads(done.stdout)
    return sample


def main() -> None:
    task, key, corpus, limit = sys.argv[1:]
    texts = corpora.load(corpus, limit=int(limit) or None)
    loaded = contenders.find(task, key).load()
    loaded.run(["Hello"])
    print(json.dumps(measure(loaded.run, texts)))


if __name__ == "__main__":
    main()
