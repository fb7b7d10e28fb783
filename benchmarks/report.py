"""Results to tables: `python -m benchmarks.report` writes them into README.md, between its markers.

Ratios come first: they survive a change of machine, absolute figures do not. "3x" in the row of a
peer means that harmony did the same in a third of its time; below 1x harmony is the slower one.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.records import Result, Section
from benchmarks.timing import Sample, best, typical

README = Path(__file__).parent / "README.md"
OURS = "cyharmony"
TIMES = "\N{MULTIPLICATION SIGN}"
GROWTH = "growth"

# How a cell gives the absolute figure: of a result and its best seconds.
Absolute = Callable[[Result, float], str]


def megabytes_per_second(result: Result, seconds: float) -> str:
    return f"{short(result.n_bytes / seconds / 1e6)} MB/s"


def nanoseconds_per_call(result: Result, seconds: float) -> str:
    return f"{short(seconds / result.n_calls * 1e9)} ns"


def duration_per_call(result: Result, seconds: float) -> str:
    return duration(seconds / result.n_calls)


def duration_per_id(result: Result, seconds: float) -> str:
    return duration(seconds / (result.n_calls * result.extra["n_ids"]))


def duration(seconds: float) -> str:
    for unit, factor in (("ns", 1e9), ("\N{MICRO SIGN}s", 1e6)):
        if seconds * factor < 1000:
            return f"{short(seconds * factor)} {unit}"
    return f"{short(seconds * 1e3)} ms"


def short(number: float) -> str:
    """Three significant digits, and no exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


# sections


def tables(section: Section) -> str:
    """Everything a section has to say, in Markdown."""
    return "\n\n".join(
        [_LAYOUTS[section.name](section), _footnotes(section), _environment(section)]
    )


def _throughput(section: Section) -> str:
    return _by_task(section, megabytes_per_second)


def _latency(section: Section) -> str:
    return _by_task(section, nanoseconds_per_call)


def _by_task(section: Section, absolute: Absolute) -> str:
    blocks = []
    for task in _distinct(result.task for result in section.results):
        results = [result for result in section.results if result.task == task]
        for samples, title in (("never_seen", "text never seen"), ("seen", "text seen before")):
            if any(getattr(result, samples) for result in results):
                heading = f"**{task[0].upper()}{task[1:]}, {title}**"
                blocks.append(f"{heading}\n\n{_task_table(results, samples, absolute)}")
    return "\n\n".join(blocks)


def _task_table(results: Sequence[Result], samples: str, absolute: Absolute) -> str:
    corpora = _distinct(result.corpus for result in results)
    calls = _distinct((result.library, result.call) for result in results)
    rows = []
    for library, call in calls:
        cells = []
        for corpus in corpora:
            here = [result for result in results if result.corpus == corpus]
            mine = next(
                (result for result in here if (result.library, result.call) == (library, call)),
                None,
            )
            cells.append(_cell(mine, _baseline(here, samples), samples, absolute))
        if any(cells):
            rows.append([f"{library} `{call}`", *cells])
    return _markdown(["", *corpora], rows)


def _worst_cases(section: Section) -> str:
    blocks = []
    for task in _distinct(result.task for result in section.results):
        results = [result for result in section.results if result.task == task]
        libraries = _distinct(result.library for result in results)
        rows = []
        for family in _distinct(result.corpus for result in results if result.corpus != "all"):
            here = {result.library: result for result in results if result.corpus == family}
            baseline = _baseline(list(here.values()), "never_seen")
            cells = [
                _cell(here.get(library), baseline, "never_seen", _speed_and_size)
                for library in libraries
            ]
            rows.append([family, *cells])
        blocks.append(f"**{task[0].upper()}{task[1:]}**\n\n{_markdown(['', *libraries], rows)}")
    return "\n\n".join(blocks)


def _speed_and_size(result: Result, seconds: float) -> str:
    speed = megabytes_per_second(result, seconds)
    whole = result.extra.get("wanted_bytes", result.n_bytes)
    return speed if result.n_bytes >= whole else f"{speed} at {result.n_bytes // 1000} KB"


def _cold_start(section: Section) -> str:
    baseline = _baseline(section.results, "seen")
    rows = []
    for result in section.results:
        if not result.seen:
            continue
        peak = result.extra["peak_bytes"] / 1e6
        ratio = memory = ""
        if baseline is not None and not result.library.startswith("python"):
            ratio = f"{short(best(result.seen) / best(baseline.seen))}{TIMES}"
            memory = f"{short(peak / (baseline.extra['peak_bytes'] / 1e6))}{TIMES}"
        rows.append(
            [
                result.library,
                ratio,
                f"{short(best(result.seen) * 1e3)} ms",
                memory,
                f"{short(peak)} MB",
            ]
        )
    return _markdown(["", "time", "", "peak memory", ""], rows)


def _render(section: Section) -> str:
    heading = "**Render, new objects in each call, per call**"
    return f"{heading}\n\n{_typical_table(section.results, duration_per_call)}"


def _parse(section: Section) -> str:
    growth = [result for result in section.results if result.task == GROWTH]
    others = [result for result in section.results if result.task != GROWTH]
    heading = "**Parse, a new stream in each round, per token**"
    return (
        f"{heading}\n\n{_typical_table(others, duration_per_id)}\n\n"
        f"**`process(token)` and one look, per token: growth**\n\n{_growth_table(growth)}"
    )


