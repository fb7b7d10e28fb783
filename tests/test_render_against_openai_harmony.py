"""Messages, schemas and conversations render as openai_harmony 0.0.8 renders them: ids, exceptions and their texts.

Seeds instead of stored examples: a difference names the seed, and the same seed builds the same conversation again.
"""

import json
import random
import types
import warnings

import pytest
import random_conversations
from random_conversations import ROLES, Written, chance
from scale import scaled

import harmony
from harmony.render import (
    render_conversation,
    render_conversation_for_completion,
    render_conversation_for_training,
    render_message,
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def theirs(upstream):
    import openai_harmony

    return openai_harmony, upstream


@pytest.fixture(scope="session")
def ours(tokenizer):
    def bound(function):
        return lambda *args: function(tokenizer, *args)

    encoding = types.SimpleNamespace(
        render=bound(render_message),
        render_conversation=bound(render_conversation),
        render_conversation_for_completion=bound(render_conversation_for_completion),
        render_conversation_for_training=bound(render_conversation_for_training),
    )
    return harmony, encoding


def outcome(call):
    """What a call does: its result, or its exception as far as both libraries must agree.

    A RuntimeError may be a HarmonyError here, its text is the same. Behind `invalid ... JSON: ` the texts differ, and
    those of TypeError name what the one or the other is made of. What exhausts the stack there is a ValueError here.
    """
    try:
        return call()
    except RecursionError:
        return "ValueError", "JSON"
    except Exception as error:
        names = [cls.__name__ for cls in type(error).__mro__]
        text = str(error)
        if "RuntimeError" in names and "NotImplementedError" not in names:
            return "RuntimeError", text
        if text.startswith(("invalid message JSON: ", "invalid conversation JSON: ")):
            text = "JSON"
        if names[0] == "ValueError" and text.startswith("Circular reference"):
            text = "JSON"
        return names[0], None if names[0] == "TypeError" else text


def assert_same(ours, theirs, call, seed):
    """`call(library, encoding)`, with the same random numbers for both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = outcome(lambda: call(*theirs, random.Random(seed)))
        got = outcome(lambda: call(*ours, random.Random(seed)))
    assert got == expected, f"seed {seed}"


# random


def render_any(lib, encoding, rng):
    """A random conversation through one of the four methods, with random options."""
    conversation = random_conversations.conversation(rng, lib)
    method = rng.choice(["render", "render_conversation", "for_completion", "for_training"])
    if method == "render":
        function_tools = rng.choice([None, True, False])
        options = function_tools and lib.RenderOptions(
            conversation_has_function_tools=function_tools
        )
        return [encoding.render(message, options or None) for message in conversation]
    drop = rng.choice([None, None, True, False])
    config = None if drop is None else lib.RenderConversationConfig(auto_drop_analysis=drop)
    if method == "render_conversation":
        return encoding.render_conversation(conversation, config)
    if method == "for_training":
        return encoding.render_conversation_for_training(conversation, config)
    role = lib.Role(rng.choice(ROLES))
    return encoding.render_conversation_for_completion(conversation, role, config)


def test_random_conversations(ours, theirs):
    for seed in range(scaled(2_000)):
        assert_same(ours, theirs, render_any, seed)


def render_schema(lib, encoding, rng):
    """A random schema as the parameters of a function; every fourth may hold what JSON cannot."""
    parameters = random_conversations.parameters(rng, rng.choice([0.0, 0.0, 0.0, 1.0]))
    developer = lib.DeveloperContent().with_function_tools(
        [lib.ToolDescription.new("f", "d", parameters)]
    )
    return encoding.render(lib.Message.from_role_and_content(lib.Role.DEVELOPER, developer))


def test_random_schemas(ours, theirs):
    for seed in range(scaled(2_000)):
        assert_same(ours, theirs, render_schema, seed)


def render_numbers(lib, encoding, rng):
    values = {
        f"v{index}": {"default": random_conversations.number(rng, 0.0)} for index in range(100)
    }
    tool = lib.ToolDescription.new("f", "d", {"type": "object", "properties": values})
    developer = lib.DeveloperContent().with_function_tools([tool])
    return encoding.render(lib.Message.from_role_and_content(lib.Role.DEVELOPER, developer))


def test_random_numbers(ours, theirs):
    for seed in range(scaled(50)):
        assert_same(ours, theirs, render_numbers, seed)


def render_written(lib, encoding, rng):
    """JSON of a random conversation, most often damaged, handed over by an object that has nothing else."""
    import openai_harmony

    try:
        plain = random_conversations.conversation(rng, openai_harmony).to_dict()
        json.dumps(plain)
    except Exception:
        return None
    if plain["messages"] and chance(rng, 0.5):
        return encoding.render(
            Written(random_conversations.written(rng, rng.choice(plain["messages"])))
        )
    return encoding.render_conversation(Written(random_conversations.written(rng, plain)))


def test_random_json(ours, theirs):
    for seed in range(scaled(2_000)):
        assert_same(ours, theirs, render_written, seed)


# JSON by hand

TEXT = '{"type": "text", "text": "x"}'
MEMBERS = [
    '"role": "user", "content": "x"', '"content": "x"', '"role": "user"', '"role": "user", "content": null', "",
    '"role": "user", "content": []', '"role": "user", "content": {}', '"role": "user", "content": ["a"]',
    '"role": {"user": null}, "content": "x"', '"role": {"user": {}}, "content": "x"', '"role": {}, "content": "x"',
    '"role": {"user": []}, "content": "x"', '"role": {"user": null, "tool": null}, "content": "x"',
    '"role": ["user"], "content": "x"', '"role": "user", "role": "user", "content": "x"',
    '"role": "user", "content": "x", "channel": null, "channel": "y"', '"role": "user", "content": "x", "a": 1, "a": 2',
    '"role": "user", "content": "x", "more": "\\ud800"', '"role": "user", "content": "x", "more": 1e999',
    '"role": "user", "content": "x", "name": "n", "recipient": "r", "channel": "c", "content_type": "t"',
]  # fmt: skip
CONTENTS = [
    TEXT, '["text", "x"]', '["text"]', '["text", "x", "y"]', "[]", '["system_content"]', "{}", "5", "null", '"x"',
    '{"type": "text", "type": "text", "text": "y"}', '{"type": "text", "text": "x", "text": "y"}', '{"type": "text"}',
    '{"type": 0, "text": "x"}', '{"type": {"text": null}, "text": "x"}', '{"type": "system_content"}', '[0, "x"]',
    '["system_content", "ID", "Low", null, "D", "K", [["a"], true]]', '["system_content", "ID", "Low", null, "D", "K"]',
    '["system_content", "ID", {"Low": {}}, {}, "D", "K", {"valid_channels": ["a"], "channel_required": true}]',
    '{"type": "system_content", "channel_config": [["a"], false, 1]}', '{"type": "system_content", "tools": []}',
    '{"type": "system_content", "channel_config": {"valid_channels": ["a"], "channel_required": 1}}',
    '{"type": "system_content", "tools": {"b": ["x", null, []], "a": {"name": "y", "tools": []}}}',
    '{"type": "system_content", "tools": {"b": ["x", null, []], "b": ["y", null, []]}}',
    '{"type": "system_content", "tools": {"b": ["x", []]}}',
    '{"type": "system_content", "tools": {"b": {"name": "x"}}}',
    '{"type": "system_content", "tools": {"a": ["n", "d", [["t", "d"]]]}}',
    '{"type": "system_content", "tools": {"a": ["n", "d", [["t", "d", null]]]}}',
]  # fmt: skip
FUNCTION = '{"role": "developer", "content": [["developer_content", null, {"f": ["n", "", [["t", "", @]]]}]]}'
PARAMETERS = [
    "null", "5", "true", "[]", '"x"', "{}", '[{"type": "string"}]',
    '{"oneOf": [{"default": {"a": 1, "b": 2, "a": 3}}]}',
    *('{"oneOf": [{"default": @}]}'.replace("@", text) for text in random_conversations.NUMBER_TEXTS),
]  # fmt: skip


HAND_WRITTEN = [
    *("{" + members + "}" for members in MEMBERS),
    *(f'{{"role": "system", "content": [{content}]}}' for content in CONTENTS),
    *(FUNCTION.replace("@", parameters) for parameters in PARAMETERS),
]


@pytest.mark.parametrize("payload", HAND_WRITTEN)
def test_json_by_hand(ours, theirs, payload):
    assert_same(ours, theirs, lambda lib, encoding, rng: encoding.render(Written(payload)), 0)


@pytest.mark.parametrize(
    "payload",
    ["{}", "[]", "[[]]", "null", "5", '{"messages": null}', '{"messages": {}}', '{"messages": [], "messages": []}', " ",
     '{"messages": [], "more": 1}', '{"messages": []} ', '{"messages": [],}', "\ufeff[[]]", "[[], 1]",
     '{"messages": [], "more": NaN}', '{"messages": [], "more": "\\ud800"}'],
)  # fmt: skip
def test_json_of_conversations_by_hand(ours, theirs, payload):
    assert_same(
        ours, theirs, lambda lib, encoding, rng: encoding.render_conversation(Written(payload)), 0
    )


# odd arguments


class Choice:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


SWITCHES = [True, False, None, 0, 1, "", "no", [], 2.5, object()]


@pytest.mark.parametrize("index", range(len(SWITCHES)))
def test_switches(ours, theirs, index):
    def call(lib, encoding, rng):
        system = lib.Message.from_role_and_content(lib.Role.SYSTEM, lib.SystemContent())
        messages = [
            lib.Message.from_role_and_content(lib.Role.ASSISTANT, channel).with_channel(channel)
            for channel in ("analysis", "final")
        ]
        conversation = lib.Conversation.from_messages(messages)
        config = Choice(auto_drop_analysis=SWITCHES[index])
        return [
            encoding.render(system, Choice(conversation_has_function_tools=SWITCHES[index])),
            encoding.render_conversation(conversation, config),
            encoding.render_conversation_for_training(conversation, config),
            encoding.render_conversation_for_completion(conversation, lib.Role.USER, config),
        ]

    assert_same(ours, theirs, call, 0)


@pytest.mark.parametrize(
    "payload", ['{"messages":[]}', "{bad", 5, b"{}", '{"messages":[]}\ud800', None]
)
@pytest.mark.parametrize("value", ["user", "x", "Assistant", 5, None, ["user"], "absent"])
def test_roles_and_the_order_of_errors(ours, theirs, payload, value):
    def call(lib, encoding, rng):
        role = Choice() if value == "absent" else Choice(value=value)
        return encoding.render_conversation_for_completion(Written(payload), role)

    assert_same(ours, theirs, call, 0)


@pytest.mark.parametrize("options", [5, [], False, Choice()], ids=repr)
def test_options_without_the_attribute(ours, theirs, options):
    def call(method):
        return lambda lib, encoding, rng: getattr(encoding, method)(lib.Conversation(), options)

    for method in "render", "render_conversation", "render_conversation_for_training":
        assert_same(ours, theirs, call(method), 0)


@pytest.mark.parametrize("depth", [*range(110, 125), 300, 5000])
def test_depth(ours, theirs, depth):
    def call(lib, encoding, rng):
        schema = {"type": "string"}
        for level in range(depth):
            schema = {"type": "array", "items": schema, "enum": [level, {"unused": []}]}
        developer = lib.DeveloperContent().with_function_tools(
            [lib.ToolDescription.new("f", "d", schema)]
        )
        message = lib.Message.from_role_and_content(lib.Role.DEVELOPER, developer)
        return [
            outcome(lambda: encoding.render(message)),
            outcome(
                lambda: encoding.render_conversation(lib.Conversation.from_messages([message]))
            ),
        ]

    assert_same(ours, theirs, call, 0)
