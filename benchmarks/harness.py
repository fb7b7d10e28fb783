"""Compare contenders on inputs: exactness gate, warm-up, interleaved rounds, record, table.

The bench_*.py files say what to compare; how it is done is here, once.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import contenders, corpora, dialogues, environment, exactness, records, report
from benchmarks.contenders import DECODE_ARRAY, DECODE_LIST, Contender, Loaded
from benchmarks.fresh_process import first_pass
from benchmarks.timing import Sample, interleaved, measure

QUICK_BYTES = 1_000_000
# First passes in new processes, for libraries whose first pass is like any other. Most of the time
# goes into loading them.
FORGETFUL_ROUNDS = 2


@dataclass(frozen=True)
class Options:
    """How much to run."""

    quick: bool
    rounds: int
    fresh_rounds: int
    save: bool
    corpora: tuple[str, ...]

    @property
    def limit(self) -> int | None:
        return QUICK_BYTES if self.quick else None


def options(description: str | None) -> Options:
    """The command line that all comparisons share; pins this process to one CPU."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="1 MB of each corpus, fewer fresh processes, not saved"
    )
    parser.add_argument("--save", action="store_true", help="save the results of a quick run too")
    parser.add_argument(
        "--no-save", action="store_true", help="do not save the results of a full run"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="interleaved rounds; the minimum counts (default: 5)"
    )
    parser.add_argument(
        "--corpus",
        action="append",
        choices=list(corpora.CORPORA),
        help="only this corpus; repeatable",
    )
    given = parser.parse_args()
    environment.pin_to_one_cpu()
    return Options(
        quick=given.quick,
        rounds=given.rounds,
        fresh_rounds=3 if given.quick else given.rounds,
        save=given.save or not (given.quick or given.no_save),
        corpora=tuple(given.corpus or corpora.CORPORA),
    )


def new_section(name: str, given: Options) -> records.Section:
    settings = {"quick": given.quick, "rounds": given.rounds, "fresh_rounds": given.fresh_rounds}
    return records.Section(name, settings=settings)


def compare_on_corpora(
    section: records.Section,
    given: Options,
    tasks: Sequence[str],
    *,
    fresh: bool,
) -> None:
    """All contenders of the tasks on the corpora; `fresh`: first passes in new processes too."""
    for corpus in given.corpora:
        texts = corpora.load(corpus, limit=given.limit)
        section.corpora[corpus] = {
            "sha256": corpora.CORPORA[corpus].sha256,
            "bytes": sum(len(text.encode()) for text in texts),
            "documents": len(texts),
        }
        first = functools.partial(first_pass, corpus=corpus, limit=given.limit) if fresh else None
        compare(section, given, tasks, corpus, texts, never_seen=first)


def compare(
    section: records.Section,
    given: Options,
    tasks: Sequence[str],
    corpus: str,
    texts: Sequence[str],
    *,
    never_seen: Callable[..., Any] | None = None,
    single_calls_only: bool = False,
) -> None:
    """Gate, then time, every contender of every task on these texts; results go to the section."""
    reference, ids = exactness.reference_ids(texts)
    section.settings["reference"] = reference
    n_bytes = sum(len(text.encode()) for text in texts)
    for task in tasks:
        entrants = [
            one for one in contenders.contenders_for(task) if not (single_calls_only and one.batch)
        ]
        inputs, expected = _inputs(task, texts, ids)
        # The gate is the warm-up too: each contender has then run over all inputs once.
        admitted = exactness.admit(entrants, inputs, expected)
        by_key = {
            contender.key: contender for contender in entrants if contender.key in admitted.loaded
        }
        seen = interleaved(
            {key: functools.partial(measure, admitted.loaded[key].run, inputs) for key in by_key},
            given.rounds,
        )
        first: dict[str, Any] = {}
        if never_seen is not None:
            passes = {key: functools.partial(never_seen, task, by_key[key]) for key in by_key}
            remembering = {key: passes[key] for key in by_key if by_key[key].remembers}
            first = interleaved(remembering, given.fresh_rounds)
            if not given.quick:
                others = {key: passes[key] for key in by_key if key not in remembering}
                first |= interleaved(others, FORGETFUL_ROUNDS)
        for contender in entrants:
            section.results.append(
                records.Result(
                    task,
                    corpus,
                    contender.library,
                    contender.call,
                    n_bytes=n_bytes,
                    n_calls=1 if contender.batch else len(inputs),
                    seen=seen.get(contender.key, []),
                    never_seen=first.get(contender.key, []),
                    note=admitted.notes.get(contender.key, ""),
                )
            )
        _say_refused(entrants, admitted.notes, corpus)


