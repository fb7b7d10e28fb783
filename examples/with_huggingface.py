"""Token ids with Hugging Face datasets: `map` over Arrow batches, in several processes.

The function is one of a module and holds nothing but names, so its fingerprint, and with it the
cache of `map`, stays the same from run to run.
"""

from __future__ import annotations

import datasets
import pyarrow as pa

import harmony


def encode(batch: pa.Table) -> pa.Table:
    """The column `ids` beside the others. Each process is a core, so one thread is enough."""
    encoding = harmony.load_harmony_encoding("HarmonyGptOss")
    ids = encoding.encode_arrow(batch["text"], num_threads=1, disallowed_special=())
    return batch.append_column("ids", ids)


def encoded(rows: datasets.Dataset, num_proc: int = 2) -> datasets.Dataset:
    """`rows` with the ids of their texts."""
    return rows.with_format("arrow").map(encode, batched=True, num_proc=num_proc).with_format(None)


if __name__ == "__main__":
    texts = ["Hello, wörld!", "A second row.", "", "今日は"] * 3
    dataset = encoded(datasets.Dataset.from_dict({"text": texts}))
    print(dataset[0])
