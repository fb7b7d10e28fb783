"""Shards of token files: written whole or not at all, read where they lie.

A shard is a Parquet or Arrow file with the columns `ids` and, for conversations, `loss_mask`; or
flat `.npy` files of ids, offsets and mask. All are written to a temporary name, flushed to the disk
and renamed.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import os
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from harmony.arrow import IDS
from harmony.batch import TokenBatch
from harmony.errors import DatasetError
from harmony.sources import DAMAGED, blamed_on, check_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("parquet", "arrow", "npy")
TEMPORARY = ".tmp-"

# Ids of a row group or record batch, what reading one row of Parquet costs; or rows of it, of which
# there are more only if most are empty.
_BLOCK_IDS = 1 << 20
# Row groups that a reader keeps.
_KEPT_GROUPS = 2

_MASK = pa.large_list(pa.bool_())
_NPY_COLUMNS = {"ids": np.uint32, "offsets": np.int64, "loss_mask": np.bool_}


def write_file(path: Path, content: bytes) -> None:
    """Replace a file, or leave it as it is."""
    temporary = path.with_name(TEMPORARY + path.name)
    with open(temporary, "wb") as file:
        file.write(content)
    move_into_place(temporary, path)


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished file its name, in such a way that a crash leaves all of it or nothing."""
    flush(temporary)
    os.replace(temporary, path)
    flush(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether this is a file that was not finished, by its name."""
    return path.name.startswith((f"{TEMPORARY}shard-", f"{TEMPORARY}manifest.")) and path.is_file()


def flush(path: Path) -> None:
    """Have what was written to a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def schema(has_mask: bool) -> pa.Schema:
    """The columns of a shard."""
    return pa.schema([("ids", IDS), *([("loss_mask", _MASK)] if has_mask else [])])


def column_arrays(batch: TokenBatch, mask: NDArray[np.bool_] | None) -> list[pa.Array]:
    """The columns of some rows; `mask` is None for texts."""
    columns = [batch.to_arrow()]
    if mask is not None:
        buffers = [None, pa.py_buffer(batch.offsets)]
        columns.append(pa.Array.from_buffers(_MASK, len(batch), buffers, children=[pa.array(mask)]))
    return columns


class ShardWriter:
    """One shard under way. Nothing of it is seen before `finish`."""

    def __init__(self, folder: Path, name: str, file_format: str, has_mask: bool) -> None:
        self.name = name
        self.n_rows = 0
        self.n_tokens = 0
        self._folder = folder
        writer = _NpyFiles if file_format == "npy" else _ArrowFile
        self._writer = writer(folder, name, file_format, has_mask)

    def write(self, batch: TokenBatch, mask: NDArray[np.bool_] | None) -> None:
        """Add rows."""
        self._writer.write(batch, mask)
        self.n_rows += len(batch)
        self.n_tokens += len(batch.ids)

    def finish(self) -> dict[str, int]:
        """Close the shard and give its files their names. Returns these, and their sizes."""
        names = self._writer.close()
        for name in names:
            move_into_place(self._folder / (TEMPORARY + name), self._folder / name)
        return {name: (self._folder / name).stat().st_size for name in names}

    def drop(self) -> None:
        """Give up: the temporary files are left to whoever clears them away."""
        self._writer.drop()


class _ArrowFile:
    """Parquet, or Arrow's file format, one row group or record batch for each _BLOCK_IDS ids or
    rows."""

    def __init__(self, folder: Path, name: str, file_format: str, has_mask: bool) -> None:
        self._file_name = f"{name}.{file_format}"
        self._schema = schema(has_mask)
        self._sink = pa.OSFile(str(folder / (TEMPORARY + self._file_name)), "wb")
        self._waiting: list[pa.RecordBatch] = []
        self._ids_waiting = self._rows_waiting = 0
        self._writer: Any
        if file_format == "parquet":
            # Ids hardly repeat in order, so that a dictionary is built in vain.
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="zstd",
                use_dictionary=False,
                write_statistics=False,
            )
        else:
            self._writer = pa.ipc.new_file(self._sink, self._schema)

    def write(self, batch: TokenBatch, mask: NDArray[np.bool_] | None) -> None:
        columns = column_arrays(batch, mask)
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._ids_waiting += len(batch.ids)
        self._rows_waiting += len(batch)
        if max(self._ids_waiting, self._rows_waiting) >= _BLOCK_IDS:
            self._write_block()

    def _write_block(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
        self._waiting, self._ids_waiting, self._rows_waiting = [], 0, 0
        if isinstance(self._writer, pq.ParquetWriter):
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        else:
            self._writer.write_table(table)

    def close(self) -> list[str]:
        if self._waiting:
            self._write_block()
        self._writer.close()
        self._sink.close()
        return [self._file_name]

    def drop(self) -> None:
        # Left open, it would write the rest when it is collected.
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._sink.close()


class _NpyFiles:
    """Flat arrays. The header, which says how long an array is, is written at the end."""

    def __init__(self, folder: Path, name: str, _: str, has_mask: bool) -> None:
        self._files: dict[str, BinaryIO] = {}
        self._n_ids = 0
        self._n_rows = 0
        # `ids` comes last into its place, so it is the one that says that all are there.
        columns = ["offsets", *(["loss_mask"] if has_mask else []), "ids"]
        self._names = {column: f"{name}.{column}.npy" for column in columns}
        for column, file_name in self._names.items():
            self._files[column] = open(folder / (TEMPORARY + file_name), "wb")  # noqa: SIM115
            self._write_header(column, 0)
        self._files["offsets"].write(np.zeros(1, np.int64).data)

    def write(self, batch: TokenBatch, mask: NDArray[np.bool_] | None) -> None:
        self._files["ids"].write(batch.ids.data)
        self._files["offsets"].write((batch.offsets[1:] + self._n_ids).data)
        if mask is not None:
            self._files["loss_mask"].write(mask.data)
        self._n_ids += len(batch.ids)
        self._n_rows += len(batch)

    def _write_header(self, column: str, length: int) -> None:
        # numpy leaves room for any length of the first axis, so the data stays where it is.
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(_NPY_COLUMNS[column])),
            "fortran_order": False,
            "shape": (length,),
        }
        np.lib.format.write_array_header_1_0(self._files[column], header)

    def close(self) -> list[str]:
        for column, file in self._files.items():
            start = file.seek(0)
            self._write_header(column, self._n_rows + 1 if column == "offsets" else self._n_ids)
            assert file.tell() > start
            file.close()
        return list(self._names.values())

    def drop(self) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()


