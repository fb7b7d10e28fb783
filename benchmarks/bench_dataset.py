"""The job JSON lines -> Parquet: what it costs beside its parts, what memory it takes, what a kill
does to it.

The parts are reading the same file with pyarrow, encoding the texts, and writing the same rows with
pyarrow, one after the other, each with all threads. Both take turns; the least wall time counts.
`python -m benchmarks.bench_dataset [--memory MB MB ...] [--kills N]`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

import harmony
from benchmarks import corpora
from benchmarks.bench_batch import documents
from harmony import datasets

JOB = "import sys; from harmony import datasets; datasets.encode_dataset(sys.argv[1], sys.argv[2]"
# Not getrusage, which also counts what the process was before it ran this program.
PEAK = "; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"


def write_rows(path: Path, n_bytes: int) -> int:
    """At least so many bytes of JSON lines: the corpora, their documents in another order each
    time. Returns the size of the file."""
    rng = random.Random(1)
    texts = [text for corpus in corpora.CORPORA for text in documents(corpus)]
    with path.open("w", encoding="utf-8") as file:
        number = 0
        while file.tell() < n_bytes:
            rng.shuffle(texts)
            for text in texts:
                file.write(json.dumps({"id": number, "text": text}, ensure_ascii=False) + "\n")
                number += 1
                if file.tell() >= n_bytes:
                    break
    return path.stat().st_size


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def parts(path: Path, out: Path) -> dict[str, float]:
    """Seconds of each part, done by itself."""
    encoding = harmony.load_harmony_encoding("HarmonyGptOss")
    made = {}
    took = {}

    def read() -> None:
        options = pyarrow.json.ReadOptions(block_size=1 << 24)
        made["texts"] = pyarrow.json.read_json(path, read_options=options).column("text")

    def encode() -> None:
        made["ids"] = encoding.encode_arrow(made["texts"], disallowed_special=())

    def write() -> None:
        table = pa.table({"ids": made["ids"]})
        pq.write_table(table, out, compression="zstd", use_dictionary=False, write_statistics=False)

    for call in (read, encode, write):
        took[call.__name__] = seconds(call)
    return took


def compare(folder: Path, n_bytes: int, rounds: int) -> None:
    path = folder / "rows.jsonl"
    size = write_rows(path, n_bytes)
    jobs = []
    sums: list[dict[str, float]] = []
    for _ in range(rounds):
        sums.append(parts(path, folder / "parts.parquet"))
        shutil.rmtree(folder / "job", ignore_errors=True)
        jobs.append(seconds(lambda: datasets.encode_dataset(path, folder / "job")))
    expected = pq.read_table(folder / "parts.parquet")["ids"]
    shards = sorted((folder / "job").glob("*.parquet"))
    if pa.concat_tables([pq.read_table(shard) for shard in shards])["ids"].to_pylist() != (
        expected.to_pylist()
    ):
        raise SystemExit("the job and its parts give different ids")
    best = min(sums, key=lambda took: sum(took.values()))
    total = sum(best.values())
    shown = ", ".join(f"{name} {took:.2f} s" for name, took in best.items())
    print(f"{size / 1e6:.0f} MB: job {min(jobs):.2f} s ({size / min(jobs) / 1e6:.0f} MB/s)")
    print(f"parts: {shown}; sum {total:.2f} s; job / sum {min(jobs) / total:.2f}")


def memory(folder: Path, megabytes: list[int]) -> None:
    for size in megabytes:
        path = folder / f"{size}.jsonl"
        write_rows(path, size * 1_000_000)
        for file_format in ("parquet", "npy"):
            program = f"{JOB}, format={file_format!r}){PEAK}"
            arguments = [sys.executable, "-c", program, str(path), str(folder / "out")]
            done = subprocess.run(arguments, capture_output=True, text=True, check=True)
            print(f"{size} MB to {file_format}: peak {int(done.stdout) / 1024:.0f} MB", flush=True)
            shutil.rmtree(folder / "out")
        path.unlink()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def kill(folder: Path, n_bytes: int, n_kills: int) -> None:
    """Kill as many jobs at random moments, continue each, compare with one left alone."""
    path = folder / "killed.jsonl"
    write_rows(path, n_bytes)
    job = [sys.executable, "-c", f"{JOB}, shard_tokens=200_000)", str(path)]
    took = seconds(lambda: subprocess.run([*job, str(folder / "whole")], check=True))
    rng = random.Random()
    shards = []
    for number in range(n_kills):
        out = folder / f"killed{number}"
        process = subprocess.Popen([*job, str(out)])
        try:
            process.wait(rng.uniform(0.1, 0.9) * took)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shards.append(len(list(out.glob("shard-*"))) if out.exists() else 0)
        subprocess.run([*job, str(out)], check=True)
        if content(out) != content(folder / "whole"):
            raise SystemExit(f"killed after {shards[-1]} shards and continued: the bytes differ")
        shutil.rmtree(out)
    n_shards = len(list((folder / "whole").glob("shard-*")))
    print(f"killed after {shards} of {n_shards} shards and continued: byte-identical")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, nargs="*", default=[], metavar="MB")
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare(folder, given.megabytes * 1_000_000, given.rounds)
        memory(folder, given.memory)
        if given.kills:
            kill(folder, given.megabytes * 1_000_000, given.kills)


if __name__ == "__main__":
    main()
