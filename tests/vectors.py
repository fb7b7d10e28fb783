"""The conformance vectors in `vectors/`: recorded outcomes of the official implementation,
openai_harmony 0.0.8."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).with_name("vectors")


def load(name: str) -> list[dict]:
    """The vectors of one file, as pytest parameters named by their id and group."""
    lines = (FOLDER / f"{name}.jsonl").read_text("ascii").splitlines()
    vectors = [json.loads(line) for line in lines]
    return [pytest.param(vector, id=f"{vector['id']}-{vector['group']}") for vector in vectors]


def check_error(raised: BaseException, expected: dict) -> None:
    """A subclass of the named class will do. Texts of HarmonyError are part of the format's
    contract, those of built-in exceptions are not."""
    assert expected["type"] in [cls.__name__ for cls in type(raised).__mro__]
    if expected["type"] == "HarmonyError":
        assert str(raised) == expected["message"]
