"""Data sets: files of text or conversations in, shards of token ids out, and reading these.

    files  ->  sources.py: chunks  ->  rows.py, on threads: ids  ->  shards.py  ->  manifest

The job is a loop over chunks in order. A shard is closed after a chunk that fills it, and only then
the manifest says so, with the place in the input where the next shard begins: whatever happens in
between, the next run goes on there and writes the same bytes. Needs pyarrow.
"""

from __future__ import annotations

import bisect
import builtins
import fcntl
import functools
import itertools
import json
import operator
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

# arrow comes first: it says what to install where there is no pyarrow.
from harmony import arrow, rows, workers  # noqa: F401
from harmony.batch import position
from harmony.encoding import HarmonyEncoding, load_harmony_encoding
from harmony.errors import DatasetError
from harmony.packing import PackedRows, pack
from harmony.shards import FORMATS, ShardReader, ShardWriter, flush, is_temporary, write_file
from harmony.sources import Position, Source, blamed_on, check_name
from harmony.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from harmony.messages import RenderConversationConfig

__all__ = ["Dataset", "DatasetError", "PackedRows", "Progress", "encode_dataset", "open", "pack"]

MANIFEST = "manifest.json"
REJECTS = "rejects.jsonl"
# Of the manifest, and of everything it describes.
VERSION = 1
CHANGED = "the file is missing or was changed"
ON_BAD_ROW = ("stop", "skip", "collect")

# Shards that a Dataset keeps open. Of Parquet each holds row groups that were read, and a file; of
# mapped files each holds up to three.
_KEPT_PARQUET = 16
_KEPT_MAPPED = 64


@dataclass(frozen=True)
class Progress:
    """How far a job is, the parts done by earlier runs included. `bytes_read` and `bytes_total` are
    those of the input files; `seconds` count from the start of this run."""

    bytes_total: int
    bytes_read: int = 0
    rows: int = 0
    tokens: int = 0
    rejected: int = 0
    seconds: float = 0.0


