"""Files -> chunks of rows: JSON lines (plain, gzip, zstd), Parquet, Arrow and Feather.

A chunk is what a thread works on: about CHUNK_BYTES of whole rows, and where the next one begins.
Where chunks end depends on the files and on nothing else, and a reader that starts where a chunk
ended gives the same chunks from there on.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from harmony.errors import DatasetError

CHUNK_BYTES = 1 << 20
# Rows of a table are cut by their average size; a chunk has never more than this many.
_MOST_ROWS = 1 << 16
# Rows of a row group that are read to learn how large its rows are.
_PROBED_ROWS = 1 << 8
# What a fingerprint reads of a file: so many blocks of so many bytes.
_SAMPLES = 1 << 6
_SAMPLE_BYTES = 1 << 14

DAMAGED = "the file is damaged or incomplete"

TEXT_TYPES = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())

_BYTES_FOR = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
if hasattr(pa, "string_view"):  # pyarrow 16
    _BYTES_FOR[pa.string_view()] = pa.binary_view()

_LINES = {".jsonl": None, ".ndjson": None, ".json": None}
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_ARROW = (".arrow", ".feather", ".ipc")


class Position(NamedTuple):
    """Where a chunk begins: index of the file, rows before it in that file, and for JSON lines
    bytes before it (of the text, not of a compressed file)."""

    file: int = 0
    row: int = 0
    offset: int = 0


class Chunk(NamedTuple):
    """Some rows of a file, as bytes of JSON lines or as a record batch that `readable` gave."""

    file: str
    first_row: int  # rows, or lines, of the file before it
    rows: bytes | pa.RecordBatch
    end: Position  # where the next chunk begins
    bytes_read: int  # of the files, up to its end


class Source:
    """The files of a job, checked as far as that is possible without reading all of them.

    `columns`: names of the columns that tables must have; `optional`: of those they may have.
    Raises DatasetError for a file that is missing, of an unknown kind or without these columns.
    """

    def __init__(
        self, files: Sequence[str], columns: Sequence[str], optional: Sequence[str] = ()
    ) -> None:
        self.files = list(files)
        if not self.files:
            raise DatasetError("there are no input files")
        self._columns = columns
        self._optional = optional
        self.sizes: list[int] = []
        self.fingerprints: list[str] = []
        self._as_found: list[tuple[int, int]] = []
        for file in self.files:
            check_name(file)
            with blamed_on(file):
                kind_of_file = os.stat(file).st_mode
                if stat.S_ISFIFO(kind_of_file) or stat.S_ISCHR(kind_of_file):
                    # To open a pipe waits for whoever writes, and what was read is gone.
                    raise DatasetError.of(
                        "this is no file that can be read again, as a job that goes on must", file
                    )
                with open(file, "rb") as opened:
                    self._as_found.append(_size_and_time(file))
                    self.sizes.append(self._as_found[-1][0])
                    self.fingerprints.append(_fingerprint(opened, self.sizes[-1]))
                kind, _ = _kind_of(file)
                if kind == "parquet":
                    self._names(file, _open_parquet(file).schema_arrow)
                elif kind == "arrow":
                    self._names(file, _open_arrow(file)[1].schema)

    def chunks(self, start: Position) -> Iterator[Chunk]:
        """The chunks from `start` on. Raises DatasetError where a file cannot be read."""
        bytes_before = sum(self.sizes[: start.file])
        for index in range(start.file, len(self.files)):
            file = self.files[index]
            kind, compression = _kind_of(file)
            at = start if index == start.file else Position(index)
            read = {"lines": self._lines, "parquet": self._parquet, "arrow": self._arrow}[kind]
            chunks = iter(read(file, compression, at))
            while True:
                # Only what reading raises is the file's fault.
                with blamed_on(file):
                    chunk = next(chunks, None)
                    # After each chunk: no shard is closed with rows that may be gone.
                    if _size_and_time(file) != self._as_found[index]:
                        raise DatasetError.of(
                            "the file was changed while it was read; run the job again", file
                        )
                if chunk is None:
                    break
                yield chunk._replace(bytes_read=bytes_before + chunk.bytes_read)
            bytes_before += self.sizes[index]

    def _lines(self, file: str, compression: str | None, at: Position) -> Iterator[Chunk]:
        with pa.OSFile(file) as raw:
            stream = raw if compression is None else pa.CompressedInputStream(raw, compression)
            before = _pass_over(stream, at.offset)
            rest = _read(stream, 1)
            # A fingerprint does not see every change; what is left of a line is no row.
            if at.offset and before != b"\n" and (rest or not before):
                raise DatasetError.of(
                    "the file was changed after this job began; choose another folder", file
                )
            while True:
                content = rest + _read(stream, CHUNK_BYTES - len(rest))
                is_last = len(content) < CHUNK_BYTES
                if not is_last and b"\n" not in content:
                    content, is_last = _read_line(stream, content)
                cut = len(content) if is_last else content.rfind(b"\n") + 1
                content, rest = content[:cut], content[cut:]
                n_lines = content.count(b"\n") + (not content.endswith(b"\n"))
                end = Position(at.file, at.row + n_lines, at.offset + len(content))
                if content:
                    yield Chunk(file, at.row, content, end, raw.tell())
                if is_last:
                    return
                at = end

    def _parquet(self, file: str, _: str | None, at: Position) -> Iterator[Chunk]:
        table = _open_parquet(file)
        names = self._names(file, table.schema_arrow)
        # What a column with fields is made of has its name, a dot, and more; names may have dots.
        paths = [f"{table.schema.column(index).path}." for index in range(len(table.schema))]
        inside = tuple(f"{name}." for name in names)
        columns = [index for index, path in enumerate(paths) if path.startswith(inside)]
        size, n_all = self.sizes[at.file], max(1, table.metadata.num_rows)
        row = 0
        for group in range(table.num_row_groups):
            metadata = table.metadata.row_group(group)
            if row + metadata.num_rows <= at.row:
                row += metadata.num_rows
                continue
            # Before anything is asked about a column: where its metadata are damaged, this is an
            # error, and to ask for them ends the process.
            first = next(table.iter_batches(_PROBED_ROWS, row_groups=[group], columns=names), None)
            ours = [metadata.column(index) for index in columns]
            n_bytes = sum(column.total_uncompressed_size for column in ours)
            if first and any(column.has_dictionary_page for column in ours):
                # What repeats is in there once: the first rows tell how large they are when read.
                n_bytes = max(n_bytes, _n_bytes(first) * metadata.num_rows // first.num_rows)
            n_rows = _rows_at_a_time(n_bytes, metadata.num_rows)
            for batch in table.iter_batches(n_rows, row_groups=[group], columns=names):
                n_before, n_read = size * row // n_all, size * (row + batch.num_rows) // n_all
                yield from _chunks_of(batch, file, row, at, n_before, n_read)
                row += batch.num_rows

    def _arrow(self, file: str, _: str | None, at: Position) -> Iterator[Chunk]:
        source, reader = _open_arrow(file)
        names = self._names(file, reader.schema)
        row = n_before = 0
        for whole, n_read in _batches_of(source, reader):
            yield from _chunks_of(whole.select(names), file, row, at, n_before, n_read)
            row += whole.num_rows
            n_before = n_read

    def _names(self, file: str, schema: pa.Schema) -> list[str]:
        """The columns to read; DatasetError if one is missing."""
        for name in self._columns:
            if name not in schema.names:
                raise DatasetError.of(
                    f"there is no column {name!r}; there are {', '.join(schema.names)}", file
                )
        for name in (*self._columns, *self._optional):
            if schema.names.count(name) > 1:
                raise DatasetError.of(f"there are several columns {name!r}", file)
        return [*self._columns, *(name for name in self._optional if name in schema.names)]


def check_name(file: str) -> None:
    """Raise DatasetError for a path that Arrow cannot open."""
    if os.fsencode(file).decode(errors="replace") != file:
        raise DatasetError.of("Arrow opens no file whose name is not UTF-8; rename it", file)


@contextmanager
def blamed_on(file: str) -> Iterator[None]:
    """What goes wrong with a file is a DatasetError that names it."""
    try:
        yield
    except MemoryError:
        # Of Arrow's it is one, too, and no fault of a file.
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow gives a number only to what the operating system refused. It decodes the names of
        # columns when it is asked for them.
        if isinstance(error, OSError) and error.errno is not None:
            problem = error.strerror or str(error)
        else:
            problem = f"{DAMAGED} ({error})"
        raise DatasetError.of(problem.strip().partition("\n")[0], file) from error


def _kind_of(file: str) -> tuple[str, str | None]:
    """What a file holds, by its name: "lines", "parquet" or "arrow", and its compression."""
    stem, suffix = os.path.splitext(file.lower())
    if suffix in _COMPRESSED and os.path.splitext(stem)[1] in _LINES:
        return "lines", _COMPRESSED[suffix]
    if suffix in _LINES:
        return "lines", None
    if suffix == ".parquet":
        return "parquet", None
    if suffix in _ARROW:
        return "arrow", None
    raise DatasetError.of(
        "unknown kind of file; there are .jsonl (.gz, .zst), .parquet, .arrow and .feather", file
    )


def _size_and_time(file: str) -> tuple[int, int]:
    """What shows that a file was written to: its size, and the time of that in nanoseconds."""
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns


def _read(stream: Any, n_bytes: int) -> bytes:
    """`n_bytes`, fewer only at the end."""
    content: bytes = stream.read(n_bytes)
    while len(content) < n_bytes:
        more = stream.read(n_bytes - len(content))
        if not more:
            break
        content += more
    return content


def _read_line(stream: Any, content: bytes) -> tuple[bytes, bool]:
    """`content`, which holds no line break, and as much more of the same size as it takes to find
    one; and whether that is the end."""
    blocks = [content]
    while True:
        block = _read(stream, CHUNK_BYTES)
        blocks.append(block)
        if len(block) < CHUNK_BYTES or b"\n" in block:
            return b"".join(blocks), len(block) < CHUNK_BYTES


def _pass_over(stream: Any, n_bytes: int) -> bytes:
    """Go on by `n_bytes`. Returns the last byte of them, none if the stream is shorter."""
    if n_bytes and stream.seekable():
        stream.seek(n_bytes - 1)
        n_bytes = 1
    block = b""
    while n_bytes:
        block = _read(stream, min(n_bytes, CHUNK_BYTES))
        if not block:
            break
        n_bytes -= len(block)
    return block[-1:]


def _fingerprint(file: BinaryIO, size: int) -> str:
    """What tells a file from others of its name and size: a sha256 of its size and of blocks that
    are spread evenly from its head to its tail, or of all of it if it is small."""
    digest = hashlib.sha256(f"{size}\n".encode())
    if size <= _SAMPLES * _SAMPLE_BYTES:
        digest.update(file.read(size))
    else:
        for sample in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _open_parquet(file: str) -> pq.ParquetFile:
    # A row group is read piece by piece: it may be larger than the memory.
    return pq.ParquetFile(file, buffer_size=CHUNK_BYTES, pre_buffer=False)


def _open_arrow(file: str) -> tuple[pa.MemoryMappedFile, Any]:
    """The file, and a reader of the file format, or of the stream format, which are told apart by
    trying."""
    source = pa.memory_map(file)
    try:
        return source, pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        if source.read(4) == b"FEA1":
            raise DatasetError.of(
                "this is Feather V1, which is not read; write it anew as V2", file
            ) from None
        source.seek(0)
        return source, pa.ipc.open_stream(source)


def _batches_of(source: pa.MemoryMappedFile, reader: Any) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Each batch, and about how many bytes of the file are those up to its end: what a batch takes
    in memory says little of that, since it may be compressed."""
    if isinstance(reader, pa.RecordBatchReader):
        for batch in reader:
            yield batch, source.tell()
    else:
        n_batches = reader.num_record_batches
        for index in range(n_batches):
            yield reader.get_batch(index), source.size() * (index + 1) // n_batches


