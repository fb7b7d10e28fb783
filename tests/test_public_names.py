"""Every public name of openai_harmony 0.0.8 is a public name of harmony, with the same signature.

The names are spelled out here, with parameters and defaults, so that this says something without
the official package; where that is installed, both are held to it. Annotations are not compared.
Parameters that are ours alone are allowed if they are keyword-only and optional.
"""

import functools
import inspect
from typing import Any

import pydantic
import pytest
from oracles import official

import harmony

MODULE = [
    "Author",
    "ChannelConfig",
    "Content",
    "Conversation",
    "DeveloperContent",
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "Message",
    "ReasoningEffort",
    "RenderConversationConfig",
    "RenderOptions",
    "Role",
    "StreamState",
    "StreamableParser",
    "SystemContent",
    "TextContent",
    "ToolDescription",
    "ToolNamespaceConfig",
    "load_harmony_encoding",
    "raise_disallowed_special_token",
]

# Those that `from openai_harmony import *` gives.
STARRED = [
    "Author",
    "Content",
    "Conversation",
    "DeveloperContent",
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "Message",
    "Role",
    "StreamState",
    "StreamableParser",
    "SystemContent",
    "TextContent",
    "ToolDescription",
    "load_harmony_encoding",
]

FUNCTIONS = {
    "load_harmony_encoding": "(name)",
    "raise_disallowed_special_token": "(token)",
}

ENUMERATIONS = {
    "Role": {
        "USER": "user",
        "ASSISTANT": "assistant",
        "SYSTEM": "system",
        "DEVELOPER": "developer",
        "TOOL": "tool",
    },
    "ReasoningEffort": {"LOW": "Low", "MEDIUM": "Medium", "HIGH": "High"},
    "StreamState": {"EXPECT_START": "ExpectStart", "HEADER": "Header", "CONTENT": "Content"},
    "HarmonyEncodingName": {"HARMONY_GPT_OSS": "HarmonyGptOss"},
}

# The fields of each model in order, with their defaults; ... stands for a field without one.
FIELDS: dict[str, dict[str, Any]] = {
    "Author": {"role": ..., "name": None},
    "Content": {},
    "TextContent": {"text": ...},
    "ToolDescription": {"name": ..., "description": ..., "parameters": None},
    "ChannelConfig": {"valid_channels": ..., "channel_required": ...},
    "ToolNamespaceConfig": {"name": ..., "description": None, "tools": ...},
    "SystemContent": {
        "model_identity": "You are ChatGPT, a large language model trained by OpenAI.",
        "reasoning_effort": "Medium",
        "conversation_start_date": None,
        "knowledge_cutoff": "2024-06",
        "channel_config": {
            "valid_channels": ["analysis", "commentary", "final"],
            "channel_required": True,
        },
        "tools": None,
    },
    "DeveloperContent": {"instructions": None, "tools": None},
    "Message": {
        "author": ...,
        "content": [],
        "channel": None,
        "recipient": None,
        "content_type": None,
    },
    "Conversation": {"messages": []},
    "RenderConversationConfig": {"auto_drop_analysis": True},
    "RenderOptions": {"conversation_has_function_tools": False},
}

