"""Messages -> ids.

A conversation of plain objects (the classes of this package, with fields of the declared types) is
written in one pass over the objects. Whatever else there is - subclasses with a `to_dict` of their
own, fields that were assigned something else, errors of any kind - makes that pass give up without
a result, and the conversation is read from its JSON (wire.py), as the reference reads every one.
That decides what is accepted and which of several errors is raised; what it gives is plain, and is
written by the same code.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from harmony import wire
from harmony.errors import HarmonyError, RenderError
from harmony.header import PLAIN_HEADERS, ROLE_IDS, START, header_ids, plain_text, refusal
from harmony.messages import (
    AnalysisPolicy,
    Author,
    ChannelConfig,
    Conversation,
    DeveloperContent,
    HeaderOrder,
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
from harmony.special_tokens import O200K_HARMONY_SPECIALS
from harmony.tool_schema import (
    NotPlainError,
    check_plain,
    format_text,
    namespace_text,
    tools_section,
)

if TYPE_CHECKING:
    from harmony._codec import IdWriter
    from harmony.tokenizer import Tokenizer

RETURN = O200K_HARMONY_SPECIALS["<|return|>"]
END = O200K_HARMONY_SPECIALS["<|end|>"]
CALL = O200K_HARMONY_SPECIALS["<|call|>"]

# Classes of messages whose fields are all there is to know. A subclass may be added if it leaves
# `to_dict` and `to_json` alone.
PLAIN_MESSAGE_CLASSES: set[type[Message]] = {Message}

# What the pass over plain objects meets where there is something else, and its own refusals: all
# are looked at again, in the order of the reference.
_NOT_PLAIN = (
    NotPlainError,
    HarmonyError,
    AttributeError,
    KeyError,
    TypeError,
    UnicodeEncodeError,
    RecursionError,
)

# Encoding a long text lets other threads run, the code between many short ones does not: after so
# many ids it steps aside, for as short as a thread can sleep.
_IDS_BETWEEN_PAUSES = 24_000
_SHORTEST_SLEEP = 1e-6

# Role, name, recipient, channel, content type.
_HeaderFields = tuple[str, str | None, str | None, str | None, str | None]


def render_message(
    tokenizer: Tokenizer, message: Message, options: RenderOptions | None = None
) -> list[int]:
    """Ids of one message, from `<|start|>` to its end token.

    Raises RenderError for a message that the format cannot express, ValueError for fields of a
    wrong type and for lone surrogates.
    """
    # Around the parameters of a tool there are 7 of the 127 nested containers the reference reads.
    writer = _Writer(tokenizer, schema_depth=120)
    writer.has_function_tools = False
    if options is not None:
        writer.has_function_tools = _flag(options.conversation_has_function_tools, False)
        writer.take_common_options(options)
    try:
        return writer.message_ids(message)
    except _NOT_PLAIN:
        pass
    wire.refuse_enormous([message])
    plain = wire.read_message(wire.json_of(message, "message"), writer.exact_numbers)
    writer.trust()
    return writer.message_ids(plain)


def render_conversation(
    tokenizer: Tokenizer,
    conversation: Conversation,
    config: RenderConversationConfig | None = None,
) -> list[int]:
    """Ids of the messages one after another.

    Raises RenderError for a message that the format cannot express, ValueError for fields of a
    wrong type and for lone surrogates.
    """
    return render_messages(tokenizer, conversation, config)[1]


def render_conversation_for_completion(
    tokenizer: Tokenizer,
    conversation: Conversation,
    next_turn_role: Role | str | None,
    config: RenderConversationConfig | None = None,
    *,
    continue_final_message: bool = False,
) -> list[int]:
    """As `render_conversation`, then the beginning of a message of `next_turn_role`; or, to
    continue the final message, without the end token of that message.

    Raises ValueError for an unknown role, too, and for a role where none begins.
    """
    if continue_final_message:
        return _without_end(tokenizer, conversation, next_turn_role, config)
    opening = opening_of(conversation, next_turn_role, config)
    return render_messages(tokenizer, conversation, config, opening)[1]


def _without_end(
    tokenizer: Tokenizer, conversation: Conversation, next_turn_role: Any, config: Any
) -> list[int]:
    if next_turn_role is not None:
        raise ValueError("next_turn_role must be None if the final message is to be continued")
    messages, ids = render_messages(tokenizer, conversation, config)
    if not messages or messages[-1].author.role is not Role.ASSISTANT:
        raise RenderError("only a message of the assistant can be continued; the last one is not")
    ids.pop()
    return ids


def render_conversation_for_training(
    tokenizer: Tokenizer,
    conversation: Conversation,
    config: RenderConversationConfig | None = None,
) -> list[int]:
    """As `render_conversation`, but an assistant's message on the final channel that comes last
    ends in `<|return|>`, as it does when a model writes it.

    Note that `auto_drop_analysis`, on by default, leaves out the reasoning before that message.
    """
    messages, ids = render_messages(tokenizer, conversation, config)
    end_for_training(messages, ids)
    return ids


def end_for_training(messages: list[Message], ids: list[int]) -> None:
    """Let an assistant's message on the final channel that comes last end in `<|return|>`."""
    if messages:
        last = messages[-1]
        if last.author.role is Role.ASSISTANT and last.channel == "final":
            ids[-1] = RETURN