def _typical_table(results: Sequence[Result], absolute: Absolute) -> str:
    """A row for each call on each case, a column for each library; medians."""
    libraries = _distinct(result.library for result in results)
    rows = []
    for call, case in _distinct((result.call, result.corpus) for result in results):
        here = {
            result.library: result
            for result in results
            if (result.call, result.corpus) == (call, case)
        }
        baseline = _baseline(list(here.values()), "never_seen")
        cells = [
            _cell(here.get(library), baseline, "never_seen", absolute, typical)
            for library in libraries
        ]
        n_ids = max(result.extra["n_ids"] for result in here.values())
        rows.append([f"`{call}`", f"{case} ({n_ids:,} ids)", *cells])
    return _markdown(["", "", *libraries], rows)


def _growth_table(results: Sequence[Result]) -> str:
    """How the time of each call changes from its first case to its second, in each library."""
    libraries = _distinct(result.library for result in results)
    rows = []
    for call in _distinct(result.call for result in results):
        cases = _distinct(result.corpus for result in results if result.call == call)
        cells = []
        for library in libraries:
            before, after = (
                next(
                    result
                    for result in results
                    if (result.library, result.call, result.corpus) == (library, call, case)
                )
                for case in cases
            )
            if not (before.never_seen and after.never_seen):
                cells.append("")
                continue
            first, second = typical(before.never_seen), typical(after.never_seen)
            times = f"{duration_per_id(before, first)} to {duration_per_id(after, second)}"
            cells.append(f"{short(second / first)}{TIMES} ({times})")
        rows.append([f"`{call}`", " to ".join(cases), *cells])
    return _markdown(["", "", *libraries], rows)


_LAYOUTS: dict[str, Callable[[Section], str]] = {
    "encode": _throughput,
    "decode": _throughput,
    "short calls": _latency,
    "worst case": _worst_cases,
    "cold start": _cold_start,
    "render": _render,
    "parse": _parse,
}


# cells


def _baseline(results: Sequence[Result], samples: str) -> Result | None:
    """Ours; without ours, whoever comes first."""
    timed = [result for result in results if getattr(result, samples)]
    return next((result for result in timed if result.library == OURS), timed[0] if timed else None)


def _cell(
    result: Result | None,
    baseline: Result | None,
    samples: str,
    absolute: Absolute,
    figure: Callable[[Sequence[Sample]], float] = best,
) -> str:
    if result is None:
        return ""
    if not getattr(result, samples) or baseline is None:
        if result.note.startswith("not installed"):
            return ""
        return "ids differ" if "REFUSED" in result.note else "fails" if result.note else ""
    seconds, ours = figure(getattr(result, samples)), figure(getattr(baseline, samples))
    ratio = seconds / ours
    if result.n_bytes:
        # Per byte, because a slow contender may have had a shorter text.
        ratio *= baseline.n_bytes / result.n_bytes
    if result is baseline:
        return f"1{TIMES} ({absolute(result, seconds)})"
    return f"{short(ratio)}{TIMES} ({absolute(result, seconds)})"


def _footnotes(section: Section) -> str:
    notes: dict[str, list[str]] = {}
    for result in section.results:
        if result.note:
            notes.setdefault(f"{result.library} `{result.call}`: {result.note}", []).append(
                result.corpus
            )
    lines = [f"- {note} ({', '.join(_distinct(where))})" for note, where in notes.items()]
    outputs = "messages" if section.name == "parse" else "ids"
    return "\n".join(lines) or f"All contenders gave the {outputs} of the reference."


def _environment(section: Section) -> str:
    where = section.environment
    libraries = ", ".join(f"{name} {number}" for name, number in where["libraries"].items())
    details = [where["cpu"], where["python"], where["c compiler"], libraries]
    if "reference" in section.settings:
        outputs = "messages" if section.name == "parse" else "ids"
        details.append(f"{outputs} compared with {section.settings['reference']}")
    if section.settings.get("quick"):
        details.append("a quick run")
    return f"*{'; '.join(detail for detail in details if detail)}.*"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    ruler = ["-" * max(3, width) for width in widths]

    def line(cells: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(
                cell.ljust(max(3, width)) for cell, width in zip(cells, widths, strict=True)
            )
            + " |"
        )

    return "\n".join(line(cells) for cells in [header, ruler, *rows])


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


# README


def newest(paths: Iterable[Path]) -> list[Path]:
    """The newest version's file of each machine; they are named VERSION-MACHINE.json."""
    chosen: dict[str, tuple[list[int], Path]] = {}
    for path in sorted(paths):
        version, _, machine = path.stem.partition("-")
        number = [int(part) for part in re.findall(r"\d+", version)]
        if machine not in chosen or number >= chosen[machine][0]:
            chosen[machine] = (number, path)
    return [path for _, path in chosen.values()]


def insert(readme: str, name: str, content: str) -> str:
    """`readme` with `content` between the markers of section `name`."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"README.md has no markers for the section {name!r}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="*", type=Path, help="result files (default: the newest of each machine)"
    )
    paths = parser.parse_args().results or newest(records.FOLDER.glob("*-cp*.json"))
    found: dict[str, list[str]] = {}
    for path in paths:
        for name, section in records.read(path).items():
            found.setdefault(name, []).append(tables(section))
    readme = README.read_text()
    for name, blocks in found.items():
        readme = insert(readme, name, "\n\n".join(blocks))
    README.write_text(readme)
    print(json.dumps({"files": [path.name for path in paths], "sections": list(found)}))


if __name__ == "__main__":
    main()