# What a class has beyond pydantic's BaseModel; signatures as they are seen on the class, so that
# `self` tells a method from a class method. A property has no parentheses.
MEMBERS = {
    "Author": {"new": "(role, name)"},
    "Content": {"to_dict": "(self)"},
    "TextContent": {"to_dict": "(self)"},
    "ToolDescription": {"new": "(name, description, parameters=None)"},
    "ChannelConfig": {"require_channels": "(channels)"},
    "ToolNamespaceConfig": {"browser": "()", "python": "()"},
    "SystemContent": {
        "new": "()",
        "with_model_identity": "(self, model_identity)",
        "with_reasoning_effort": "(self, reasoning_effort)",
        "with_conversation_start_date": "(self, conversation_start_date)",
        "with_knowledge_cutoff": "(self, knowledge_cutoff)",
        "with_channel_config": "(self, channel_config)",
        "with_required_channels": "(self, channels)",
        "with_tools": "(self, ns_config)",
        "with_browser_tool": "(self)",
        "with_python_tool": "(self)",
        "to_dict": "(self)",
        "from_dict": "(raw)",
    },
    "DeveloperContent": {
        "new": "()",
        "with_instructions": "(self, instructions)",
        "with_tools": "(self, ns_config)",
        "with_function_tools": "(self, tools)",
        "to_dict": "(self)",
        "from_dict": "(raw)",
    },
    "Message": {
        "from_author_and_content": "(author, content)",
        "from_role_and_content": "(role, content)",
        "from_role_and_contents": "(role, contents)",
        "adding_content": "(self, content)",
        "with_channel": "(self, channel)",
        "with_recipient": "(self, recipient)",
        "with_content_type": "(self, content_type)",
        "to_dict": "(self)",
        "to_json": "(self)",
        "from_dict": "(data)",
    },
    "Conversation": {
        "from_messages": "(messages)",
        "to_dict": "(self)",
        "to_json": "(self)",
        "from_json": "(payload)",
        "__iter__": "(self)",
    },
    "RenderConversationConfig": {},
    "RenderOptions": {},
    "HarmonyEncoding": {
        "name": "property",
        "special_tokens_set": "property",
        "render_conversation_for_completion": "(self, conversation, next_turn_role, config=None)",
        "render_conversation": "(self, conversation, config=None)",
        "render_conversation_for_training": "(self, conversation, config=None)",
        "render": "(self, message, render_options=None)",
        "parse_messages_from_completion_tokens": "(self, tokens, role=None, *, strict=True)",
        "encode": "(self, text, *, allowed_special=set(), disallowed_special='all')",
        "decode": "(self, tokens, errors='replace')",
        "decode_utf8": "(self, tokens)",
        "is_special_token": "(self, token)",
        "stop_tokens": "(self)",
        "stop_tokens_for_assistant_actions": "(self)",
    },
    "StreamableParser": {
        "__init__": "(self, encoding, role, *, strict=True)",
        "process": "(self, token)",
        "process_eos": "(self)",
        "current_content": "property",
        "current_role": "property",
        "current_content_type": "property",
        "current_recipient": "property",
        "current_channel": "property",
        "last_content_delta": "property",
        "messages": "property",
        "tokens": "property",
        "state": "property",
        "state_data": "property",
    },
}
ALL_MEMBERS = [(name, member) for name in MEMBERS for member in MEMBERS[name]]


def signature(call, known: str | None = None) -> str:
    """Parameters and defaults. Keyword-only ones that are optional and do not stand in the
    signature `known` are left out."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(call).parameters.values()
    ]
    if known is not None:
        names = {name.partition("=")[0] for name in known.strip("()").split(", ")}
        parameters = [
            parameter
            for parameter in parameters
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
            or parameter.default is inspect.Parameter.empty
            or parameter.name in names
        ]
    return str(inspect.Signature(parameters))


def member_of(library, name: str, member: str, known: str | None = None) -> str:
    """A member of a class, as MEMBERS writes it."""
    static = inspect.getattr_static(getattr(library, name), member)
    if isinstance(static, functools.cached_property) or (
        inspect.isdatadescriptor(static) and not callable(static)
    ):
        return "property"
    return signature(getattr(getattr(library, name), member), known)


def fields_of(library, name: str) -> dict[str, Any]:
    """The fields of a model, as FIELDS writes them."""
    fields = {}
    for field, about in getattr(library, name).model_fields.items():
        value = ... if about.is_required() else about.get_default(call_default_factory=True)
        fields[field] = value.model_dump() if isinstance(value, pydantic.BaseModel) else value
    return fields


def members_of(library, name: str) -> set[str]:
    """Names of what a class has that is public and not pydantic's."""
    cls = getattr(library, name)
    inherited = set(dir(pydantic.BaseModel)) if issubclass(cls, pydantic.BaseModel) else set()
    return {member for member in set(dir(cls)) - inherited if not member.startswith("_")}


# --- ours, against what is written here


@pytest.mark.parametrize("name", MODULE)
def test_name(name):
    assert name in harmony.__all__
    assert name in dir(harmony)
    namespace = {}
    exec(f"from harmony import {name}", namespace)
    assert namespace[name] is getattr(harmony, name)


