"""One honest measurement: garbage collection off, wall and processor time of the same run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict


class Sample(TypedDict):
    """Seconds. `cpu` is processor time, user and system, of all threads of the process."""

    wall: float
    cpu: float


def measure(run: Callable[[Sequence[Any]], object], inputs: Sequence[Any]) -> Sample:
    gc.collect()
    gc.disable()
    try:
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        run(inputs)
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    finally:
        gc.enable()
    return {"wall": wall / 1e9, "cpu": cpu / 1e9}


def interleaved(runs: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """A, B, C, A, B, C ...: whatever slows the machine down for a while slows all of them down."""
    samples: dict[str, list[Sample]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            samples[name].append(run())
    return samples


def best(samples: Sequence[Sample]) -> float:
    """The least processor time: noise only ever adds.

    Processor time and not wall time, because the question is what a core does in a second: it
    leaves out the moments in which another program had the core, and a library that takes a second
    core pays for it.
    """
    return min(sample["cpu"] for sample in samples)


def typical(samples: Sequence[Sample]) -> float:
    """The median processor time, where each sample is of other inputs: the least one would be of
    the inputs that happen to cost least."""
    return statistics.median(sample["cpu"] for sample in samples)
