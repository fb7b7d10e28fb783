"""The job of datasets.py on a cluster: rows of a Ray data set -> rows of ids.

Ray reads the files, spreads the blocks and writes the result; what is done with a block is what
datasets.py does with a chunk. Needs ray.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

# arrow comes first: it says what to install where there is no pyarrow.
from harmony import arrow, rows  # noqa: F401
from harmony.datasets import make_encoder
from harmony.errors import DatasetError
from harmony.shards import column_arrays, schema
from harmony.sources import Chunk, Position, blamed_on, readable

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    import ray.data

    from harmony.messages import RenderConversationConfig
    from harmony.tokenizer import Tokenizer

# Of a bad row this much is shown: a block does not know where in which file it comes from.
_SHOWN = 200
_BLOCK = "a block of the Ray data set"


def encode(
    dataset: ray.data.Dataset,
    *,
    text_field: str = "text",
    conversations: Literal["auto", "chat", "harmony"] | None = None,
    on_bad_row: Literal["stop", "skip"] = "stop",
    train_on: Literal["assistant", "last_turn", "final_only"] = "assistant",
    config: RenderConversationConfig | None = None,
    encoding: Tokenizer | None = None,
) -> ray.data.Dataset:
    """A Ray data set with the columns `ids` (large_list<uint32>) and, for conversations,
    `loss_mask` (large_list<bool>), a row for each row of `dataset`.

    Arguments are those of `harmony.datasets.encode_dataset`. The tasks raise DatasetError for a
    missing column and, unless `on_bad_row` is "skip", for a bad row. ValueError for arguments that
    make no sense.
    """
    if on_bad_row not in ("stop", "skip"):
        raise ValueError(f"on_bad_row must be one of stop, skip, not {on_bad_row!r}")
    encoder = make_encoder(text_field, conversations, train_on, config, encoding)
    return dataset.map_batches(
        functools.partial(_encode_block, encoder=encoder, on_bad_row=on_bad_row),
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )


def _encode_block(
    block: pa.Table, encoder: rows.Texts | rows.Conversations, on_bad_row: str
) -> pa.Table:
    import pyarrow as pa

    for name in encoder.columns:
        if name not in block.schema.names:
            raise DatasetError(
                f"there is no column {name!r}; there are {', '.join(block.schema.names)}"
            )
    optional = [name for name in encoder.optional_columns if name in block.schema.names]
    has_mask = isinstance(encoder, rows.Conversations)
    encoded_batches = []
    for batch in block.select([*encoder.columns, *optional]).to_batches():
        with blamed_on(_BLOCK):
            batch = readable(batch)
        encoded = encoder.encode(Chunk(_BLOCK, 0, batch, Position(), 0))
        for reject in encoded.rejects if on_bad_row == "stop" else []:
            raise DatasetError(f"{reject.error}, in the row {reject.content[:_SHOWN]}")
        columns = column_arrays(encoded.batch, encoded.loss_mask)
        encoded_batches.append(pa.RecordBatch.from_arrays(columns, schema=schema(has_mask)))
    return pa.Table.from_batches(encoded_batches, schema(has_mask))