def test_every_name_is_spelled_out():
    spelled_out = {*FUNCTIONS, *ENUMERATIONS, *FIELDS, *MEMBERS, "HarmonyError"}
    assert spelled_out == set(MODULE)
    assert set(STARRED) < set(MODULE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    assert signature(getattr(harmony, name), FUNCTIONS[name]) == FUNCTIONS[name]


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_enumeration(name):
    members = getattr(harmony, name)
    assert {member.name: member.value for member in members} == ENUMERATIONS[name]
    assert issubclass(members, str) == (name != "StreamState")


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name):
    fields = fields_of(harmony, name)
    ours_alone = fields.keys() - FIELDS[name].keys()
    assert ... not in [fields[field] for field in ours_alone], "a program may not know of them"
    for field in ours_alone:
        del fields[field]
    assert list(fields.items()) == list(FIELDS[name].items())


@pytest.mark.parametrize("name", FIELDS)
def test_models_take_their_fields_by_name_alone(name):
    model = getattr(harmony, name)
    kinds = {parameter.kind for parameter in inspect.signature(model).parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}
    assert issubclass(model, pydantic.BaseModel)
    assert issubclass(model, harmony.Content) == name.endswith("Content")


@pytest.mark.parametrize(("name", "member"), ALL_MEMBERS)
def test_member(name, member):
    expected = MEMBERS[name][member]
    assert member_of(harmony, name, member, expected) == expected


@pytest.mark.parametrize(
    ("name", "member"),
    [(name, member) for name, member in ALL_MEMBERS if MEMBERS[name][member] == "property"],
)
def test_properties_cannot_be_assigned_to(name, member, encoding):
    thing = encoding if name == "HarmonyEncoding" else harmony.StreamableParser(encoding, None)
    with pytest.raises(AttributeError):
        setattr(thing, member, None)


def test_error_class():
    assert issubclass(harmony.HarmonyError, RuntimeError)
    assert harmony.HarmonyError("a", 5).args == ("a", 5)


def test_values():
    assert harmony.HarmonyEncodingName("HarmonyGptOss") == "HarmonyGptOss"
    assert str(harmony.HarmonyEncodingName.HARMONY_GPT_OSS) == "HarmonyGptOss"
    assert harmony.Role.USER == "user"
    assert harmony.StreamState.HEADER != "Header"


# --- theirs, against what is written here; then ours against theirs


@pytest.fixture(scope="module")
def theirs():
    return official("openai_harmony")


def test_official_names(theirs):
    defined_there = {
        name
        for name, value in vars(theirs).items()
        if not name.startswith("_")
        and isinstance(value, (type, type(test_official_names)))
        and value.__module__ == "openai_harmony"
    }
    assert defined_there == set(MODULE)
    assert set(theirs.__all__) == set(STARRED)


def test_official_functions_and_enumerations(theirs):
    for name, expected in FUNCTIONS.items():
        assert signature(getattr(theirs, name)) == expected
    for name, members in ENUMERATIONS.items():
        assert {member.name: member.value for member in getattr(theirs, name)} == members
        assert issubclass(getattr(theirs, name), str) == (name != "StreamState")


@pytest.mark.parametrize("name", FIELDS)
def test_official_fields(name, theirs):
    assert list(fields_of(theirs, name).items()) == list(FIELDS[name].items())


@pytest.mark.parametrize("name", MEMBERS)
def test_official_members(name, theirs):
    spelled_out = {member for member in MEMBERS[name] if not member.startswith("_")}
    assert members_of(theirs, name) == spelled_out
    for member, expected in MEMBERS[name].items():
        assert member_of(theirs, name, member) == expected


@pytest.mark.parametrize(("name", "member"), ALL_MEMBERS)
def test_members_are_of_the_same_kind(name, member, theirs):
    def kind(library):
        static = inspect.getattr_static(getattr(library, name), member)
        return type(static) if isinstance(static, (classmethod, staticmethod)) else None

    assert kind(harmony) == kind(theirs)


@pytest.mark.parametrize("name", [name for name in MODULE if name not in FUNCTIONS])
def test_public_bases(name, theirs):
    """What an `except` or an `isinstance` may count on."""

    def bases(library):
        known = {*MODULE, "str", "Enum", "BaseModel", "RuntimeError"}
        return [base.__name__ for base in getattr(library, name).__mro__ if base.__name__ in known]

    assert bases(harmony) == bases(theirs)