def opening_of(conversation: Any, next_turn_role: Any, config: Any) -> list[int]:
    """The beginning of a message of this role. ValueError if there is no such role, or if the
    conversation is none."""
    opening = _OPENINGS.get(_word_of(next_turn_role))
    if opening is None:
        _refuse_role(conversation, next_turn_role, config)
    return opening


_OPENINGS: dict[str | None, list[int]] = {role: [START, *ids] for role, ids in ROLE_IDS.items()}


def _word_of(role: Any) -> str | None:
    """The word for a role, which may be text, or like an enumeration; None for anything else."""
    if type(role) is Role:
        return role._value_
    if hasattr(role, "value"):
        return str(role.value)
    return role if isinstance(role, str) else None


def _refuse_role(conversation: Any, role: Any, config: Any) -> NoReturn:
    """Raise what is wrong, in the order of the reference: the role is not the first it looks at."""
    if config is not None:
        _ = config.auto_drop_analysis
    text = wire.json_of(conversation, "conversation")
    word = _word_of(role)
    if word is None:
        _ = role.value  # an AttributeError
    wire.read_conversation(text, exact_numbers=False)
    raise ValueError(f"unknown role: {word}")


def render_messages(
    tokenizer: Tokenizer, conversation: Any, config: Any, opening: Sequence[int] = ()
) -> tuple[list[Message], list[int]]:
    """The messages, plain if the conversation was not, and the ids of those that are kept, with
    `opening` behind them."""
    writer = _Writer(tokenizer, schema_depth=118)
    policy = analysis_policy(config)
    if config is not None:
        writer.take_common_options(config)
    try:
        if type(conversation) is Conversation:
            messages = conversation.__dict__["messages"]
            if type(messages) is list:
                # A list of its own: the conversation may go on while somebody looks at the result.
                messages = messages[:]
                return messages, writer.conversation_ids(messages, policy, opening)
    except _NOT_PLAIN:
        pass
    wire.refuse_enormous(getattr(conversation, "messages", ()))
    text = wire.json_of(conversation, "conversation")
    messages = wire.read_conversation(text, writer.exact_numbers)
    writer.trust()
    return messages, writer.conversation_ids(messages, policy, opening)


def analysis_policy(config: Any) -> str:
    """Which analysis is left out: a policy of RenderConversationConfig."""
    if config is None:
        return "upstream"
    if not _flag(config.auto_drop_analysis, True):
        return "keep"
    return _choice(config, "analysis_policy", AnalysisPolicy)


def _choice(options: Any, name: str, choices: Any) -> str:
    """The option `name`, by default the first of `choices`; ValueError if it is none of them."""
    allowed: tuple[str, ...] = get_args(choices)
    # Options of openai_harmony are options, too; they know nothing of this one.
    value = getattr(options, name, allowed[0])
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _flag(value: Any, default: bool) -> bool:
    """A switch of the reference: what is no bool, of Python or NumPy, leaves it at its default."""
    if type(value) is bool:
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    return default


def _no_ids(text: str) -> list[int]:
    return []


class _Nowhere:
    """In place of an IdWriter, for what is read and not written."""

    def text(self, text: str) -> None:
        text.encode()  # for the UnicodeEncodeError of a lone surrogate

    def tokens(self, tokens: list[int]) -> None: ...

    def token(self, token: int) -> None: ...


