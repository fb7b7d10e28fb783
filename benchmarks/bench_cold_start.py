"""From nothing to the first ids: a new process imports, loads and encodes one short text, and ends.

Processor time of the whole process and its peak memory, per library, as its users write it. Files
are warm in the system's cache, so that nothing waits for a disk; nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import cache, harness, rank_data, records
from benchmarks.timing import Sample, interleaved

TEXT = "Hello, world!"
TASK = "import, load, first encode"

# VmHWM is the peak of this program alone; ru_maxrss may still count what the parent was before it.
_PEAK = """
status = open("/proc/self/status").read()
print(ids, int(status.split("VmHWM:")[1].split()[0]) * 1024, sep="\\n")
"""


@dataclass(frozen=True)
class Start:
    library: str
    program: str  # leaves the ids in `ids`
    # Environment variables; a function, because making them may import the library.
    variables: Callable[[], dict[str, str]] = dict


def _tiktoken_folder() -> dict[str, str]:
    """tiktoken's download cache, filled: its file is named after the address it would come from."""
    from tiktoken_ext import openai_public

    with mock.patch.object(openai_public, "load_tiktoken_bpe") as load:
        openai_public.o200k_base()
    address: str = load.call_args.args[0]
    folder = cache.folder() / "tiktoken"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(rank_data.rank_file(), folder / hashlib.sha1(address.encode()).hexdigest())
    return {"TIKTOKEN_CACHE_DIR": str(folder)}


def _rank_file() -> dict[str, str]:
    return {"RANK_FILE": str(rank_data.rank_file())}


def _upstream_folder() -> dict[str, str]:
    return {"TIKTOKEN_ENCODINGS_BASE": str(rank_data.rank_file().parent)}


_GPT_OSS = f'load_harmony_encoding("HarmonyGptOss").encode({TEXT!r})'
_O200K = f'get_encoding("o200k_base").encode({TEXT!r})'
_FROM_FILE = f'from_tiktoken(os.environ["RANK_FILE"]).encode({TEXT!r}).tolist()'

STARTS = (
    Start("cyharmony", f"import harmony\nids = harmony.{_GPT_OSS}"),
    Start(
        "openai-harmony",
        f"import openai_harmony\nids = openai_harmony.{_GPT_OSS}",
        _upstream_folder,
    ),
    Start("tiktoken", f"import tiktoken\nids = tiktoken.{_O200K}", _tiktoken_folder),
    Start("quicktok-v1", f"import quicktok\nids = quicktok.{_O200K}"),
    Start("gigatoken", f"import gigatoken, os\nids = gigatoken.Tokenizer.{_FROM_FILE}", _rank_file),
    # Of our time and memory, these are not ours to shorten.
    Start("python with numpy", "import numpy\nids = None"),
    Start("python alone", "ids = None"),
)


def run_once(start: Start, variables: dict[str, str]) -> tuple[Sample, str, int]:
    """(times, ids as printed, peak bytes) of one process."""
    command = [sys.executable, "-c", start.program + _PEAK]
    cpu, wall = _children_cpu(), time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    sample: Sample = {"wall": time.perf_counter() - wall, "cpu": _children_cpu() - cpu}
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    ids, peak = done.stdout.splitlines()[-2:]
    return sample, ids, int(peak)


def _children_cpu() -> float:
    """Processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def prepare(start: Start) -> tuple[dict[str, str], str, str]:
    """(variables, ids, note): one run to see that it works, which also fills the file cache."""
    try:
        variables = start.variables()
        return variables, run_once(start, variables)[1], ""
    except ModuleNotFoundError as error:
        return {}, "", f"not installed ({error})"
    except RuntimeError as error:
        kind = "not installed" if "ModuleNotFoundError" in str(error) else "fails"
        return {}, "", f"{kind} ({error})"


def main() -> None:
    given = harness.options(__doc__)
    if not Path("/proc/self/status").is_file():
        sys.exit("bench_cold_start reads peak memory from /proc, which this system does not have")
    section = harness.new_section("cold start", given)
    prepared = {start: prepare(start) for start in STARTS}
    expected = next(ids for _, ids, note in prepared.values() if not note)
    peaks: dict[str, list[int]] = {}

    def sample(start: Start) -> Sample:
        times, _, peak = run_once(start, prepared[start][0])
        peaks.setdefault(start.library, []).append(peak)
        return times

    notes: dict[str, str] = {}
    runs: dict[str, Any] = {}
    for start, (_, ids, note) in prepared.items():
        if not note and ids not in (expected, "None"):
            note = f"REFUSED, results differ: {ids} instead of {expected}"
        notes[start.library] = note
        if not note:
            runs[start.library] = lambda start=start: sample(start)
    samples = interleaved(runs, given.rounds if given.quick else 3 * given.rounds)
    for start in STARTS:
        peak = min(peaks.get(start.library, [0]))
        section.results.append(
            records.Result(
                TASK,
                TEXT,
                start.library,
                start.program.replace("\n", "; "),
                n_bytes=len(TEXT),
                n_calls=1,
                seen=samples.get(start.library, []),
                note=notes[start.library],
                extra={"peak_bytes": peak},
            )
        )
    section.settings["text"] = json.dumps(TEXT)
    harness.finish(section, given)


if __name__ == "__main__":
    main()
