"""Stand in for openai_harmony in programs that import it by name."""

from __future__ import annotations

import sys


def install_as_openai_harmony() -> None:
    """From here on `import openai_harmony`, anywhere in this process, gives this package.

    Call it before the first import of whatever uses openai_harmony: names that were imported from
    the official package before stay what they were.
    """
    sys.modules["openai_harmony"] = sys.modules["harmony"]
