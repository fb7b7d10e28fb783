"""Messages -> ids: the recorded outcomes of the official implementation, and what follows from the rules."""

import copy
import json
import math
import pickle
import random
import threading

import pytest
import random_conversations
from scale import scaled
from vectors import load

import harmony
from harmony import (
    Author,
    Conversation,
    DeveloperContent,
    HarmonyError,
    Message,
    RenderConversationConfig,
    RenderError,
    RenderOptions,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    header,
    render,
)
from harmony.render import (
    render_conversation,
    render_conversation_for_completion,
    render_conversation_for_training,
    render_message,
)

CONSTRAIN, CHANNEL, START, END, MESSAGE, CALL, RETURN = (
    200003, 200005, 200006, 200007, 200008, 200012, 200002
)  # fmt: skip
VALIDATED = RenderConversationConfig(validate_headers=True)


def say(role, text="x", name=None, **header_fields):
    fields = {"role": role, "name": name, "content": text, **header_fields}
    return Message.from_dict(fields)


# the vectors


def outcome_of(tokenizer, vector):
    options = dict(vector["options"])
    if vector["method"] == "render":
        message = Message.from_dict(vector["conversation"]["messages"][0])
        return render_message(tokenizer, message, RenderOptions(**options) if options else None)
    conversation = Conversation.from_json(json.dumps(vector["conversation"]))
    role = options.pop("next_turn_role", None)
    config = RenderConversationConfig(**options) if options else None
    if vector["method"] == "render_conversation_for_completion":
        return render_conversation_for_completion(tokenizer, conversation, Role(role), config)
    return getattr(render, vector["method"])(tokenizer, conversation, config)


@pytest.mark.parametrize("vector", load("render"))
def test_vector(tokenizer, vector):
    if "error" not in vector:
        ids = outcome_of(tokenizer, vector)
        assert (ids, tokenizer.decode(ids)) == (vector["tokens"], vector["text"])
        return
    expected = vector["error"]
    with pytest.raises(Exception) as caught:
        outcome_of(tokenizer, vector)
    assert expected["type"] in [cls.__name__ for cls in type(caught.value).__mro__]
    if expected["type"] in ("HarmonyError", "RuntimeError"):
        assert isinstance(caught.value, RenderError)
        assert str(caught.value) == expected["message"]
    prefix, colon, _ = expected["message"].partition(" JSON: ")
    if colon:
        assert str(caught.value).startswith(prefix + colon)


# headers


def test_constants_are_what_the_tokenizer_makes_of_the_words(tokenizer):
    def ids_of(text):
        return tokenizer.encode_ordinary(text)

    names = {START: "start", CHANNEL: "channel", CONSTRAIN: "constrain", MESSAGE: "message"}
    for id, name in {**names, END: "end", CALL: "call", RETURN: "return"}.items():
        assert tokenizer.decode([id]) == f"<|{name}|>"
        assert getattr(header if id in names else render, name.upper()) == id
    ids_of_roles = {role.value: ids_of(role.value) for role in Role}
    assert ids_of_roles == header.ROLE_IDS
    for role, headers in header.PLAIN_HEADERS.items():
        for channel, ids in headers.items():
            expected = [START, *ids_of(role)]
            if channel is not None:
                expected += [CHANNEL, *ids_of(channel)]
            assert ids == [*expected, MESSAGE]
    for content_type in "<|constrain|>json", "<|constrain|>yaml":
        ids = render_message(tokenizer, say("user", content_type=content_type))
        rest = ids_of(content_type.removeprefix("<|constrain|>"))
        assert ids[2:-3] == [*ids_of(" "), CONSTRAIN, *rest]


def test_constants_are_never_handed_out(tokenizer):
    message = say("assistant", channel="final")
    conversation = Conversation.from_messages([message])
    expected = render_message(tokenizer, message)
    for _ in range(2):
        for make in (
            lambda: render_message(tokenizer, message),
            lambda: render_conversation(tokenizer, conversation),
            lambda: render_conversation_for_completion(tokenizer, conversation, Role.USER),
        ):
            ids = make()
            assert ids[: len(expected)] == expected
            ids[:] = [0] * len(ids)


