"""The gate before any clock: a contender whose results differ from the reference is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.contenders import ENCODE_LIST, Contender, Loaded, contenders_for

# tiktoken is the definition. The next one stands in where it is missing, and the record says so.
REFERENCES = ("tiktoken", "openai-harmony", "cyharmony")


class NoReference(Exception):
    """No library is installed that the others could be compared with."""


@dataclass
class Admitted:
    """The contenders that may be timed, by key, and why the others may not."""

    loaded: dict[str, Loaded] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def reference_ids(texts: Sequence[str]) -> tuple[str, list[list[int]]]:
    """(library, ids of each text) from the first reference that is installed."""
    return reference_outputs(contenders_for(ENCODE_LIST), texts)


def reference_outputs(
    contenders: Sequence[Contender], inputs: Sequence[Any]
) -> tuple[str, list[Any]]:
    """(library, outputs) of the first reference among the contenders that is installed."""
    by_library = {contender.library: contender for contender in contenders[::-1]}
    for library in REFERENCES:
        try:
            if library in by_library:
                return library, by_library[library].load().outputs(inputs)
        except ModuleNotFoundError:
            continue
    raise NoReference(f"none of {', '.join(REFERENCES)} is installed: nothing to compare ids with")


def admit(
    contenders: Sequence[Contender], inputs: Sequence[Any], expected: Sequence[Any]
) -> Admitted:
    """Run every contender over all inputs and let those through that give exactly `expected`."""
    admitted = Admitted()
    for contender in contenders:
        try:
            loaded = contender.load()
            difference = first_difference(loaded.outputs(inputs), expected)
        except ModuleNotFoundError as error:
            admitted.notes[contender.key] = f"not installed ({error})"
        except Exception as error:
            admitted.notes[contender.key] = f"fails: {type(error).__name__}: {str(error)[:200]}"
        else:
            if difference is None:
                admitted.loaded[contender.key] = loaded
            else:
                admitted.notes[contender.key] = f"REFUSED, results differ: {difference}"
    return admitted


def first_difference(outputs: Sequence[Any], expected: Sequence[Any]) -> str | None:
    """Where two lists of results part, None if they are equal. Results are str, or ids in any
    container."""
    if len(outputs) != len(expected):
        return f"{len(outputs)} results instead of {len(expected)}"
    for number, (got, wanted) in enumerate(zip(outputs, expected, strict=True)):
        if isinstance(wanted, str):
            if got != wanted:
                return _where(number, got, wanted)
        else:
            got, wanted = np.asarray(got), np.asarray(wanted)
            if not np.array_equal(got, wanted):
                return _where(number, got.tolist(), wanted.tolist())
    return None


def _where(number: int, got: Any, wanted: Any) -> str:
    pairs = zip(got, wanted, strict=False)
    shorter = min(len(got), len(wanted))
    at = next((index for index, (left, right) in enumerate(pairs) if left != right), shorter)
    around = slice(max(0, at - 2), at + 3)
    return f"document {number}, from index {at}: {got[around]!a} instead of {wanted[around]!a}"
