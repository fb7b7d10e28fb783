"""The message classes: what they accept, their written forms, pydantic's forms, builders, sharing."""

import copy
import json
import pickle
import subprocess
import sys

import pydantic
import pytest

from harmony import (
    Author,
    ChannelConfig,
    Content,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    RenderConversationConfig,
    RenderOptions,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
)

SYSTEM = SystemContent(model_identity=None, conversation_start_date="2025-01-01")
DEVELOPER = (
    DeveloperContent()
    .with_instructions("i")
    .with_function_tools([ToolDescription.new("a", "b", {"default": None})])
)
MESSAGES = [
    Message.from_role_and_content(Role.SYSTEM, SYSTEM.with_browser_tool()),
    Message.from_role_and_content(Role.DEVELOPER, DEVELOPER).adding_content("x"),
    Message.from_role_and_content(Role.ASSISTANT, "t").with_channel("analysis"),
    Message.from_author_and_content(Author.new(Role.TOOL, "functions.a"), "é\n")
    .with_channel("commentary")
    .with_recipient("assistant")
    .with_content_type("json"),
    Message.from_role_and_contents(Role.USER, []),
]
CONVERSATION = Conversation.from_messages(MESSAGES)


# enumerations


def test_a_role_is_its_text():
    assert Role.USER == "user"
    assert Role("assistant") is Role.ASSISTANT
    assert json.dumps(Role.TOOL) == '"tool"'
    assert str(Role.USER) == "Role.USER"
    assert [role.value for role in Role] == ["user", "assistant", "system", "developer", "tool"]


@pytest.mark.parametrize("value", ["x", "USER", None, 5, []])
def test_an_unknown_role_is_named(value):
    with pytest.raises(ValueError) as caught:
        Role(value)
    assert str(caught.value) == f"Unknown role: {value!r}"


def test_efforts():
    assert [effort.value for effort in ReasoningEffort] == ["Low", "Medium", "High"]
    with pytest.raises(ValueError, match="'low' is not a valid ReasoningEffort"):
        ReasoningEffort("low")


# validation


@pytest.mark.parametrize(
    ("make", "phrase"),
    [
        (lambda: Conversation.from_messages([SYSTEM]), "valid dictionary or instance of Message"),
        (lambda: Conversation.from_messages(["x"]), "valid dictionary or instance of Message"),
        (lambda: Message.from_role_and_content(Role.USER, 5), "dictionary or instance of Content"),
        (lambda: Message.from_role_and_content(Role.USER, None), "instance of Content"),
        (lambda: Message.from_role_and_contents(Role.USER, ["a"]), "instance of Content"),
        (lambda: Message.from_author_and_content(Role.USER, "x"), "instance of Author"),
        (lambda: Author(role="x"), "type=enum"),
        (lambda: Author.new(Role.TOOL, 5), "type=string_type"),
        (lambda: TextContent(text=1), "type=string_type"),
        (lambda: TextContent(text=None), "type=string_type"),
        (lambda: TextContent(), "type=missing"),
        (lambda: ToolDescription.new("a", None), "type=string_type"),
        (lambda: ToolDescription.new("a", "b", "x"), "type=dict_type"),
        (lambda: ToolNamespaceConfig(name="a"), "type=missing"),
        (lambda: ChannelConfig(valid_channels=["a"]), "type=missing"),
        (lambda: SystemContent(reasoning_effort="high"), "type=enum"),
        (lambda: SystemContent(conversation_start_date=2025), "type=string_type"),
        (lambda: RenderConversationConfig(auto_drop_analysis="maybe"), "type=bool_parsing"),
        (lambda: RenderOptions(conversation_has_function_tools="maybe"), "type=bool_parsing"),
    ],
)
def test_what_is_refused(make, phrase):
    with pytest.raises(pydantic.ValidationError) as caught:
        make()
    assert phrase in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_what_is_coerced():
    assert Author(role="user").role is Role.USER
    assert Message.from_role_and_content("tool", "x").author.role is Role.TOOL
    assert TextContent(text=b"a").text == "a"
    assert TextContent(text="\ud800").text == "\ud800"
    assert SystemContent(reasoning_effort="High").reasoning_effort is ReasoningEffort.HIGH
    assert RenderConversationConfig(auto_drop_analysis="no").auto_drop_analysis is False
    namespace = ToolNamespaceConfig(name="a", tools=[{"name": "x", "description": "y"}])
    assert namespace.tools == [ToolDescription.new("x", "y")]
    conversation = Conversation(messages=[{"author": {"role": "user"}, "content": []}])
    assert conversation.messages == [Message.from_role_and_contents(Role.USER, [])]


