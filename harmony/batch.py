"""Many texts in one call: chunks of them on threads, ids in flat arrays.

    texts  ->  Texts (_bpe), which keeps them in place  ->  chunks  ->  workers  ->  ids, offsets

Texts are a list, or rows of Arrow's buffers (arrow.py makes these).
"""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from harmony import workers
from harmony._codec import Scratch, Texts, join_ids
from harmony.errors import name_row

if TYPE_CHECKING:
    from harmony.tokenizer import SpecialNames, Text, TokenIds, Tokenizer

MakeTexts = Callable[[int, int, Scratch, int], Texts]  # of start, stop, scratch, first row

# What a thread takes at a time, in bytes of text. Threads that hold the lock between chunks are in
# each other's way if chunks are much smaller; work is shared unevenly if they are much larger.
CHUNK_BYTES = 1 << 17
# What a text costs beside its bytes, in bytes of text.
_BYTES_PER_TEXT = 64
# Below this a second thread costs more than it brings.
_PARALLEL_ABOVE = 1 << 20


class TokenBatch:
    """The ids of many texts in one array.

    `ids`: uint32[n]; `offsets`: int64[m + 1]. The ids of text `i` are
    `ids[offsets[i]:offsets[i + 1]]`, which is `batch[i]`: a view, not a copy. `batch[2:5]` is a
    batch that shares the memory.
    """

    __slots__ = ("ids", "offsets")

    def __init__(self, ids: NDArray[np.uint32], offsets: NDArray[np.int64]) -> None:
        if not len(offsets):
            raise ValueError("offsets hold one item more than there are rows")
        self.ids = ids
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint32]: ...
    @overload
    def __getitem__(self, index: slice) -> TokenBatch: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.uint32] | TokenBatch:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"a batch is sliced in steps of 1, not {step}")
            return TokenBatch(self.ids, self.offsets[start : max(start, stop) + 1])
        row = position(index, len(self))
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        for start, stop in itertools.pairwise(self.offsets.tolist()):
            yield self.ids[start:stop]

    def __repr__(self) -> str:
        n_ids = int(self.offsets[-1] - self.offsets[0])
        return f"<TokenBatch of {len(self):,} texts, {n_ids:,} ids>"

    def to_arrow(self) -> Any:
        """`large_list<uint32>` over the same memory. Needs pyarrow."""
        from harmony.arrow import list_array

        return list_array(self.ids, self.offsets)


def position(index: int, length: int) -> int:
    """`index` counted from the start. Raises IndexError if there is no such item."""
    row = operator.index(index)
    if row < 0:
        row += length
    if not 0 <= row < length:
        raise IndexError(f"index {index} is out of range for {length} rows")
    return row


