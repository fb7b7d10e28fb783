"""Results as data: one JSON file per version and machine, one section per benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.timing import Sample

FOLDER = Path(__file__).parent / "results"


@dataclass
class Result:
    """All samples of one contender on one input; without any, `note` says why."""

    task: str
    corpus: str
    library: str
    call: str
    n_bytes: int = 0
    n_calls: int = 0
    seen: list[Sample] = field(default_factory=list)
    never_seen: list[Sample] = field(default_factory=list)
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Section:
    """One benchmark's run: in which environment, on what, and every sample."""

    name: str
    results: list[Result] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    corpora: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=environment.describe)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Section:
        return cls(**{**content, "results": [Result(**result) for result in content["results"]]})


def path_for_this_machine() -> Path:
    version = environment.version("cyharmony") or "peers"
    return FOLDER / f"{version}-{environment.machine_name()}.json"


def read(path: Path) -> dict[str, Section]:
    if not path.is_file():
        return {}
    return {
        name: Section.from_json(content) for name, content in json.loads(path.read_text()).items()
    }


def save(section: Section, path: Path) -> None:
    """Put the section in the file, in place of an older one; the other sections stay."""
    sections = {**read(path), section.name: section}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {name: asdict(sections[name]) for name in sorted(sections)}
    # One result per line: a diff then shows which figures changed.
    path.write_text(_one_result_per_line(content) + "\n")


def _one_result_per_line(content: dict[str, Any]) -> str:
    sections = []
    for name, section in content.items():
        rest = {key: value for key, value in section.items() if key != "results"}
        head = json.dumps(rest, indent=2)[:-2]
        lines = ",\n".join("    " + json.dumps(_rounded(result)) for result in section["results"])
        sections.append(f'{json.dumps(name)}: {head},\n  "results": [\n{lines}\n  ]\n}}')
    return "{\n" + ",\n".join(sections) + "\n}"


def _rounded(result: dict[str, Any]) -> dict[str, Any]:
    """Samples to the nanosecond: the clock knows no more."""

    def shorten(samples: Sequence[Sample]) -> list[Sample]:
        return [{"wall": round(one["wall"], 9), "cpu": round(one["cpu"], 9)} for one in samples]

    return {
        **result,
        "seen": shorten(result["seen"]),
        "never_seen": shorten(result["never_seen"]),
    }
