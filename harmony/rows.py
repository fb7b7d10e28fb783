"""Rows of a data set -> ids: what a worker does with a chunk.

Texts of JSON lines are read by Arrow, a whole chunk at once. Only if something is odd about a chunk
are its lines read one by one, which finds the rows that are bad and what is wrong with them.
"""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.json  # type: ignore[import-untyped]

from harmony import arrow
from harmony._codec import Utf8
from harmony.batch import TokenBatch, join
from harmony.errors import HarmonyError, VocabularyError
from harmony.sources import TEXT_TYPES, Chunk, Position, blamed_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harmony.encoding import HarmonyEncoding
    from harmony.messages import Conversation, RenderConversationConfig
    from harmony.tokenizer import Tokenizer

# Of the content of a rejected row this much is kept.
_SHOWN = 10_000

# What reading a conversation out of anything at all raises.
_CONVERSATION_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    OverflowError,
)


# Fields with JSON schemas, where null is a value: the default of a parameter, say.
_SCHEMAS = ("parameters", "json_schema")
# What a row says beside its messages, the last two so as to be refused; and what of a row may be
# kept as its JSON.
_BESIDE_MESSAGES = ("tools", "response_format", "reasoning_effort", "functions", "function_call")
_KEPT_AS_JSON = ("messages", "tools", "response_format", "functions")


class Reject(NamedTuple):
    """A row that cannot be used: where it is (from 1), why, and what it holds as far as that can be
    shown."""

    file: str
    row: int
    error: str
    content: str


class Encoded(NamedTuple):
    """What became of a chunk."""

    batch: TokenBatch
    loss_mask: NDArray[np.bool_] | None
    rejects: list[Reject]
    end: Position
    bytes_read: int


class Texts:
    """Rows with a text in the field `field`. What looks like a special token is plain text."""

    def __init__(self, tokenizer: Tokenizer, field: str) -> None:
        self._tokenizer = tokenizer
        self._field = field
        self.columns = [field]
        self.optional_columns: list[str] = []
        self.description = {"rows": "texts", "text_field": field, **tokenizer._description()}

    def encode(self, chunk: Chunk) -> Encoded:
        """Ids of the rows of a chunk, but for those that are bad. DatasetError for values that
        Arrow cannot read."""
        with blamed_on(chunk.file):
            return self._encode(chunk)

    def _encode(self, chunk: Chunk) -> Encoded:
        # Bytes that are not UTF-8, or a text that the pattern of a vocabulary does not cover.
        with contextlib.suppress(HarmonyError):
            texts = self._quick(chunk.rows)
            if texts is not None:
                batch = arrow.encode_rows(self._tokenizer, texts)
                return Encoded(batch, None, [], chunk.end, chunk.bytes_read)
        return self._one_by_one(chunk)

    def _one_by_one(self, chunk: Chunk) -> Encoded:
        rejects: list[Reject] = []
        ids = []
        for row, content in _rows_of(chunk):
            try:
                text = self._text_in(content)
                ids.append(self._tokenizer.encode_to_numpy(text, disallowed_special=()))
            except VocabularyError:
                # No row is to blame for that.
                raise
            except (ValueError, HarmonyError) as error:
                rejects.append(_reject(chunk, row, error, content))
        return Encoded(join(ids), None, rejects, chunk.end, chunk.bytes_read)

    def _text_in(self, content: Any) -> str | bytes:
        """The text of a row. ValueError if it has none."""
        if isinstance(content, Exception):
            raise content
        row = self._fields_of(content) if isinstance(content, bytes) else content
        if self._field not in row:
            raise ValueError(f"there is no field {self._field!r}")
        text = row[self._field]
        if not isinstance(text, (str, bytes)):
            kind = "null" if text is None else type(text).__name__
            raise ValueError(f"the field {self._field!r} holds {kind}, not text")
        return text

    def _fields_of(self, line: bytes) -> dict[str, Any]:
        """The object that a line is, or as much of it as matters. ValueError if it is none."""
        try:
            # Other fields may hold numbers of more digits than int takes.
            return _object_in(line, parse_int=lambda digits: 0)
        except ValueError:
            # Among other lines Arrow reads some that Python refuses; so it does alone.
            texts = self._quick(line)
            if texts is None:
                raise
            return {self._field: texts[0].as_py()}

    def _quick(self, rows: bytes | pa.RecordBatch) -> pa.Array | None:
        """The texts of a chunk without any bad row; None if that cannot be said. Raises
        InvalidUtf8Error if lines are not UTF-8, in whatever field."""
        if isinstance(rows, bytes):
            Utf8(rows)
            # On a null at the very beginning Arrow crashes.
            if not rows.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
                return None
            # Each line begins and ends as an object does, and there are as many objects as lines.
            n_lines = rows.count(b"\n") + (not rows.endswith(b"\n"))
            if rows.count(b"}\n{") + 1 != n_lines:
                return None
            try:
                table = pyarrow.json.read_json(
                    pa.BufferReader(rows),
                    read_options=pyarrow.json.ReadOptions(
                        use_threads=False, block_size=len(rows) + 1
                    ),
                    parse_options=pyarrow.json.ParseOptions(
                        explicit_schema=pa.schema([(self._field, pa.string())]),
                        unexpected_field_behavior="ignore",
                    ),
                )
            except (pa.ArrowException, OverflowError, UnicodeEncodeError):
                # The last one is about the field: Arrow knows no name with a lone surrogate.
                return None
            column = table.column(self._field)
            texts = column.chunk(0) if column.num_chunks == 1 else None
            if texts is None or len(texts) != n_lines:
                return None
        else:
            texts = rows.column(0)
            if pa.types.is_dictionary(texts.type) and texts.type.value_type in TEXT_TYPES:
                texts = texts.dictionary_decode()
        return texts if texts.type in TEXT_TYPES and not texts.null_count else None


