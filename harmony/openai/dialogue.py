"""What both APIs can say, put together as messages: one way to write each thing.

    opening     system message; instructions with functions and response format
    user, instructions, reasoning, text, calls and results    one message each

A message never holds anything that stood in another one, so that a conversation comes back as it
was. Since calls have no ids in harmony, results of several calls to one function are put in the
order of these calls: nothing else tells them apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from harmony.calls import FUNCTIONS
from harmony.errors import ConversionError
from harmony.header import refusal
from harmony.messages import (
    Author,
    Content,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
)
from harmony.openai import builtin
from harmony.openai.builtin import BuiltInCall
from harmony.openai.fields import Field
from harmony.openai.names import from_identifier, to_identifier

JSON_TYPE = "<|constrain|>json"

CHANNEL_OF_PHASE = {"commentary": "commentary", "final_answer": "final"}
PHASE_OF_CHANNEL = {channel: phase for phase, channel in CHANNEL_OF_PHASE.items()}

# What `response_format` of type json_object asks for, as the format would have it.
ANY_OBJECT = ("json_object", {"type": "object"})


_Kind = TypeVar("_Kind", bound=Content)


class Call(NamedTuple):
    """A call that a result may belong to."""

    recipient: str
    number: int


class Dialogue:
    """A conversation that grows from its beginning."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._calls: dict[str, Call] = {}
        self._n_calls = 0
        # Of the results that came last, without anything between them: index and number of call.
        self._results: list[tuple[int, int]] = []

    def instructions(self, at: Field, texts: list[str], name: str | None = None) -> None:
        content = DeveloperContent.new().with_instructions("\n".join(texts))
        self._add(at, Role.DEVELOPER, [content], name=name)

    def user(self, at: Field, texts: list[str], name: str | None = None) -> None:
        self._add(at, Role.USER, _contents(texts), name=name)

    def reasoning(self, at: Field, texts: list[str], name: str | None = None) -> None:
        self._add(at, Role.ASSISTANT, _contents(texts), name=name, channel="analysis")

    def text(self, at: Field, texts: list[str], channel: str, name: str | None = None) -> None:
        self._add(at, Role.ASSISTANT, _contents(texts), name=name, channel=channel)

    def call_function(
        self, call_id: Field, function: str, arguments: str, name: str | None = None
    ) -> None:
        """A call, which later results find by its id; of two with one id, they find the later."""
        recipient = FUNCTIONS + to_identifier(function)
        self._add(
            call_id,
            Role.ASSISTANT,
            _contents([arguments]),
            name=name,
            channel="commentary",
            recipient=recipient,
            content_type=JSON_TYPE,
        )
        self._calls[call_id.some_text()] = Call(recipient, self._n_calls)
        self._n_calls += 1

    def built_in(self, at: Field, call: BuiltInCall) -> None:
        """A call of a built-in tool and, if it is known, its result."""
        channel = builtin.CHANNEL
        self._add(
            at,
            Role.ASSISTANT,
            _contents([call.arguments]),
            channel=channel,
            recipient=call.recipient,
            content_type=builtin.CONTENT_TYPE,
        )
        if call.result is not None:
            self._add(
                at,
                Role.TOOL,
                _contents(call.result),
                name=call.recipient,
                channel=channel,
                recipient="assistant",
            )

    def result(self, call_id: Field, texts: list[str]) -> None:
        call = self._calls.get(call_id.some_text())
        if call is None:
            call_id.fail(f"no call before has the id {call_id.value!r}")
        results = [*self._results, (len(self.messages), call.number)]
        self._add(
            call_id,
            Role.TOOL,
            _contents(texts),
            name=call.recipient,
            channel="commentary",
            recipient="assistant",
        )
        self._results = results

    def conversation(
        self,
        system: SystemContent | None,
        effort: Field | None,
        functions: Sequence[ToolDescription],
        response_format: Field | None,
    ) -> Conversation:
        """All of it, with the system message in front and the functions declared."""
        self._settle_results()
        system = SystemContent.new() if system is None else system
        if effort is not None:
            system = system.model_copy(update={"reasoning_effort": _effort(effort)})
        messages = self.messages
        form = None if response_format is None else _response_format(response_format)
        if functions or form:
            first = _only(messages[0], DeveloperContent) if messages else None
            if first is None:
                first = DeveloperContent.new()
                messages.insert(0, Message.from_role_and_content(Role.DEVELOPER, first))
            if functions:
                first.with_function_tools(functions)
            if form:
                first.with_response_format(*form)
        return Conversation(
            messages=[Message.from_role_and_content(Role.SYSTEM, system), *messages]
        )

    def _add(
        self,
        at: Field,
        role: Role,
        content: Sequence[Content],
        *,
        name: str | None = None,
        channel: str | None = None,
        recipient: str | None = None,
        content_type: str | None = None,
    ) -> None:
        if reason := refusal(role.value, name, recipient, channel, content_type):
            at.fail(reason)
        if role is not Role.TOOL:
            self._settle_results()
        self.messages.append(
            Message(
                author=Author(role=role, name=name),
                content=list(content),
                channel=channel,
                recipient=recipient,
                content_type=content_type,
            )
        )

    def _settle_results(self) -> None:
        results_of = defaultdict(list)
        for index, call_number in self._results:
            results_of[self.messages[index].author.name].append((index, call_number))
        self._results = []
        for results in results_of.values():
            in_order = sorted(results, key=lambda result: result[1])
            messages = [self.messages[index] for index, _ in in_order]
            for (index, _), message in zip(results, messages, strict=True):
                self.messages[index] = message