class _Writer:
    """Options of one call, and the writing of messages by them."""

    __slots__ = (
        "channel_first",
        "encode",
        "exact_numbers",
        "has_function_tools",
        "headers",
        "messages",
        "out",
        "schema_depth",
        "tokenizer",
        "trusted",
        "validate_headers",
    )

    def __init__(self, tokenizer: Tokenizer | None, schema_depth: int) -> None:
        # Without one, messages are read only.
        self.tokenizer = tokenizer
        self.encode = tokenizer.encode_ordinary if tokenizer else _no_ids
        self.out: IdWriter | _Nowhere = _Nowhere()
        self.schema_depth = schema_depth
        self.channel_first = False
        self.validate_headers = False
        self.exact_numbers = False
        # None: not yet known, found out from `messages` when a system message asks.
        self.has_function_tools: bool | None = None
        self.messages: list[Message] | None = None
        # Conversations repeat the headers of calls and results: those written by this call.
        self.headers: dict[_HeaderFields, list[int]] = {}
        # Whether wire.py has read what is written, so that it needs no checks.
        self.trusted = False

    def take_common_options(self, options: Any) -> None:
        # Options of openai_harmony are options, too; they know nothing of these.
        self.validate_headers = bool(getattr(options, "validate_headers", False))
        self.exact_numbers = bool(getattr(options, "exact_numbers", False))
        self.channel_first = _choice(options, "header_order", HeaderOrder) == "channel_first"

    def trust(self) -> None:
        """From here on everything comes from wire.py; numbers are then what the reference reads."""
        self.trusted = True
        self.exact_numbers = True

    def message_ids(self, message: Message) -> list[int]:
        out = self._begin()
        self.write_message(message, None)
        return out.to_list()

    def _begin(self) -> IdWriter:
        """Let messages be written to a new, empty place, and return that."""
        assert self.tokenizer
        self.out = out = self.tokenizer._id_writer()
        return out

    def conversation_ids(
        self, messages: list[Message], policy: str, opening: Sequence[int]
    ) -> list[int]:
        self.messages = messages
        self.has_function_tools = None
        left_out = analysis_left_out(messages, policy)
        # What the reference cannot read is an error also in a message that is left out.
        checker = None
        if left_out and not self.trusted:
            checker = _Writer(None, self.schema_depth)
        out = self._begin()
        next_pause = _IDS_BETWEEN_PAUSES
        for index, message in enumerate(messages):
            if index in left_out:
                if checker:
                    checker.write_message(message, None)
                continue
            self.write_message(message, index)
            if len(out) > next_pause:
                time.sleep(_SHORTEST_SLEEP)
                next_pause = len(out) + _IDS_BETWEEN_PAUSES
        for token in opening:
            out.token(token)
        return out.to_list()

    def write_message(self, message: Message, index: int | None) -> None:
        """Append the ids of a message to `out`; `index` is None if it stands alone."""
        if type(message) not in PLAIN_MESSAGE_CLASSES:
            raise NotPlainError
        # Attributes of a pydantic model are far slower than the dict they are kept in.
        fields = message.__dict__
        author = fields["author"]
        if type(author) is not Author:
            raise NotPlainError
        author = author.__dict__
        role = author["role"]
        if type(role) is not Role:
            raise NotPlainError
        role = role._value_
        name = author["name"]
        recipient = fields["recipient"]
        channel = fields["channel"]
        content_type = fields["content_type"]
        header = PLAIN_HEADERS[role].get(channel)
        if not header or recipient is not None or content_type is not None or name is not None:
            header_fields = (role, name, recipient, channel, content_type)
            header = self.headers.get(header_fields) or self._header(header_fields, index)
        out = self.out
        out.tokens(header)
        content = fields["content"]
        if type(content) is not list:
            raise NotPlainError
        for item in content:
            kind = type(item)
            if kind is TextContent:
                text = item.__dict__["text"]
                if type(text) is not str:
                    raise NotPlainError
            elif kind is SystemContent:
                if role != "system":
                    raise _misplaced("SystemContent", "system", role)
                text = self._system_text(item.__dict__)
            elif kind is DeveloperContent:
                if role != "developer":
                    raise _misplaced("DeveloperContent", "developer", role)
                text = self._developer_text(item.__dict__)
            else:
                raise NotPlainError
            out.text(text)
        out.token(CALL if recipient is not None and role == "assistant" else END)

    def _header(self, fields: _HeaderFields, index: int | None) -> list[int]:
        ids = header_ids(self.encode, *fields, self.channel_first)
        if self.validate_headers and (reason := refusal(*fields)):
            where = "message" if index is None else f"message {index}"
            raise RenderError(f"{where}: {reason}")
        self.headers[fields] = ids
        return ids

    def _system_text(self, fields: dict[str, Any]) -> str:
        sections = []
        lines = []
        if (identity := fields["model_identity"]) is not None:
            lines.append(plain_text(identity))
        if (cutoff := fields["knowledge_cutoff"]) is not None:
            lines.append("Knowledge cutoff: " + plain_text(cutoff))
        if (date := fields["conversation_start_date"]) is not None:
            lines.append("Current date: " + plain_text(date))
        if lines:
            sections.append("\n".join(lines))
        if (effort := fields["reasoning_effort"]) is not None:
            if type(effort) is not ReasoningEffort:
                raise NotPlainError
            sections.append("Reasoning: " + effort._value_.lower())
        if (tools := fields["tools"]) is not None and (text := self._tools_text(tools)):
            sections.append(text)
        if (config := fields["channel_config"]) is not None and (text := self._channels(config)):
            sections.append(text)
        return "\n\n".join(sections)

    def _developer_text(self, fields: dict[str, Any]) -> str:
        sections = []
        if (instructions := fields["instructions"]) is not None:
            sections += ["# Instructions", plain_text(instructions)]
        if (tools := fields["tools"]) is not None and (text := self._tools_text(tools)):
            sections.append(text)
        if formats := fields["response_formats"]:
            sections += ["# Response Formats", *self._response_formats(formats)]
        return "\n\n".join(sections)

    def _response_formats(self, formats: dict[str, ResponseFormat]) -> list[str]:
        if type(formats) is not dict:
            raise NotPlainError
        sections = []
        for name, about in formats.items():
            if type(about) is not ResponseFormat:
                raise NotPlainError
            fields = about.__dict__
            description = fields["description"]
            if description is not None:
                plain_text(description)
            schema = fields["json_schema"]
            if not self.trusted:
                if type(schema) is not dict:
                    raise NotPlainError
                check_plain(schema, self.schema_depth)
            sections += [f"## {plain_text(name)}", format_text(schema, description)]
        return sections

    def _channels(self, config: ChannelConfig) -> str:
        if type(config) is not ChannelConfig:
            raise NotPlainError
        channels = config.__dict__["valid_channels"]
        required = config.__dict__["channel_required"]
        if type(channels) is not list or type(required) is not bool:
            raise NotPlainError
        if not channels:
            return ""
        text = f"# Valid channels: {', '.join([plain_text(channel) for channel in channels])}."
        if required:
            text += " Channel must be included for every message."
        if self.has_function_tools is None:
            self.has_function_tools = _has_function_tools(self.messages or [])
        if self.has_function_tools:
            text += "\nCalls to these tools must go to the commentary channel: 'functions'."
        return text

    def _tools_text(self, namespaces: dict[str, ToolNamespaceConfig]) -> str:
        if type(namespaces) is not dict:
            raise NotPlainError
        if not namespaces:
            return ""
        return tools_section(
            [self._namespace(namespaces[plain_text(key)]) for key in sorted(namespaces)]
        )

    def _namespace(self, namespace: ToolNamespaceConfig) -> str:
        if type(namespace) is not ToolNamespaceConfig:
            raise NotPlainError
        fields = namespace.__dict__
        tools = fields["tools"]
        if type(tools) is not list:
            raise NotPlainError
        if (description := fields["description"]) is not None:
            plain_text(description)
        return namespace_text(
            plain_text(fields["name"]),
            description,
            [self._tool(tool) for tool in tools],
            exact_numbers=self.exact_numbers,
        )

    def _tool(self, tool: ToolDescription) -> tuple[str, str, Any]:
        if type(tool) is not ToolDescription:
            raise NotPlainError
        fields = tool.__dict__
        parameters = fields["parameters"]
        if parameters is not None and not self.trusted:
            if type(parameters) is not dict:
                raise NotPlainError
            check_plain(parameters, self.schema_depth)
        return plain_text(fields["name"]), plain_text(fields["description"]), parameters