class Block(NamedTuple):
    """Some rows of a shard: flat ids and mask, and where rows begin and end in them."""

    ids: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    mask: pa.Array | NDArray[np.bool_] | None

    def row(self, at: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_] | None]:
        start, stop = self.offsets[at], self.offsets[at + 1]
        mask = None
        if self.mask is not None:
            mask = self.mask[start:stop]
            if isinstance(mask, pa.Array):
                mask = mask.to_numpy(zero_copy_only=False)
        return self.ids[start:stop], mask


class ShardReader:
    """Random access to the rows of one shard."""

    def __init__(
        self, folder: Path, name: str, n_rows: int, file_format: str, has_mask: bool
    ) -> None:
        self._file = str(folder / name)
        if file_format != "npy":
            self._file += f".{file_format}"
            check_name(self._file)
        # What is kept refers to no reader: one that nobody uses any more closes its files at once.
        with blamed_on(self._file):
            if file_format == "npy":
                lengths = [n_rows]
                block = functools.partial(_npy_block, self._file, n_rows, has_mask)
                self._block = functools.cache(block)
            elif file_format == "arrow":
                arrow_file = pa.ipc.open_file(pa.memory_map(self._file))
                _check(self._file, arrow_file.schema == schema(has_mask))
                self._block = functools.cache(functools.partial(_arrow_block, arrow_file))
                n_batches = arrow_file.num_record_batches
                lengths = [self._block(i).offsets.size - 1 for i in range(n_batches)]
            else:
                parquet_file = pq.ParquetFile(self._file)
                _check(self._file, parquet_file.schema_arrow == schema(has_mask))
                metadata = parquet_file.metadata
                keep = functools.lru_cache(_KEPT_GROUPS)
                self._block = keep(functools.partial(_parquet_block, parquet_file))
                lengths = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        _check(self._file, sum(lengths) == n_rows)
        self._starts = list(itertools.accumulate(lengths[:-1], initial=0))

    def row(self, at: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_] | None]:
        """Ids and mask of one row."""
        with blamed_on(self._file):
            block = bisect.bisect_right(self._starts, at) - 1
            return self._block(block).row(at - self._starts[block])

    def blocks(self) -> Iterator[Block]:
        """All of it, a block at a time."""
        with blamed_on(self._file):
            for index in range(len(self._starts)):
                yield self._block(index)


def _check(file: str, is_sound: bool) -> None:
    if not is_sound:
        raise DatasetError.of(DAMAGED, file)


def _npy_block(path: str, n_rows: int, has_mask: bool, _: int) -> Block:
    offsets = _npy_column(path, "offsets", n_rows + 1)
    n_ids = int(offsets[-1])
    mask = _npy_column(path, "loss_mask", n_ids) if has_mask else None
    return Block(_npy_column(path, "ids", n_ids), offsets, mask)


def _npy_column(path: str, column: str, length: int) -> NDArray[Any]:
    file = f"{path}.{column}.npy"
    with blamed_on(file):
        try:
            array: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
        except (ValueError, SyntaxError, tokenize.TokenError) as error:
            raise DatasetError.of(DAMAGED, file) from error
    _check(file, array.dtype == _NPY_COLUMNS[column] and array.shape == (length,))
    return array


def _arrow_block(reader: pa.RecordBatchFileReader, index: int) -> Block:
    batch = reader.get_batch(index)
    batch.validate(full=True)
    return _block_of(batch.columns)


def _parquet_block(file: pq.ParquetFile, index: int) -> Block:
    table = file.read_row_group(index)
    return _block_of([column.combine_chunks() for column in table.columns])


def _block_of(columns: list[pa.Array]) -> Block:
    columns = [c.chunk(0) if isinstance(c, pa.ChunkedArray) else c for c in columns]
    offsets = columns[0].offsets.to_numpy()
    mask = columns[1].values if len(columns) > 1 else None
    return Block(columns[0].values.to_numpy(), offsets, mask)