def functions_from(declarations: Sequence[tuple[Field, Field]]) -> list[ToolDescription]:
    """The functions of a request: pairs of the name's field and the object that describes it."""
    functions: dict[str, ToolDescription] = {}
    for name_field, about in declarations:
        name = name_field.some_text()
        if name in functions:
            name_field.fail(f"there is another function with the name {name!r}")
        description = about.get("description")
        parameters = about.get("parameters")
        functions[name] = ToolDescription(
            name=to_identifier(name),
            description=description.text() if description else "",
            parameters=parameters.json_object() if parameters else None,
        )
    return list(functions.values())


def _contents(texts: Sequence[str]) -> list[TextContent]:
    return [TextContent(text=text) for text in texts]


def _effort(field: Field) -> ReasoningEffort:
    return ReasoningEffort(field.word("low", "medium", "high").capitalize())


def _response_format(about: Field) -> tuple[str, dict[str, Any], str | None] | None:
    """Name, schema and description of the response format that is asked for; None for plain text.

    `about`: these three as fields, or a type that has none of them.
    """
    kind = about["type"].word("text", "json_object", "json_schema")
    if kind == "text":
        return None
    if kind == "json_object":
        return (*ANY_OBJECT, None)
    fields = about.get("json_schema") or about
    name = fields["name"]
    if not name.some_text().isprintable():
        name.fail("holds a line break or a control character")
    schema = fields.get("schema")
    description = fields.get("description")
    return (
        name.text(),
        schema.json_object() if schema else {},
        description.text() if description else None,
    )


# conversation -> what a request says of it


class Opening(NamedTuple):
    """What stands outside the messages of a request; parts that need no word are empty."""

    system: SystemContent | None
    effort: str | None
    functions: list[dict[str, Any]]
    response_format: dict[str, Any] | None
    messages: list[tuple[int, Message]]


