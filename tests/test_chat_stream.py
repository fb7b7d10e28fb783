"""ChatStream: what clients assemble from deltas is what the messages say."""

import copy
import itertools
import json
from pathlib import Path

import chats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts

import harmony
from harmony import Conversation, Message, Role, StreamableParser
from harmony.openai import ChatStream, chat_message_from, finish_reason_of

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parent / "vectors" / "malformed.jsonl").read_text().splitlines()
]
CALL = 200012


def stream_of(encoding, role=Role.ASSISTANT, **options):
    return ChatStream(StreamableParser(encoding, role, on_error="recover"), **options)


def chunks_of(ids, cuts):
    """`ids` cut at `cuts`."""
    edges = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    return [ids[start:stop] for start, stop in itertools.pairwise(edges)]


def streamed(stream, chunks):
    choices = [choice for chunk in chunks for choice in stream.process_many(chunk)]
    return choices + stream.finish()


def assembled(choices):
    """As clients of the API put deltas together."""
    message = {"role": None, "content": None}
    calls = {}
    for choice in choices:
        delta = choice["delta"]
        message["role"] = delta.get("role", message["role"])
        for field in "content", "reasoning":
            if field in delta:
                message[field] = (message.get(field) or "") + delta[field]
        for part in delta.get("tool_calls", ()):
            call = calls.setdefault(
                part["index"], {"id": None, "type": None, "function": {"name": "", "arguments": ""}}
            )
            call["id"] = part.get("id", call["id"])
            call["type"] = part.get("type", call["type"])
            call["function"]["name"] += part["function"].get("name", "")
            call["function"]["arguments"] += part["function"]["arguments"]
    if calls:
        message["tool_calls"] = [calls[index] for index in range(len(calls))]
    return message


def check(encoding, ids, cuts, role=Role.ASSISTANT):
    for chunks in [[ids], [[token] for token in ids], chunks_of(ids, cuts)]:
        stream = stream_of(encoding, role)
        choices = streamed(stream, chunks)
        messages = stream.parser.messages
        assert messages == encoding.parse_messages_from_completion_tokens(
            ids, role, on_error="recover"
        )
        assert assembled(choices) == chat_message_from(messages)
        assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
        assert choices[-1]["finish_reason"] == finish_reason_of(messages)
        assert all(choice["delta"] for choice in choices[:-1])
        assert json.loads(json.dumps(choices)) == choices


cuts = st.lists(st.integers(0, 10_000), max_size=6)


@given(st.lists(chats.turns(built_in=True), max_size=4), cuts)
def test_deltas_of_conversations(encoding, turns, cuts):
    messages = [message for turn in turns for message in turn]
    ids = encoding.render_conversation(
        Conversation.from_messages(messages),
        harmony.RenderConversationConfig(auto_drop_analysis=False),
    )
    check(encoding, ids, cuts, None)
    check(encoding, ids[2:], cuts)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_deltas_of_recorded_streams(encoding, vector):
    check(encoding, vector["token_ids"], range(0, 60, 7), vector["role"])


@given(
    st.lists(
        st.one_of(
            st.sampled_from([200002, 200003, 200005, 200006, 200007, 200008, 200012, 173781, 35644, 17196, 12606, 815, 220, 1428]),
            st.integers(0, 300),
            st.integers(0, 202_000),
        ),
        max_size=40,
    ),
    cuts,
)  # fmt: skip
def test_deltas_of_anything(encoding, ids, cuts):
    check(encoding, ids, cuts)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["analysis", "final", "commentary", None]), texts(3), st.booleans()
        ),
        max_size=5,
    ),
    cuts,
)
def test_white_space_around_parts(encoding, parts, cuts):
    ids = []
    for channel, text, ends_in_call in parts:
        padded = f" \n{text}  \n"
        ids += encoding.render(chats.message(Role.ASSISTANT, padded, channel))
        if ends_in_call:
            ids[-1] = CALL
    check(encoding, ids[2:] if ids else ids, cuts)