def test_models_take_keywords_only_and_ignore_those_they_do_not_know():
    with pytest.raises(TypeError):
        TextContent("x")
    assert TextContent(text="x", more=1) == TextContent(text="x")
    with pytest.raises(TypeError):
        hash(TextContent(text="x"))


def test_assignment_is_not_validated():
    message = Message.from_role_and_content(Role.USER, "x").with_channel(5)
    assert message.channel == 5
    assert SystemContent().with_reasoning_effort("high").reasoning_effort == "high"


# builders


def test_builders_change_the_object_they_return():
    message = Message.from_role_and_content(Role.USER, "x")
    assert message.with_channel("c").with_recipient("r").with_content_type("t") is message
    assert (message.channel, message.recipient, message.content_type) == ("c", "r", "t")
    assert message.with_channel(None).channel is None
    assert message.adding_content("y").adding_content(TextContent(text="z")) is message
    assert [content.text for content in message.content] == ["x", "y", "z"]

    system = SystemContent.new()
    assert system.with_model_identity("m").with_knowledge_cutoff("k") is system
    assert system.with_conversation_start_date("d").with_channel_config(None) is system
    assert system.with_reasoning_effort(ReasoningEffort.LOW).with_required_channels(["a"]) is system
    assert system.channel_config == ChannelConfig(valid_channels=["a"], channel_required=True)
    assert list(system.with_browser_tool().with_python_tool().tools) == ["browser", "python"]
    assert DEVELOPER.with_instructions("i") is DEVELOPER


def test_function_tools_replace_earlier_ones():
    first, second = [ToolDescription.new("a", "")], [ToolDescription.new("b", "")]
    developer = DeveloperContent.new().with_function_tools(first).with_function_tools(second)
    assert developer.tools == {
        "functions": ToolNamespaceConfig(name="functions", description=None, tools=second)
    }
    assert developer.tools["functions"].tools is not second


def test_objects_are_shared_and_lists_are_not():
    content = TextContent(text="x")
    contents = [content]
    message = Message.from_role_and_contents(Role.USER, contents)
    assert message.content[0] is content and message.content is not contents
    messages = [message]
    conversation = Conversation.from_messages(iter(messages))
    assert conversation.messages[0] is message
    assert list(conversation) == messages
    nested = {"b": 1}
    parameters = {"a": nested}
    tool = ToolDescription.new("a", "b", parameters)
    assert tool.parameters == parameters and tool.parameters is not parameters
    assert tool.parameters["a"] is nested


def test_default_objects_are_not_shared():
    assert SystemContent().channel_config is not SystemContent().channel_config
    assert ToolNamespaceConfig.browser() is not ToolNamespaceConfig.browser()
    browser = ToolNamespaceConfig.browser()
    browser.tools[0].parameters["properties"]["query"]["type"] = "number"
    assert ToolNamespaceConfig.browser() != browser


def test_a_conversation_has_no_length():
    with pytest.raises(TypeError):
        len(CONVERSATION)
    with pytest.raises(TypeError):
        CONVERSATION[0]
    assert Conversation()


# to_dict and back


