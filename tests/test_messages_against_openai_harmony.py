"""The message classes accept, refuse, hold and write what those of openai_harmony 0.0.8 do.

Each expression is evaluated with the names of one library and then of the other. pydantic writes the texts of
validation errors, so they are compared to the letter.
"""

import random
import re

import pydantic
import pytest
import random_conversations
from oracles import official
from scale import scaled

import harmony

NAMES = [
    "Author",
    "ChannelConfig",
    "Content",
    "Conversation",
    "DeveloperContent",
    "Message",
    "ReasoningEffort",
    "RenderConversationConfig",
    "RenderOptions",
    "Role",
    "SystemContent",
    "TextContent",
    "ToolDescription",
    "ToolNamespaceConfig",
]
# Fields that are ours alone.
ADDED_FIELDS = {
    *["analysis_policy", "header_order", "validate_headers", "exact_numbers", "response_formats"],
}

ADDRESS = re.compile(r"0x[0-9a-f.]+")

VALUES = [
    "None", "5", "1.5", "True", "''", "'x'", "b'x'", "'user'", "'Low'", "'high'", "'\\ud800'", "[]", "['a']", "('a',)",
    "{}", "{'a': 1}", "{1: 2}", "Role.USER", "ReasoningEffort.LOW", "Author(role='user')", "Content()",
    "TextContent(text='x')", "SystemContent()", "[TextContent(text='x')]", "[SystemContent(), 5]", "{'text': 'x'}",
    "[{}]", "[{'text': 'x'}]", "ToolDescription.new('a', 'b')", "[ToolDescription.new('a', 'b')]",
    "[{'name': 'a', 'description': 'b'}]", "{'valid_channels': ['a'], 'channel_required': 'yes'}",
    "{'role': 'user'}", "{'role': 'x', 'name': 5}", "{'a': {'name': 'x', 'tools': []}}",
    "{'a': ToolNamespaceConfig.python()}", "ChannelConfig.require_channels(['a'])", "[{'author': {'role': 'user'}}]",
    "{'author': {'role': 'user'}, 'content': []}", "[Message.from_role_and_content('user', 'x')]", "iter([])",
]  # fmt: skip
FIELDS = {
    "Author": ["role", "name"],
    "TextContent": ["text"],
    "ToolDescription": ["name", "description", "parameters"],
    "ChannelConfig": ["valid_channels", "channel_required"],
    "ToolNamespaceConfig": ["name", "description", "tools"],
    "SystemContent": [
        "model_identity",
        "reasoning_effort",
        "conversation_start_date",
        "knowledge_cutoff",
        "channel_config",
        "tools",
    ],
    "DeveloperContent": ["instructions", "tools"],
    "Message": ["author", "content", "channel", "recipient", "content_type"],
    "Conversation": ["messages"],
    "RenderConversationConfig": ["auto_drop_analysis"],
    "RenderOptions": ["conversation_has_function_tools"],
}
REQUIRED = {
    "Author": "role='user'",
    "ToolDescription": "name='a', description='b'",
    "ChannelConfig": "valid_channels=[], channel_required=True",
    "ToolNamespaceConfig": "name='a', tools=[]",
    "Message": "author=Author(role='user')",
    "TextContent": "text='x'",
}


def constructions():
    for name, fields in FIELDS.items():
        yield f"{name}()"
        yield f"{name}(more=1)"
        yield f"{name}('x')"
        others = dict(part.split("=", 1) for part in REQUIRED.get(name, "").split(", ") if part)
        for field in fields:
            for value in VALUES:
                arguments = {**others, field: value}
                yield f"{name}({', '.join(f'{key}={text}' for key, text in arguments.items())})"