def encode_dataset(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    text_field: str = "text",
    conversations: Literal["auto", "chat", "harmony"] | None = None,
    format: Literal["parquet", "arrow", "npy"] = "parquet",
    num_threads: int | None = None,
    on_bad_row: Literal["stop", "skip", "collect"] = "stop",
    train_on: Literal["assistant", "last_turn", "final_only"] = "assistant",
    config: RenderConversationConfig | None = None,
    encoding: Tokenizer | None = None,
    shard_tokens: int = 1 << 25,
    progress: Callable[[Progress], object] | None = None,
) -> Dataset:
    """Encode files of text or conversations into a data set in the folder `out`.

    docs/datasets-api.md says what the arguments mean. A job that was stopped, by whatever, is
    continued by the same call, and its result is the one of a job that was not. Raises DatasetError
    for files that cannot be read or written, for a folder that holds something else, and for the
    first bad row unless `on_bad_row` says otherwise; what is finished stays. ValueError for
    arguments that make no sense.
    """
    files = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    for name, value, choices in (
        ("format", format, FORMATS),
        ("on_bad_row", on_bad_row, ON_BAD_ROW),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    # An int of Python, whatever kind it was: the manifest says it.
    shard_tokens = int(operator.index(shard_tokens))
    if shard_tokens < 1:
        raise ValueError(f"shard_tokens must be at least 1, not {shard_tokens}")
    workers.thread_count(num_threads)
    encoder = make_encoder(text_field, conversations, train_on, config, encoding)
    source = Source([os.fspath(file) for file in files], encoder.columns, encoder.optional_columns)
    job = {
        **encoder.description,
        "format": format,
        "on_bad_row": on_bad_row,
        "shard_tokens": shard_tokens,
        "inputs": [
            {"file": file, "bytes": size, "fingerprint": fingerprint}
            for file, size, fingerprint in zip(
                source.files, source.sizes, source.fingerprints, strict=True
            )
        ],
    }
    folder = Path(out)
    if format != "npy":
        check_name(str(folder))
    with blamed_on(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _Run(folder, job, source, encoder, progress).go(num_threads)
    return Dataset(folder)


def make_encoder(
    text_field: str,
    conversations: str | None,
    train_on: str,
    config: RenderConversationConfig | None,
    encoding: Tokenizer | None,
) -> rows.Texts | rows.Conversations:
    """What encodes the rows of a job. Raises ValueError for arguments that make no sense."""
    if encoding is None:
        encoding = load_harmony_encoding("HarmonyGptOss")
    if not isinstance(encoding, Tokenizer):
        raise TypeError(f"encoding must be a Tokenizer, not {type(encoding).__name__}")
    if not isinstance(text_field, str):
        raise TypeError(f"text_field must be str, not {type(text_field).__name__}")
    if conversations is None:
        if train_on != "assistant" or config is not None:
            raise ValueError("train_on and config are for conversations, and these are texts")
        return rows.Texts(encoding, text_field)
    if not isinstance(encoding, HarmonyEncoding):
        raise ValueError(f"conversations need a HarmonyEncoding, not {encoding!r}")
    return rows.Conversations(encoding, conversations, train_on, config)


class _Run:
    """One run of a job in its folder."""

    def __init__(
        self,
        folder: Path,
        job: dict[str, Any],
        source: Source,
        encoder: rows.Texts | rows.Conversations,
        report: Callable[[Progress], object] | None,
    ) -> None:
        self._folder = folder
        self._source = source
        self._encoder = encoder
        self._report = report
        with self._blamed_on_folder():
            self._manifest = self._begin_or_continue(job)
        self._n_rejected = 0  # since the last shard was finished
        shards = self._manifest["shards"]
        self._progress = Progress(
            bytes_total=sum(source.sizes),
            rows=sum(shard["rows"] for shard in shards),
            tokens=sum(shard["tokens"] for shard in shards),
            rejected=sum(shard["rejected"] for shard in shards),
        )

    def _begin_or_continue(self, job: dict[str, Any]) -> dict[str, Any]:
        """The manifest of this job: that of an earlier run, or a new one in an empty folder."""
        if (self._folder / MANIFEST).exists():
            self._clear_away()
            manifest = read_manifest(self._folder)
            if manifest["job"] != job:
                begun = manifest["job"]
                changed = [key for key in {**begun, **job} if begun.get(key) != job.get(key)]
                raise DatasetError.of(
                    f"this folder holds another job ({', '.join(changed)} differ); choose another",
                    str(self._folder),
                )
            for shard in manifest["shards"]:
                for name, size in shard["files"].items():
                    file = self._folder / name
                    if not file.exists() or file.stat().st_size != size:
                        raise DatasetError.of(CHANGED, str(file))
            # It may be longer: what is behind the last shard is written anew.
            if self._rejects_size() < _rejects_bytes(manifest):
                raise DatasetError.of(CHANGED, str(self._folder / REJECTS))
            return manifest
        if not all(is_temporary(file) for file in self._folder.iterdir()):
            raise DatasetError.of(
                "this folder is not empty, and holds no data set; choose another", str(self._folder)
            )
        self._clear_away()
        return {"version": VERSION, "complete": False, "job": job, "shards": []}

    def go(self, num_threads: int | None) -> None:
        if self._manifest["complete"]:
            return
        shards = self._manifest["shards"]
        start = Position(*shards[-1]["end"]) if shards else Position()
        writer: ShardWriter | None = None
        end = start
        began = time.monotonic()
        try:
            if not shards:
                self._save()
            self._cut_rejects()
            chunks = self._source.chunks(start)
            with closing(workers.run_stream(self._encoder.encode, chunks, num_threads)) as stream:
                for encoded in stream:
                    self._take_rejects(encoded.rejects)
                    end = encoded.end
                    if len(encoded.batch):
                        with self._blamed_on_folder():
                            writer = writer or self._new_shard(len(shards))
                            writer.write(encoded.batch, encoded.loss_mask)
                        if writer.n_tokens >= self._manifest["job"]["shard_tokens"]:
                            self._close(writer, end)
                            writer = None
                    self._say(encoded, began)
            if writer:
                self._close(writer, end)
                writer = None
            self._manifest["rejected"] = self._n_rejected
            self._flush_rejects()
            self._manifest["complete"] = True
            self._save()
        finally:
            if writer:
                writer.drop()
            if not self._manifest["complete"]:
                self._clear_away()

    def _clear_away(self) -> None:
        """What a run left behind that did not come to its end."""
        with self._blamed_on_folder():
            for file in filter(is_temporary, self._folder.iterdir()):
                file.unlink()

    def _new_shard(self, number: int) -> ShardWriter:
        job = self._manifest["job"]
        has_mask = job["rows"] == "conversations"
        return ShardWriter(self._folder, f"shard-{number:05}", job["format"], has_mask)

    def _close(self, writer: ShardWriter, end: Position) -> None:
        with self._blamed_on_folder():
            files = writer.finish()
        self._flush_rejects()
        self._manifest["shards"].append(
            {
                "name": writer.name,
                "rows": writer.n_rows,
                "tokens": writer.n_tokens,
                "rejected": self._n_rejected,
                "rejects_bytes": self._rejects_size(),
                "files": files,
                "end": list(end),
            }
        )
        self._n_rejected = 0
        self._save()

    def _save(self) -> None:
        with self._blamed_on_folder():
            text = json.dumps(self._manifest, indent=1, ensure_ascii=False)
            # A field may be named by surrogates, which are escaped so.
            content = text.encode(errors="backslashreplace") + b"\n"
            write_file(self._folder / MANIFEST, content)

    def _blamed_on_folder(self) -> Any:
        return blamed_on(str(self._folder))

    # rows that are bad

    def _take_rejects(self, rejects: list[rows.Reject]) -> None:
        if rejects and self._manifest["job"]["on_bad_row"] == "stop":
            first = rejects[0]
            raise DatasetError.of(first.error, first.file, first.row)
        self._n_rejected += len(rejects)
        if rejects and self._manifest["job"]["on_bad_row"] == "collect":
            lines = [json.dumps(reject._asdict(), ensure_ascii=False) for reject in rejects]
            text = "\n".join(lines) + "\n"
            with (
                self._blamed_on_folder(),
                builtins.open(self._folder / REJECTS, "ab") as file,
            ):
                file.write(text.encode(errors="backslashreplace"))

    def _flush_rejects(self) -> None:
        """Have the bad rows up to here on the disk. The manifest, which comes after them, says how
        long their file then is."""
        path = self._folder / REJECTS
        if path.exists():
            with self._blamed_on_folder():
                flush(path)

    def _rejects_size(self) -> int:
        path = self._folder / REJECTS
        return path.stat().st_size if path.exists() else 0

    def _cut_rejects(self) -> None:
        """Forget bad rows of a shard that was not finished."""
        size = _rejects_bytes(self._manifest)
        path = self._folder / REJECTS
        with self._blamed_on_folder():
            if not size:
                path.unlink(missing_ok=True)
            elif self._rejects_size() > size:
                os.truncate(path, size)

    def _say(self, encoded: rows.Encoded, began: float) -> None:
        before = self._progress
        # A new one each time: whoever is told of it may keep it.
        self._progress = Progress(
            before.bytes_total,
            bytes_read=encoded.bytes_read,
            rows=before.rows + len(encoded.batch),
            tokens=before.tokens + len(encoded.batch.ids),
            rejected=before.rejected + len(encoded.rejects),
            seconds=time.monotonic() - began,
        )
        if self._report:
            self._report(self._progress)


def _rejects_bytes(manifest: dict[str, Any]) -> int:
    """How long the file of bad rows was when the last shard was finished."""
    shards = manifest["shards"]
    return int(shards[-1]["rejects_bytes"]) if shards else 0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; a run that dies lets go of it."""
    with blamed_on(str(folder)):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with blamed_on(str(folder)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatasetError.of("another job is writing here", str(folder)) from None
        try:
            yield
        finally:
            # To close it is not enough: processes that were forked meanwhile have it open, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data set. Raises DatasetError if there is none that this version reads."""
    path = folder / MANIFEST
    with blamed_on(str(path)):
        content = path.read_bytes()
    try:
        manifest: dict[str, Any] = json.loads(content)
        version = manifest["version"]
        if version == VERSION:
            _check_parts(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DatasetError.of("this is no manifest of a data set", str(path)) from None
    if version != VERSION:
        raise DatasetError.of(f"version {version} of the format is not known here", str(path))
    return manifest


def _check_parts(manifest: dict[str, Any]) -> None:
    """Raise KeyError, TypeError or AttributeError if something is not there that is read later."""
    job, shards = manifest["job"], manifest["shards"]
    _ = job["format"], job["rows"], shards[:0]
    numbers = [manifest["rejected"]] if manifest["complete"] else []
    for shard in shards:
        Path(shard["name"])
        numbers += [shard[key] for key in ("rows", "tokens", "rejected", "rejects_bytes")]
        numbers += [*shard["files"].values(), *Position._make(shard["end"])]
    for number in numbers:
        operator.index(number)


class Dataset:
    """A data set on the disk, with random access: `dataset[i]` is a dict with `ids` and, for
    conversations, `loss_mask`; a slice or a list of indices gives a list of these.

    Get it from `harmony.datasets.open`. Pickles to its path, so workers of a loader can share it.
    """

    def __init__(self, path: str | os.PathLike[str], dtype: DTypeLike = np.uint32) -> None:
        # Shards are opened, and pickles read, when the working directory may be another.
        self.path = Path(path).absolute()
        self.manifest = read_manifest(self.path)
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "iu":
            raise ValueError(f"dtype must be of integers, not {self.dtype}")
        self._largest = np.iinfo(self.dtype).max
        if not self.manifest["complete"]:
            raise DatasetError.of(
                "this data set is not finished; run its job again", str(self.path)
            )
        self._shards = self.manifest["shards"]
        self._starts = [0, *itertools.accumulate(shard["rows"] for shard in self._shards)]
        job = self.manifest["job"]
        open_shard = functools.partial(
            ShardReader,
            self.path,
            file_format=job["format"],
            has_mask=job["rows"] == "conversations",
        )
        n_kept = _KEPT_PARQUET if job["format"] == "parquet" else _KEPT_MAPPED
        self._open_shard = functools.lru_cache(n_kept)(open_shard)

    @property
    def n_tokens(self) -> int:
        """Number of ids of all rows."""
        return int(sum(shard["tokens"] for shard in self._shards))

    @property
    def n_rejected(self) -> int:
        """Number of bad rows that were left out."""
        shards = sum(shard["rejected"] for shard in self._shards)
        return int(self.manifest["rejected"] + shards)

    def __len__(self) -> int:
        length: int = self._starts[-1]
        return length

    @overload
    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]: ...
    @overload
    def __getitem__(
        self, index: slice | Sequence[int] | NDArray[Any]
    ) -> list[dict[str, NDArray[Any]]]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._row(row) for row in range(*index.indices(len(self)))]
        # An array without dimensions is a number, though it has a __len__.
        if hasattr(index, "__len__") and getattr(index, "ndim", None) != 0:
            # Whoever picks rows by a mask would get rows 0 and 1.
            if any(isinstance(row, bool) for row in index):
                raise TypeError("rows are picked by their indices, not by bools")
            return [self._row(position(row, len(self))) for row in index]
        return self._row(position(index, len(self)))

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for row in range(len(self)):
            yield self._row(row)

    def rows(self) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.bool_] | None]]:
        """Ids and loss mask (None for texts) of each row, in order."""
        for number in range(len(self._shards)):
            for block in self._reader(number).blocks():
                for at in range(len(block.offsets) - 1):
                    yield block.row(at)

    def _row(self, row: int) -> dict[str, NDArray[Any]]:
        number = bisect.bisect_right(self._starts, row) - 1
        ids, mask = self._reader(number).row(row - self._starts[number])
        if self._largest < 2**32 - 1 and ids.max(initial=0) > self._largest:
            raise OverflowError(f"id {ids.max()} of row {row} does not fit into {self.dtype}")
        found: dict[str, NDArray[Any]] = {"ids": np.asarray(ids).astype(self.dtype, copy=False)}
        if mask is not None:
            found["loss_mask"] = mask
        return found

    def _reader(self, number: int) -> ShardReader:
        shard = self._shards[number]
        return self._open_shard(shard["name"], shard["rows"])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.dtype)

    def __repr__(self) -> str:
        return f"<Dataset {str(self.path)!r}: {len(self):,} rows, {self.n_tokens:,} tokens>"


def open(path: str | os.PathLike[str], *, dtype: DTypeLike = np.uint32) -> Dataset:
    """The data set in a folder, for reading; its ids as `dtype`, which may be any of integers.

    Raises DatasetError if there is none, or one that is not finished; when a row is read, for a
    file that is damaged or missing. A row with an id that does not fit into `dtype` is then an
    OverflowError.
    """
    return Dataset(path, dtype)