class Job:
    """The texts of one call, the policy for special tokens in them, and how they are cut.

    `sources`: for each stretch of texts what makes Texts of some of them, and about how many bytes
    each has.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sources: Sequence[tuple[MakeTexts, NDArray[np.int64]]],
        num_threads: int | None,
        allowed_special: SpecialNames,
        disallowed_special: SpecialNames,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        allowed_special, disallowed_special = _kept(allowed_special), _kept(disallowed_special)
        tokenizer._resolve("", allowed_special, disallowed_special)  # for the errors in these
        self._tokenizer = tokenizer
        self._policy = (allowed_special, disallowed_special)
        # What texts hold that need a second look; every one holds b"".
        self._marker = b""
        if not disallowed_special or disallowed_special == "all":
            self._marker = tokenizer._codec.marker or b""
        self._chunks: list[tuple[MakeTexts, int, int, int]] = []
        first_row = 0
        n_bytes = 0
        for make_texts, sizes in sources:
            for start, stop in itertools.pairwise(_cuts(sizes, chunk_bytes)):
                self._chunks.append((make_texts, start, stop, first_row + start))
            first_row += len(sizes)
            n_bytes += int(sizes.sum())
        self.n_texts = first_row
        self._n_bytes = n_bytes
        self._unused: list[Scratch] = []
        n_threads = workers.thread_count(num_threads)
        self._num_threads = n_threads if n_bytes > _PARALLEL_ABOVE else 1

    def lists(self) -> list[list[int]]:
        def work(chunk: int) -> list[list[int]]:
            scratch = self._take_scratch()
            offsets = self._encode(chunk, scratch, scratch.ids.texts)
            lists = scratch.ids.to_lists(offsets)
            self._give_back(scratch)
            return lists

        lists = workers.run(work, len(self._chunks), self._num_threads)
        return list(itertools.chain.from_iterable(lists))

    def arrays(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        ids = self._tokenizer._id_writer()
        if len(self._chunks) == 1:
            offsets = self._encode(0, self._take_scratch(), ids.texts)
            return ids.to_array(), offsets
        ids.expect(self._n_bytes)
        offsets = np.zeros(self.n_texts + 1, np.int64)
        # Chunks that are done before one that precedes them, and how many are in `ids`.
        waiting: dict[int, tuple[Scratch, NDArray[np.int64]]] = {}
        n_joined = 0
        lock = threading.Lock()

        def work(chunk: int) -> None:
            nonlocal n_joined
            scratch = self._take_scratch()
            ends = self._encode(chunk, scratch, scratch.ids.texts)
            with lock:
                waiting[chunk] = scratch, ends
                while n_joined in waiting:
                    scratch, ends = waiting.pop(n_joined)
                    _, start, stop, first_row = self._chunks[n_joined]
                    rows = slice(first_row + 1, first_row + 1 + stop - start)
                    np.add(ends[1:], len(ids), out=offsets[rows])
                    ids.writer(scratch.ids)
                    self._give_back(scratch)
                    n_joined += 1

        workers.run(work, len(self._chunks), self._num_threads)
        return ids.to_array(), offsets

    def counts(self) -> NDArray[np.int64]:
        codec = self._tokenizer._codec

        def work(chunk: int) -> NDArray[np.int64]:
            scratch = self._take_scratch()
            offsets = self._encode(chunk, scratch, codec.count_texts)
            self._give_back(scratch)
            return np.diff(offsets)

        counts = workers.run(work, len(self._chunks), self._num_threads)
        return np.concatenate([np.empty(0, np.int64), *counts])

    def _take_scratch(self) -> Scratch:
        try:
            return self._unused.pop()
        except IndexError:
            return Scratch(self._tokenizer._codec)

    def _give_back(self, scratch: Scratch) -> None:
        scratch.ids.clear()
        self._unused.append(scratch)

    def _encode(
        self, chunk: int, scratch: Scratch, encode: Callable[..., int]
    ) -> NDArray[np.int64]:
        """Have the texts of a chunk encoded by `IdWriter.texts` or `Codec.count_texts`; returns the
        offsets of their ids. Python sees those only that may hold special tokens."""
        make_texts, start, stop, first_row = self._chunks[chunk]
        texts = make_texts(start, stop, scratch, first_row)
        offsets = np.empty(stop - start + 1, np.int64)
        row = encode(texts, offsets, self._marker)
        while row < len(texts):
            try:
                resolved = self._tokenizer._resolve(texts.utf8(row), *self._policy)
            except Exception as error:
                raise name_row(error, first_row + row) from None
            texts.cut(row, *resolved[1:])
            row = encode(texts, offsets, self._marker, row)
        return offsets


def _kept(names: SpecialNames) -> SpecialNames:
    """Names of special tokens that can be asked for again and again, as every text does."""
    return frozenset(names) if isinstance(names, Iterator) else names


def job_for(
    tokenizer: Tokenizer,
    texts: Iterable[Text],
    num_threads: int | None,
    allowed_special: SpecialNames,
    disallowed_special: SpecialNames,
) -> Job:
    """The job of encoding a list of texts; TypeError if `texts` is one text."""
    if isinstance(texts, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"texts must be a list of texts, not one {type(texts).__name__}")
    rows = list(texts)
    try:
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        # Something in it is no text, or a buffer without a length or released; `Texts` knows.
        sizes = np.zeros(len(rows), np.int64)

    def make_texts(start: int, stop: int, scratch: Scratch, first_row: int) -> Texts:
        return Texts(rows[start:stop], scratch, first_row)

    return Job(tokenizer, [(make_texts, sizes)], num_threads, allowed_special, disallowed_special)


def join(rows: Iterable[TokenIds]) -> TokenBatch:
    """Rows of ids, each an iterable of integers or an array, one after another in one array.

    Errors, which are TypeError and OverflowError, name the row.
    """
    lists = list(rows)
    offsets = np.empty(len(lists) + 1, np.int64)
    try:
        return TokenBatch(join_ids(lists, offsets), offsets)
    except TypeError as error:
        row: int = error.row  # type: ignore[attr-defined]
        if not _is_null(lists[row]):
            raise
        null = TypeError("null is no list of ids; leave such rows out, or put [] in their place")
        raise name_row(null, row) from None


def _is_null(row: object) -> bool:
    """Whether a row is None, or what Arrow has for it."""
    return row is None or getattr(row, "is_valid", True) is False


def decode(
    tokenizer: Tokenizer,
    batch: TokenBatch | Iterable[TokenIds],
    errors: str,
    num_threads: int | None,
) -> list[str]:
    """The text of each row of ids."""
    codec = tokenizer._codec
    if isinstance(batch, TokenBatch):
        # A copy: nobody may change the offsets between the check of them and their use.
        ids, offsets = np.asarray(batch.ids), np.array(batch.offsets, np.int64)
    else:
        joined = join(batch)
        ids, offsets = joined.ids, joined.offsets
    # About four bytes of text for each id.
    cuts = _cuts(4 * np.maximum(np.diff(offsets), 0), CHUNK_BYTES)

    def work(chunk: int) -> list[str]:
        start, stop = cuts[chunk], cuts[chunk + 1]
        return codec.decode_texts(ids, offsets[start : stop + 1], errors, start)

    n_threads = workers.thread_count(num_threads)
    if 4 * (offsets[-1] - offsets[0]) <= _PARALLEL_ABOVE:
        n_threads = 1
    texts = workers.run(work, len(cuts) - 1, n_threads)
    return list(itertools.chain.from_iterable(texts))


def _cuts(sizes: NDArray[np.int64], chunk_bytes: int) -> list[int]:
    """Where rows of these sizes are cut into chunks: [0, ..., len(sizes)]."""
    if not len(sizes):
        return [0]
    ends = np.cumsum(sizes + _BYTES_PER_TEXT)
    wanted = np.arange(chunk_bytes, int(ends[-1]), chunk_bytes)
    # Each once. `np.unique` does that, too, but loads for 5 ms when it is first called.
    cuts = dict.fromkeys((np.searchsorted(ends, wanted) + 1).tolist())
    return [0, *(cut for cut in cuts if cut < len(sizes)), len(sizes)]