def opening_of(conversation: Conversation) -> Opening:
    """Take a conversation apart. `messages` are those that are left, with their index."""
    messages = list(enumerate(conversation.messages))
    system, effort = None, None
    if messages and messages[0][1].author.role is Role.SYSTEM:
        message = messages.pop(0)[1]
        refuse_header(message, "messages[0]")
        system = _only(message, SystemContent)
        if system is None or message.author.name:
            raise ConversionError("messages[0]", "is not a SystemContent alone")
        if system.reasoning_effort is not None:
            effort = system.reasoning_effort.value.lower()
        if system.model_copy(update={"reasoning_effort": ReasoningEffort.MEDIUM}) == (
            SystemContent.new()
        ):
            system = None if effort else system
    functions: list[dict[str, Any]] = []
    response_format = None
    if messages and messages[0][1].author.role is Role.DEVELOPER:
        index, message = messages[0]
        developer = _only(message, DeveloperContent)
        if developer is not None and declares(developer):
            path = f"messages[{index}]"
            functions = _functions_of(developer, path)
            response_format = _response_format_of(developer, path)
            left = DeveloperContent(instructions=developer.instructions)
            messages[0] = index, message.model_copy(update={"content": [left]})
            if developer.instructions is None:
                # What a request declares becomes part of a message right behind, or one by itself.
                refuse_header(message, path)
                if message.author.name or (
                    len(messages) > 1 and _only(messages[1][1], DeveloperContent)
                ):
                    raise ConversionError(path, "has to hold instructions, too, in a request")
                messages.pop(0)
    return Opening(system, effort, functions, response_format, messages)


def _only(message: Message, kind: type[_Kind]) -> _Kind | None:
    content = message.content
    return content[0] if len(content) == 1 and isinstance(content[0], kind) else None


def declares(developer: DeveloperContent) -> bool:
    """Whether it says more than instructions, for which a request has a place in front only."""
    return bool(developer.tools or developer.response_formats)


def _functions_of(developer: DeveloperContent, path: str) -> list[dict[str, Any]]:
    namespaces = dict(developer.tools or {})
    functions = namespaces.pop("functions", None)
    if namespaces:
        raise ConversionError(path, f"a request declares functions only, not {[*namespaces]}")
    if functions and (functions.description or not functions.tools):
        raise ConversionError(path, "a request cannot describe the namespace of functions")
    return [
        {
            "name": from_identifier(tool.name),
            **({"description": tool.description} if tool.description else {}),
            **({} if tool.parameters is None else {"parameters": tool.parameters}),
        }
        for tool in (functions.tools if functions else ())
    ]


def _response_format_of(developer: DeveloperContent, path: str) -> dict[str, Any] | None:
    formats = developer.response_formats
    if not formats:
        return None
    if len(formats) > 1:
        raise ConversionError(path, "a request asks for one response format")
    ((name, about),) = formats.items()
    if (name, about.json_schema, about.description) == (*ANY_OBJECT, None):
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": name,
        "schema": about.json_schema,
        **({} if about.description is None else {"description": about.description}),
    }


def instructions_of(message: Message, path: str) -> str:
    """What a message says that is neither the assistant's nor a user's nor a tool's."""
    content = _only(message, DeveloperContent)
    if message.author.role is not Role.DEVELOPER or content is None or declares(content):
        raise ConversionError(path, "a request holds instructions here, and nothing else")
    if content.instructions is None:
        raise ConversionError(path, "says nothing")
    return content.instructions


def refuse_header(message: Message, path: str) -> None:
    """A request has no place for these, except in messages of the assistant and of tools."""
    for field in ("channel", "recipient", "content_type"):
        if getattr(message, field) is not None:
            raise ConversionError(path, f"a request cannot hold the {field} of such a message")


def arguments_of(message: Message, path: str) -> str:
    """The arguments of a call of a function, as a request has to have them."""
    return Field(text_of(message, path), f"{path}.content").json_text()


def texts_of(message: Message, path: str = "message") -> list[str]:
    """The texts of a message that holds nothing else."""
    texts = []
    for content in message.content:
        if not isinstance(content, TextContent):
            raise ConversionError(path, f"holds {type(content).__name__}, not text alone")
        texts.append(content.text)
    return texts


def text_of(message: Message, path: str = "message") -> str:
    return "".join(texts_of(message, path))