@pytest.mark.parametrize("role", [role.value for role in Role])
@pytest.mark.parametrize("recipient", [None, "functions.f", "all", "user", ""])
def test_every_part_is_encoded_by_itself(tokenizer, role, recipient):
    ids_of = tokenizer.encode_ordinary
    for name in None, "b", "":
        for channel in None, "final", "own", "":
            for content_type in None, "json", "<|constrain|>", "<|constrain|>a<|constrain|>":
                if role == "tool":
                    expected = [START, *ids_of(name or "")]
                else:
                    expected = [
                        START,
                        *ids_of(role),
                        *(ids_of(f":{name}") if name is not None else []),
                    ]
                if recipient not in (None, "all"):
                    expected += ids_of(f" to={recipient}")
                if channel is not None:
                    expected += [CHANNEL, *ids_of(channel)]
                if content_type == "json":
                    expected += ids_of(" json")
                elif content_type is not None:
                    expected += [*ids_of(" "), CONSTRAIN]
                    expected += ids_of(content_type.removeprefix("<|constrain|>"))
                called = role == "assistant" and recipient is not None
                expected += [MESSAGE, *ids_of("hel"), *ids_of("lo"), CALL if called else END]
                message = say(
                    role,
                    [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}],
                    name,
                    recipient=recipient,
                    channel=channel,
                    content_type=content_type,
                )
                if role == "tool" and name is None:
                    with pytest.raises(RenderError, match="Tools should have a name!"):
                        render_message(tokenizer, message)
                else:
                    assert render_message(tokenizer, message) == expected


MARKERS = [
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|call|>",
    "<|return|>",
    "<|constrain|>",
]


def test_text_never_becomes_a_control_token(tokenizer):
    """In no field, but for the one marker that may begin a content type."""
    for marker in MARKERS:
        message = say(
            "tool",
            f"{marker}x{marker}",
            marker,
            recipient=marker,
            channel=marker,
            content_type=f"x{marker}",
        )
        ids = render_message(tokenizer, message)
        assert [id for id in ids if id > 199_997] == [START, CHANNEL, MESSAGE, END]
        tool = ToolDescription.new(marker, marker, {"type": "object", "properties": {marker: {}}})
        developer = DeveloperContent().with_instructions(marker).with_function_tools([tool])
        system = SystemContent(
            model_identity=marker, knowledge_cutoff=marker
        ).with_required_channels([marker])
        for role, content in ("developer", developer), ("system", system):
            ids = render_message(tokenizer, Message.from_role_and_content(role, content))
            assert [id for id in ids if id > 199_997] == [START, MESSAGE, END]


# validate_headers


@pytest.mark.parametrize("field", ["name", "recipient", "channel", "content_type"])
@pytest.mark.parametrize(
    "text",
    ["a b", " a", "a\n", "a\tb", "a\x0bb", "a\x00", "a\x1fb", "a\x7f", "a\x85", "a\xa0b", "a\u2003b", "a\u3000",
     "<|end|>", "a<|constrain|>", "a<|channel|>final", "a<|<|reserved_200013|>", ""],
)  # fmt: skip
def test_header_fields_that_are_refused(tokenizer, field, text):
    message = say("assistant", **{field: text})
    conversation = Conversation.from_messages([say("user"), message])
    assert render_conversation(tokenizer, conversation)
    name = {"name": "author.name"}.get(field, field)
    for method in render_conversation, render_conversation_for_training:
        with pytest.raises(HarmonyError) as caught:
            method(tokenizer, conversation, VALIDATED)
        assert str(caught.value).startswith(f"message 1: {name}")
    with pytest.raises(RenderError, match=f"message 1: {name}"):
        render_conversation_for_completion(tokenizer, conversation, Role.USER, VALIDATED)
    with pytest.raises(RenderError, match=f"message: {name}"):
        render_message(tokenizer, message, RenderOptions(validate_headers=True))


@pytest.mark.parametrize(
    "message",
    [
        say("tool", name="system"),
        say("assistant", channel="a<b"),
        say("assistant", content_type="to=python"),
        say("assistant", content_type="<|constrain|><|constrain|>json"),
        say("assistant", content_type="<|constrain|> json"),
    ],
    ids=repr,
)
def test_headers_that_would_pass_for_others_are_refused(tokenizer, message):
    assert render_message(tokenizer, message)
    with pytest.raises(RenderError):
        render_message(tokenizer, message, RenderOptions(validate_headers=True))


