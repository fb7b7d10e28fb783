"""Stand in for openai_harmony in programs that import it by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

_PREFIX = "openai_harmony."


def install_as_openai_harmony() -> None:
    """From here on `import openai_harmony`, anywhere in this process, gives this package.

    Call it before the first import of whatever uses openai_harmony: names that were imported from
    the official package before stay what they were.
    """
    sys.modules["openai_harmony"] = sys.modules["harmony"]
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder, Loader):
    """Finds `openai_harmony.x` as the module `harmony.x`, of which there must be no second copy:
    its classes would be others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        stands_in = sys.modules.get("openai_harmony") is sys.modules["harmony"]
        if not stands_in or not fullname.startswith(_PREFIX) or not find_spec(_own(fullname)):
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        # What an import gives is what stands here when it has ended.
        sys.modules[module.__name__] = import_module(_own(module.__name__))


def _own(fullname: str) -> str:
    return "harmony." + fullname.removeprefix(_PREFIX)