def test_by_hand(encoding):
    ids = encoding.encode(
        "<|channel|>analysis<|message|> I should look. <|end|><|start|>assistant to=functions.get_x2d_weather"
        '<|channel|>commentary <|constrain|>json<|message|>{"place": "Malmö"}<|call|>',
        allowed_special="all",
    )
    stream = stream_of(encoding, call_id_prefix="call_7_")
    first = stream.process_many(ids[:5])
    assert first == [
        {"index": 0, "delta": {"role": "assistant", "reasoning": "I should"}, "finish_reason": None}
    ]
    second = stream.process_many(ids[5:])
    assert [list(choice["delta"]) for choice in second] == [["reasoning"], ["tool_calls"]]
    assert second[1]["delta"]["tool_calls"] == [
        {
            "index": 0,
            "id": "call_7_0",
            "type": "function",
            "function": {"name": "get-weather", "arguments": '{"place": "Malmö"}'},
        }
    ]
    assert stream.finish() == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert stream.parser.token_counts["tool_arguments"] > 0


def test_a_copy_goes_its_own_way(encoding):
    ids = encoding.encode("<|channel|>final<|message|>hello", allowed_special="all")
    stream = ChatStream(StreamableParser(encoding, Role.ASSISTANT, on_error="recover"))
    stream.process_many(ids[:-1])
    other = copy.copy(stream)
    said = [[*one.process_many(ids[-1:]), *one.finish()] for one in (other, stream)]
    assert said[0] == said[1] and said[0][0]["delta"]["content"] == "hello"


def test_a_stream_of_nothing(encoding):
    choices = [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop"}]
    assert stream_of(encoding).finish() == choices


def test_reasons(encoding):
    answer = encoding.encode("<|channel|>final<|message|>Hi", allowed_special="all")
    stream = stream_of(encoding)
    stream.process_many(answer)
    assert stream.finish()[-1]["finish_reason"] == "length"
    stream = stream_of(encoding)
    stream.process_many(answer)
    assert stream.finish("stop")[-1]["finish_reason"] == "stop"
    stream = stream_of(encoding)
    stream.process_many([*answer, 200002])
    assert stream.finish()[-1]["finish_reason"] == "stop"


def test_answers_are_said_as_they_come_in(encoding):
    ids = encoding.encode("<|channel|>final<|message|>one two three", allowed_special="all")
    stream = stream_of(encoding)
    said = [stream.process_many([token]) for token in ids]
    assert [len(choices) for choices in said] == [0, 0, 0, 1, 1, 1]


def test_the_stream_of_a_strict_parser_raises_as_it_does(encoding):
    stream = ChatStream(StreamableParser(encoding, Role.ASSISTANT))
    with pytest.raises(harmony.ParseError):
        stream.process_many(encoding.encode("a b c<|message|>", allowed_special="all"))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_comes_before_an_error_is_said_wherever_it_was_cut(encoding, size):
    ids = encoding.encode(
        "<|channel|>final<|message|>Hello, you<|end|> there<|start|>assistant<|message|>!<|end|>",
        allowed_special="all",
    )
    stream = ChatStream(StreamableParser(encoding, Role.ASSISTANT))
    choices = []
    for start in range(0, len(ids), size):
        try:
            choices += stream.process_many(ids[start : start + size])
        except harmony.ParseError as error:
            choices += stream.process_many(ids[error.position + 1 : start + size])
    choices += stream.finish()
    assert assembled(choices) == {"role": "assistant", "content": "Hello, you\n!"}


def test_messages_of_a_parser_go_into_the_next_request(encoding):
    """The way of an agent: completion, chat message, request, ids."""
    from harmony.openai import conversation_from_chat

    ids = encoding.encode(
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
        allowed_special="all",
    )
    stream = stream_of(encoding)
    message = assembled(streamed(stream, [ids]))
    conversation = conversation_from_chat([{"role": "user", "content": "hi"}, message])
    assert conversation.messages[2:] == [*map(Message.model_copy, stream.parser.messages)]
