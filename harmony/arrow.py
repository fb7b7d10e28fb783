"""Arrow arrays of text in, Arrow arrays of ids out, over the same memory. Needs pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harmony import batch
from harmony._codec import Scratch, Texts, check_offsets, join_ids

try:
    import pyarrow as pa  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("this needs pyarrow: python -m pip install 'cyharmony[datasets]'") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harmony.tokenizer import SpecialNames, Tokenizer

IDS = pa.large_list(pa.uint32())

_OFFSETS: dict[pa.DataType, type[np.signedinteger[Any]]] = {
    pa.string(): np.int32,
    pa.binary(): np.int32,
    pa.large_string(): np.int64,
    pa.large_binary(): np.int64,
}


def list_array(
    ids: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    present: NDArray[np.bool_] | None = None,
) -> pa.LargeListArray:
    """`large_list<uint32>` over this memory, or over a copy where ids are not uint32 or offsets not
    int64; `present`: which rows are not null (None: all). Raises ValueError for offsets that lead
    out of the ids, which Arrow would follow."""
    ids = np.asarray(ids)
    if ids.dtype != np.uint32:
        ids = join_ids([ids], np.empty(2, np.int64))
    offsets = np.ascontiguousarray(offsets, np.int64)
    check_offsets(offsets, len(ids))
    validity = None
    if present is not None and not present.all():
        validity = pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets)]
    return pa.Array.from_buffers(IDS, len(offsets) - 1, buffers, children=[pa.array(ids)])


def encode(
    tokenizer: Tokenizer,
    array: Any,
    num_threads: int | None,
    allowed_special: SpecialNames,
    disallowed_special: SpecialNames,
) -> pa.Array | pa.ChunkedArray:
    """`Tokenizer.encode_arrow`."""
    if hasattr(array, "__arrow_c_stream__") and not isinstance(array, pa.ChunkedArray):
        array = pa.chunked_array(array)
    elif hasattr(array, "__arrow_c_array__") and not isinstance(array, pa.Array):
        array = pa.array(array)
    if not isinstance(array, (pa.Array, pa.ChunkedArray)):
        raise TypeError(f"encode_arrow takes an Arrow array, not {type(array).__name__}")
    if array.type not in _OFFSETS:
        raise TypeError(
            f"encode_arrow takes an array of string or large_string, not {array.type}; "
            'array.cast("large_string") may make one of it'
        )
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    sources = [_rows_of(chunk) for chunk in chunks]
    job = batch.Job(
        tokenizer,
        [(make_texts, sizes) for make_texts, sizes, _ in sources],
        num_threads,
        allowed_special,
        disallowed_special,
    )
    ids, offsets = job.arrays()
    results = []
    start = 0
    for _, sizes, present in sources:
        stop = start + len(sizes)
        results.append(list_array(ids, offsets[start : stop + 1], present))
        start = stop
    return pa.chunked_array(results, IDS) if isinstance(array, pa.ChunkedArray) else results[0]


def encode_rows(tokenizer: Tokenizer, array: pa.Array) -> batch.TokenBatch:
    """The ids of an array of text on this thread alone; nulls have none. Nothing is special."""
    make_texts, sizes, _ = _rows_of(array)
    whole = max(1, 2 * int(sizes.sum()) + len(sizes) * 1024)
    job = batch.Job(tokenizer, [(make_texts, sizes)], 1, frozenset(), (), chunk_bytes=whole)
    return batch.TokenBatch(*job.arrays())


def _rows_of(
    array: pa.Array,
) -> tuple[batch.MakeTexts, NDArray[np.int64], NDArray[np.bool_] | None]:
    """How to get Texts of some rows, the size of each in bytes, and which are not null."""
    n_rows = len(array)
    _, offset_buffer, content = array.buffers()
    offsets = np.zeros(1, np.int64)
    if n_rows:
        found = np.frombuffer(offset_buffer or b"", _OFFSETS[array.type])
        offsets = found[array.offset : array.offset + n_rows + 1].astype(np.int64)
    present = None
    if array.null_count:
        present = array.is_valid().to_numpy(zero_copy_only=False)
    text = memoryview(content or b"").cast("B")

    def make_texts(start: int, stop: int, scratch: Scratch, first_row: int) -> Texts:
        mask = None if present is None else present[start:stop].view(np.uint8)
        return Texts(text, scratch, first_row, offsets[start : stop + 1], mask)

    # Whoever made the array may have left anything in it; Texts refuses what leads out of `text`.
    return make_texts, np.maximum(np.diff(offsets), 0), present
