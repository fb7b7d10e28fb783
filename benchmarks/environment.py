"""What a figure depends on beside the code: machine, interpreter, compiler, versions.

No names of hosts or people: results are committed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

LIBRARIES = (
    "cyharmony",
    "tiktoken",
    "openai-harmony",
    "quicktok-v1",
    "gigatoken",
    "tokenizers",
    "numpy",
)


def describe() -> dict[str, object]:
    return {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python compiler": platform.python_compiler(),
        "c compiler": compiler(),
        "libraries": {name: found for name in LIBRARIES if (found := version(name)) is not None},
    }


def machine_name() -> str:
    """A short name for results of this kind of machine, such as `amd-epyc-avx2-cp311`."""
    slug = re.sub(r"\(.*?\)|@.*|\b(processor|cpu|core)\b", " ", _cpu().lower())
    slug = re.sub(r"[^a-z0-9]+", "-", slug).strip("-")
    return f"{slug or platform.machine()}-cp{sys.version_info.major}{sys.version_info.minor}"


def version(library: str) -> str | None:
    """The installed version; ours also when it is run from its source tree."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        if library != "cyharmony":
            return None
    try:
        import harmony
    except ImportError:
        return None
    return str(harmony.__version__)


def pin_to_one_cpu() -> int | None:
    """Keep this process and its children on one CPU, the last one allowed; None if it cannot be."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return cpu


def _cpu() -> str:
    """The processor, whose name stands for several generations, and which instructions it has."""
    from harmony import _segments

    instructions = {"avx2": "AVX2", "avx512": "AVX-512"}.get(_segments.tiers()[-1], "portable")
    return f"{_model()}, {instructions}"


def _model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def compiler() -> str | None:
    path = shutil.which("cc")
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0] or None