def test_written_forms():
    assert (
        Message.from_role_and_content(Role.USER, "hi").to_json()
        == '{"role": "user", "name": null, "content": [{"type": "text", "text": "hi"}]}'
    )
    assert MESSAGES[3].to_json() == (
        '{"role": "tool", "name": "functions.a", "content": [{"type": "text", '
        '"text": "\\u00e9\\n"}], "channel": "commentary", "recipient": "assistant", '
        '"content_type": "json"}'
    )
    fields = SystemContent.new().to_dict()
    assert list(fields) == [
        "model_identity",
        "reasoning_effort",
        "knowledge_cutoff",
        "channel_config",
        "type",
    ]
    assert fields["reasoning_effort"] is ReasoningEffort.MEDIUM
    assert DeveloperContent.new().to_dict() == {"type": "developer_content"}
    tool = DEVELOPER.to_dict()["tools"]["functions"]
    assert tool == {
        "name": "functions",
        "tools": [{"name": "a", "description": "b", "parameters": {"default": None}}],
    }
    with pytest.raises(NotImplementedError):
        Content().to_dict()


def test_written_forms_come_back():
    filled = SystemContent(
        model_identity="m", conversation_start_date="d", tools={"p": ToolNamespaceConfig.python()}
    )
    messages = [Message.from_role_and_content(Role.SYSTEM, filled), *MESSAGES[1:]]
    conversation = Conversation.from_messages(messages)
    assert Conversation.from_json(conversation.to_json()) == conversation
    assert Conversation.from_json(conversation.to_json().encode()) == conversation
    for message in messages:
        assert Message.from_dict(message.to_dict()) == message


def test_none_does_not_survive_to_dict():
    back = SystemContent.from_dict(SystemContent(model_identity=None).to_dict())
    assert back == SystemContent()
    assert SystemContent.from_dict({"model_identity": None}).model_identity is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"content": "a"}, KeyError("role")),
        ({"role": "user"}, KeyError("content")),
        ({"role": "x", "content": "a"}, ValueError("Unknown role: 'x'")),
        ({"role": "user", "content": None}, TypeError("'NoneType' object is not iterable")),
        ({"role": "user", "content": ["a"]}, AttributeError("'str' object has no attribute 'get'")),
        ({"role": "user", "content": {"type": "text"}}, AttributeError),
        (
            {"role": "user", "content": [{"text": "a"}]},
            ValueError("Unknown content variant: {'text': 'a'}"),
        ),
        (
            {"role": "user", "content": [{"type": []}]},
            ValueError("Unknown content variant: {'type': []}"),
        ),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, pydantic.ValidationError),
        ({"role": "user", "content": "a", "name": 5}, pydantic.ValidationError),
    ],
)
def test_from_dict_refuses(fields, error):
    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind) as caught:
        Message.from_dict(fields)
    if not isinstance(error, type):
        assert str(caught.value) == str(error)


def test_from_dict_accepts():
    message = Message.from_dict({"role": "user", "content": "", "channel": 5, "author": "ignored"})
    assert message.content == [TextContent(text="")]
    assert message.channel == 5
    assert Message.from_dict({"role": "user", "content": []}).content == []
    assert DeveloperContent.from_dict(
        {"type": "system_content", "instructions": "i", "more": 1}
    ) == DeveloperContent(instructions="i")


@pytest.mark.parametrize(
    ("payload", "error"),
    [("{bad", json.JSONDecodeError), ("{}", KeyError), ("[]", TypeError), (5, TypeError)],
)
def test_from_json_refuses(payload, error):
    with pytest.raises(error):
        Conversation.from_json(payload)


def test_constructors_give_the_class_they_are_called_on():
    class Mine(Message):
        pass

    class MyContent(SystemContent):
        pass

    assert type(Mine.from_role_and_content(Role.USER, "x")) is Mine
    assert type(Mine.from_dict({"role": "user", "content": "x"})) is Mine
    assert type(MyContent.new()) is MyContent


# pydantic's forms


@pytest.mark.parametrize("exclude_unset", [False, True])
@pytest.mark.parametrize("message", MESSAGES)
def test_dumps_keep_the_content(message, exclude_unset):
    for mode in "python", "json":
        dumped = message.model_dump(mode=mode, exclude_unset=exclude_unset)
        assert Message.model_validate(dumped) == message
        assert Message(**dumped) == message
    text = message.model_dump_json(exclude_unset=exclude_unset)
    assert Message.model_validate_json(text) == message