CALLS = [
    "Role({value})",
    "ReasoningEffort({value})",
    "Author.new({value}, 'x')",
    "Author.new('user', {value})",
    "Message.from_role_and_content({value}, 'x')",
    "Message.from_role_and_content('user', {value})",
    "Message.from_author_and_content({value}, 'x')",
    "Message.from_role_and_contents('user', {value})",
    "Message.from_role_and_contents({value}, 5)",
    "Conversation.from_messages({value})",
    "Conversation.from_json({value})",
    "Message.from_dict({value})",
    "Message.from_dict({{'role': {value}, 'content': 'x'}})",
    "Message.from_dict({{'role': 'user', 'content': {value}}})",
    "Message.from_dict({{'role': 'user', 'content': 'x', 'name': {value}, 'channel': {value}}})",
    "Message.from_dict({{'role': 'user', 'content': [{{'type': {value}, 'text': 'x'}}]}})",
    "Message.from_dict({{'role': 'user', 'content': [{{'type': 'text', 'text': {value}, 5: 3}}]}})",
    "Message.from_dict({{'role': 'user', 'content': [{{'type': 'system_content', 'tools': {value}}}]}})",
    "SystemContent.from_dict({value})",
    "DeveloperContent.from_dict({value})",
    "ToolDescription.new({value}, 'b')",
    "ToolDescription.new('a', 'b', {value})",
    "ChannelConfig.require_channels({value})",
    "DeveloperContent().with_function_tools({value})",
    "SystemContent().with_required_channels({value})",
    "DeveloperContent().with_tools({value})",
    "SystemContent().with_tools({value})",
    "SystemContent().with_channel_config({value}).to_dict()",
    "SystemContent().with_reasoning_effort({value}).to_dict()",
    "DeveloperContent().with_instructions({value}).to_dict()",
    "TextContent.model_construct(text={value}).to_dict()",
    "Message.from_role_and_content('user', 'x').with_channel({value}).with_recipient({value}).to_json()",
    "Message.from_role_and_content('user', 'x').adding_content({value})",
    "Message.from_role_and_content('user', 'x').adding_content({value}).to_dict()",
    "Message.model_construct(author={value}).to_dict()",
    "Message.model_construct(author=Author(role='user')).to_dict()",
    "Message.model_construct(author=Author(role='user'), content={value}).to_dict()",
    "Conversation.model_construct(messages={value}).to_json()",
    "list(Conversation.model_construct(messages={value}))",
]
MORE = [
    "str(Role.USER)",
    "repr(Role.USER)",
    "f'{Role.TOOL}'",
    "str(ReasoningEffort.LOW)",
    "repr(list(Role))",
    "repr(list(ReasoningEffort))",
    "Role.USER == 'user'",
    "hash(Content())",
    "hash(SystemContent())",
    "Content().to_dict()",
    "len(Conversation())",
    "Conversation()[0]",
    "dict(Conversation.from_messages([Message.from_role_and_content('user', 'x')]))",
    "bool(Conversation())",
    "ToolNamespaceConfig.browser()",
    "ToolNamespaceConfig.python()",
    "SystemContent().with_browser_tool().with_python_tool().to_dict()",
    "SystemContent.new().model_fields_set",
    "Message.from_dict({'role': 'user', 'content': 'x'}).model_fields_set",
    "Message.from_dict({'role': 'user', 'content': 'x'}).author.model_fields_set",
    "ToolDescription.new('a', 'b').model_fields_set",
    "DeveloperContent().with_function_tools([]).tools['functions'].model_fields_set",
    "Author.new('user', 'x').model_dump_json()",
    "SystemContent.new().model_dump_json()",
    "TextContent(text='x').model_dump()",
    "Message.from_role_and_content('user', TextContent(text='x')) == Message.from_role_and_content(Role.USER, 'x')",
    "Conversation.from_json('{bad')",
    "Conversation.from_json('{\"messages\": [5]}')",
    "Conversation.from_json(b'{\"messages\": []}')",
    'Conversation.from_json(\'{"messages": "ab"}\')',
    "Conversation.from_json(b'\\xff')",
    "Conversation.from_json('{\"messages\": {}}')",
    "SystemContent(tools={'a': {'name': '', 'tools': [{'name': 'b', 'description': 'c', 'parameters': {'d': None}}]}})",
]

EXPRESSIONS = [
    *constructions(),
    *(call.format(value=value) for call in CALLS for value in VALUES),
    *MORE,
]


def outcome(library, expression):
    try:
        value = eval(expression, {name: getattr(library, name) for name in NAMES})
    except Exception as error:
        # Some texts name the class with its module.
        text = str(error).replace("openai_harmony.", "").replace("harmony.messages.", "")
        return type(error).__name__, ADDRESS.sub("", text)
    if isinstance(value, (library.RenderConversationConfig, library.RenderOptions)):
        value = value.model_dump(exclude=ADDED_FIELDS)
    return ADDRESS.sub("", repr(value))


@pytest.mark.filterwarnings("ignore")
def test_expressions():
    theirs = official("openai_harmony")
    differences = {}
    for expression in EXPRESSIONS:
        ours_does, theirs_does = outcome(harmony, expression), outcome(theirs, expression)
        # Their dump of a message has no content; here messages stand where none should.
        if ours_does != theirs_does and ours_does != str(theirs_does).replace(
            "[{}]", "[{'type': 'text', 'text': 'x'}]"
        ):
            differences[expression] = (ours_does, theirs_does)
    assert not differences


@pytest.mark.filterwarnings("ignore")
def test_written_forms_of_random_conversations():
    theirs = official("openai_harmony")

    def written(library, seed):
        conversation = random_conversations.conversation(random.Random(seed), library)
        payload = conversation.to_json()
        back = library.Conversation.from_json(payload)
        return payload, repr(back), repr(conversation), back.to_json()

    for seed in range(scaled(1_000)):
        outcomes = []
        for library in harmony, theirs:
            try:
                outcomes.append(written(library, seed))
            except Exception as error:
                outcomes.append((type(error).__name__, str(error)))
        assert outcomes[0] == outcomes[1], f"seed {seed}"


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("Role", "ReasoningEffort")]
)
def test_fields_and_methods(name):
    ours, theirs = getattr(harmony, name), getattr(official("openai_harmony"), name)
    ours_fields = [field for field in ours.model_fields if field not in ADDED_FIELDS]
    assert ours_fields == list(theirs.model_fields)
    base = set(dir(pydantic.BaseModel))
    assert {method for method in set(dir(theirs)) - base if not method.startswith("_")} <= set(
        dir(ours)
    )
    for field in theirs.model_fields:
        assert ours.model_fields[field].is_required() == theirs.model_fields[field].is_required()


@pytest.mark.parametrize(
    "name", ["Message", "Conversation", "SystemContent", "DeveloperContent", "Author"]
)
def test_json_schemas(name):
    """Apart from descriptions, which are our docstrings."""

    def without_descriptions(schema):
        if isinstance(schema, dict):
            return {
                key: without_descriptions(value)
                for key, value in schema.items()
                if not (key == "description" and isinstance(value, str))
            }
        return (
            [without_descriptions(value) for value in schema]
            if isinstance(schema, list)
            else schema
        )

    for mode in "validation", "serialization":
        ours, theirs = (
            without_descriptions(getattr(library, name).model_json_schema(mode=mode))
            for library in (harmony, official("openai_harmony"))
        )
        assert ours == theirs
