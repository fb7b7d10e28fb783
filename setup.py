"""The compiled modules in their three build modes, and the rank tables. Metadata: pyproject.toml.

HARMONY_BUILD=release    (default) no checks, optimised
HARMONY_BUILD=debug      bounds, overflow and initialisation checks, step counts, no optimisation
HARMONY_BUILD=coverage   line tracing of the .pyx files
"""

import os
import subprocess
import sys
from glob import glob
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODULES = [
    "_pretokenize",
    "_segments",
    "_bpe",
    "_encode",
    "_codec",
    "_content",
    "_parser",
    "_parse_batch",
]
TABLES = Path("harmony", "data", "o200k.tables")

MODE = os.environ.get("HARMONY_BUILD", "release")
if MODE not in ("release", "debug", "coverage"):
    raise SystemExit(f"HARMONY_BUILD={MODE}: expected release, debug or coverage")

CHECKS = MODE == "debug"
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKS,
    "initializedcheck": CHECKS,
    "overflowcheck": False,  # hashing wraps on purpose
    "wraparound": False,
    "cdivision": not CHECKS,
    "nonecheck": CHECKS,
    "auto_pickle": False,
    "binding": True,
    "linetrace": MODE == "coverage",
}
MACROS = {
    "release": [],
    "debug": [("HARMONY_DEBUG", "1")],
    "coverage": [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")],
}[MODE]
C_FLAGS = ["-O0", "-g"] if MODE == "debug" else ["-O3", "-g0"]


class BuildTables(build_ext):
    """Compile on all cores, then expand the vocabulary beside the compiled modules."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        super().run()
        in_place = self.inplace or getattr(self, "editable_mode", False)
        target = TABLES if in_place else Path(self.build_lib) / TABLES
        if not target.exists() or target.stat().st_mtime < self._newest_source():
            script = Path("scripts", "make_rank_tables.py")
            subprocess.run([sys.executable, str(script), "expand", str(target)], check=True)

    @staticmethod
    def _newest_source() -> float:
        names = ["rank_tables.py", "table_file.py", "data/o200k_base.ranks.z"]
        sources = [Path("harmony", name) for name in names]
        sources.append(Path("scripts", "make_rank_tables.py"))
        return max(source.stat().st_mtime for source in sources)


extensions = [
    Extension(
        f"harmony.{name}",
        [f"harmony/{name}.pyx"],
        include_dirs=["harmony", numpy.get_include()],
        define_macros=MACROS,
        extra_compile_args=C_FLAGS,
        depends=glob("harmony/*.h"),
    )
    for name in MODULES
]

setup(
    ext_modules=cythonize(
        extensions,
        compiler_directives=DIRECTIVES,
        # One folder per mode: a change of directives alone does not make Cython translate again.
        # Coverage needs the C files beside the .pyx files.
        build_dir=None if MODE == "coverage" else f"build/cython-{MODE}",
        annotate=os.environ.get("HARMONY_ANNOTATE") == "1",
    ),
    cmdclass={"build_ext": BuildTables},
)
