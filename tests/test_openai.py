"""Conversations in the shapes of OpenAI's APIs, and back."""

import enum
import json
import subprocess
import sys
from decimal import Decimal

import chats
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts

import harmony
from harmony import Conversation, DeveloperContent, Message, Role, SystemContent, ToolDescription
from harmony.calls import calls_of_results
from harmony.openai import (
    chat_message_from,
    chat_request_from,
    conversation_from_chat,
    conversation_from_responses,
    finish_reason_of,
    responses_items_from,
    responses_request_from,
)
from harmony.openai.names import called_function, from_identifier, to_identifier

KEEP_ALL = harmony.RenderConversationConfig(auto_drop_analysis=False, validate_headers=True)


def ids_of(encoding, conversation):
    return encoding.render_conversation(conversation, KEEP_ALL)


def as_json(request):
    """A request after a way over the wire; the system message is no part of that."""
    return {
        key: value if key == "system" else json.loads(json.dumps(value))
        for key, value in request.items()
    }


# round trips


@given(chats.conversations())
def test_a_chat_gives_the_conversation_again(encoding, conversation):
    request = as_json(chat_request_from(conversation))
    again = conversation_from_chat(**request)
    assert again == conversation
    assert ids_of(encoding, again) == ids_of(encoding, conversation)
    assert chat_request_from(again) == request


@given(chats.conversations(built_in=True))
def test_responses_give_the_conversation_again(encoding, conversation):
    request = as_json(responses_request_from(conversation))
    again = conversation_from_responses(**request)
    assert again == conversation
    assert ids_of(encoding, again) == ids_of(encoding, conversation)
    assert responses_request_from(again) == request


@given(chats.conversations())
def test_both_forms_give_equal_ids(encoding, conversation):
    as_chat = conversation_from_chat(**chat_request_from(conversation))
    as_responses = conversation_from_responses(**responses_request_from(conversation))
    assert ids_of(encoding, as_chat) == ids_of(encoding, as_responses)


# what neither of them says as it is

odd_names = st.sampled_from([None, None, "bob", "functions.f"])
odd_channels = st.sampled_from([None, "analysis", "commentary", "commentary", "final", "other"])
odd_parts = st.lists(st.sampled_from(["", "", "x", " y\n"]), max_size=3)


@st.composite
def odd_messages(draw):
    """As models, or people by hand, may have written them."""
    kind = draw(st.sampled_from(["user", "developer", "text", "text", "call", "call", "result"]))
    name = draw(odd_names)
    header = {} if draw(st.integers(0, 5)) else {
        draw(st.sampled_from(["channel", "recipient", "content_type"])): "all"}  # fmt: skip
    if kind == "user":
        return chats.message(Role.USER, draw(odd_parts), name=name, **header)
    if kind == "developer":
        content = DeveloperContent(instructions=draw(st.sampled_from([None, "", "Be brief."])))
        if draw(st.booleans()):
            content.with_function_tools([ToolDescription.new("get-weather", "")])
        role = draw(st.sampled_from([Role.DEVELOPER, Role.DEVELOPER, Role.SYSTEM]))
        message = chats.message(role, "", name=name, **header)
        message.content = [content]
        return message
    if kind == "text":
        header = {"channel": draw(odd_channels), **header}
        return chats.message(Role.ASSISTANT, draw(odd_parts), name=name, **header)
    recipients = ["functions.f", "functions.f", "f", "functions.a-b", "g.h", "functions.", "python", "browser.find", "browser"]  # fmt: skip
    recipient = draw(st.sampled_from(recipients))
    if kind == "call":
        texts = draw(st.sampled_from([["{}"], ["{", "}"], ["{"], [], ['{"pattern": NaN}']]))
        content_type = draw(st.sampled_from([None, "json", "code"]))
        return chats.message(
            Role.ASSISTANT, texts, draw(odd_channels), recipient, content_type, name=name
        )
    return chats.message(
        Role.TOOL, draw(odd_parts), draw(odd_channels), draw(odd_names), name=recipient
    )