class Conversations:
    """Rows with a conversation, rendered for training, with the mask of what to train on."""

    def __init__(
        self,
        encoding: HarmonyEncoding,
        dialect: str,
        train_on: str,
        config: RenderConversationConfig | None,
    ) -> None:
        from harmony.messages import AnalysisPolicy, HeaderOrder, RenderConversationConfig
        from harmony.training import PRESETS

        given = RenderConversationConfig() if config is None else config
        # Rendering would find fault with each row.
        if not isinstance(given, RenderConversationConfig):
            kind = type(given).__name__
            raise TypeError(f"config must be a RenderConversationConfig, not {kind}")
        for name, value, choices in (
            ("conversations", dialect, tuple(_DIALECTS)),
            ("train_on", train_on, PRESETS),
            ("analysis_policy", given.analysis_policy, get_args(AnalysisPolicy)),
            ("header_order", given.header_order, get_args(HeaderOrder)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        self._encoding = encoding
        self._read = _DIALECTS[dialect]
        self._train_on: Any = train_on
        # Header fields come from whoever wrote the rows.
        self._config = given.model_copy(update={"validate_headers": True})
        self.columns = ["messages"]
        self.optional_columns = [*_BESIDE_MESSAGES]
        self.description = {
            "rows": "conversations",
            "dialect": dialect,
            "train_on": train_on,
            "config": self._config.model_dump(),
            **encoding._description(),
        }

    def encode(self, chunk: Chunk) -> Encoded:
        """Ids and loss mask of the rows of a chunk, but for those that are bad. DatasetError for
        values that Arrow cannot read."""
        with blamed_on(chunk.file):
            return self._encode(chunk)

    def _encode(self, chunk: Chunk) -> Encoded:
        from harmony.documents import loss_mask

        rejects: list[Reject] = []
        rendered = []
        for row, content in _rows_of(chunk):
            try:
                conversation, not_trained_on = self._read(_document_in(content))
                one = self._encoding.render_annotated(
                    conversation, config=self._config, for_training=True
                )
                rendered.append((one.ids, loss_mask(one, not_trained_on, self._train_on)))
            except _CONVERSATION_ERRORS as error:
                rejects.append(_reject(chunk, row, error, content))
        masks = [np.empty(0, np.bool_), *(mask for _, mask in rendered)]
        batch = join(ids for ids, _ in rendered)
        return Encoded(batch, np.concatenate(masks), rejects, chunk.end, chunk.bytes_read)


def _rows_of(chunk: Chunk) -> Iterator[tuple[int, Any]]:
    """Number, from 1, and content of each row: a line of bytes, a dict of columns, or the
    ValueError that came of reading it."""
    if isinstance(chunk.rows, bytes):
        for row, line in enumerate(chunk.rows.split(b"\n"), chunk.first_row + 1):
            # Nothing but a byte order mark is what some editors make of an empty file.
            if line.removeprefix(codecs.BOM_UTF8).strip():
                yield row, line
    else:
        columns = dict(zip(chunk.rows.schema.names, chunk.rows.columns, strict=True))
        for at in range(chunk.rows.num_rows):
            content: Any
            try:
                content = {name: column[at].as_py() for name, column in columns.items()}
            except (ValueError, OverflowError) as error:
                content = ValueError(str(error))
            yield chunk.first_row + at + 1, content


def _object_in(content: Any, parse_int: Callable[[str], Any] = int) -> dict[str, Any]:
    """The object that a row is, its integers read by `parse_int`. ValueError if it is none."""
    if isinstance(content, Exception):
        raise content
    if isinstance(content, dict):
        return {name: _without_nulls(value) for name, value in content.items()}
    row = _json_in(content, parse_int)
    if not isinstance(row, dict):
        raise ValueError("the line is JSON, but no object")
    return row


def _json_in(content: bytes | str, parse_int: Callable[[str], Any] = int) -> Any:
    """What this JSON says. ValueError if it is none."""
    if isinstance(content, bytes):
        # json would guess that bytes are UTF-16, and let surrogates pass.
        content = content.decode("utf-8-sig")
    try:
        return json.loads(content, parse_int=parse_int)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _without_nulls(value: Any, but_in: Collection[str] = ()) -> Any:
    """Arrow, and whoever writes its tables as JSON, gives every object all fields that any has;
    those that it did not have are null. Fields `but_in` are left as they are."""
    if isinstance(value, dict):
        return {
            key: member if key in but_in else _without_nulls(member, but_in)
            for key, member in value.items()
            if member is not None
        }
    if isinstance(value, list):
        return [_without_nulls(member, but_in) for member in value]
    return value


def _reject(chunk: Chunk, row: int, error: Exception, content: Any) -> Reject:
    if isinstance(content, dict):
        text = json.dumps(content, default=_shown, ensure_ascii=False)
    elif isinstance(content, Exception):
        text = ""
    else:
        text = content[:_SHOWN].decode(errors="replace")
    if isinstance(error, KeyError):
        problem = f"there is no field {error}"
    else:
        problem = str(error).strip().partition("\n")[0]
    return Reject(chunk.file, row, problem, text[:_SHOWN])


def _shown(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _document_in(content: Any) -> dict[str, Any]:
    """The object that a row is, with what is kept as JSON read. KeyError or ValueError for one
    without a list of messages."""
    row = _object_in(content)
    for name in filter(row.__contains__, _KEPT_AS_JSON):
        row[name] = _field_in(row, name)
    effort = row.get("reasoning_effort")
    if isinstance(effort, bytes):
        row["reasoning_effort"] = effort.decode()
    messages = row["messages"]
    if not isinstance(messages, list):
        raise ValueError("the field 'messages' holds no list")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise ValueError(f"message {index} is no object")
    return row


def _field_in(row: dict[str, Any], name: str) -> Any:
    """A field of a row that may be kept as its JSON. An empty text is as good as a missing one."""
    value = row[name]
    if not isinstance(value, (bytes, str)):
        return value
    try:
        return _json_in(value) if value else None
    except ValueError as error:
        raise ValueError(f"the field {name!r} holds no JSON: {error}") from None


# The document of a row -> a conversation, and the indices of its messages that are not trained on.


def _harmony(document: dict[str, Any]) -> tuple[Conversation, list[int]]:
    from harmony import documents

    messages = [
        {**message, "content": _without_nulls(message.get("content"), but_in=_SCHEMAS)}
        for message in document["messages"]
    ]
    return documents.conversation_of_harmony({**document, "messages": messages})


def _chat(document: dict[str, Any]) -> tuple[Conversation, list[int]]:
    from harmony import documents

    return documents.conversation_of_chat(document)


def _either(document: dict[str, Any]) -> tuple[Conversation, list[int]]:
    from harmony import documents

    return _harmony(document) if documents.form_of(document) == "harmony" else _chat(document)


_DIALECTS: dict[str, Callable[[dict[str, Any]], tuple[Conversation, list[int]]]] = {
    "auto": _either,
    "chat": _chat,
    "harmony": _harmony,
}
