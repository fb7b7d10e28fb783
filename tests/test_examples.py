"""The examples with other libraries give the ids of this one."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment, run
from strategies import random_texts

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def example(monkeypatch):
    def load(name):
        monkeypatch.syspath_prepend(str(EXAMPLES))
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


FINGERPRINT = """
import sys
sys.path.insert(0, sys.argv[1])
import datasets
import with_huggingface
datasets.disable_progress_bars()
rows = datasets.Dataset.from_json(sys.argv[2], cache_dir=sys.argv[3])
print(with_huggingface.encoded(rows)._fingerprint)
"""


@pytest.mark.parametrize("name", ["demo", "with_duckdb", "with_huggingface"])
def test_the_example_runs(quiet, name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_huggingface_map(example, quiet, tmp_path, encoding):
    import datasets

    texts = [*random_texts(300, seed=9), ""]
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"text": texts})
    got = example("with_huggingface").encoded(rows)
    assert list(got["text"]) == texts
    assert list(got["ids"]) == [encoding.encode(text, disallowed_special=()) for text in texts]


def test_huggingface_fingerprint_is_stable(quiet, tmp_path):
    """Another process finds what the first one kept."""
    (tmp_path / "a.jsonl").write_text('{"text": "hello"}\n{"text": "world"}\n')
    cache = tmp_path / "rows"
    arguments = (str(EXAMPLES), str(tmp_path / "a.jsonl"), str(cache))
    first = run(FINGERPRINT, *arguments, HF_HOME=str(tmp_path / "cache"))
    files = sorted(cache.rglob("*.arrow"))
    times = [os.stat(file).st_mtime_ns for file in files]
    assert run(FINGERPRINT, *arguments, HF_HOME=str(tmp_path / "cache")) == first
    assert sorted(cache.rglob("*.arrow")) == files
    assert [os.stat(file).st_mtime_ns for file in files] == times


def test_duckdb(example, encoding):
    module = example("with_duckdb")
    texts = [*random_texts(200, seed=10), None, ""]
    connection = module.connect()
    connection.execute("create table pages (id integer, text varchar)")
    connection.executemany("insert into pages values (?, ?)", list(enumerate(texts)))
    expected = [
        None if text is None else encoding.encode(text, disallowed_special=()) for text in texts
    ]
    counts = connection.execute("select n_tokens(text) from pages order by id").fetchall()
    assert [count for (count,) in counts] == [None if ids is None else len(ids) for ids in expected]
    table = module.ids_of(connection, "select * from pages order by id")
    assert table["ids"].to_pylist() == expected
