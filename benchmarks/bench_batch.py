"""Batches on two threads: documents of 1 KB to 100 KB that the process has never seen.

Each sample is one pass in a process of its own, so that no cache knows the text; samples of all
contenders take turns and the least wall time counts. A digest of all ids is compared before any
time is shown. `python -m benchmarks.bench_batch [--rounds N] [--threads N]`.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import contenders, corpora

# The first is what all others are compared with.
CALLS = {
    "cyharmony: encode_batch_to_numpy": "ours",
    "cyharmony: encode_batch_to_numpy, one thread": "ours",
    "cyharmony: encode_batch": "our_lists",
    "gigatoken: encode_batch": "gigatoken",
    "tiktoken: encode_ordinary_batch": "tiktoken",
}
SMALLEST, LARGEST = 1_000, 100_000
# Threads that numpy starts for linear algebra spin for a while on the other core before they sleep.
SECONDS_OF_REST = 0.5
# All corpora, shuffled: so much text that starting threads and filling caches weigh little.
MIXED = "all four"


def documents(corpus: str) -> list[str]:
    """The text of a corpus in documents whose sizes are spread evenly over their logarithm."""
    if corpus == MIXED:
        mixed = [text for name in corpora.CORPORA for text in documents(name)]
        random.Random(corpus).shuffle(mixed)
        return mixed
    text = "\n".join(corpora.load(corpus))
    rng = random.Random(corpus)
    made = []
    at = 0
    while at < len(text):
        n = round(SMALLEST * (LARGEST / SMALLEST) ** rng.random())
        made.append(text[at : at + n])
        at += n
    return made


def call_of(name: str, n_threads: int) -> Callable[[Sequence[str]], Any]:
    """The call that is timed. Its library is loaded, its caches know nothing."""
    kind = CALLS[name]
    if name.endswith("one thread"):
        n_threads = 1
    if kind in ("ours", "our_lists"):
        import harmony

        tokenizer = harmony.get_tokenizer("o200k_base")
        encode = tokenizer.encode_batch_to_numpy if kind == "ours" else tokenizer.encode_batch
        return lambda texts: encode(texts, num_threads=n_threads, disallowed_special=())
    if kind == "gigatoken":
        os.environ["RAYON_NUM_THREADS"] = str(n_threads)
        gigatoken = contenders._gigatoken()
        return lambda texts: gigatoken.encode_batch(texts, parallel=n_threads > 1)
    encoding = contenders._tiktoken()
    return lambda texts: encoding.encode_ordinary_batch(texts, num_threads=n_threads)


def sample(name: str, corpus: str, n_threads: int) -> dict[str, Any]:
    """Seconds of one pass, and a digest of what came out."""
    call = call_of(name, n_threads)
    texts = documents(corpus)
    call(["Hello"] * 4)
    gc.collect()
    gc.disable()
    time.sleep(SECONDS_OF_REST)
    start = time.perf_counter()
    result = call(texts)
    seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for ids in result:
        digest.update(np.asarray(ids, np.uint32).tobytes() + b"|")
    n_bytes = sum(len(text.encode()) for text in texts)
    return {"seconds": seconds, "digest": digest.hexdigest(), "bytes": n_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sample", nargs=2, metavar=("CALL", "CORPUS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sample:
        print(json.dumps(sample(*given.sample, given.threads)))
        return
    print(f"| {given.threads} threads, MB/s (times as slow) | {' | '.join(CALLS)} |")
    print("|---" * (len(CALLS) + 1) + "|")
    for corpus in [*corpora.CORPORA, MIXED]:
        samples: dict[str, list[dict[str, Any]]] = {name: [] for name in CALLS}
        for _ in range(given.rounds):
            for name, taken in samples.items():
                command = [sys.executable, "-m", "benchmarks.bench_batch", "--sample", name, corpus]
                command += ["--threads", str(given.threads)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                taken.append(json.loads(done.stdout))
        if len({one["digest"] for taken in samples.values() for one in taken}) != 1:
            raise SystemExit(f"{corpus}: the ids differ, so there is nothing to time")
        best = [min(one["seconds"] for one in taken) for taken in samples.values()]
        n_bytes = samples[next(iter(CALLS))][0]["bytes"]
        cells = [f"{n_bytes / b / 1e6:.0f} ({b / best[0]:.2f}x)" for b in best]
        print(f"| {corpus} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