def as_it_should_be(conversation, joins):
    """With the headers that requests give, and `joins` (channels) of one part."""
    messages = [message.model_copy(deep=True) for message in conversation.messages]
    for message in messages:
        for content in message.content:
            for namespace in (getattr(content, "tools", None) or {}).values():
                for tool in namespace.tools:
                    tool.name = to_identifier(from_identifier(tool.name))
        if message.author.role is not Role.ASSISTANT:
            continue
        message.content_type = None
        if function := called_function(message.recipient):
            message.recipient = "functions." + to_identifier(function)
            message.channel, message.content_type = "commentary", "<|constrain|>json"
        elif message.recipient:
            message.channel, message.content_type = "analysis", "code"
        elif message.channel not in ("analysis", "commentary"):
            message.channel = "final"
        if message.recipient or message.channel in joins:
            texts = [content.text for content in message.content]
            message.content = [harmony.TextContent(text="".join(texts))]
    for result, call in calls_of_results(conversation.messages).items():
        messages[result].author.name = messages[call].recipient
        messages[result].channel, messages[result].recipient = messages[call].channel, "assistant"
    if not messages or messages[0].author.role is not Role.SYSTEM:
        messages.insert(0, Message.from_role_and_content(Role.SYSTEM, SystemContent.new()))
    return Conversation(messages=messages)


@pytest.mark.parametrize(
    ("read", "request_from", "joins"),
    [
        (conversation_from_chat, chat_request_from, ["analysis"]),
        (conversation_from_responses, responses_request_from, []),
    ],
    ids=["chat", "responses"],
)
@given(st.lists(odd_messages(), max_size=6))
def test_what_is_not_refused_comes_back(read, request_from, joins, messages):
    """But for headers as they should have been."""
    conversation = Conversation(messages=messages)
    try:
        request = as_json(request_from(conversation))
    except harmony.ConversionError as error:
        assert error.path.startswith("messages[")
        return
    assert read(**request) == as_it_should_be(conversation, joins)


# by hand

SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
TOOL = {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}
FORMAT = {"name": "answer", "schema": {"type": "object"}}

BY_HAND = [
    Message.from_role_and_content(
        Role.SYSTEM, SystemContent.new().with_reasoning_effort(harmony.ReasoningEffort.HIGH)
    ),
    Message.from_role_and_content(
        Role.DEVELOPER,
        DeveloperContent.new()
        .with_instructions("Be brief.")
        .with_function_tools([ToolDescription.new("get_weather", "The weather.", SCHEMA)])
        .with_response_format("answer", {"type": "object"}),
    ),
    Message.from_role_and_content(Role.USER, "Frost tonight?"),
    chats.message(Role.ASSISTANT, "I should look.", "analysis"),
    chats.message(Role.ASSISTANT, "A moment.", "commentary"),
    chats.call("get_weather", '{"place": "Malmö"}'),
    chats.result("get_weather", "-2 °C"),
    chats.message(Role.ASSISTANT, "Yes: -2 °C.", "final"),
]


def chat_by_hand(first_role="developer", reasoning="reasoning"):
    return {
        "messages": [
            {"role": first_role, "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Frost tonight?"}]},
            {
                "role": "assistant",
                reasoning: "I should look.",
                "content": "A moment.",
                "tool_calls": [
                    {
                        "id": "abc",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"place": "Malmö"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "abc", "content": "-2 °C"},
            {"role": "assistant", "content": "Yes: -2 °C.", "refusal": None},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": FORMAT},
    }


RESPONSES_BY_HAND = {
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "Frost tonight?"},
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "I should look."}],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "A moment.", "annotations": []}],
        },
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "get_weather",
            "arguments": '{"place": "Malmö"}',
        },
        {"type": "function_call_output", "call_id": "c1", "output": "-2 °C"},
        {"role": "assistant", "content": "Yes: -2 °C."},
    ],
    "tools": [{"type": "function", **TOOL, "strict": True}],
    "reasoning": {"effort": "high"},
    "text": {"format": {"type": "json_schema", **FORMAT}},
}


@pytest.mark.parametrize("reasoning", ["reasoning", "reasoning_content", "thinking"])
@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_chat_is_the_messages_built_by_hand(encoding, role, reasoning):
    conversation = conversation_from_chat(**chat_by_hand(role, reasoning))
    by_hand = Conversation.from_messages(BY_HAND)
    assert conversation == by_hand
    assert ids_of(encoding, conversation) == ids_of(encoding, by_hand)