def readable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose values can be read one by one: strings, which may not be UTF-8, as bytes, and
    nothing that leads out of the file. Raises ArrowInvalid if something does, or if strings inside
    of lists and objects are not UTF-8: Arrow cannot say which of the two it is.

    This is for a batch before it is cut: a part of it keeps whole what its lists and dictionaries
    hold, and all of that would be gone through for each part.
    """
    columns = []
    for column in batch.columns:
        as_bytes = _as_bytes(column.type)
        columns.append(column if as_bytes == column.type else column.view(as_bytes))
        columns[-1].validate(full=True)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The type of the same values without any promise that they are UTF-8."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    return _BYTES_FOR.get(kind, kind)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in chunks."""
    n_rows = _rows_at_a_time(_n_bytes(batch), batch.num_rows)
    for start in range(0, batch.num_rows, n_rows):
        yield batch.slice(start, n_rows)


def _chunks_of(
    batch: pa.RecordBatch, file: str, row: int, at: Position, n_before: int, n_read: int
) -> Iterator[Chunk]:
    """The chunks of a batch from `at` on. `row` is the number of rows before it in its file,
    `n_before` and `n_read` are those of bytes before it and up to its end."""
    if row + batch.num_rows <= at.row:
        return
    first_row = row
    for part in _parts(readable(batch)):
        end = Position(at.file, row + part.num_rows)
        bytes_read = n_before + (n_read - n_before) * (end.row - first_row) // batch.num_rows
        # Whoever wrote down where to begin may have cut in other places.
        n_passed = max(0, at.row - row)
        if n_passed < part.num_rows:
            yield Chunk(file, row + n_passed, part.slice(n_passed), end, bytes_read)
        row = end.row


def _n_bytes(batch: pa.RecordBatch) -> int:
    """Bytes of the rows of a batch, each with what it takes from a dictionary."""
    return sum(map(_column_bytes, batch.columns))


def _column_bytes(column: pa.Array) -> int:
    # `nbytes` would follow offsets, which nobody has checked yet.
    n_bytes: int = column.get_total_buffer_size()
    if isinstance(column, pa.DictionaryArray) and column.dictionary.type in TEXT_TYPES:
        # There are as many offsets and indices as there should be; what they say is only counted.
        column.validate()
        lengths = pc.binary_length(column.dictionary)
        n_bytes += pc.sum(lengths.take(column.indices)).as_py() or 0
    return n_bytes


def _rows_at_a_time(n_bytes: int, n_rows: int) -> int:
    return max(1, min(_MOST_ROWS, CHUNK_BYTES * n_rows // max(1, n_bytes)))
