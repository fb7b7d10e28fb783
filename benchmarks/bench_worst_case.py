"""Texts that hurt: 1 MB of one letter, spaces, emoji ... on which careless code is quadratic.

Some contenders would need minutes or hours for such a megabyte. Each gets the largest text it
manages within a time limit (16 KB, doubled up to 1 MB); where that is not the whole, the table says
how much it was. Every single run gets a text of its own: a cache that has seen the megabyte before
would hide the cost.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

from benchmarks import contenders, exactness, harness, records
from benchmarks.contenders import ENCODE_ARRAY, ENCODE_LIST, Contender, Loaded
from benchmarks.timing import Sample, interleaved, measure

WHOLE_BYTES = 1_000_000
SMALLEST_BYTES = WHOLE_BYTES // 64

# (size in bytes, variant) -> text of about that size; another variant is another text.
Family = Callable[[int, int], str]


def _repeated(unit: str) -> Family:
    return lambda n_bytes, variant: unit * (n_bytes // len(unit.encode()) - variant)


def _random_characters(alphabet: str) -> Family:
    width = len(alphabet[0].encode())
    return lambda n_bytes, variant: "".join(
        random.Random(variant).choices(alphabet, k=n_bytes // width)
    )


def _random_bytes(n_bytes: int, variant: int) -> str:
    # As text, the half of the bytes above 0x7F takes two bytes each.
    return random.Random(variant).randbytes(n_bytes * 2 // 3).decode("latin-1")


FAMILIES: dict[str, Family] = {
    "one letter": _repeated("a"),
    "spaces": _repeated(" "),
    "newlines": _repeated("\n"),
    "digits": _repeated("7"),
    "`^`": _repeated("^"),
    "emoji": _repeated("\N{GRINNING FACE}"),
    "combining marks": _repeated("\N{COMBINING ACUTE ACCENT}"),
    "CJK without spaces": _random_characters("".join(map(chr, range(0x4E00, 0x9FA6)))),
    "letters without spaces": _random_characters("abcdefghijklmnopqrstuvwxyz"),
    "random bytes as Latin-1": _random_bytes,
}


class Entrant:
    """One contender on one family: how much of it it manages, and what went wrong.

    It uses the variants from `first_variant` on: one to find the size, one for the gate, then one
    per round.
    """

    def __init__(
        self, contender: Contender, loaded: Loaded, family: Family, first_variant: int
    ) -> None:
        self.contender = contender
        self.loaded = loaded
        self.family = family
        self.first_variant = first_variant
        self.n_bytes = 0
        self.note = ""

    def find_size(self, limit: float) -> None:
        """Double the text while a run should still end within `limit` seconds."""
        needed, growth, n_bytes = 0.0, 4.0, SMALLEST_BYTES
        while n_bytes <= WHOLE_BYTES and needed * growth <= limit:
            text = self.family(n_bytes, self.first_variant)
            start = time.process_time()
            try:
                self.loaded.run([text])
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a panic in Rust is no Exception
                self.note = (
                    f"fails at {n_bytes // 1000} KB: {type(error).__name__}: {str(error)[:100]}"
                )
                return
            seconds = time.process_time() - start
            # Between linear and quadratic, as the last doubling showed.
            growth = min(4.0, max(2.0, seconds / needed)) if needed else 4.0
            needed = seconds
            if needed <= limit or not self.n_bytes:
                self.n_bytes, n_bytes = n_bytes, 2 * n_bytes

    def outputs(self, n_bytes: int) -> list[Any]:
        return self.loaded.outputs([self.family(n_bytes, self.first_variant + 1)])

    def sampler(self) -> Callable[[], Sample]:
        variants = itertools.count(self.first_variant + 2)
        return lambda: measure(self.loaded.run, [self.family(self.n_bytes, next(variants))])


def load_all(task: str) -> tuple[dict[Contender, Loaded], dict[Contender, str]]:
    """One call of each library, ready to run; and who is missing."""
    first: dict[str, Contender] = {}
    # There is one text only: a call for many is taken where a library has no other.
    for contender in sorted(contenders.contenders_for(task), key=lambda one: one.batch):
        first.setdefault(contender.library, contender)
    loaded, missing = {}, {}
    for contender in first.values():
        try:
            loaded[contender] = contender.load()
        except ModuleNotFoundError as error:
            missing[contender] = f"not installed ({error})"
    return loaded, missing


def refuse_wrong(entrants: list[Entrant]) -> None:
    """Note it where ids differ from a reference's, on the largest text that both manage."""
    by_library = {entrant.contender.library: entrant for entrant in entrants}
    references = [by_library[library] for library in exactness.REFERENCES if library in by_library]
    for entrant in entrants:
        for judge in references:
            n_bytes = min(entrant.n_bytes, judge.n_bytes)
            if judge is entrant or not n_bytes or entrant.note:
                continue
            difference = exactness.first_difference(
                entrant.outputs(n_bytes), judge.outputs(n_bytes)
            )
            if difference is not None:
                entrant.note = f"REFUSED, ids differ from {judge.contender.library}'s: {difference}"


def run_family(
    section: records.Section,
    task: str,
    family: str,
    loaded: dict[Contender, Loaded],
    limit: float,
    rounds: int,
    first_variant: int,
) -> None:
    family_text = FAMILIES[family]
    entrants = [Entrant(one, ready, family_text, first_variant) for one, ready in loaded.items()]
    for entrant in entrants:
        entrant.find_size(limit)
    refuse_wrong(entrants)
    samples = interleaved(
        {one.contender.key: one.sampler() for one in entrants if not one.note}, rounds
    )
    for entrant in entrants:
        contender = entrant.contender
        section.results.append(
            records.Result(
                task,
                family,
                contender.library,
                contender.call,
                n_bytes=entrant.n_bytes,
                n_calls=1,
                never_seen=samples.get(contender.key, []),
                note=entrant.note,
                extra={"wanted_bytes": WHOLE_BYTES},
            )
        )
        if "REFUSED" in entrant.note:
            print(f"!! {contender.key} on {family}: {entrant.note}", flush=True)


def main() -> None:
    given = harness.options(__doc__)
    section = harness.new_section("worst case", given)
    limit = 0.25 if given.quick else 1.0
    section.settings["seconds"] = limit
    for number, task in enumerate((ENCODE_LIST, ENCODE_ARRAY)):
        # One library serves both tasks with one cache, so the second task needs texts of its own.
        first_variant = number * (given.rounds + 2)
        loaded, missing = load_all(task)
        for contender, note in missing.items():
            section.results.append(
                records.Result(task, "all", contender.library, contender.call, note=note)
            )
        for family in FAMILIES:
            run_family(section, task, family, loaded, limit, given.rounds, first_variant)
    harness.finish(section, given)


if __name__ == "__main__":
    main()