def test_reasoning_under_several_names_is_one_reasoning():
    names = ("reasoning", "reasoning_content", "thinking")
    said = {"role": "assistant", **dict.fromkeys(names, "Hm."), "content": "hi"}
    conversation = conversation_from_chat([said])
    assert [m.channel for m in conversation] == [None, "analysis", "final"]
    with pytest.raises(harmony.ConversionError, match="reasoning, thinking are names of one"):
        conversation_from_chat([{"role": "assistant", "reasoning": "Hm.", "thinking": "Well."}])


@pytest.mark.parametrize("content", [None, "", [], "I see. "])
def test_a_refusal_is_said_whatever_the_content_is(encoding, content):
    refused = {"role": "assistant", "content": content, "refusal": "No."}
    said = {"role": "assistant", "content": [content or "", "No."]}
    as_text, as_refusal = (conversation_from_chat([message]) for message in (said, refused))
    assert ids_of(encoding, as_refusal) == ids_of(encoding, as_text)


def test_responses_are_the_messages_built_by_hand(encoding):
    conversation = conversation_from_responses(**RESPONSES_BY_HAND)
    assert ids_of(encoding, conversation) == ids_of(encoding, Conversation.from_messages(BY_HAND))


def test_input_may_be_a_string():
    messages = conversation_from_responses("hi").messages
    assert messages[1:] == [Message.from_role_and_content(Role.USER, "hi")]


def test_nothing_but_functions_makes_a_developer_message():
    messages = [{"role": "user", "content": "hi"}]
    with_tools = conversation_from_chat(messages, tools=[{"type": "function", "function": TOOL}])
    assert [message.author.role.value for message in with_tools] == ["system", "developer", "user"]
    assert [m.author.role.value for m in conversation_from_chat(messages)] == ["system", "user"]


def test_text_is_no_response_format():
    """What every request asks for that says nothing of it; the OpenAI SDK may say so."""
    messages = [{"role": "user", "content": "hi"}]
    as_text = conversation_from_chat(messages, response_format={"type": "text"})
    assert as_text == conversation_from_chat(messages)
    as_text = conversation_from_responses("hi", text={"format": {"type": "text"}})
    assert as_text == conversation_from_responses("hi")


def test_the_callers_system_message_is_not_changed():
    system = SystemContent.new().with_model_identity("I.")
    before = system.model_copy(deep=True)
    conversation_from_responses(
        "hi", system=system, tools=[{"type": "web_search"}], reasoning={"effort": "low"}
    )
    conversation_from_chat([], system=system, reasoning_effort="low")
    assert system == before


def test_built_in_tools_are_declared_in_the_system_message():
    system = conversation_from_responses(
        "hi",
        tools=[{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}],
    ).messages[0]
    assert system.content == [SystemContent.new().with_browser_tool().with_python_tool()]


def test_results_of_one_function_come_in_the_order_of_its_calls():
    def call(call_id, name):
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}

    def result(call_id):
        return {"role": "tool", "tool_call_id": call_id, "content": call_id}

    conversation = conversation_from_chat(
        [
            {"role": "assistant", "tool_calls": [call("a", "f"), call("b", "g"), call("c", "f")]},
            *[result("c"), result("b"), result("a")],
        ]
    )
    texts = [message.content[0].text for message in conversation.messages[-3:]]
    assert texts == ["a", "b", "c"]


def test_a_result_finds_the_latest_call_with_its_id():
    def asked(name):
        return {
            "role": "assistant",
            "tool_calls": [{"id": "call_0", "function": {"name": name, "arguments": "{}"}}],
        }

    answer = {"role": "tool", "tool_call_id": "call_0", "content": "x"}
    messages = conversation_from_chat([asked("f"), answer, asked("g"), answer]).messages
    assert [m.author.name for m in messages if m.author.role is Role.TOOL] == [
        "functions.f",
        "functions.g",
    ]


# names


@given(st.one_of(texts(3), st.text("_x25fd-a0. é²·")))
def test_every_name_comes_back(name):
    identifier = to_identifier(name)
    assert from_identifier(identifier) == name
    assert identifier.isidentifier() == bool(name)


@pytest.mark.parametrize(
    "name", ["get_weather", "f", "__x__", "Größe", "_x", "get_xbox_data", "_xyz_", "_xaé", "_xa·"]
)
def test_identifiers_stay_as_they_are(name):
    assert to_identifier(name) == name