def _misplaced(kind: str, allowed: str, role: str) -> RenderError:
    return RenderError(
        f"{kind} may only appear in {allowed} messages, found in {role.capitalize()}"
    )


def analysis_left_out(messages: list[Message], policy: str) -> Collection[int]:
    """The indices of the messages on the analysis channel that `policy` leaves out."""
    if policy == "keep":
        return ()
    last_final = -1
    for index in range(len(messages) - 1, -1, -1):
        fields = messages[index].__dict__
        if fields["author"].__dict__["role"] is Role.ASSISTANT:
            if fields["channel"] == "final":
                last_final = index
                break
            if policy == "upstream":
                break
    if last_final < 0:
        return ()
    before = messages[:last_final]
    if policy == "before_last_final":
        return {
            index
            for index, message in enumerate(before)
            if message.__dict__["channel"] == "analysis"
            and message.__dict__["author"].__dict__["role"] is Role.ASSISTANT
        }
    left_out = set()
    for index, message in enumerate(before):
        channel = message.__dict__["channel"]
        if channel == "final":
            break
        if channel == "analysis":
            left_out.add(index)
    return left_out


def _has_function_tools(messages: list[Message]) -> bool:
    """Whether any message, also one that is left out, defines functions."""
    for message in messages:
        content = message.__dict__["content"]
        if type(content) is not list:
            raise NotPlainError
        for item in content:
            if type(item) is DeveloperContent:
                namespaces = item.__dict__["tools"]
                functions = namespaces.get("functions") if namespaces else None
                if functions and functions.__dict__["tools"]:
                    return True
    return False