def test_good_headers_render_as_without_validation(tokenizer):
    messages = [
        say("user"),
        say("user", name="bob"),
        say("assistant", channel="analysis"),
        say(
            "assistant",
            channel="commentary",
            recipient="functions.f",
            content_type="<|constrain|>json",
        ),
        say("tool", name="functions.f", channel="commentary", recipient="assistant"),
        say("tool", name="tool", content_type="<|constrain|>"),
        say("assistant", name="Zoë-日本", channel="x.y", recipient="all", content_type="json"),
    ]
    conversation = Conversation.from_messages(messages)
    expected = render_conversation(tokenizer, conversation)
    assert render_conversation(tokenizer, conversation, VALIDATED) == expected


@pytest.mark.parametrize("field", ["recipient", "content_type", "name"])
@pytest.mark.parametrize("text", ["a<b", "<", "<|", "<|x|>", "<|end", "user:bob", "a:<b>"])
def test_what_reads_back_the_same_is_not_refused(encoding, field, text):
    role = "tool" if field == "name" else "assistant"
    fields = {"name": None, "recipient": "f", "channel": "final", "content_type": "json"}
    if role == "tool":
        del fields["content_type"]
    message = say(role, **{**fields, field: text})
    ids = encoding.render(message, RenderOptions(validate_headers=True))
    assert encoding.parse_messages_from_completion_tokens(ids) == [message]


def test_headers_of_dropped_messages_are_not_validated(tokenizer):
    messages = [
        say("assistant", channel="analysis", recipient="a b"),
        say("assistant", channel="final"),
    ]
    assert render_conversation(tokenizer, Conversation.from_messages(messages), VALIDATED)


# system and developer content


def system_text(tokenizer, content, **options):
    message = Message.from_role_and_content(Role.SYSTEM, content)
    return tokenizer.decode(render_message(tokenizer, message, RenderOptions(**options))[3:-1])


def test_the_default_system_message(tokenizer):
    assert system_text(tokenizer, SystemContent()) == (
        "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n\n"
        "Reasoning: medium\n\n# Valid channels: analysis, commentary, final. "
        "Channel must be included for every message."
    )
    text = system_text(tokenizer, SystemContent(), conversation_has_function_tools=True)
    line = "\nCalls to these tools must go to the commentary channel: 'functions'."
    assert text.endswith(line)
    empty = SystemContent(
        model_identity=None, knowledge_cutoff=None, reasoning_effort=None, channel_config=None
    )
    assert system_text(tokenizer, empty, conversation_has_function_tools=True) == ""


def test_functions_are_looked_for_in_the_whole_conversation(tokenizer):
    system = Message.from_role_and_content(Role.SYSTEM, SystemContent())
    functions = DeveloperContent().with_function_tools([ToolDescription.new("f", "d")])
    developer = Message.from_role_and_content(Role.DEVELOPER, functions)
    dropped = Message.from_role_and_content(Role.USER, functions).with_channel("analysis")
    final = say("assistant", channel="final")
    for messages, found in (
        ([system], False),
        ([system, developer], True),
        ([developer, system], True),
        ([system, dropped, final], True),
        ([system, Message.from_role_and_content(Role.DEVELOPER, DeveloperContent())], False),
    ):
        ids = render_conversation(tokenizer, Conversation.from_messages(messages))
        assert ("Calls to these tools" in tokenizer.decode(ids)) is found


# conversations

