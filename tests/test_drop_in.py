"""Programs written for openai_harmony run on this package unchanged.

The loops below are what servers do. Each runs under the name `openai_harmony` in a process in which
that is this package, and in another one in which it is openai_harmony 0.0.8; what they record must
be the same. Then: what is ours alone, and every row of docs/differences.md that is not about cost.
"""

import contextlib
import copy
import importlib
import importlib.metadata
import json
import pickle
import re
import statistics
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pydantic
import pytest
from oracles import official, rank_file
from processes import run

import harmony

RETURN, CONSTRAIN, CHANNEL, START, END, MESSAGE, CALL = (
    200002, 200003, 200005, 200006, 200007, 200008, 200012,
)  # fmt: skip
ASSISTANT, FINAL, HELLO = 173781, 17196, 24912
OPEN = [START, ASSISTANT, CHANNEL, FINAL, MESSAGE]  # up to and including <|message|>
UNKNOWN = 201_089

ANSWER = (
    "<|channel|>analysis<|message|>Look at 今日は 😀.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>It is 20 °C 🌡️.<|return|>"
)
TOOL_CALL = (
    "<|channel|>analysis<|message|>I need the weather.<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json"
    '<|message|>{"city": "Tōkyō"}<|call|>'
)
PREAMBLE_AND_CALL = (
    "<|channel|>commentary<|message|>One moment.<|end|>"
    "<|start|>assistant to=functions.get_weather<|channel|>commentary json"
    '<|message|>{"city": "Ōsaka"}<|call|>'
)


def ids_of(encoding, text: str) -> list[int]:
    return encoding.encode(text, allowed_special="all")


def brief(message) -> list:
    """A message as text, without its enumerations."""
    return [
        message.author.role.value,
        message.author.name,
        message.channel,
        message.recipient,
        message.content_type,
        *(content.text for content in message.content),
    ]


def shown(parser) -> list:
    """Everything a parser shows, as plain values."""
    role = parser.current_role
    return [
        parser.state.value,
        role and role.value,
        parser.current_channel,
        parser.current_recipient,
        parser.current_content_type,
        parser.current_content,
        parser.last_content_delta,
        [brief(message) for message in parser.messages],
    ]


def beginning(openai_harmony):
    """The messages that a chat with one function begins with."""
    Message, Role = openai_harmony.Message, openai_harmony.Role
    system = (
        openai_harmony.SystemContent.new()
        .with_reasoning_effort(openai_harmony.ReasoningEffort.HIGH)
        .with_conversation_start_date("2025-06-28")
        .with_channel_config(
            openai_harmony.ChannelConfig.require_channels(["analysis", "commentary", "final"])
        )
        .with_tools(openai_harmony.ToolNamespaceConfig.browser())
    )
    weather = openai_harmony.ToolDescription.new(
        "get_weather",
        "The weather now.",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city"},
                "unit": {"type": "string", "enum": ["°C", "°F"], "default": "°C"},
            },
            "required": ["city"],
        },
    )
    developer = (
        openai_harmony.DeveloperContent.new()
        .with_instructions("Be brief.")
        .with_function_tools([weather])
    )
    return [
        Message.from_role_and_content(Role.SYSTEM, system),
        Message.from_role_and_content(Role.DEVELOPER, developer),
        Message.from_role_and_content(Role.USER, "What is the weather like?"),
    ]


# --- loops of servers: (module, encoding) -> what happened, as JSON

LOOPS = {}


def loop(function):
    LOOPS[function.__name__] = function
    return function


@loop
def reads_everything_after_each_id(openai_harmony, encoding):
    """Deltas by comparing with what was sent before; an error is noted, and the stream goes on."""
    streams = [
        (ids_of(encoding, ANSWER), "assistant"),
        (ids_of(encoding, TOOL_CALL), "assistant"),
        (ids_of(encoding, "<|start|>assistant" + PREAMBLE_AND_CALL), None),
        # Refused: stray text, a header with too many words, a second stop token.
        (ids_of(encoding, f"oops<|start|>assistant{ANSWER}<|end|>\n"), None),
        (ids_of(encoding, "a b c<|message|>lost<|end|><|start|>user<|message|>hi<|end|>"), "user"),
        (ids_of(encoding, "<|start|><|message|>x<|start|>system<|message|>kept<|end|>"), None),
        # Characters in pieces, broken ones, an id that does not exist.
        ([*OPEN, HELLO, 31446, 244, 9552, 9559, END, *OPEN, 2203, 2203, HELLO, UNKNOWN, 87], None),
    ]
    recorded = []
    for ids, role in streams:
        parser = openai_harmony.StreamableParser(
            encoding, role=openai_harmony.Role(role) if role else None
        )
        sent: dict[int, str] = {}
        for token in ids:
            problem = None
            try:
                assert parser.process(token) is parser
            except openai_harmony.HarmonyError as error:
                problem = str(error)
            texts = [message.content[0].text for message in parser.messages]
            if parser.state == openai_harmony.StreamState.CONTENT:
                texts.append(parser.current_content)
            deltas = []
            for index, text in enumerate(texts):
                before = sent.get(index, "")
                if text != before:
                    deltas.append([index, text[len(before) :]])
                    sent[index] = text
            recorded.append([token, problem, deltas, *shown(parser)])
        assert parser.tokens == ids
    return recorded


@loop
def asks_for_stop_tokens_at_every_id(openai_harmony, encoding):
    """And spoils the list each time."""
    recorded = []
    for text in (ANSWER, TOOL_CALL, PREAMBLE_AND_CALL):
        parser = openai_harmony.StreamableParser(encoding, openai_harmony.Role.ASSISTANT)
        for token in ids_of(encoding, text):
            parser.process(token)
            stops = encoding.stop_tokens_for_assistant_actions()
            assert sorted(stops) == [RETURN, CALL]
            ends_turn = token in stops
            stops += [token]
            del stops[0]
            every_stop = encoding.stop_tokens()
            assert sorted(every_stop) == [RETURN, END, CALL]
            recorded.append([token, ends_turn, token in every_stop])
            every_stop.clear()
    return recorded


@loop
def edits_ids_in_place(openai_harmony, encoding):
    """Lists that were handed out are the caller's; lists that were handed in are not kept."""
    messages = beginning(openai_harmony)
    conversation = openai_harmony.Conversation.from_messages(messages)
    nothing = openai_harmony.Conversation()
    roles = list(openai_harmony.Role)
    nothing_said = [
        openai_harmony.Message.from_role_and_contents(role, []).with_channel("final")
        for role in roles[:-1]  # a tool needs a name
    ]
    text = "shared <|end|> text"

    def lists():
        return [
            encoding.render_conversation_for_completion(
                conversation, openai_harmony.Role.ASSISTANT
            ),
            encoding.render_conversation(conversation),
            encoding.render_conversation_for_training(conversation),
            *(encoding.render(message) for message in messages),
            *(encoding.render_conversation_for_completion(nothing, role) for role in roles),
            *(encoding.render(empty) for empty in nothing_said),
            encoding.encode(text, disallowed_special=()),
            encoding.encode(text, allowed_special={"<|end|>"}),
        ]

    first = lists()
    expected = [list(ids) for ids in first]
    for ids in first:
        ids[0] = ids[-1] = 0
        ids.extend(ids)
        del ids[3:]
    assert lists() == expected

    completion = ids_of(encoding, ANSWER)
    parsed = encoding.parse_messages_from_completion_tokens(
        completion, openai_harmony.Role.ASSISTANT
    )
    parser = openai_harmony.StreamableParser(encoding, openai_harmony.Role.ASSISTANT)
    for position, token in enumerate(completion):
        parser.process(token)
        tokens = parser.tokens
        assert tokens == completion[: position + 1]
        tokens[0] = -1
        tokens.append(-1)
        parser.messages.clear()
        parser.state_data.clear()
    completion[:] = [0] * len(completion)
    messages.clear()
    assert lists()[:3] == expected[:3]
    assert parser.tokens[0] == CHANNEL
    return [expected, [brief(message) for message in parsed], shown(parser)]