def test_what_the_model_is_shown_is_an_identifier(encoding):
    tools = [{"type": "function", "function": {"name": "get-weather"}}]
    conversation = conversation_from_chat([{"role": "user", "content": "hi"}], tools=tools)
    text = encoding.decode(encoding.render_conversation(conversation))
    assert "type get_x2d_weather = () => any;" in text
    completion = chats.call("get-weather", "{}")
    assert chat_message_from([completion])["tool_calls"][0]["function"]["name"] == "get-weather"


@pytest.mark.parametrize(
    ("recipient", "name"),
    [
        ("functions.f", "f"), ("f", "f"), ("math.sum", "math.sum"), ("functions.python", "python"),
        ("python", None), ("browser.search", None), ("browser", None), ("container.exec", None),
        ("assistant", None), ("user", None), ("all", None), (None, None), ("functions.", None),
        ("browsers", "browsers"),
    ],
)  # fmt: skip
def test_the_recipient_decides(recipient, name):
    assert called_function(recipient) == name
    for channel in "analysis", "commentary", "final", None:
        calls = chat_message_from([chats.message(Role.ASSISTANT, "{}", channel, recipient)]).get(
            "tool_calls"
        )
        assert bool(calls) == (name is not None)


# completions


def test_one_message_of_a_completion():
    completion = [
        chats.message(Role.ASSISTANT, " think\n", "analysis"),
        chats.message(Role.ASSISTANT, "  ", "analysis"),
        chats.message(Role.ASSISTANT, "more", "analysis"),
        chats.message(Role.ASSISTANT, "Let me see. ", "commentary"),
        chats.message(Role.ASSISTANT, "{}", "analysis", "functions.f"),
        chats.message(Role.ASSISTANT, '{"a": ', "commentary", "functions.g"),
        chats.message(Role.ASSISTANT, "1 + 1", "analysis", "python"),
        chats.message(Role.TOOL, "x", "commentary", "assistant", name="functions.f"),
        chats.message(Role.ASSISTANT, "Done.", "final"),
    ]
    assert chat_message_from(completion, call_id_prefix="c") == {
        "role": "assistant",
        "content": "Let me see.\nDone.",
        "reasoning": "think\nmore\n1 + 1",
        "tool_calls": [
            {"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c1", "type": "function", "function": {"name": "g", "arguments": '{"a": '}},
        ],
    }
    assert finish_reason_of(completion) == "tool_calls"


def test_a_completion_that_says_nothing():
    assert chat_message_from([]) == {"role": "assistant", "content": None}
    assert finish_reason_of([]) == "stop"
    assert responses_items_from([]) == []


def test_items_of_a_completion():
    items = responses_items_from(
        [
            *BY_HAND[3:6],
            chats.built_in_call("browser.search", '{"query": "frost"}'),
            chats.built_in_result("browser", "1. Frost"),
            chats.result("nobody_called_this", "x"),
        ]
    )
    assert [(item["type"], item["id"]) for item in items] == [
        ("reasoning", "rs_0"), ("message", "msg_1"), ("function_call", "fc_2"), ("web_search_call", "ws_3"),
    ]  # fmt: skip
    assert items[1]["phase"] == "commentary" and items[1]["content"][0]["text"] == "A moment."
    assert items[2]["call_id"] == "call_0" and items[2]["name"] == "get_weather"
    assert items[3]["action"] == {"type": "search", "query": "frost"}
    assert items[3]["results"] == [{"type": "text", "text": "1. Frost"}]


@pytest.mark.parametrize("namespace", ["browser", "container", "python"])
def test_a_call_of_a_namespace_comes_back(namespace):
    """Models forget the function at times; the items of that completion are the next request."""
    called = chats.built_in_call(namespace, "x")
    items = responses_items_from([called, chats.built_in_result(namespace, "Which function?")])
    assert conversation_from_responses(items).messages[1] == called


