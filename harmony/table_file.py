"""The file of rank tables: arrays written once by the build, mapped read-only by every process.

Layout, in the byte order of the machine: header, list of sections, then the arrays, each at a
multiple of the page size so that a page holds one array only and all processes share it. Header
and sections carry CRC-32 sums, which are checked at load (a few milliseconds): compiled code
relies on what it finds in these arrays. What was only read for its sum is given back at once, so
that a process holds the pages it uses.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from harmony.errors import VocabularyError
from harmony.rank_tables import Tables

MAGIC = b"harmony\0"
VERSION = 8
PAGE = 4096
_CHECKED_AT_ONCE = 256 * PAGE
_HEADER = struct.Struct("=8sIIQ32sI")  # magic, version, sections, file size, source sha256, CRC
_SECTION = struct.Struct("=24s4s3IIQQ")  # name, dtype, shape (0: unused), CRC, offset, bytes


def write_table_file(path: Path, tables: Tables, source_sha256: str) -> None:
    """Write `tables` to `path`, whole or not at all."""
    offset = _round_up(_HEADER.size + _SECTION.size * len(tables))
    sections, bodies = [], []
    for name, array in tables.items():
        body = np.ascontiguousarray(array).tobytes()
        shape = (*array.shape, 0, 0)[:3]
        kind = array.dtype.str[1:].encode()
        crc = zlib.crc32(body)
        sections.append(_SECTION.pack(name.encode(), kind, *shape, crc, offset, len(body)))
        bodies.append((offset, body))
        offset = _round_up(offset + len(body))
    listing = b"".join(sections)
    fields = (MAGIC, VERSION, len(tables), offset, bytes.fromhex(source_sha256))
    crc = zlib.crc32(listing, zlib.crc32(_HEADER.pack(*fields, 0)))

    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        file.write(_HEADER.pack(*fields, crc) + listing)
        for start, body in bodies:
            file.seek(start)
            file.write(body)
        file.truncate(offset)
    os.replace(unfinished, path)


def map_table_file(path: Path, source_sha256: str) -> Tables:
    """The arrays in the file at `path`, read-only, in memory that all processes share.

    Raises VocabularyError, naming the file, if it is missing, damaged, of another version or
    machine, or not made from the rank file with that sha256.
    """
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise _refusal(path, f"cannot be mapped ({error})") from error
    if len(mapped) < _HEADER.size or mapped[:8] != MAGIC:
        raise _refusal(path, "is not a file of rank tables")
    magic, version, n_sections, size, sha256, crc = _HEADER.unpack_from(mapped)
    if version != VERSION:
        raise _refusal(path, f"has format version {version}, expected {VERSION}")
    if size != len(mapped):
        raise _refusal(path, f"has {len(mapped)} bytes, expected {size}")
    end_of_list = _HEADER.size + _SECTION.size * n_sections
    header = _HEADER.pack(magic, version, n_sections, size, sha256, 0)
    listing = mapped[_HEADER.size : end_of_list]
    if len(listing) != end_of_list - _HEADER.size or zlib.crc32(listing, zlib.crc32(header)) != crc:
        raise _refusal(path, "is damaged: its header does not match its checksum")
    if sha256.hex() != source_sha256:
        raise _refusal(path, f"was made from another rank file (sha256 {sha256.hex()})")
    memory = memoryview(mapped)
    tables = {}
    for raw_name, kind, *shape, crc, offset, n_bytes in _SECTION.iter_unpack(listing):
        name = raw_name.rstrip(b"\0").decode()
        body = memory[offset : offset + n_bytes]
        if _checksum(mapped, offset, n_bytes) != crc:
            raise _refusal(path, f"is damaged: table {name} does not match its checksum")
        dtype = np.dtype(kind.rstrip(b"\0").decode())
        tables[name] = np.frombuffer(body, dtype).reshape([side for side in shape if side])
    return tables


def _checksum(mapped: mmap.mmap, offset: int, n_bytes: int) -> int:
    """CRC-32 of bytes that start at a page; their memory is given back on the way."""
    crc = 0
    memory = memoryview(mapped)
    for start in range(offset, offset + n_bytes, _CHECKED_AT_ONCE):
        length = min(_CHECKED_AT_ONCE, offset + n_bytes - start)
        crc = zlib.crc32(memory[start : start + length], crc)
        if hasattr(mmap, "MADV_DONTNEED") and start % mmap.PAGESIZE == 0:
            mapped.madvise(mmap.MADV_DONTNEED, start, length)
    return crc


def _round_up(offset: int) -> int:
    return -(-offset // PAGE) * PAGE


def _refusal(path: Path, problem: str) -> VocabularyError:
    return VocabularyError(f"rank table file {path} {problem}; reinstall the package to restore it")