@loop
def calls_tools_until_there_is_an_answer(openai_harmony, encoding):
    """Parse, append, run the tool, render again; then a second question."""
    Role = openai_harmony.Role
    conversation = openai_harmony.Conversation.from_messages(beginning(openai_harmony))
    model = iter([TOOL_CALL, PREAMBLE_AND_CALL, ANSWER, TOOL_CALL, ANSWER])
    recorded = []
    for question in (None, "And tomorrow?"):
        if question:
            asked = openai_harmony.Message.from_role_and_content(Role.USER, question)
            conversation.messages.append(asked)
        while conversation.messages[-1].channel != "final":
            prompt = encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)
            new = encoding.parse_messages_from_completion_tokens(
                ids_of(encoding, next(model)), Role.ASSISTANT
            )
            conversation.messages.extend(new)
            recorded.append([prompt, [brief(message) for message in new]])
            last = new[-1]
            if last.recipient is not None and last.recipient.startswith("functions."):
                city = json.loads(last.content[0].text)["city"]
                author = openai_harmony.Author.new(Role.TOOL, last.recipient)
                content = openai_harmony.TextContent(text=f"{city}: 20 °C <|end|>")
                conversation.messages.append(
                    openai_harmony.Message.from_author_and_content(author, content)
                    .with_recipient("assistant")
                    .with_channel("commentary")
                )
    assert next(model, None) is None
    keep = openai_harmony.RenderConversationConfig(auto_drop_analysis=False)
    again = openai_harmony.Conversation.from_json(conversation.to_json())
    assert encoding.render_conversation(again, keep) == encoding.render_conversation(
        conversation, config=keep
    )
    return [
        recorded,
        encoding.render_conversation_for_training(conversation),
        encoding.render_conversation_for_training(conversation, config=keep),
        conversation.to_json(),
    ]


@loop
def keeps_one_parser_for_all_turns(openai_harmony, encoding):
    """What the prompt has beyond the newest id of the model is fed to the same parser."""
    Role = openai_harmony.Role
    messages = beginning(openai_harmony)
    n_given = len(messages)
    parser = openai_harmony.StreamableParser(encoding, role=Role.ASSISTANT)
    recorded = []
    for completion in (TOOL_CALL, TOOL_CALL, ANSWER):
        for token in ids_of(encoding, completion):
            parser.process(token)
            recorded.append(shown(parser)[:7])
        messages = messages[:n_given] + parser.messages
        if parser.messages[-1].recipient is None:
            break
        author = openai_harmony.Author(role=Role.TOOL, name=parser.messages[-1].recipient)
        result = openai_harmony.Message(
            author=author,
            content=[openai_harmony.TextContent(text="20 °C")],
            recipient="assistant",
            channel="commentary",
        )
        prompt = encoding.render_conversation_for_completion(
            openai_harmony.Conversation.from_messages([*messages, result]), Role.ASSISTANT
        )
        newest = len(prompt) - prompt[::-1].index(token)
        for token in prompt[newest:]:
            parser.process(token)
            recorded.append(shown(parser)[:7])
    return [recorded, [brief(message) for message in parser.messages], parser.tokens]


@loop
def reads_what_is_left_of_a_cut_stream(openai_harmony, encoding):
    """The token limit may be reached anywhere: what is open is reported as it is."""
    recorded = []
    for completion in (ANSWER, PREAMBLE_AND_CALL):
        ids = ids_of(encoding, completion)
        for n in range(len(ids) + 1):
            parser = openai_harmony.StreamableParser(encoding, openai_harmony.Role.ASSISTANT)
            for token in ids[:n]:
                parser.process(token)
            left = shown(parser)
            written = json.dumps(parser.state_data)
            try:
                parser.process_eos()
                problem = None
            except openai_harmony.HarmonyError as error:
                problem = str(error)
            recorded.append([left, written, problem, shown(parser)])
    return recorded


MALFORMED = [
    "I must refuse<|end|>",
    "<|channel|>final I must refuse<|end|><|start|>assistant<|channel|>final<|message|>x<|return|>",
    "<|channel|>final<|end|>",
    "<|channel|><|end|>",
    "a  b\n\nc<|return|>",
    "<|end|>",
    "<|start|>assistant<|channel|>final hello<|end|><|start|>user<|message|>hi<|end|>",
    "I am sorry but<|message|>x<|end|>",
    "<|channel|>analysis<|message|>cut",
    "<|channel|>analysis",
    "",
    ANSWER,
    f"<|start|>assistant{TOOL_CALL}",
]


@loop
def reads_what_is_malformed(openai_harmony, encoding):
    """Whole and id by id, with and without a role, strict and not."""
    recorded = []
    for text in MALFORMED:
        ids = ids_of(encoding, text)
        for role in (None, openai_harmony.Role.ASSISTANT, openai_harmony.Role.TOOL):
            for strict in (True, False):
                try:
                    messages = encoding.parse_messages_from_completion_tokens(
                        tuple(ids), role=role, strict=strict
                    )
                    whole = [brief(message) for message in messages]
                except RuntimeError as error:
                    assert isinstance(error, openai_harmony.HarmonyError)
                    whole = str(error)
                parser = openai_harmony.StreamableParser(encoding, role, strict=strict)
                steps = []
                for token in ids:
                    try:
                        parser.process(token)
                        steps.append(shown(parser))
                    except openai_harmony.HarmonyError as error:
                        steps.append(str(error))
                recorded.append([text, whole, steps, parser.tokens])
    return recorded


