"""Messages and what they hold: the objects that are rendered and that parsing gives back.

All are pydantic models, so they serve as fields of other models. Construction validates; attribute
assignment and the builder methods do not: what is wrong there is found when rendering. Builder
methods (`with_*`, `adding_content`) change the object and return that same object.

Two written forms. `to_dict`, `to_json` and their counterparts have the shape of openai_harmony: it
leaves out what is None. The dumps of pydantic have the shape of the fields; there each item of
`content` carries the same `type` tag, by which validation finds its class again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
)
from pydantic.json_schema import SkipJsonSchema

from harmony.tool_schema import builtin_namespace


class Role(str, Enum):
    """Who wrote a message. Unknown text is a ValueError."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    DEVELOPER = "developer"
    TOOL = "tool"

    @classmethod
    def _missing_(cls, value: object) -> Role:
        raise ValueError(f"Unknown role: {value!r}")


class ReasoningEffort(str, Enum):
    """How much the model is asked to think."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class Author(BaseModel):
    """The author of a message. A tool needs a `name`, by which it is known; others may have one."""

    role: Role
    name: str | None = None

    @classmethod
    def new(cls, role: Role | str, name: str) -> Author:
        """An author with a name."""
        return cls(role=role, name=name)  # type: ignore[arg-type]


class Content(BaseModel):
    """Base of what a message can hold.

    A subclass of your own needs a `to_dict` that gives a shape of one of the three classes below.
    """

    def to_dict(self) -> dict[str, Any]:
        """The written form, with its `type`."""
        raise NotImplementedError


class TextContent(Content):
    """Plain text."""

    text: str

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "text", "text": ...}`."""
        return {"type": "text", "text": self.text}


class ToolDescription(BaseModel):
    """A function the model may call; `parameters` is the JSON schema of its argument."""

    name: str
    description: str
    parameters: dict | None = None  # type: ignore[type-arg]

    @classmethod
    def new(
        cls, name: str, description: str, parameters: dict[str, Any] | None = None
    ) -> ToolDescription:
        """A function with its description and, if it takes an argument, the schema of that."""
        return cls(name=name, description=description, parameters=parameters)


class ChannelConfig(BaseModel):
    """The channels of a conversation, and whether each message must name one."""

    valid_channels: list[str]
    channel_required: bool

    @classmethod
    def require_channels(cls, channels: list[str]) -> ChannelConfig:
        """Every message must be on one of `channels`."""
        return cls(valid_channels=channels, channel_required=True)


class ToolNamespaceConfig(BaseModel):
    """Tools that share a namespace, such as `functions` or `browser`."""

    name: str
    description: str | None = None
    tools: list[ToolDescription]

    @staticmethod
    def browser() -> ToolNamespaceConfig:
        """A new copy of the built-in browser tool."""
        return ToolNamespaceConfig(**builtin_namespace("browser"))

    @staticmethod
    def python() -> ToolNamespaceConfig:
        """A new copy of the built-in python tool."""
        return ToolNamespaceConfig(**builtin_namespace("python"))


class ResponseFormat(BaseModel):
    """A form that answers may take: a JSON schema and, if it helps, a line about its use."""

    json_schema: dict  # type: ignore[type-arg]
    description: str | None = None


