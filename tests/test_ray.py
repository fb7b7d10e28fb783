"""The job on a cluster gives what it gives on one machine. A local cluster of two workers."""

import json
import os

import pytest
import ray
import ray.data
from strategies import random_texts

import harmony
from harmony import DatasetError
from harmony.datasets import encode_dataset
from harmony.ray import encode

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000
    )
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    yield
    ray.shutdown()


def conversation(i):
    made = [
        {"role": "user", "name": None, "content": [{"type": "text", "text": f"question {i}"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "x"}], "channel": "analysis"},
        {"role": "assistant", "content": [{"type": "text", "text": f"{i}"}], "channel": "final"},
    ]
    return {"messages": made[: 1 + i % 3]}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_rows_are_those_of_one_machine(cluster, tmp_path):
    for i in range(2):
        write(tmp_path / f"{i}.jsonl", [{"text": text} for text in random_texts(400, seed=i)])
    files = [str(tmp_path / f"{i}.jsonl") for i in range(2)]
    here = encode_dataset(files, tmp_path / "here")
    there = encode(ray.data.read_json(files).repartition(4))
    there.write_parquet(str(tmp_path / "there"))
    rows = ray.data.read_parquet(str(tmp_path / "there")).take_all()
    assert [list(row["ids"]) for row in rows] == [row["ids"].tolist() for row in here]


def test_conversations(cluster, tmp_path):
    path = write(tmp_path / "a.jsonl", map(conversation, range(60)))
    options = {"conversations": "harmony", "train_on": "last_turn"}
    config = harmony.RenderConversationConfig(auto_drop_analysis=False)
    here = encode_dataset(path, tmp_path / "here", config=config, **options)
    there = encode(ray.data.read_json(path), config=config, **options).take_all()
    for key in ("ids", "loss_mask"):
        assert [list(row[key]) for row in there] == [row[key].tolist() for row in here]
    assert any(any(row["loss_mask"]) for row in there)


def test_bad_rows(cluster, tmp_path):
    dataset = ray.data.from_items([{"text": "good"}, {"text": None}, {"text": "also good"}])
    kept = encode(dataset, on_bad_row="skip").take_all()
    assert sorted(len(row["ids"]) for row in kept) == [1, 2]
    with pytest.raises(Exception, match="holds null, not text") as caught:
        encode(dataset).take_all()
    assert isinstance(caught.value.__cause__, DatasetError) or "DatasetError" in str(caught.value)
    with pytest.raises(Exception, match="there is no column 'body'; there are text"):
        encode(dataset, text_field="body").take_all()
    with pytest.raises(ValueError, match="on_bad_row"):
        encode(dataset, on_bad_row="collect")
    with pytest.raises(TypeError, match="a RenderConversationConfig, not RenderOptions"):
        encode(dataset, conversations="chat", config=harmony.RenderOptions(), on_bad_row="skip")