@loop
def has_messages_in_models_of_its_own(openai_harmony, encoding):
    Message = openai_harmony.Message

    class Request(pydantic.BaseModel):
        messages: list[Message]
        earlier: list[Message | dict] = []
        chat: openai_harmony.Conversation | None = None
        role: openai_harmony.Role = openai_harmony.Role.USER
        effort: openai_harmony.ReasoningEffort | None = None
        content: openai_harmony.TextContent | str = ""

        @pydantic.field_serializer("messages", "earlier")
        def _as_written(self, messages):
            return [m.to_dict() if isinstance(m, Message) else m for m in messages]

        @pydantic.field_serializer("chat")
        def _chat_as_written(self, chat):
            return chat and chat.to_dict()

    messages = beginning(openai_harmony)
    chat = openai_harmony.Conversation.from_messages(messages)
    written = {"author": {"role": "user"}, "content": [], "channel": "final"}
    request = Request(
        messages=messages,
        earlier=[messages[0], messages[2].to_dict(), written],
        chat=chat,
        role="assistant",
        effort="High",
        content={"text": "x"},
    )
    assert all(one is other for one, other in zip(request.messages, messages, strict=True))
    assert request.chat is chat
    assert request.model_copy(deep=True) == request
    assert encoding.render_conversation(request.chat) == encoding.render_conversation(chat)
    recorded = [
        request.model_dump_json(),
        [type(message).__name__ for message in request.earlier],
        repr(Request(messages=[written, Message(**written)], chat={"messages": [written]})),
    ]
    wrong = [
        {},
        {"messages": ["x"]},
        {"messages": [5, None, {}]},
        {"messages": [{"author": {"role": "nobody"}, "content": [5], "channel": 5}]},
        {"messages": [openai_harmony.TextContent(text="x")]},
        {"messages": [], "chat": {"messages": [{"author": 5}]}, "role": "x", "effort": "high"},
        {"messages": [], "earlier": [5], "content": 5},
    ]
    for fields in wrong:
        try:
            recorded.append(repr(Request(**fields)))
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            recorded.append([str(error).replace("openai_harmony.", ""), problems])
    for mode in ("validation", "serialization"):
        recorded.append(without_descriptions(Request.model_json_schema(mode=mode)))
    adapter = pydantic.TypeAdapter(list[Message])
    recorded.append(repr(adapter.validate_json(json.dumps([written, written]))))
    return json.loads(re.sub("0x[0-9a-f]+", "", json.dumps(recorded)))