class SystemContent(Content):
    """What a system message says: who the model is, how it is to think, tools and channels.

    A field that is None is left out of the text.
    """

    # Before 2.10 pydantic warns of every field that begins with "model_".
    model_config = ConfigDict(protected_namespaces=())

    model_identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    reasoning_effort: ReasoningEffort | None = ReasoningEffort.MEDIUM
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = "2024-06"
    channel_config: ChannelConfig | None = Field(
        default_factory=lambda: ChannelConfig.require_channels(["analysis", "commentary", "final"])
    )
    tools: dict[str, ToolNamespaceConfig] | None = None

    @classmethod
    def new(cls) -> SystemContent:
        """With every field at its default."""
        return cls()

    def with_model_identity(self, model_identity: str) -> SystemContent:
        """Set `model_identity`."""
        self.model_identity = model_identity
        return self

    def with_reasoning_effort(self, reasoning_effort: ReasoningEffort) -> SystemContent:
        """Set `reasoning_effort`."""
        self.reasoning_effort = reasoning_effort
        return self

    def with_conversation_start_date(self, conversation_start_date: str) -> SystemContent:
        """Set `conversation_start_date`, which is written as the current date."""
        self.conversation_start_date = conversation_start_date
        return self

    def with_knowledge_cutoff(self, knowledge_cutoff: str) -> SystemContent:
        """Set `knowledge_cutoff`."""
        self.knowledge_cutoff = knowledge_cutoff
        return self

    def with_channel_config(self, channel_config: ChannelConfig) -> SystemContent:
        """Set `channel_config`."""
        self.channel_config = channel_config
        return self

    def with_required_channels(self, channels: list[str]) -> SystemContent:
        """Set `channel_config` so that every message must be on one of `channels`."""
        self.channel_config = ChannelConfig.require_channels(channels)
        return self

    def with_tools(self, ns_config: ToolNamespaceConfig) -> SystemContent:
        """Add a namespace under its name; an earlier one of that name is replaced."""
        _add_namespace(self, ns_config)
        return self

    def with_browser_tool(self) -> SystemContent:
        """Add the built-in browser tool."""
        return self.with_tools(ToolNamespaceConfig.browser())

    def with_python_tool(self) -> SystemContent:
        """Add the built-in python tool."""
        return self.with_tools(ToolNamespaceConfig.python())

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not None, then `"type": "system_content"`."""
        return {**self.model_dump(exclude_none=True), "type": "system_content"}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> SystemContent:
        """From `to_dict`'s form. A key that is missing means the default, not None."""
        return cls(**raw)


class DeveloperContent(Content):
    """What a developer message says: instructions, the functions the model may call, and the forms
    that answers take."""

    instructions: str | None = None
    tools: dict[str, ToolNamespaceConfig] | None = None
    # openai_harmony does not have this one: reprs without formats and JSON schemas stay as they are
    # there, and pickles made there can be read.
    response_formats: SkipJsonSchema[dict[str, ResponseFormat] | None] = None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if name != "response_formats" or value is not None:
                yield name, value

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        _fill_in(self)

    @classmethod
    def new(cls) -> DeveloperContent:
        """Empty."""
        return cls()

    def with_instructions(self, instructions: str) -> DeveloperContent:
        """Set `instructions`."""
        self.instructions = instructions
        return self

    def with_tools(self, ns_config: ToolNamespaceConfig) -> DeveloperContent:
        """Add a namespace under its name; an earlier one of that name is replaced."""
        _add_namespace(self, ns_config)
        return self

    def with_function_tools(self, tools: Sequence[ToolDescription]) -> DeveloperContent:
        """Add `tools` as the namespace `functions`; an earlier list of functions is replaced."""
        return self.with_tools(
            ToolNamespaceConfig(name="functions", description=None, tools=list(tools))
        )

    def with_response_format(
        self, name: str, schema: dict[str, Any], description: str | None = None
    ) -> DeveloperContent:
        """Ask for answers that `schema`, a JSON schema, allows; they come on the final channel.

        Shows the schema to the model and no more: what holds a sampler to it is the server's part.
        An earlier format of that name is replaced.
        """
        if self.response_formats is None:
            self.response_formats = {}
        self.response_formats[name] = ResponseFormat(json_schema=schema, description=description)
        return self

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not None, then `"type": "developer_content"`."""
        return {**self.model_dump(exclude_none=True), "type": "developer_content"}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> DeveloperContent:
        """From `to_dict`'s form."""
        return cls(**raw)


def _fill_in(read: BaseModel) -> None:
    """Give what was unpickled the fields that openai_harmony's class does not have."""
    for name, field in type(read).model_fields.items():
        read.__dict__.setdefault(name, field.default)