def test_dumps_of_conversations_keep_the_content():
    assert Conversation.model_validate(CONVERSATION.model_dump()) == CONVERSATION
    assert Conversation.model_validate_json(CONVERSATION.model_dump_json()) == CONVERSATION


def test_content_dumps_as_its_written_form_with_every_field():
    message = Message.from_role_and_content(Role.USER, "hi")
    assert message.model_dump()["content"] == [{"type": "text", "text": "hi"}]
    (system,) = Message.from_role_and_content(Role.SYSTEM, SystemContent()).model_dump()["content"]
    assert system["conversation_start_date"] is None
    assert list(system)[-1] == "type"


def test_options_of_dumps_reach_the_content():
    message = MESSAGES[0]
    (system,) = message.model_dump(exclude_none=True)["content"]
    assert "model_identity" not in system
    first = {"content": {0: {"knowledge_cutoff"}}}
    (system,) = message.model_dump(include=first)["content"]
    assert system == {"knowledge_cutoff": "2024-06", "type": "system_content"}
    (system,) = message.model_dump(exclude=first)["content"]
    assert "knowledge_cutoff" not in system and "model_identity" in system


def test_validation_names_the_place_in_the_content():
    with pytest.raises(pydantic.ValidationError) as caught:
        Message.model_validate(
            {"author": {"role": "user"}, "content": [{"type": "text", "text": 5}]}
        )
    (error,) = caught.value.errors()
    assert error["loc"] == ("content", 0, "text")
    assert error["type"] == "string_type"


def test_content_of_no_known_type_validates_as_before():
    for fields in {}, {"text": "x"}, {"type": "other"}, {"type": []}:
        message = Message.model_validate({"author": {"role": "user"}, "content": [fields]})
        assert message.content == [Content()]
    assert message.model_dump()["content"] == [{}]


def test_subclasses_dump_the_fields_they_have():
    class Image(Content):
        url: str

    class Shouted(TextContent):
        pass

    message = Message.from_role_and_contents(Role.USER, [Image(url="u"), Shouted(text="x")])
    dumped = message.model_dump()
    assert dumped["content"] == [{"url": "u"}, {"type": "text", "text": "x"}]


def test_fields_of_other_models():
    class Request(pydantic.BaseModel):
        messages: list[Message]
        role: Role
        config: RenderConversationConfig = RenderConversationConfig()

    request = Request(messages=MESSAGES, role="assistant")
    assert request.messages[0] is MESSAGES[0]
    assert Request.model_validate_json(request.model_dump_json()) == request
    adapter = pydantic.TypeAdapter(list[Message])
    assert adapter.validate_json(adapter.dump_json(MESSAGES)) == MESSAGES


def test_json_schema_of_the_content_is_a_list_of_objects():
    for mode in "validation", "serialization":
        schema = Message.model_json_schema(mode=mode)
        items = schema["properties"]["content"]["items"]
        if "$ref" in items:
            items = schema["$defs"][items["$ref"].rsplit("/", 1)[1]]
        assert (items["type"], items["properties"]) == ("object", {})


@pytest.mark.parametrize("thing", [*MESSAGES, CONVERSATION, SYSTEM, RenderOptions()], ids=repr)
def test_copies(thing):
    assert copy.deepcopy(thing) == thing
    assert copy.copy(thing) == thing
    assert thing.model_copy(deep=True) == thing
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(thing, protocol)) == thing


def test_equality_is_of_class_and_fields():
    assert TextContent(text="x") == TextContent(text="x")
    assert TextContent(text="x") != TextContent(text="y")
    assert SystemContent(tools=None) == SystemContent()
    assert Author(role="user") != "user"


def test_tokenizing_does_not_load_pydantic():
    code = (
        "import sys, harmony; harmony.get_tokenizer('o200k_harmony').encode_ordinary('x');"
        "assert 'pydantic' not in sys.modules; harmony.Message; assert 'pydantic' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