def without_descriptions(schema: Any) -> Any:
    """Descriptions of classes are their docstrings, and ours are not theirs."""
    if isinstance(schema, dict):
        return {
            key: without_descriptions(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [without_descriptions(each) for each in schema] if isinstance(schema, list) else schema


@loop
def serves_requests_in_threads(openai_harmony, encoding):
    """One encoding, a parser for each request."""
    n_threads = 8
    start = threading.Barrier(n_threads)
    completions = (ANSWER, TOOL_CALL, PREAMBLE_AND_CALL)

    def serve(number):
        start.wait()
        recorded = []
        for turn in range(6):
            conversation = openai_harmony.Conversation.from_messages(beginning(openai_harmony))
            question = f"{number}, {turn}: 今日は"
            conversation.messages.append(
                openai_harmony.Message.from_role_and_content(openai_harmony.Role.USER, question)
            )
            ids = encoding.render_conversation_for_completion(
                conversation, openai_harmony.Role.ASSISTANT
            )
            parser = openai_harmony.StreamableParser(encoding, openai_harmony.Role.ASSISTANT)
            for token in ids_of(encoding, completions[(number + turn) % 3]):
                parser.process(token)
                recorded.append(parser.last_content_delta)
            recorded.append([ids, shown(parser)])
        return recorded

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(serve, range(n_threads)))


@loop
def serves_a_batch_in_one_thread(openai_harmony, encoding):
    """One id of each request in turn; requests end at different times."""
    streams = [ids_of(encoding, text) for text in (ANSWER, TOOL_CALL, PREAMBLE_AND_CALL)]
    parsers = [
        openai_harmony.StreamableParser(encoding, openai_harmony.Role.ASSISTANT) for _ in streams
    ]
    recorded = []
    for position in range(max(map(len, streams))):
        for parser, ids in zip(parsers, streams, strict=True):
            if position < len(ids):
                parser.process(ids[position])
            recorded.append(shown(parser))
    return recorded


@loop
def handles_errors(openai_harmony, encoding):
    """The first handler that fits, as a server would write them, and the text."""
    Role, Message = openai_harmony.Role, openai_harmony.Message
    nameless = openai_harmony.Conversation.from_messages(
        [Message.from_role_and_content(Role.TOOL, "x")]
    )
    misplaced = Message.from_role_and_content(Role.USER, openai_harmony.SystemContent.new())
    calls = [
        lambda: openai_harmony.load_harmony_encoding("gpt-5"),
        lambda: encoding.encode("a <|start|> b"),
        lambda: openai_harmony.raise_disallowed_special_token("<|x|>"),
        lambda: encoding.decode([HELLO, UNKNOWN]),
        lambda: encoding.decode_utf8([HELLO, UNKNOWN]),
        lambda: encoding.decode_utf8([187]),
        lambda: encoding.decode([187], errors="strict"),
        lambda: encoding.decode([HELLO], errors="nobody"),
        lambda: encoding.render_conversation_for_completion(nameless, Role.ASSISTANT),
        lambda: encoding.render_conversation(nameless),
        lambda: encoding.render_conversation_for_training(nameless),
        lambda: encoding.render(nameless.messages[0]),
        lambda: encoding.render(misplaced),
        lambda: encoding.parse_messages_from_completion_tokens([HELLO]),
        lambda: encoding.parse_messages_from_completion_tokens([START]),
        lambda: encoding.parse_messages_from_completion_tokens([], Role.USER),
        lambda: Role("nobody"),
        lambda: Message.from_dict({"role": "user"}),
        lambda: Message.from_dict({"role": "user", "content": [{"type": "image"}]}),
        lambda: Message.from_role_and_content(Role.USER, None),
        lambda: openai_harmony.Conversation.from_json("{}"),
        lambda: openai_harmony.Conversation.from_json("{"),
        lambda: openai_harmony.Content().to_dict(),
    ]
    recorded = []
    for call in calls:
        try:
            recorded.append(["returned", repr(call())])
        except NotImplementedError as error:
            recorded.append(["NotImplementedError", str(error)])
        except RuntimeError as error:  # HarmonyError is one; which of both it is differs
            recorded.append(["RuntimeError", str(error)])
        except ValueError as error:
            recorded.append(["ValueError", str(error)])
        except LookupError as error:
            recorded.append(["LookupError", str(error)])
    return recorded


@loop
def makes_errors_again(openai_harmony, encoding):
    """As pools of workers do: from the class of an error and a text that names the worker."""
    Role, StreamableParser = openai_harmony.Role, openai_harmony.StreamableParser
    calls = [
        lambda: encoding.decode([HELLO, UNKNOWN]),
        lambda: encoding.decode_utf8([187]),
        lambda: StreamableParser(encoding, None).process(HELLO),
        lambda: StreamableParser(encoding, Role.USER).process_eos(),
    ]
    recorded = []
    for call in calls:
        try:
            call()
        except openai_harmony.HarmonyError as error:
            again = type(error)(f"in worker 3: {error}")
            recorded.append([str(again), isinstance(again, openai_harmony.HarmonyError)])
    assert len(recorded) == len(calls)
    return recorded


def record(openai_harmony) -> dict[str, Any]:
    """What every loop records."""
    name = openai_harmony.HarmonyEncodingName.HARMONY_GPT_OSS
    encoding = openai_harmony.load_harmony_encoding(name)
    return {name: function(openai_harmony, encoding) for name, function in LOOPS.items()}


RECORD = """
import json, sys
if sys.argv[1] == "harmony":
    import harmony
    harmony.install_as_openai_harmony()
import openai_harmony
assert openai_harmony.__name__ == sys.argv[1]
import test_drop_in
json.dump(test_drop_in.record(openai_harmony), sys.stdout)
"""


@pytest.fixture(scope="module")
def recorded_here():
    return json.loads(run(RECORD, "harmony"))


@pytest.fixture(scope="module")
def rank_folder(tmp_path_factory):
    """Where openai_harmony finds its vocabulary, as TIKTOKEN_ENCODINGS_BASE."""
    return str(rank_file(tmp_path_factory.mktemp("ranks")).parent)


@pytest.fixture(scope="module")
def recorded_there(rank_folder):
    official("openai_harmony")
    return json.loads(run(RECORD, "openai_harmony", TIKTOKEN_ENCODINGS_BASE=rank_folder))


@pytest.mark.parametrize("name", LOOPS)
def test_loop_runs(name, recorded_here):
    assert recorded_here[name]


@pytest.mark.parametrize("name", LOOPS)
def test_loop_records_the_same(name, recorded_here, recorded_there):
    here, there = recorded_here[name], recorded_there[name]
    assert len(here) == len(there)
    for number, (ours, theirs) in enumerate(zip(here, there, strict=True)):
        assert ours == theirs, f"entry {number}"


def test_what_the_loops_record(recorded_here):
    """A few facts, for a run without the official package."""
    stops = recorded_here["asks_for_stop_tokens_at_every_id"]
    assert [ends_turn for _, ends_turn, _ in stops].count(True) == 3
    assert [is_stop for _, _, is_stop in stops].count(True) == 6
    steps = recorded_here["reads_everything_after_each_id"]
    assert [text for _, _, deltas, *_ in steps for _, text in deltas][:2] == ["Look", " at"]
    assert sum(problem is not None for _, problem, *_ in steps) == 8
    tools = recorded_here["calls_tools_until_there_is_an_answer"][0]
    assert [messages[-1][3] for _, messages in tools] == [
        *["functions.get_weather"] * 2,
        None,
        "functions.get_weather",
        None,
    ]
    rest = recorded_here["reads_what_is_left_of_a_cut_stream"]
    assert rest[-1][0][7] == rest[-1][3][7]
    assert {problem for _, _, problem, _ in rest} == {
        None,
        "Unexpected EOS while waiting for message header to complete",
    }
    classes = recorded_here["has_messages_in_models_of_its_own"][1]
    assert classes[0] == "Message"


# --- the name

# Everything that vLLM, SGLang and the server of gpt-oss import, and what else is public.
IMPORTS = """
from openai_harmony import (
    Author,
    ChannelConfig,
    Content,
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    HarmonyEncodingName,
    HarmonyError,
    Message,
    ReasoningEffort,
    RenderConversationConfig,
    RenderOptions,
    Role,
    StreamState,
    StreamableParser,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
    load_harmony_encoding,
)
from openai_harmony import Message as HarmonyMessage, Role as HarmonyRole
"""
INSTALL = "import harmony\nharmony.install_as_openai_harmony()\n"


def test_names_that_servers_import():
    run(
        INSTALL
        + IMPORTS
        + """
import sys, importlib, importlib.util
import openai_harmony
import openai_harmony as oh
assert openai_harmony is oh is harmony is sys.modules["openai_harmony"]
assert importlib.import_module("openai_harmony") is harmony
assert importlib.util.find_spec("openai_harmony") is not None
assert Message is HarmonyMessage is harmony.Message
assert HarmonyError is harmony.HarmonyError
assert StreamableParser is harmony.StreamableParser
encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
assert isinstance(encoding, HarmonyEncoding)
assert encoding is harmony.load_harmony_encoding("HarmonyGptOss")
harmony.install_as_openai_harmony()
import openai_harmony
assert openai_harmony is harmony
try:
    from openai_harmony import no_such_name
except ImportError:
    pass
else:
    raise AssertionError
"""
    )


def test_modules_below_are_no_second_copies():
    run(
        INSTALL
        + """
import importlib, pickle, sys
import openai_harmony.messages
from openai_harmony.openai.chat import chat_message_from
import harmony.openai.chat
assert openai_harmony.messages is harmony.messages is sys.modules["harmony.messages"]
assert openai_harmony.messages.Message is harmony.Message
assert chat_message_from is harmony.openai.chat.chat_message_from
assert harmony.messages.__name__ == harmony.messages.__spec__.name == "harmony.messages"
n_finders = len(sys.meta_path)
harmony.install_as_openai_harmony()
assert len(sys.meta_path) == n_finders
for name in "openai_harmony.nothing", "openai_harmony.messages.nothing":
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)
"""
    )


def test_star_import():
    run(
        INSTALL
        + """
from openai_harmony import *
assert load_harmony_encoding("HarmonyGptOss").encode("hello") == [24912]
assert Role.USER and Message and Conversation and StreamState and HarmonyError
"""
    )


def test_another_name_by_hand():
    run(
        """
import harmony as openai_harmony
message = openai_harmony.Message.from_role_and_content(openai_harmony.Role.USER, "hello")
encoding = openai_harmony.load_harmony_encoding("HarmonyGptOss")
assert encoding.render(message) == [200006, 1428, 200008, 24912, 200007]
import sys
assert "openai_harmony" not in sys.modules
"""
    )


def test_names_can_be_patched():
    """As tests of servers do it; names that were never read before are put back as well."""
    run(
        INSTALL
        + """
from unittest import mock
with mock.patch("openai_harmony.load_harmony_encoding", return_value=5):
    from openai_harmony import load_harmony_encoding
    assert load_harmony_encoding("x") == 5
import openai_harmony
assert openai_harmony.load_harmony_encoding("HarmonyGptOss").name == "HarmonyGptOss"
with mock.patch.object(openai_harmony.HarmonyEncoding, "stop_tokens", return_value=[]):
    assert openai_harmony.load_harmony_encoding("HarmonyGptOss").stop_tokens() == []
assert openai_harmony.load_harmony_encoding("HarmonyGptOss").stop_tokens()
"""
    )


def test_beside_the_official_package():
    """Both in one process; whoever imports later gets this one."""
    official("openai_harmony")
    run(
        """
import openai_harmony
theirs = openai_harmony
from openai_harmony import Message as TheirMessage
import harmony
assert harmony.Message is not TheirMessage
harmony.install_as_openai_harmony()
import openai_harmony
assert openai_harmony is harmony is not theirs
assert theirs.Message is TheirMessage
"""
    )


def test_pickles_of_the_official_package_are_read(tmp_path):
    """They name their classes `openai_harmony.Message` and so on."""
    official("openai_harmony")
    write = """
import pickle, sys
from openai_harmony import *
import openai_harmony, test_drop_in
messages = test_drop_in.beginning(openai_harmony)
things = [
    Conversation.from_messages(messages), HarmonyError("x"), list(Role), StreamState.HEADER,
    openai_harmony.RenderConversationConfig(auto_drop_analysis=False),
    openai_harmony.RenderOptions(conversation_has_function_tools=True),
]
with open(sys.argv[1], "wb") as file:
    pickle.dump(things, file)
"""
    path = tmp_path / "things"
    run(write, str(path))
    read = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    conversation, error, roles, state, config, options = pickle.load(file)
import test_drop_in
assert conversation.messages == test_drop_in.beginning(harmony)
assert type(error) is harmony.HarmonyError and error.args == ("x",)
assert roles == list(harmony.Role) and state is harmony.StreamState.HEADER
assert config == harmony.RenderConversationConfig(auto_drop_analysis=False)
assert options == harmony.RenderOptions(conversation_has_function_tools=True)
"""
    run(INSTALL + read, str(path))


# --- ours alone


def test_lists_of_stop_tokens_are_new_and_in_order(encoding):
    for method, expected in (
        (encoding.stop_tokens, [RETURN, END, CALL]),
        (encoding.stop_tokens_for_assistant_actions, [RETURN, CALL]),
    ):
        kept = [method() for _ in range(3)]
        assert kept == [expected] * 3
        assert len({id(stops) for stops in kept}) == 3
        kept[0].reverse()
        kept[1].append(5)
        assert method() == kept[2] == expected


def test_a_message_that_is_assigned_to(encoding):
    ids = ids_of(encoding, TOOL_CALL)
    given = ids_of(encoding, f"<|start|>assistant{ANSWER}")

    def fed(some_ids):
        parser = harmony.StreamableParser(encoding, harmony.Role.ASSISTANT)
        for token in some_ids:
            parser.process(token)
        return parser

    parser, untouched = fed(ids), fed(ids)
    expected = [brief(message) for message in untouched.messages]
    thought, call = parser.messages
    thought.channel = "commentary"
    thought.author.name = "me"
    thought.content.append(harmony.TextContent(text="more"))
    call.content[0].text = "{}"
    call.with_recipient(None).author = harmony.Author.new(harmony.Role.TOOL, "x")

    # Later reads see it, and whoever holds the message.
    assert [one is other for one, other in zip(parser.messages, [thought, call], strict=True)] == [
        True,
        True,
    ]
    assert brief(parser.messages[0])[-2:] == ["I need the weather.", "more"]
    conversation = harmony.Conversation.from_messages(parser.messages)
    assert encoding.decode(encoding.render_conversation(conversation)) == (
        "<|start|>assistant:me<|channel|>commentary<|message|>I need the weather.more<|end|>"
        "<|start|>x<|channel|>commentary <|constrain|>json<|message|>{}<|end|>"
    )
    # Nothing else does.
    for twin in (parser.copy(), copy.copy(parser), copy.deepcopy(parser)):
        assert [brief(message) for message in twin.messages] == expected
    assert [brief(m) for m in pickle.loads(pickle.dumps(parser)).messages] == expected
    assert [brief(message) for message in fed(ids).messages] == expected
    whole = encoding.parse_messages_from_completion_tokens(ids, harmony.Role.ASSISTANT)
    assert [brief(message) for message in whole] == expected
    assert parser.state_data == untouched.state_data
    assert parser.tokens == untouched.tokens
    for token in given:
        parser.process(token)
        untouched.process(token)
        assert shown(parser)[:7] == shown(untouched)[:7]
        assert shown(parser)[7][2:] == shown(untouched)[7][2:]
    assert parser.messages[0] is thought and len(parser.messages) == 4
    # Nor do messages of a copy reach the original.
    twin = parser.copy()
    twin.messages[-1].channel = "elsewhere"
    assert parser.messages[-1].channel == "final"


def test_a_request_with_messages_keeps_their_content(encoding):
    class Request(pydantic.BaseModel):
        messages: list[harmony.Message]
        chat: harmony.Conversation | None = None

    messages = beginning(harmony)
    messages += encoding.parse_messages_from_completion_tokens(
        ids_of(encoding, TOOL_CALL), harmony.Role.ASSISTANT
    )
    request = Request(messages=messages, chat=harmony.Conversation(messages=messages))
    for back in (
        Request.model_validate_json(request.model_dump_json()),
        Request.model_validate(request.model_dump()),
        Request(**request.model_dump(exclude_unset=True)),
    ):
        assert back == request
        assert encoding.render_conversation(back.chat) == encoding.render_conversation(request.chat)


# --- docs/differences.md: a test for each row


def bench(openai_harmony, encoding) -> dict[str, Any]:
    """The names in which the expressions below are written: those of the library, and these."""
    Message, Role = openai_harmony.Message, openai_harmony.Role

    def load():
        return openai_harmony.load_harmony_encoding("HarmonyGptOss")

    def says(who, text="hello", name=None, **header):
        """A message; who: a role."""
        return Message.from_dict({"role": who, "name": name, "content": text, **header})

    def chat(*messages):
        return openai_harmony.Conversation.from_messages(messages)

    def schema(parameters):
        """A message that defines a function with these parameters."""
        tool = openai_harmony.ToolDescription.new("f", "", parameters)
        content = openai_harmony.DeveloperContent.new().with_function_tools([tool])
        return Message.from_role_and_content(Role.DEVELOPER, content)

    def nested(depth):
        parameters: dict[str, Any] = {"type": "string"}
        for _ in range(depth):
            parameters = {"type": "array", "items": parameters}
        return schema(parameters)

    def text_of(message, *options):
        return encoding.decode(encoding.render(message, *options))

    def as_ids(stream):
        return ids_of(encoding, stream) if isinstance(stream, str) else stream

    def parse(stream, role=None, strict=True):
        messages = encoding.parse_messages_from_completion_tokens(
            as_ids(stream), role and Role(role), strict=strict
        )
        return [brief(message) for message in messages]

    def fed(stream, role=None):
        """A parser after this, going on after errors."""
        parser = openai_harmony.StreamableParser(encoding, role and Role(role))
        for token in as_ids(stream):
            with contextlib.suppress(openai_harmony.HarmonyError):
                parser.process(token)
        return parser

    def replaced_on_message():
        """What a message renders as while `to_dict` of its class is something else."""
        fields = {"role": "user", "content": "replaced"}
        with mock.patch.object(Message, "to_dict", lambda self: fields):
            return text_of(says("user"))

    def replaced_in_subclass():
        class Mine(Message):
            def to_dict(self):
                return {"role": "user", "content": "replaced"}

        return text_of(Mine.from_role_and_content(Role.USER, "hello"))

    def stop_tokens_of_processes():
        """What `stop_tokens()` gives in new processes, until it is something else."""
        n_processes = 2 if openai_harmony is harmony else 20
        seen: set[str] = set()
        while len(seen) < 2 and n_processes:
            seen.add(run(f"{LOAD_IN_PROCESS}print(encoding.stop_tokens())", library))
            n_processes -= 1
        return seen

    def kept_of(script, render=encoding.render_conversation):
        """Which messages come back. Letters: the user's; analysis and final of the assistant."""
        messages = {
            "u": lambda text: says("user", text),
            "a": lambda text: says("assistant", text, channel="analysis"),
            "f": lambda text: says("assistant", text, channel="final"),
        }
        ids = render(chat(*(messages[word[0]](word) for word in script.split())))
        return " ".join(text for *_, text in parse(ids))

    library = openai_harmony.__name__
    public = {name: getattr(openai_harmony, name) for name in dir(openai_harmony)}
    return {**globals(), **public, **locals(), "__builtins__": __builtins__}


LOAD_IN_PROCESS = """
import sys, importlib
module = importlib.import_module(sys.argv[1])
try:
    encoding = module.load_harmony_encoding("HarmonyGptOss")
except module.HarmonyError as error:
    print("HarmonyError")
    sys.exit()
"""
NOWHERE = {"TIKTOKEN_ENCODINGS_BASE": "/nonexistent", "TIKTOKEN_RS_CACHE_DIR": "/nonexistent"}
FIRST_REFUSED = "Unexpected token 5 while expecting start token 200006"
REPLACED = "<|start|>user<|message|>replaced<|end|>"
WRITTEN = {"author": {"role": "user"}, "content": [{"type": "text", "text": "hello"}]}
LONG_NUMBER = 45.658802093481164
A_LONG_NUMBER = {"type": "object", "properties": {"a": {"type": "number", "default": LONG_NUMBER}}}
NEW = "\U0001f8c0"  # a character of Unicode 16
NEW_QUOTED = "\\u{1f8c0}" if unicodedata.category(NEW) == "Cn" else NEW
REMAINING = "unexpected tokens remaining in message header: Some"
REFUSED = "HarmonyError: " + REMAINING
CUT = "HarmonyError: Unexpected EOS while waiting for message header to complete"

# Title of the row, an expression, and what it gives here and there; of an error, how its class and
# text begin.
DIFFERENCES = [
    ("Text as bytes", "encoding.encode(b'hello')", [HELLO], "TypeError: "),
    ("Text as bytes", "encoding.encode(b'\\xff')", "InvalidUtf8Error: ", "TypeError: "),
    ("`TIKTOKEN_*` variables", "run(LOAD_IN_PROCESS + 'print(encoding.name)', library, **NOWHERE)",
     "HarmonyGptOss\n", "HarmonyError\n"),
    ("Loading an encoding twice", "load() is load()", True, False),
    ("Loading an encoding twice", "load() == load() and len({load(), load()}) == 1", True, False),
    ("`special_tokens_set`", "(own := load()).special_tokens_set.clear() or own.encode('<|end|>')",
     "HarmonyError: Encountered text", [27, 91, 419, 91, 29]),
    ("`special_tokens_set`", "setattr(load(), 'special_tokens_set', set())",
     "AttributeError: ", None),
    ("Order of the stop tokens", "stop_tokens_of_processes() == {'[200002, 200007, 200012]\\n'}",
     True, False),
    ("Pickling and copying", "pickle.loads(pickle.dumps(encoding)).name",
     "HarmonyGptOss", "TypeError: cannot pickle"),
    ("Pickling and copying", "pickle.loads(pickle.dumps(fed([*OPEN, HELLO]))).current_content",
     "hello", "TypeError: cannot pickle"),
    ("Pickling and copying", "copy.deepcopy(fed([*OPEN, HELLO])).current_content",
     "hello", "TypeError: cannot pickle"),
    ("Pickling and copying", "copy.copy(parser := fed([])).process(START) and parser.state.name",
     "EXPECT_START", "HEADER"),
    ("Modules of the classes", "HarmonyError.__module__", "harmony", "openai_harmony"),
    ("Modules of the classes", "Message.__module__", "harmony.messages", "openai_harmony"),
    ("Errors of rendering", "encoding.render(says('tool'))",
     "RenderError: Tools should", "RuntimeError: Tools should"),
    ("Errors of rendering", "encoding.render_conversation(chat(says('tool')))",
     "RenderError: Tools should", "RuntimeError: Tools should"),
    ("Errors of rendering", "encoding.render_conversation_for_training(chat(says('tool')))",
     "RenderError: Tools should", "RuntimeError: Tools should"),
    ("Errors of rendering",
     "encoding.render_conversation_for_completion(chat(says('tool')), Role.ASSISTANT)",
     "RenderError: Tools should", "HarmonyError: Tools should"),
    ("Classes of errors", "parse([5])",
     f"ParseError: {FIRST_REFUSED}", f"HarmonyError: {FIRST_REFUSED}"),
    ("Classes of errors", "encoding.decode([UNKNOWN])",
     "UnknownTokenError: Invalid token for decoding: 201089",
     "HarmonyError: Invalid token for decoding: 201089"),
    ("Texts of errors", "encoding.render(says('user', channel=5))",
     "ValueError: invalid message JSON: channel of message must be a string",
     "ValueError: invalid message JSON: invalid type: integer `5`"),
    ("Texts of errors", "encoding.encode(None)",
     "TypeError: text must be", "TypeError: expected string"),
    ("Texts of errors", "encoding.decode([-1])",
     "OverflowError: token id -1 at index 0", "OverflowError: out of range"),
    ("Schemas without end", "encoding.render(nested(5000))",
     "ValueError: invalid message JSON: recursion limit exceeded", "RecursionError: "),
    ("Dumps of pydantic", "says('user').model_dump()['content']",
     [{"type": "text", "text": "hello"}], [{}]),
    ("Dumps of pydantic", "Message.model_validate(WRITTEN).content[0].text",
     "hello", "AttributeError: 'Content' object"),
    ("JSON schemas of the models", "'description' in Message.model_json_schema()", True, False),
    ("Messages that a parser hands out",
     "(parser := fed([*OPEN, HELLO, END])).messages[0].with_channel('x') is parser.messages[0]",
     True, False),
    ("Class of the messages that a parser hands out",
     "type(fed([*OPEN, HELLO, END]).messages[0]).__name__", "ParsedMessage", "Message"),
    ("A role as plain text", "encoding.render_conversation_for_completion(chat(), 'assistant')",
     [START, ASSISTANT], "AttributeError: "),
    ("A role as plain text", "StreamableParser(encoding, 'assistant').current_role.value",
     "assistant", "AttributeError: "),
    ("A role as plain text",
     "len(encoding.parse_messages_from_completion_tokens([MESSAGE, HELLO, END], 'assistant'))",
     1, "AttributeError: "),
    ("Panics", "len(encoding.encode(' ' * 1_100_000 + 'x', disallowed_special=()))",
     8595, "PanicException: "),
    ("Names", "openai_harmony.__version__ == harmony.__version__", True, "AttributeError: "),
    ("Names", "'ReasoningEffort' in openai_harmony.__all__", True, False),
    ("Options", "RenderConversationConfig().model_dump()",
     {"auto_drop_analysis": True, "analysis_policy": "upstream", "header_order": "recipient_first", "validate_headers": False, "exact_numbers": False},
     {"auto_drop_analysis": True}),
    ("Response formats", "DeveloperContent().with_response_format('a', {}).to_dict()",
     {"response_formats": {"a": {"json_schema": {}}}, "type": "developer_content"},
     "AttributeError: "),
    ("Response formats", "DeveloperContent().model_dump()",
     {"instructions": None, "tools": None, "response_formats": None},
     {"instructions": None, "tools": None}),
    ("Response formats", "repr(DeveloperContent())",
     "DeveloperContent(instructions=None, tools=None)",
     "DeveloperContent(instructions=None, tools=None)"),
    ("Private parts", "type(encoding._inner).__name__", "AttributeError: ", "PyHarmonyEncoding"),
    ("Private parts", "HarmonyEncoding() == encoding", True, "TypeError: "),
    ("Private parts", "bool(importlib.import_module(f'{library}.openai_harmony'))",
     "ModuleNotFoundError: ", True),
    ("Methods replaced on `Message`", "replaced_on_message()",
     "<|start|>user<|message|>hello<|end|>", REPLACED),
    ("Methods replaced on `Message`", "replaced_in_subclass()", REPLACED, REPLACED),
    ("Unicode version in an error", "parse(NEW + ' x y<|message|>', 'user')",
     f'ParseError: {REMAINING}("{NEW_QUOTED}")', f'HarmonyError: {REMAINING}("{NEW}")'),
    ("Requirements", "requirements_of({'harmony': 'cyharmony'}.get(library, library))",
     {"numpy", "pydantic", "regex"}, {"pydantic"}),
]  # fmt: skip

# The same in both. A subclass of HarmonyError counts as that.
KEPT = [
    ("A string as a set of special tokens", "encoding.encode('hello', disallowed_special='xyo')",
     "HarmonyError: Encountered text corresponding to disallowed special token 'o'"),
    ("None in a written system message",
     "SystemContent.from_dict(SystemContent(model_identity=None).to_dict()).model_identity",
     "You are ChatGPT, a large language model trained by OpenAI."),
    ("Builders and assignment", "says('user').with_channel(5).channel", 5),
    ("Errors of `from_dict`", "Message.from_dict({'content': 'x'})", "KeyError: 'role'"),
    ("Errors of `from_dict`", "Message.from_dict({'role': 'user', 'content': None})",
     "TypeError: "),
    ("Errors of `from_dict`", "Message.from_dict({'role': 'user', 'content': ['x']})",
     "AttributeError: "),
    ("Errors of `from_dict`", "says('user', channel=5).channel", 5),
    ("Length of a conversation", "len(chat())",
     "TypeError: object of type 'Conversation' has no len()"),
    ("Long numbers in schemas",
     "'// default: 45.65880209348117\\n' in text_of(schema(A_LONG_NUMBER))", True),
    ("A tool with the name of a role", "text_of(says('tool', name='system'))",
     "<|start|>system<|message|>hello<|end|>"),
    ("Blanks and markers in header fields", "text_of(says('assistant', recipient='a b'))",
     "<|start|>assistant to=a b<|message|>hello<|call|>"),
    ("Blanks and markers in header fields", "text_of(says('assistant', channel='x<y'))",
     "<|start|>assistant<|channel|>x<y<|message|>hello<|end|>"),
    ("Headers that cannot be read back", "parse(encoding.render(says('user', name='bob')))",
     "HarmonyError: Unknown role: user:bob"),
    ("Headers that cannot be read back", "parse(encoding.render(says('tool', name='functions.f')))",
     "HarmonyError: Unknown role: functions.f"),
    ("Headers that cannot be read back",
     "parse(text_of(says('assistant', recipient='f', content_type='<|constrain|> json')))",
     f'{REFUSED}("to=f")'),
    ("Plain values for options",
     "encoding.render_conversation(chat(), {'auto_drop_analysis': True})", "AttributeError: "),
    ("Lone surrogates", "encoding.decode(encoding.encode('a\\ud800b'))", "a\ufffdb"),
    ("Lone surrogates", "encoding.render(says('user', 'a\\ud800b'))",
     "ValueError: invalid message JSON: "),
    ("Limits of schemas", "len(encoding.render(nested(119)))", 86),
    ("Limits of schemas", "len(encoding.render_conversation(chat(nested(117))))", 85),
    ("Limits of schemas", "encoding.render_conversation(chat(nested(118)))",
     "ValueError: invalid conversation JSON: recursion limit exceeded"),
    ("Limits of schemas", "encoding.render(nested(120))",
     "ValueError: invalid message JSON: recursion limit exceeded"),
    ("Limits of schemas", "encoding.render(schema({'default': float('nan')}))",
     "ValueError: invalid message JSON: "),
    ("Limits of schemas", "encoding.render(schema({'default': 10**400}))",
     "ValueError: invalid message JSON: "),
    ("Stop tokens in a header",
     "parse('<|channel|>final a b<|end|><|start|>assistant<|message|>y<|end|>', 'assistant')",
     [["assistant", None, "final", "a", "b<|end|><|start|>assistant", "y"]]),
    ("Between two messages", "parse([*OPEN, HELLO, END, RETURN])",
     "HarmonyError: Unexpected token 200002 while expecting start token 200006"),
    ("Between two messages", "parse([*OPEN, HELLO, END, 198, *OPEN], strict=False)",
     "HarmonyError: Unexpected token 198 while expecting start token 200006"),
    ("The role after a header that was refused",
     "shown(fed('a b c<|message|>x<|end|><|start|>user<|message|>y<|end|>', 'assistant'))[-1]",
     [["assistant", None, None, "user", None, "y"]]),
    ("A prompt, parsed with a role", "parse(encoding.render(says('user')), 'assistant')",
     [["assistant", None, None, "<|start|>user", None, "hello"]]),
    ("The last delta",
     "[(parser := fed(OPEN)) and [parser.process(t).last_content_delta for t in (9552, 9559, END)],"
     " parser.messages[0].content[0].text]",
     [[" ", "\ufffd", None], " \ufffd interesting"]),
    ("An id that stands for no token", "parse([*OPEN, 32, UNKNOWN, HELLO, HELLO, END])",
     [["assistant", None, "final", None, None, "A\ufffd"]]),
    ("An id that stands for no token", "parse([START, UNKNOWN, MESSAGE])",
     "HarmonyError: could not decode header"),
    ("Text that looks like a marker",
     "parse([START, *encoding.encode('user<|channel|>x', disallowed_special=()), MESSAGE, HELLO])",
     [["user", None, "x", None, None, "hello"]]),
    ("A content type without recipient",
     "parse(' <|constrain|>json<|message|>x<|end|>', 'assistant')",
     [["assistant", None, None, "<|constrain|>json", None, "x"]]),
    ("The name of a tool, parsed with a role", "parse('functions.f<|message|>x<|end|>', 'tool')",
     [["tool", None, None, "functions.f", None, "x"]]),
    ("An error in a list", "parse([*OPEN, HELLO, END, START, ASSISTANT])", CUT),
    ("`strict=False`", "parse('a  b\\n\\nc<|end|>', 'assistant', False)",
     [["assistant", None, None, None, None, "a b c"]]),
    ("`strict=False`",
     "parse('<|start|>assistant oops<|end|><|start|>assistant<|message|>z', None, False)",
     [["assistant", None, None, None, None, "z"]]),
    ("`strict=False`", "parse('I am sorry but<|message|>x<|end|>', 'assistant', False)",
     f'{REFUSED}("I am")'),
    # From here on, the specification says so, too.
    ("Builders change the object",
     "(base := SystemContent.new()).with_reasoning_effort(ReasoningEffort.HIGH) is base", True),
    ("`with_function_tools` twice",
     "[tool.name for tool in DeveloperContent()"
     ".with_function_tools([ToolDescription.new('a', '')])"
     ".with_function_tools([ToolDescription.new('b', '')]).tools['functions'].tools]",
     ["b"]),
    ('`recipient="all"`', "text_of(says('assistant', recipient='all'))",
     "<|start|>assistant<|message|>hello<|call|>"),
    ("Which analysis is left out", "kept_of('u0 a1 f2 u3 a4 f5')", "u0 f2 u3 a4 f5"),
    ("Which analysis is left out", "kept_of('u0 a1 f2 u3 a4')", "u0 a1 f2 u3 a4"),
    ("Rendering for training", "kept_of('a0 f1', encoding.render_conversation_for_training)", "f1"),
    ("Schemas with `anyOf`, `$ref` and the like",
     "'type f = (_: any) => any;' in text_of(schema({'anyOf': [{'type': 'string'}]}))", True),
    ("Ids that were refused", "fed([5]).tokens", [5]),
    ("Getters in a header", "shown(fed(OPEN[:-1]))[:3]", ["Header", None, None]),
    ("`content_tokens`", "fed([*OPEN, CHANNEL, 71, 72]).state_data['content_tokens']",
     [27, 91, 21453, 91, 29, 71, 72]),
    ("White space in headers", "parse('<|start|>user\\xa0to=x<|message|>x<|end|>')",
     "HarmonyError: Unknown role: user\xa0to=x"),
]  # fmt: skip


def requirements_of(distribution: str) -> set[str]:
    lines = importlib.metadata.requires(distribution) or []
    return {re.match(r"\w+", line)[0] for line in lines if "extra ==" not in line}


def titles_of(rows) -> list[str]:
    return [title for title, *_ in rows]


class Raised(str):
    """The class and the text of an exception."""


def gives(openai_harmony, encoding, expression: str, exact: bool) -> Any:
    """Value or Raised. Not `exact`: a subclass of HarmonyError counts as that."""
    try:
        return eval(expression, bench(openai_harmony, encoding))
    except BaseException as error:  # a panic is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        is_harmony_error = isinstance(error, openai_harmony.HarmonyError) and not exact
        return Raised(f"{'HarmonyError' if is_harmony_error else type(error).__name__}: {error}")


def is_as_expected(got: Any, expected: Any) -> bool:
    if isinstance(got, Raised):
        return isinstance(expected, str) and got.startswith(expected)
    return bool(got == expected)


pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


@pytest.mark.parametrize(
    ("title", "expression", "here", "there"), DIFFERENCES, ids=titles_of(DIFFERENCES)
)
def test_difference_here(title, expression, here, there, encoding):
    got = gives(harmony, encoding, expression, exact=True)
    assert is_as_expected(got, here), got


@pytest.mark.parametrize(
    ("title", "expression", "here", "there"), DIFFERENCES, ids=titles_of(DIFFERENCES)
)
def test_difference_there(title, expression, here, there, upstream, rank_folder, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", rank_folder)
    got = gives(official("openai_harmony"), upstream, expression, exact=True)
    assert is_as_expected(got, there), got


@pytest.mark.parametrize(("title", "expression", "expected"), KEPT, ids=titles_of(KEPT))
def test_kept_here(title, expression, expected, encoding):
    got = gives(harmony, encoding, expression, exact=False)
    assert is_as_expected(got, expected), got


@pytest.mark.parametrize(("title", "expression", "expected"), KEPT, ids=titles_of(KEPT))
def test_kept_there(title, expression, expected, upstream):
    got = gives(official("openai_harmony"), upstream, expression, exact=False)
    assert is_as_expected(got, expected), got


def test_the_page_has_these_rows():
    page = Path(__file__).parents[1] / "docs" / "differences.md"
    sections = dict(
        re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.M | re.S)
    )

    def titles_under(heading):
        first_cells = re.findall(r"^\| (.+?) \|", sections[heading], re.M)
        return [title for title in first_cells if title != "what"]

    assert titles_under("What differs") == list(dict.fromkeys(titles_of(DIFFERENCES)))
    kept = titles_under("Kept although the specification advises otherwise")
    kept += titles_under("Kept, and worth knowing")
    assert kept == list(dict.fromkeys(titles_of(KEPT)))


def test_ways_out_that_the_page_names(encoding):
    names = bench(harmony, encoding)
    says, text_of, schema = names["says"], names["text_of"], names["schema"]
    exact = harmony.RenderOptions(exact_numbers=True)
    assert f"// default: {LONG_NUMBER}\n" in text_of(schema(A_LONG_NUMBER), exact)
    for message in (says("tool", name="system"), says("assistant", recipient="a b")):
        assert text_of(message)
        with pytest.raises(harmony.HarmonyError, match=r"^message: "):
            text_of(message, harmony.RenderOptions(validate_headers=True))
    with pytest.raises(harmony.HarmonyError) as caught:
        encoding.parse_messages_from_completion_tokens([5])
    error = caught.value
    assert (error.position, error.token) == (0, 5)
    assert error.state is harmony.StreamState.EXPECT_START
    with pytest.raises(harmony.HarmonyError) as caught:
        encoding.parse_messages_from_completion_tokens([START, UNKNOWN, MESSAGE])
    assert str(UNKNOWN) in str(caught.value.__cause__)
    x: list = []
    for _ in range(24):
        x = [x, x]
    with pytest.raises(ValueError, match="more than 5000000 values"):
        encoding.render(schema({"default": x}))


# --- a thread that wants to run meanwhile

A_MEGABYTE = ("The quick brown fox jumps over the lazy dog, naïve 中文 too. " * 20_000)[:950_000]


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no lock to give up"
)
def test_other_threads_run_during_a_long_call(encoding):
    """A thread that asks for the interpreter lock again and again. During a call that holds the
    lock it comes to nothing; what it comes to during ours is compared with that, in calls of each
    kind by turns. The median of many, and more of them if the machine was too busy."""
    assert len(A_MEGABYTE.encode()) > 1_000_000
    message = harmony.Message.from_role_and_content(harmony.Role.ASSISTANT, A_MEGABYTE)
    conversation = harmony.Conversation.from_messages([message])
    ids = encoding.render_conversation(conversation)
    calls = {
        "render": lambda: encoding.render_conversation(conversation),
        "parse a list": lambda: encoding.parse_messages_from_completion_tokens(ids),
    }
    ticks = 0
    done = threading.Event()

    def tick():
        nonlocal ticks
        while not done.is_set():
            time.sleep(0)  # gives up the lock and asks for it
            ticks += 1

    def ticks_during(call) -> int:
        before = ticks
        call()
        return ticks - before

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        for _ in range(10):
            seen = {name: [] for name in calls}
            seen_while_held = []
            for _ in range(15):
                seen_while_held.append(ticks_during(lambda: sum(range(500_000))))
                for name, call in calls.items():
                    seen[name].append(ticks_during(call))
            # A thread that is put aside by the system in between sees more, never less.
            held = min(seen_while_held)
            for name, counts in seen.items():
                if statistics.median(counts) > 5 * (held + 1):
                    calls.pop(name)
            if not calls:
                break
    finally:
        done.set()
        ticker.join()
    assert not calls, (seen, seen_while_held)