def _add_namespace(
    content: SystemContent | DeveloperContent, ns_config: ToolNamespaceConfig
) -> None:
    if content.tools is None:
        content.tools = {}
    content.tools[ns_config.name] = ns_config


_CLASS_OF_TYPE: dict[str, type[Content]] = {
    "text": TextContent,
    "system_content": SystemContent,
    "developer_content": DeveloperContent,
}


def _class_of(fields: Any) -> type[Content] | None:
    """The class that the `type` of a content's written form names, if it names one."""
    kind = fields.get("type")
    return _CLASS_OF_TYPE.get(kind) if isinstance(kind, str) else None


def _content_from_dict(fields: dict[str, Any]) -> Content:
    content_class = _class_of(fields)
    if content_class is None:
        raise ValueError(f"Unknown content variant: {fields}")
    return content_class(**fields)


# `content` is declared as a list of the base class, which has no fields: left to itself, pydantic
# would dump every item as {} and validate it to a Content without anything in it. A tagged union
# would keep the fields but change the texts of validation errors, which callers match on; these two
# wrappers change only what is lost otherwise.


def _validate_content(
    value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
) -> Any:
    content_class = _class_of(value) if isinstance(value, dict) else None
    if content_class is None:
        return handler(value)
    return content_class.model_validate(value, context=info.context)


def _dump_content(
    content: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo
) -> Any:
    if not isinstance(content, Content):
        return handler(content)
    include: Any = info.include
    exclude: Any = info.exclude
    dumped: dict[str, Any] = content.model_dump(
        mode=info.mode,
        include=include,
        exclude=exclude,
        by_alias=info.by_alias,
        exclude_unset=info.exclude_unset,
        exclude_defaults=info.exclude_defaults,
        exclude_none=info.exclude_none,
        round_trip=info.round_trip,
        context=info.context,
    )
    for kind, content_class in _CLASS_OF_TYPE.items():
        if isinstance(content, content_class):
            return {"type": kind, **dumped} if kind == "text" else {**dumped, "type": kind}
    return dumped