def test_a_result_finds_its_call():
    """Calls of a turn in their order, the latest turn first, built-in tools each by itself."""
    called, answered, text = (
        chats.call,
        chats.result,
        chats.message(Role.ASSISTANT, "x", "analysis"),
    )
    browser = [chats.built_in_call(f"browser.{name}", "{}") for name in ("open", "find", "open")]

    def results(*tools):
        return [chats.built_in_result(tool, "") for tool in tools]

    for messages, expected in [
        ([called("f", "{}"), called("g", "{}"), answered("g", ""), answered("f", "")], {2: 1, 3: 0}),
        ([called("f", "{}"), called("f", "{}"), answered("f", "")], {2: 0}),
        ([called("f", "{}"), text, called("f", "{}"), answered("f", "")], {3: 2}),
        # The order of the results is that of the calls, however late.
        ([called("f", "{}"), text, called("f", "{}"), *[answered("f", "")] * 2], {3: 0, 4: 2}),
        ([called("f", "{}"), BY_HAND[2], answered("f", "")], {2: 0}),
        ([*browser, *results("browser.open")], {3: 2}),
        ([*browser, *results("browser")], {3: 2}),
        ([*browser, *results("browser", "browser")], {3: 1, 4: 2}),
        ([*browser, *results("browser", "browser.open", "browser.find")], {3: 2, 4: 0, 5: 1}),
        ([*browser, text, *results("browser.find", "browser", "browser.open", "f")], {4: 1, 5: 2, 6: 0}),
        ([text.with_recipient("all"), *results("all")], {}),
        ([text.with_recipient(""), *results("", "functions.")], {}),
        ([text, chats.message(Role.TOOL, "")], {}),
        ([BY_HAND[2].model_copy(update={"recipient": "python"}), *results("python")], {}),
    ]:  # fmt: skip
        assert calls_of_results(messages) == expected


def test_results_come_back_with_their_calls():
    """Late ones, and those of built-in tools, whose items hold call and result."""
    later = [
        chats.call("f", "{}"),
        chats.message(Role.ASSISTANT, "x", "commentary"),
        chats.call("g", "{}"),
    ]
    late = [*later, BY_HAND[2], chats.result("f", "1"), chats.result("g", "2")]
    for request_from, read in [
        (chat_request_from, conversation_from_chat),
        (responses_request_from, conversation_from_responses),
    ]:
        conversation = Conversation(messages=[BY_HAND[0], *late])
        assert read(**request_from(conversation)) == conversation
    assert [item["type"] for item in responses_items_from(late)[-2:]] == [
        "function_call_output"
    ] * 2
    calls = [chats.built_in_call("browser.search", f'{{"query": "{n}"}}') for n in range(2)]
    result = chats.built_in_result("browser.search", "1. Frost")
    conversation = Conversation(messages=[BY_HAND[0], *calls, result])
    assert conversation_from_responses(**responses_request_from(conversation)) == conversation
    for messages in [calls[0], BY_HAND[3], result], [*calls, result, result]:
        with pytest.raises(harmony.ConversionError, match="does not follow its call"):
            responses_request_from(Conversation(messages=[BY_HAND[0], *messages]))
    asked = BY_HAND[2].model_copy(update={"recipient": "browser.search"})
    assert [item["type"] for item in responses_items_from([asked, result])] == ["message"]
    both = [item["results"] for item in responses_items_from([*calls, result, result])]
    assert both == [[{"type": "text", "text": "1. Frost"}]] * 2


@pytest.mark.parametrize("answering", ["f{}", None, "g{}"])
def test_a_result_finds_its_call_without_a_look_at_all_that_wait(answering):
    """Lines of Python, for calls of many functions."""

    def work(n):
        text = chats.message(Role.ASSISTANT, "x", "analysis")
        messages = []
        for number in range(n):
            messages += [chats.call(f"f{number}", "{}"), text]
        for number in range(n):
            result = chats.result((answering or "").format(number), "")
            if answering is None:
                result.author.name = "functions"
            messages += [result, text]
        lines = 0

        def count(frame, event, argument):
            nonlocal lines
            lines += event == "line"
            return count

        before = sys.gettrace()
        sys.settrace(count)
        try:
            calls_of_results(messages)
        finally:
            sys.settrace(before)
        return lines

    assert work(400) <= 2.2 * work(200)


def test_a_web_search_of_somebody_else():
    action = {"type": "open_page", "url": "https://example.org"}
    call = conversation_from_responses([{"type": "web_search_call", "action": action}]).messages[1]
    assert (call.recipient, call.content[0].text) == (
        "browser.open",
        '{"id": "https://example.org"}',
    )
    # The name of this action changed.
    for kind in "find", "find_in_page":
        action = {"type": kind, "pattern": "frost", "url": "https://example.org"}
        item = {"type": "web_search_call", "action": action}
        call = conversation_from_responses([item]).messages[1]
        assert (call.recipient, call.content[0].text) == ("browser.find", '{"pattern": "frost"}')