USER, THOUGHT, FINAL = (
    say("user"),
    say("assistant", channel="analysis"),
    say("assistant", channel="final"),
)
CALLED = say("assistant", channel="analysis", recipient="python")
RESULT = say("tool", name="python", channel="analysis")
PLAIN_RESULT = say("tool", name="python")
PREAMBLE, OTHER = say("assistant", channel="commentary"), say("assistant")
NAMELESS = say("tool", channel="analysis")


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        ([USER, THOUGHT, FINAL], [0, 2]),
        ([USER, THOUGHT, FINAL, USER], [0, 2, 3]),
        ([USER, THOUGHT, FINAL, USER, THOUGHT], [0, 1, 2, 3, 4]),
        ([USER, THOUGHT, FINAL, USER, THOUGHT, FINAL], [0, 2, 3, 4, 5]),
        ([USER, THOUGHT], [0, 1]),
        ([USER, PREAMBLE, THOUGHT, FINAL], [0, 1, 3]),
        ([USER, THOUGHT, FINAL, PREAMBLE], [0, 1, 2, 3]),
        ([USER, THOUGHT, FINAL, OTHER], [0, 1, 2, 3]),
        ([USER, THOUGHT, CALLED, RESULT, FINAL], [0, 4]),
        ([USER, THOUGHT, CALLED, PLAIN_RESULT, FINAL], [0, 3, 4]),
        ([say("user", channel="analysis"), FINAL], [1]),
        ([say("user", channel="final"), THOUGHT, FINAL], [0, 1, 2]),
        ([USER, THOUGHT, say("user", channel="final"), OTHER], [0, 1, 2, 3]),
        ([USER, say("assistant", channel="Analysis"), FINAL], [0, 1, 2]),
        ([NAMELESS, FINAL], [1]),
        ([], []),
    ],
)
def test_which_analysis_is_dropped(tokenizer, messages, kept):
    conversation = Conversation.from_messages(messages)
    expected = [id for index in kept for id in render_message(tokenizer, messages[index])]
    assert render_conversation(tokenizer, conversation) == expected
    assert render_conversation(tokenizer, conversation, RenderConversationConfig()) == expected
    if NAMELESS in messages:
        return
    everything = [id for message in messages for id in render_message(tokenizer, message)]
    keep = RenderConversationConfig(auto_drop_analysis=False)
    assert render_conversation(tokenizer, conversation, keep) == everything


def test_a_conversation_is_its_messages_one_after_another(tokenizer):
    """Also with headers that come again, long texts, and so many ids that rendering pauses."""
    parts = [None, "a", "functions.f"]
    messages = [
        say(
            role,
            "word " * repeat,
            name,
            recipient=recipient,
            channel=channel,
            content_type=content_type,
        )
        for repeat in (1, 1, 3000)
        for role in ("user", "assistant", "tool")
        for name in ("a", "b")
        for recipient in parts
        for channel in (None, "commentary")
        for content_type in parts
    ]
    keep = RenderConversationConfig(auto_drop_analysis=False)
    ids = render_conversation(tokenizer, Conversation.from_messages(messages), keep)
    assert ids == [id for message in messages for id in render_message(tokenizer, message)]


def test_completion(tokenizer):
    conversation = Conversation.from_messages([USER])
    ids = render_conversation(tokenizer, conversation)
    for role in Role:
        opened = [*ids, START, *tokenizer.encode_ordinary(role.value)]
        for given in role, role.value:
            assert render_conversation_for_completion(tokenizer, conversation, given) == opened
    assert render_conversation_for_completion(tokenizer, Conversation(), Role.TOOL)[0] == START


@pytest.mark.parametrize(
    ("role", "error"),
    [("x", ValueError), ("USER", ValueError), (None, AttributeError), (5, AttributeError)],
)
def test_completion_refuses_roles(tokenizer, role, error):
    with pytest.raises(error):
        render_conversation_for_completion(tokenizer, Conversation(), role)


@pytest.mark.parametrize(
    ("messages", "last"),
    [
        ([USER, FINAL], RETURN),
        ([say("assistant", channel="final", recipient="x")], RETURN),
        ([OTHER], END),
        ([CALLED], CALL),
        ([FINAL, USER], END),
        ([say("user", channel="final")], END),
    ],
)
def test_training(tokenizer, messages, last):
    conversation = Conversation.from_messages(messages)
    ids = render_conversation(tokenizer, conversation)
    assert render_conversation_for_training(tokenizer, conversation) == [*ids[:-1], last]
    assert render_conversation_for_training(tokenizer, Conversation()) == []


@pytest.mark.parametrize("options", [5, [], False, object()])
def test_options_must_have_the_attribute(tokenizer, options):
    with pytest.raises(AttributeError):
        render_message(tokenizer, USER, options)
    with pytest.raises(AttributeError):
        render_conversation(tokenizer, Conversation(), options)


