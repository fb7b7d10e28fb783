"""What type checkers see of the names that __init__.py loads on first use."""

from harmony.alignment import character_spans
from harmony.batch import TokenBatch
from harmony.budget import fit
from harmony.drop_in import install_as_openai_harmony
from harmony.encoding import (
    HarmonyEncoding,
    HarmonyEncodingName,
    load_harmony_encoding,
)
from harmony.errors import (
    ConversionError,
    DatasetError,
    HarmonyError,
    InvalidUtf8Error,
    ParseError,
    RenderError,
    UnknownTokenError,
    VocabularyError,
)
from harmony.events import (
    Diagnostic,
    DiagnosticKind,
    MessageHeader,
    ParseEvent,
    ParseEventKind,
)
from harmony.messages import (
    Author,
    ChannelConfig,
    Content,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    RenderConversationConfig,
    RenderOptions,
    ResponseFormat,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
)
from harmony.parsed import ParsedMessage
from harmony.parser import (
    StreamableParser,
    StreamState,
)
from harmony.special_tokens import raise_disallowed_special_token
from harmony.text_stream import (
    TextStreamParser,
    parse_stripped_text,
)
from harmony.tokenizer import (
    Tokenizer,
    get_tokenizer,
)
from harmony.training import (
    RenderedBatch,
    RenderedConversation,
    TokenPart,
)

__version__: str
__all__ = [
    "Author",
    "ChannelConfig",
    "Content",
    "Conversation",
    "ConversionError",
    "DatasetError",
    "DeveloperContent",
    "Diagnostic",
    "DiagnosticKind",
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "InvalidUtf8Error",
    "Message",
    "MessageHeader",
    "ParseError",
    "ParseEvent",
    "ParseEventKind",
    "ParsedMessage",
    "ReasoningEffort",
    "RenderConversationConfig",
    "RenderError",
    "RenderOptions",
    "RenderedBatch",
    "RenderedConversation",
    "ResponseFormat",
    "Role",
    "StreamState",
    "StreamableParser",
    "SystemContent",
    "TextContent",
    "TextStreamParser",
    "TokenBatch",
    "TokenPart",
    "Tokenizer",
    "ToolDescription",
    "ToolNamespaceConfig",
    "UnknownTokenError",
    "VocabularyError",
    "character_spans",
    "fit",
    "get_tokenizer",
    "install_as_openai_harmony",
    "load_harmony_encoding",
    "parse_stripped_text",
    "raise_disallowed_special_token",
]
