"""The folder for what is built once and not committed: archives, corpora, files for the peers."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path


def folder() -> Path:
    """`$HARMONY_CORPORA`, or a folder of ours in the user's cache; made if it is missing."""
    named = os.environ.get("HARMONY_CORPORA")
    path = Path(named) if named else _user_cache() / "cyharmony-benchmarks"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _user_cache() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()))
    return Path.home() / ".cache"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def has(path: Path, digest: str) -> bool:
    """True if the file is there, whole and unchanged."""
    return path.is_file() and sha256(path.read_bytes()) == digest


def write(path: Path, content: bytes) -> Path:
    """Write by renaming, so that two runs at once never see half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
    return path