class _JsonSchemaOfContent:
    """The JSON schema of the field: that of the base class, also for what is dumped."""

    @staticmethod
    def __get_pydantic_json_schema__(
        core_schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler({key: core_schema[key] for key in core_schema if key != "serialization"})


_AnyContent = Annotated[
    Content,
    WrapValidator(_validate_content),
    WrapSerializer(_dump_content),
    _JsonSchemaOfContent,
]


class Message(BaseModel):
    """One message: author, header fields and content.

    `content` is a list of `Content`; the header fields are `channel` (analysis, commentary, final),
    `recipient` (a tool, or a role) and `content_type` (such as `<|constrain|>json`).
    """

    author: Author
    content: list[_AnyContent] = Field(default_factory=list)
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None

    @classmethod
    def from_author_and_content(cls, author: Author, content: str | Content) -> Message:
        """A message with one item of content; a `str` stands for its TextContent."""
        return cls(author=author, content=[_as_content(content)])

    @classmethod
    def from_role_and_content(cls, role: Role | str, content: str | Content) -> Message:
        """A message of an author without name; `content` as in `from_author_and_content`."""
        author = Author(role=role)  # type: ignore[arg-type]
        return cls(author=author, content=[_as_content(content)])

    @classmethod
    def from_role_and_contents(cls, role: Role | str, contents: Sequence[Content]) -> Message:
        """A message with several items of content."""
        author = Author(role=role)  # type: ignore[arg-type]
        return cls(author=author, content=list(contents))

    def adding_content(self, content: str | Content) -> Message:
        """Append one item of content; a `str` stands for its TextContent."""
        self.content.append(_as_content(content))
        return self

    def with_channel(self, channel: str) -> Message:
        """Set `channel`; None clears it."""
        self.channel = channel
        return self

    def with_recipient(self, recipient: str) -> Message:
        """Set `recipient`; None clears it."""
        self.recipient = recipient
        return self

    def with_content_type(self, content_type: str) -> Message:
        """Set `content_type`; None clears it."""
        self.content_type = content_type
        return self

    def to_dict(self) -> dict[str, Any]:
        """`role`, `name`, `content`, and of the header fields those that are not None."""
        fields: dict[str, Any] = {
            **self.author.model_dump(),
            "content": [content.to_dict() for content in self.content],
        }
        if self.channel is not None:
            fields["channel"] = self.channel
        if self.recipient is not None:
            fields["recipient"] = self.recipient
        if self.content_type is not None:
            fields["content_type"] = self.content_type
        return fields

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict())

    def _repr_html_(self) -> str | None:
        from harmony.view.notebook import html_of

        return html_of(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Message:
        """From `to_dict`'s form; `content` may also be a plain string.

        Raises KeyError if `role` or `content` is missing, ValueError for an unknown role or type of
        content (pydantic's ValidationError is one, too). The header fields are taken as they are.
        """
        author = Author(role=Role(data["role"]), name=data.get("name"))
        content = data["content"]
        items: list[Content]
        if isinstance(content, str):
            items = [TextContent(text=content)]
        else:
            items = [_content_from_dict(fields) for fields in content]
        message = cls(author=author, content=items)
        message.channel = data.get("channel")
        message.recipient = data.get("recipient")
        message.content_type = data.get("content_type")
        return message


def _as_content(content: str | Content) -> Content:
    return TextContent(text=content) if isinstance(content, str) else content


class Conversation(BaseModel):
    """Messages in order. Iterating gives the messages; there is no length and no index."""

    messages: list[Message] = Field(default_factory=list)

    @classmethod
    def from_messages(cls, messages: Iterable[Message]) -> Conversation:
        """A conversation of these messages: the same objects, in a list of its own."""
        return cls(messages=list(messages))

    def __iter__(self) -> Iterator[Message]:  # type: ignore[override]
        return iter(self.messages)

    def to_dict(self) -> dict[str, Any]:
        """`{"messages": [...]}`, each as `Message.to_dict` writes it."""
        return {"messages": [message.to_dict() for message in self.messages]}

    def _repr_html_(self) -> str | None:
        from harmony.view.notebook import html_of

        return html_of(self)

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, payload: str | bytes) -> Conversation:
        """From `to_json`'s form. Raises json.JSONDecodeError, or as `Message.from_dict` does."""
        fields = json.loads(payload)
        return cls(messages=[Message.from_dict(message) for message in fields["messages"]])


AnalysisPolicy = Literal["upstream", "before_last_final", "keep"]
HeaderOrder = Literal["recipient_first", "channel_first"]


class RenderConversationConfig(BaseModel):
    """How a conversation is rendered.

    `auto_drop_analysis`: leave out analysis, by the `analysis_policy`; False keeps all of it.
    `analysis_policy`: "upstream" leaves out every message on the analysis channel that comes before
    the first one on the final channel, if the last assistant message is on the final channel;
    "before_last_final" the assistant's that come before its last one on the final channel; "keep"
    none.
    `header_order`: "recipient_first", or "channel_first" for headers of the assistant as models
    write them: `<|start|>assistant<|channel|>commentary to=functions.f`.
    `validate_headers`: refuse header fields that would change the meaning of their header.
    `exact_numbers`: write numbers of tool schemas exactly. openai_harmony, and so the default, may
    change the last digit of a number with more than 15 digits.
    """

    auto_drop_analysis: bool = True
    analysis_policy: AnalysisPolicy = "upstream"
    header_order: HeaderOrder = "recipient_first"
    validate_headers: bool = False
    exact_numbers: bool = False

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        _fill_in(self)


class RenderOptions(BaseModel):
    """How a single message is rendered.

    `conversation_has_function_tools`: the conversation defines functions, so a system message says
    on which channel they are called. The others as in `RenderConversationConfig`.
    """

    conversation_has_function_tools: bool = False
    header_order: HeaderOrder = "recipient_first"
    validate_headers: bool = False
    exact_numbers: bool = False

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        _fill_in(self)
