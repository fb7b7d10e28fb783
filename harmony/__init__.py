"""The harmony format and its tokenizer.

text      ->  special_tokens  ->  _segments  ->  _encode, _bpe  ->  ids   joined by tokenizer.py
messages  ->  tool_schema, header  ->  render  ->  ids                   uses tokenizer.py
ids       ->  _parser, _content  ->  header, recovery  ->  parser  ->  parsed, events
                                                            all three joined by encoding.py
texts     ->  batch, on the threads of workers  ->  flat ids    training adds loss masks
files     ->  sources  ->  rows  ->  shards           a job of datasets.py; ray.py on clusters
requests  <->  messages    openai/                ids  ->  what one can look at    view/

Public names are loaded on first use: the message types, and pydantic with them, only by those who
render or parse.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

__version__ = "0.1.0"

_NAMES_OF_MODULE = {
    "encoding": ["HarmonyEncoding", "HarmonyEncodingName", "load_harmony_encoding"],
    "tokenizer": ["Tokenizer", "get_tokenizer"],
    "batch": ["TokenBatch"],
    "training": ["RenderedBatch", "RenderedConversation", "TokenPart"],
    "messages": [
        "Author",
        "ChannelConfig",
        "Content",
        "Conversation",
        "DeveloperContent",
        "Message",
        "ReasoningEffort",
        "RenderConversationConfig",
        "RenderOptions",
        "ResponseFormat",
        "Role",
        "SystemContent",
        "TextContent",
        "ToolDescription",
        "ToolNamespaceConfig",
    ],
    "parser": ["StreamState", "StreamableParser"],
    "parsed": ["ParsedMessage"],
    "text_stream": ["TextStreamParser", "parse_stripped_text"],
    "events": [
        "Diagnostic",
        "DiagnosticKind",
        "MessageHeader",
        "ParseEvent",
        "ParseEventKind",
    ],
    "special_tokens": ["raise_disallowed_special_token"],
    "errors": [
        "ConversionError",
        "DatasetError",
        "HarmonyError",
        "InvalidUtf8Error",
        "ParseError",
        "RenderError",
        "UnknownTokenError",
        "VocabularyError",
    ],
    "drop_in": ["install_as_openai_harmony"],
    "budget": ["fit"],
    "alignment": ["character_spans"],
}
_MODULE_OF = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> _Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'harmony' has no attribute {name!r}")
    value = getattr(_import_module(f"harmony.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
