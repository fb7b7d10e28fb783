"""The harmony format and its tokenizer.

text      ->  special_tokens  ->  _pretokenize  ->  _bpe  ->  ids        joined by tokenizer.py

Public names are loaded on first use.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

__version__ = "0.1.0"

_MODULE_OF = {
    "HarmonyEncoding": "encoding",
    "HarmonyEncodingName": "encoding",
    "load_harmony_encoding": "encoding",
    "Tokenizer": "tokenizer",
    "get_tokenizer": "tokenizer",
    "raise_disallowed_special_token": "special_tokens",
    "HarmonyError": "errors",
    "InvalidUtf8Error": "errors",
    "UnknownTokenError": "errors",
    "VocabularyError": "errors",
}

__all__ = [*_MODULE_OF, "__version__"]


def __getattr__(name: str) -> _Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'harmony' has no attribute {name!r}")
    value = getattr(_import_module(f"harmony.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