def test_a_switch_that_is_no_bool_stays_at_its_default(tokenizer):
    numpy = pytest.importorskip("numpy")
    conversation = Conversation.from_messages([THOUGHT, FINAL])
    for value, n_messages in (
        (None, 1),
        (0, 1),
        ("", 1),
        ([], 1),
        (False, 2),
        (numpy.bool_(False), 2),
    ):
        config = RenderConversationConfig.model_construct(auto_drop_analysis=value)
        assert render_conversation(tokenizer, conversation, config).count(START) == n_messages


# objects that are not plain


class Sealed:
    """Hides everything but the JSON."""

    def __init__(self, thing):
        self._thing = thing

    def to_json(self):
        return self._thing.to_json()


def test_json_alone_gives_the_same_ids(tokenizer):
    """The pass over plain objects and the reading of JSON agree; what cannot be rendered, neither renders."""
    for seed in range(scaled(300)):
        conversation = random_conversations.conversation(random.Random(seed), harmony, oddness=0.0)
        results = []
        for given in conversation, Sealed(conversation):
            try:
                results.append(render_conversation(tokenizer, given))
            except (ValueError, HarmonyError) as error:
                results.append((type(error), str(error)))
        assert results[0] == results[1], f"seed {seed}"


def test_plain_objects_are_rendered_without_their_json(tokenizer, monkeypatch):
    def refuse(self):
        raise AssertionError("plain objects need no JSON")

    messages = [
        Message.from_role_and_content(
            Role.SYSTEM, SystemContent().with_browser_tool().with_python_tool()
        ),
        Message.from_role_and_content(
            Role.DEVELOPER,
            DeveloperContent().with_function_tools(
                [ToolDescription.new("f", "d", {"default": [1.5, None, "é"]})]
            ),
        ),
        say("user", "日本語", name="bob"),
        THOUGHT,
        say(
            "assistant",
            channel="commentary",
            recipient="functions.f",
            content_type="<|constrain|>json",
        ),
        PLAIN_RESULT,
        FINAL,
    ]
    conversation = Conversation.from_messages(messages)
    expected = render_conversation(tokenizer, conversation)
    expected_of_each = [render_message(tokenizer, message) for message in messages]
    for cls in Conversation, Message, SystemContent, DeveloperContent, TextContent:
        monkeypatch.setattr(cls, "to_dict", refuse)
    monkeypatch.setattr(Conversation, "to_json", refuse)
    monkeypatch.setattr(Message, "to_json", refuse)
    assert render_conversation(tokenizer, conversation) == expected
    assert [render_message(tokenizer, message) for message in messages] == expected_of_each


def test_a_content_class_of_your_own(tokenizer):
    class Shout(harmony.Content):
        words: str

        def to_dict(self):
            return {"type": "text", "text": self.words.upper()}

    message = Message.from_role_and_contents(Role.USER, [Shout(words="hi")])
    assert render_message(tokenizer, message) == render_message(tokenizer, say("user", "HI"))


def test_a_message_class_of_your_own(tokenizer):
    class Signed(Message):
        def to_dict(self):
            return {**super().to_dict(), "name": "bob"}

    message = Signed.from_role_and_content(Role.USER, "x")
    expected = render_message(tokenizer, say("user", name="bob"))
    assert render_message(tokenizer, message) == expected
    conversation = Conversation.from_messages([message])
    assert render_conversation(tokenizer, conversation) == expected


def test_assigned_text_that_only_looks_like_an_enumeration(tokenizer):
    message = say("user")
    message.author.role = "assistant"
    with pytest.warns(UserWarning, match="enum"):
        ids = render_message(tokenizer, message)
    assert ids == render_message(tokenizer, OTHER)
    system = SystemContent()
    system.reasoning_effort = "High"
    with pytest.warns(UserWarning, match="enum"):
        assert "Reasoning: high" in system_text(tokenizer, system)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda message: message.with_channel(5), ValueError),
        (lambda message: message.with_recipient(["a"]), ValueError),
        (lambda message: message.with_content_type(b"x"), TypeError),
        (lambda message: message.adding_content(5), AttributeError),
        (lambda message: setattr(message, "content", None), TypeError),
        (lambda message: setattr(message, "author", None), AttributeError),
        (lambda message: setattr(message.author, "role", "nobody"), ValueError),
        (lambda message: setattr(message.content[0], "text", None), ValueError),
        (lambda message: message.with_channel("\ud800"), ValueError),
        (lambda message: setattr(message.content[0], "text", "a\udfff"), ValueError),
        (lambda message: delattr(message, "channel"), AttributeError),
        (lambda message: message.adding_content(harmony.Content()), NotImplementedError),
    ],
)
def test_what_only_rendering_finds(tokenizer, spoil, error):
    """Also in a message that is left out, and behind a message with an error of another kind."""
    dropped = copy.deepcopy(THOUGHT)
    spoil(dropped)
    with pytest.raises(error):
        render_message(tokenizer, dropped)
    for messages in (
        [dropped, FINAL],
        [PLAIN_RESULT.model_copy(update={"author": Author(role="tool")}), dropped],
    ):
        conversation = Conversation()
        conversation.messages = messages
        with pytest.raises(error):
            render_conversation(tokenizer, conversation)