@dataclass(frozen=True)
class Row:
    """Contenders of one task, and the inputs that each round times them on: `size` of them, new
    ones in every round."""

    entrants: Sequence[Contender]
    case: str
    make: Callable[[int], Any]  # another number is another input
    n_ids: Callable[[Any, Any], int]  # of an input and its output, for the tables
    size: int = 1


def compare_rows(section: records.Section, given: Options, rows: Sequence[Row]) -> None:
    """Gate every row, then time all of them in one interleaved run; results go to the section.

    The objects that calls take are made outside the clock, and none is timed twice. The tables show
    medians, which take more samples than minima.
    """
    rounds = given.rounds if given.quick else 5 * given.rounds
    section.settings["rounds"] = rounds
    for corpus in dialogues.CORPORA:
        section.corpora[corpus] = {"sha256": corpora.CORPORA[corpus].sha256}
    results: dict[str, records.Result] = {}
    runs: dict[str, Callable[[], Sample]] = {}
    for row in rows:
        inputs = [row.make(number) for number in range(row.size * rounds)]
        section.settings["reference"], expected = exactness.reference_outputs(row.entrants, inputs)
        admitted = exactness.admit(row.entrants, inputs, expected)
        for contender in row.entrants:
            result = records.Result(
                contender.task,
                row.case,
                contender.library,
                contender.call,
                n_calls=row.size,
                note=admitted.notes.get(contender.key, ""),
                extra={"n_ids": round(sum(map(row.n_ids, inputs, expected)) / len(inputs))},
            )
            section.results.append(result)
            if contender.key in admitted.loaded:
                key = f"{contender.task}, {row.case}: {contender.key}"
                results[key] = result
                runs[key] = _sampler(admitted.loaded[contender.key], inputs, row.size)
        _say_refused(row.entrants, admitted.notes, row.case)
    for key, samples in interleaved(runs, rounds).items():
        results[key].never_seen = samples


def _sampler(loaded: Loaded, inputs: Sequence[Any], size: int) -> Callable[[], Sample]:
    """A function that times the next `size` inputs each time it is called."""
    starts = itertools.count(0, size)

    def sample() -> Sample:
        start = next(starts)
        return measure(loaded.run, loaded.prepare(inputs[start : start + size]))

    return sample


def _inputs(
    task: str, texts: Sequence[str], ids: Sequence[list[int]]
) -> tuple[Sequence[Any], Sequence[Any]]:
    """What a task takes, and what must come out."""
    if task == DECODE_LIST:
        return ids, texts
    if task == DECODE_ARRAY:
        return [np.array(document, dtype=np.uint32) for document in ids], texts
    return texts, ids


def _say_refused(entrants: Sequence[Contender], notes: dict[str, str], corpus: str) -> None:
    for contender in entrants:
        if "REFUSED" in notes.get(contender.key, ""):
            print(f"!! {contender.key} on {corpus}: {notes[contender.key]}", flush=True)


def finish(section: records.Section, given: Options) -> None:
    """Print the tables; keep the record of a full run."""
    print(report.tables(section))
    if given.save and not any(
        result.library == report.OURS and result.seen + result.never_seen
        for result in section.results
    ):
        print("not saved: harmony itself was not timed")
    elif given.save:
        path = records.path_for_this_machine()
        records.save(section, path)
        print(
            f"saved in benchmarks/results/{path.name}; "
            "`python -m benchmarks.report` puts it into README.md"
        )