# what cannot be expressed

USER = {"role": "user", "content": "hi"}


def asked(**function):
    function = {"name": "f", "arguments": "{}", **function}
    return {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": function}],
    }


BAD_CHATS = [
    ("messages", {"messages": None}),
    ("messages", {"messages": "hi"}),
    ("messages[0]", {"messages": ["hi"]}),
    ("messages[1].role", {"messages": [USER, {"role": "robot", "content": "x"}]}),
    ("messages[0].role", {"messages": [{"content": "x"}]}),
    ("messages[0].role", {"messages": [{"role": ["user"], "content": "x"}]}),
    ("messages[0].content", {"messages": [{"role": "user"}]}),
    ("messages[0].content", {"messages": [{"role": "assistant", "content": None}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": 5}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": "\ud800"}]}),
    ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
    ("messages[0].content[1].type", {"messages": [{"role": "user", "content": ["x", {"type": "smell"}]}]}),
    ("messages[0].content[0].text", {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}),
    ("messages[0]", {"messages": [{**USER, "name": "a b"}]}),
    ("messages[0].reasoning", {"messages": [{"role": "assistant", "reasoning": 5}]}),
    ("messages[0]", {"messages": [{"role": "assistant", "reasoning": "a", "reasoning_content": "b"}]}),
    ("messages[0]", {"messages": [{"role": "assistant", "reasoning": "a", "thinking": "b"}]}),
    ("messages[0]", {"messages": [{"role": "assistant", "reasoning_content": "a", "reasoning": "a", "thinking": "b"}]}),
    ("messages[0].thinking", {"messages": [{"role": "assistant", "thinking": 5}]}),
    ("messages[0].phase", {"messages": [{"role": "assistant", "content": "a", "phase": "full"}]}),
    ("messages[0].function_call", {"messages": [{"role": "assistant", "function_call": {}}]}),
    ("messages[0].tool_calls[0].id", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]}),
    ("messages[0].tool_calls[1].id", {"messages": [{"role": "assistant", "tool_calls": asked()["tool_calls"] * 2}]}),
    ("messages[0].tool_calls[0].type", {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}]}),
    ("messages[0].tool_calls[0].function.name", {"messages": [asked(name="")]}),
    ("messages[1].tool_calls[0].function.arguments", {"messages": [USER, asked(arguments='{"a": ')]}),
    ("messages[1].tool_calls[0].function.arguments", {"messages": [USER, asked(arguments={"a": 1})]}),
    ("messages[0].tool_calls[0].function.arguments", {"messages": [asked(arguments="[" * 100_000)]}),
    ("messages[1].tool_call_id", {"messages": [USER, {"role": "tool", "tool_call_id": "b", "content": "x"}]}),
    ("messages[1].tool_call_id", {"messages": [asked(), {"role": "tool", "content": "x"}]}),
    ("tools[0].type", {"tools": [{"type": "custom"}]}),
    ("tools[0].function", {"tools": [{"type": "function"}]}),
    ("tools[0].function.name", {"tools": [{"type": "function", "function": {}}]}),
    ("tools[1].function.name", {"tools": [{"type": "function", "function": {"name": "f"}}] * 2}),
    ("tools[0].function.parameters", {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}),
    ("tools[0].function.parameters.a", {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": float("nan")}}}]}),
    ("reasoning_effort", {"reasoning_effort": "extreme"}),
    ("response_format.type", {"response_format": {"type": "yaml"}}),
    ("response_format.json_schema.name", {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}),
    ("response_format.json_schema.name", {"response_format": {"type": "json_schema", "json_schema": {"name": "a\n# Tools"}}}),
]  # fmt: skip

BAD_RESPONSES = [
    ("input", {"input": None}),
    ("input[0].type", {"input": [{"type": "image_generation_call"}]}),
    ("input[0].role", {"input": [{"type": "message", "content": "x"}]}),
    ("input[0].role", {"input": [{"role": "tool", "content": "x"}]}),
    ("input[0].content[0].type", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
    ("input[0].encrypted_content", {"input": [{"type": "reasoning", "encrypted_content": "x"}]}),
    ("input[0].arguments", {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "x"}]}),
    ("input[0].call_id", {"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]}),
    ("input[0].action.type", {"input": [{"type": "web_search_call", "action": {"type": "guess"}}]}),
    ("input[0].action.query", {"input": [{"type": "web_search_call", "action": {"type": "search"}}]}),
    ("input[0].outputs[0].type", {"input": [{"type": "code_interpreter_call", "code": "", "outputs": [{"type": "image"}]}]}),
    ("input[0].server_label", {"input": [{"type": "mcp_call", "server_label": "x", "name": "f", "arguments": ""}]}),
    ("input[0]", {"input": [{"type": "mcp_call", "server_label": "container", "name": "a b", "arguments": ""}]}),
    ("tools[0].type", {"input": "", "tools": [{"type": "file_search"}]}),
    ("reasoning.effort", {"input": "", "reasoning": {"effort": 5}}),
    ("reasoning", {"input": "", "reasoning": "low"}),
    ("text.format.type", {"input": "", "text": {"format": {}}}),
    ("instructions", {"input": "", "instructions": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "request_"), BAD_CHATS)
def test_errors_of_a_chat_name_the_path(path, request_):
    with pytest.raises(harmony.ConversionError) as caught:
        conversation_from_chat(**{"messages": [USER], **request_})
    assert caught.value.path == path
    assert str(caught.value) == f"{path}: {caught.value.problem}"


@pytest.mark.parametrize(("path", "request_"), BAD_RESPONSES)
def test_errors_of_responses_name_the_path(path, request_):
    with pytest.raises(harmony.ConversionError) as caught:
        conversation_from_responses(**request_)
    assert caught.value.path == path


class Named(str, enum.Enum):
    ROLE = "user"


def endless():
    schema = {"type": "object"}
    schema["properties"] = {"again": schema}
    return schema


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def control_tokens():
    names = ["<|start|>", "<|message|>", "<|end|>", "<|call|>", "<|channel|>", "<|constrain|>"]
    return [*names, *(f"{name}x" for name in names), "".join(names)]


NASTY = [
    None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", " ", "\0", "\ud800", "a\udc00b", "\u202e", "\u2028",
    "a b", "a\nb", "to=x", "user", "user:x", "assistant", "functions.f", "all", "<", "<script>", "😀", "NaN", "[Infinity]",
    '"\\ud800"', "1" * 5000, "[" * 200_000, '{"a":1,"a":2}', "{}", "\ufeff{}", b"bytes", [], {}, [[]], [{}], [None],
    {"type": None}, [{"type": []}], [{"type": {}}], [{"type": "text"}], [{"type": "text", "text": None}],
    [{"type": "image_url", "image_url": {"url": "x"}}], [{"type": "input_image"}], [{"type": "smell"}], {1: 2}, {(1,): []},
    {"\ud800": 1}, {"": ""}, ("a",), range(3), set(), object(), len, np.int64(1), np.array([1, 2]), np.str_("user"),
    Decimal(1), Named.ROLE, nested(5000), [nested(5000)], endless(), Ellipsis, complex(1, 2), 1e400, iter([]),
    "web_search_call", "item_reference", "high", "text", "*/\n}", *control_tokens(),
]  # fmt: skip


def places(value, path=()):
    """The paths to all that is in a request."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in inner:
        yield (*path, key)
        if isinstance(member, dict | list):
            yield from places(member, (*path, key))


def replaced(value, path, new):
    first, *rest = path
    copied = value.copy()
    copied[first] = replaced(value[first], rest, new) if rest else new
    return copied


FULL_CHAT = chat_by_hand()
FULL_CHAT["messages"][1]["name"] = "bob"
FULL_CHAT["messages"][2]["phase"] = "commentary"
FULL_RESPONSES = {
    **RESPONSES_BY_HAND,
    "input": [
        *RESPONSES_BY_HAND["input"],
        {"type": "web_search_call", "action": {"type": "search", "query": "q"}, "results": [{"type": "text", "text": "t"}]},
        {"type": "code_interpreter_call", "code": "1", "outputs": [{"type": "logs", "logs": "l"}]},
        {"type": "mcp_call", "server_label": "container", "name": "exec", "arguments": "{}", "output": "o"},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("read", "request_from", "request_"),
    [
        (conversation_from_chat, chat_request_from, FULL_CHAT),
        (conversation_from_responses, responses_request_from, FULL_RESPONSES),
    ],
    ids=["chat", "responses"],
)
def test_anything_anywhere_in_a_request(encoding, read, request_from, request_):
    """Every nasty value in every place: a typed error that names a path, or a conversation whose
    messages are neither more nor fewer when its ids are read, and which comes back."""
    n_read = n_refused = 0
    for place in places(request_):
        for value in NASTY:
            try:
                conversation = read(**replaced(request_, place, value))
            except harmony.ConversionError as error:
                n_refused += 1
                assert error.path.startswith(place[0])
                continue
            n_read += 1
            ids = ids_of(encoding, conversation)
            assert ids_of(encoding, read(**request_from(conversation))) == ids
            parsed = encoding.parse_messages_from_completion_tokens(ids, on_error="recover")
            assert len(parsed) == len(conversation.messages)
    assert n_read > 1000 < n_refused


def test_arguments_may_hold_any_json():
    for arguments in ["1" * 5000, "-0.0e-999", '"\\ud800"', '{"a":1,"a":2}', " [] "]:
        conversation = conversation_from_chat([asked(arguments=arguments)])
        assert conversation.messages[-1].content[0].text == arguments
    for arguments in ["NaN", "[Infinity]", "-Infinity", "", "\ufeff{}", "{} {}", "{'a': 1}"]:
        with pytest.raises(harmony.ConversionError, match=r"arguments: is not JSON"):
            conversation_from_chat([asked(arguments=arguments)])


def test_parameters_may_not_be_nested_too_deeply():
    parameters = {}
    for _ in range(200):
        parameters = {"a": parameters}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    with pytest.raises(harmony.ConversionError, match="nested more than 100 deep"):
        conversation_from_chat([USER], tools=tools)


@pytest.mark.parametrize(
    "messages",
    [
        [chats.built_in_call("python", "1")],
        [chats.result("f", "x")],
        [chats.message(Role.SYSTEM, "plain text")],
        [Message.from_role_and_content(Role.DEVELOPER, DeveloperContent.new().with_tools(harmony.ToolNamespaceConfig.python()))],
        [BY_HAND[0], BY_HAND[2], BY_HAND[1]],
    ],
)  # fmt: skip
def test_a_chat_cannot_say_everything(messages):
    with pytest.raises(harmony.ConversionError, match=r"^messages\[\d\]: "):
        chat_request_from(Conversation.from_messages(messages))


@pytest.mark.parametrize("request_from", [chat_request_from, responses_request_from])
def test_what_a_later_message_of_the_developer_declares_has_no_place(request_from):
    formats = DeveloperContent.new().with_response_format("answer", {})
    functions = DeveloperContent.new().with_function_tools([ToolDescription.new("f", "")])
    for content in formats, functions:
        later = Message.from_role_and_content(Role.DEVELOPER, content.with_instructions("Now."))
        with pytest.raises(harmony.ConversionError, match=r"^messages\[1\]: .* and nothing else"):
            request_from(Conversation.from_messages([BY_HAND[2], later]))


@pytest.mark.parametrize("channel", ["analysis", "commentary", "final", None])
@pytest.mark.parametrize("recipient", ["all", "user", "assistant", "", "functions."])
def test_no_request_holds_a_message_to_nobody_who_can_be_called(recipient, channel):
    message = chats.message(Role.ASSISTANT, "x", channel).with_recipient(recipient)
    for request_from in chat_request_from, responses_request_from:
        with pytest.raises(harmony.ConversionError, match=r"^messages\[0\]: .* a message to "):
            request_from(Conversation.from_messages([message]))
    assert len(responses_items_from([message])) == 1


@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.sampled_from(["user", "assistant", "tool", "text", "f", "{}", "function"]), texts(1)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["role", "content", "tool_calls", "type", "text", "id", "function", "name", "arguments", "tool_call_id", "reasoning"]),
                inner, max_size=4,
            ),
        ),
        max_leaves=12,
    )
)  # fmt: skip
def test_whatever_comes_in_there_is_a_conversation_or_a_typed_error(encoding, anything):
    for read in conversation_from_chat, conversation_from_responses:
        try:
            conversation = read(anything)
        except harmony.ConversionError:
            continue
        ids_of(encoding, conversation)


def test_the_package_openai_is_not_imported():
    program = "import sys, harmony.openai; assert 'openai' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