def test_errors_of_json_name_the_place(tokenizer):
    conversation = Conversation.from_messages([USER, USER.model_copy().with_channel(5)])
    with pytest.raises(ValueError, match="channel of message 1 must be a string, not 5"):
        render_conversation(tokenizer, conversation)


def test_surrogate_pairs_are_characters(tokenizer):
    assert render_message(tokenizer, say("user", "\ud83d\ude00", "\ud83d\ude00")) == render_message(
        tokenizer, say("user", "\U0001f600", "\U0001f600")
    )


# threads


def test_one_tokenizer_in_many_threads(tokenizer):
    made = [
        random_conversations.conversation(random.Random(seed), harmony, oddness=0.0)
        for seed in range(50)
    ]
    conversations = [
        each for each in made if all(message.author.role != "tool" for message in each)
    ]

    def results():
        collected = []
        for conversation in conversations:
            try:
                collected.append(render_conversation(tokenizer, conversation))
            except HarmonyError as error:
                collected.append(str(error))
        return collected

    expected = results()
    found = []
    threads = [threading.Thread(target=lambda: found.append(results())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


RESPONSE_FORMAT = """# Instructions

Help with shopping.

# Tools

## functions

namespace functions {

type f = () => any;

} // namespace functions

# Response Formats

## shopping_list

// What to buy.
{"type":"object","properties":{"é":{"type":"array"}}}"""


def test_response_formats_come_last(encoding):
    schema = {"type": "object", "properties": {"é": {"type": "array"}}}
    content = (
        DeveloperContent.new()
        .with_response_format("shopping_list", schema, "What to buy.")
        .with_instructions("Help with shopping.")
        .with_function_tools([ToolDescription.new("f", "")])
    )
    message = Message.from_role_and_content(Role.DEVELOPER, content)
    ids = encoding.render(message)
    assert encoding.decode_utf8(ids[3:-1]) == RESPONSE_FORMAT
    for again in (
        Message.from_dict(json.loads(message.to_json())),
        Message.model_validate_json(message.model_dump_json()),
        copy.deepcopy(message),
        pickle.loads(pickle.dumps(message)),
    ):
        assert again == message and encoding.render(again) == ids
        assert repr(again) == repr(message) and "shopping_list" in repr(again)

    class Other(DeveloperContent):
        """Not plain: read through its JSON."""

    message.content = [Other(**content.__dict__)]
    assert encoding.render(message) == ids


@pytest.mark.parametrize("number", ["45.658802093481164", "18446744073709551616", "1e-07", "5"])
@pytest.mark.parametrize("exact", [False, True])
def test_numbers_of_response_formats_are_written_as_they_are(encoding, number, exact):
    """Also where something else in the message has it read through its JSON."""

    class Other(TextContent):
        """Not plain."""

    content = DeveloperContent.new().with_response_format("a", {"a": [json.loads(number)]})
    options = RenderOptions(exact_numbers=exact)
    for kind in (TextContent, Other):
        message = Message.from_role_and_contents(Role.DEVELOPER, [content, kind(text="")])
        assert f'{{"a":[{number}]}}' in encoding.decode(encoding.render(message, options))


@pytest.mark.parametrize("schema", [{"a": math.nan}, {"a": "\ud800"}, {"a": object()}])
def test_response_formats_are_checked(encoding, schema):
    content = DeveloperContent.new().with_response_format("a", {})
    content.response_formats["a"].json_schema = schema
    with pytest.raises((ValueError, TypeError)):
        encoding.render(Message.from_role_and_content(Role.DEVELOPER, content))
