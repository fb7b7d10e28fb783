"""The recovering parser: equal to the reference, and the law where the reference cannot show it.

HARMONY_EXAMPLES scales the number of random streams.
"""

import contextlib
import copy
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recovering import in_order, joined, message_of, recover, skipped_of
from reference import parser as reference
from scale import scaled
from streams import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    CONTROLS,
    END,
    FIRST_SPECIAL,
    LAST_SPECIAL,
    MESSAGE,
    START,
    STOPS,
    random_streams,
)
from test_recovery_reference import (
    EXAMPLES,
    ROLES,
    VECTORS,
    _ids,
    cuts_inside_content,
    mutated,
    random_message,
    rendered,
)

from harmony import DiagnosticKind, ParseEventKind, _bpe, _parser
from harmony.errors import HarmonyError, ParseError
from harmony.messages import Role
from harmony.parsed import is_call, views
from harmony.parser import StreamableParser, StreamState, parse_messages_from_completion_tokens
from harmony.recovery import HeaderReader


@pytest.fixture(params=VECTORS, ids=lambda vector: vector["id"])
def vector(request):
    return request.param


def encode(encoding, text):
    return encoding.encode(text, allowed_special="all")


def check_against_reference(encoding, ids, role):
    where = ids, role
    expected = reference.parse(ids, role, encoding.decode_single_token_bytes)
    parser = recover(encoding, ids, role)
    assert [message_of(message) for message in parser.messages] == expected.messages, where
    assert in_order(parser.diagnostics) == in_order(expected.diagnostics), where
    return parser


def check_chunkings(encoding, ids, role, rng):
    """Law 5, and what events promise."""
    where = ids, role
    expected = recover(encoding, ids, role)
    told = None
    for cuts in (
        [],
        range(len(ids)),
        sorted(rng.choices(range(len(ids) + 1), k=3)),
    ):
        parser = StreamableParser(encoding, role, on_error="recover")
        events = []
        start = 0
        for stop in (*cuts, len(ids)):
            events += parser.process_many(ids[start:stop])
            start = stop
            if rng.random() < 0.1:
                parser = pickle.loads(pickle.dumps(parser.copy()))
        events += parser.finish()
        assert parser.messages == expected.messages, where
        assert [m.token_span for m in parser.messages] == [m.token_span for m in expected.messages]
        assert parser.diagnostics == expected.diagnostics, where
        assert parser.token_counts == expected.token_counts, where
        assert parser.tokens == ids
        check_events(events, parser)
        if told is None:
            told = joined(events)
        assert joined(events) == told, where
    return expected


def check_events(events, parser):
    messages = parser.messages
    texts = {}
    open_message = None
    for event in events:
        if event.kind is ParseEventKind.MESSAGE_START:
            assert open_message is None
            open_message = event.message_index
            assert open_message == len(texts)
            texts[open_message] = ""
            assert event.header.channel == messages[open_message].channel
        elif event.kind is ParseEventKind.DELTA:
            assert event.message_index == open_message
            assert event.text
            texts[open_message] += event.text
        elif event.kind is ParseEventKind.MESSAGE_END:
            assert event.message_index == open_message
            assert event.message == messages[open_message]
            assert event.message is not messages[open_message]
            assert event.token_span == event.message.token_span == messages[open_message].token_span
            assert texts[open_message] == event.message.content[0].text
            open_message = None
    assert open_message is None
    assert len(texts) == len(messages)
    told = [event.diagnostic for event in events if event.kind is ParseEventKind.DIAGNOSTIC]
    assert told == parser.diagnostics


def check_law(encoding, ids, role, rng):
    check_against_reference(encoding, ids, role)
    parser = check_chunkings(encoding, ids, role, rng)
    where = ids, role
    # 2. Never loses.
    spans = sorted([message.token_span for message in parser.messages] + skipped_of(parser))
    assert [span[0] for span in spans] == [0, *(span[1] for span in spans)][: len(spans)], where
    assert (spans[-1][1] if spans else 0) == len(ids), where
    # 3. Never leaks.
    spelled = encoding.decode_bytes([token for token in ids if token < FIRST_SPECIAL])
    if b"<|" not in spelled:
        for message in parser.messages:
            content_type = (message.content_type or "").removeprefix("<|constrain|>")
            fields = message.author.name, message.recipient, message.channel, content_type
            assert not any("<|" in (text or "") for text in (*fields, message.content[0].text))
    # 4. Never invents.
    for message in parser.messages:
        assert message.tool_name != ""
        assert message.complete == (message.end_token in STOPS)
    # 6, 7. Every repair is reported.
    if not parser.diagnostics:
        strict = StreamableParser(encoding, role)
        for token in ids:
            strict.process(token)
        assert strict.process_eos().messages == parser.messages, where
    counts = parser.token_counts
    assert sum(counts.values()) == len(ids), where
    assert min(counts.values()) >= 0, where
    return parser


# Streams seen in the wild


def test_messages_of_the_wild(vector, encoding):
    ids, role = vector["token_ids"], vector["role"]
    for messages in (
        recover(encoding, ids, role).messages,
        encoding.parse_messages_from_completion_tokens(ids, role, on_error="recover"),
        encoding.parse_messages_from_completion_tokens(
            np.array(ids), role, on_error="recover", strict=False
        ),
    ):
        names = ("role", "name", "channel", "recipient", "content_type", "text", "complete")
        found = [
            {name: getattr(message_of(message), name) for name in names} for message in messages
        ]
        assert found == vector["expected"]["messages"]


def test_views_of_the_wild(vector, encoding):
    expected = vector["expected"]
    messages = recover(encoding, vector["token_ids"], vector["role"]).messages
    found = views(messages)
    assert [list(call) for call in found.tool_calls] == expected["tool_calls"]
    assert found.reasoning == expected["reasoning"]
    assert found.content == expected["content"]
    calls = [
        [message.tool_name, message.tool_arguments]
        for message in messages
        if message.tool_arguments_complete
    ]
    assert calls == expected["tool_calls"]


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples(text, encoding):
    check_law(encoding, encode(encoding, text), "assistant", random.Random(text))


# The law


@pytest.mark.parametrize("seed", range(8))
def test_law_on_random_streams(seed, encoding):
    rng = random.Random(seed)
    for stream in random_streams(scaled(300), seed, encoding):
        check_law(encoding, stream.ids, stream.role, rng)


@pytest.mark.parametrize("seed", range(8))
def test_law_on_mutations_of_the_wild(seed, encoding):
    rng = random.Random(seed)
    for _ in range(scaled(300)):
        ids = mutated(rng, rng.choice(VECTORS)["token_ids"], encoding)
        check_law(encoding, ids, rng.choice(ROLES), rng)


def test_law_on_every_cut_of_the_wild(vector, encoding):
    rng = random.Random(vector["id"])
    ids = vector["token_ids"]
    for at in range(0, len(ids) + 1, max(1, round(1 / max(scaled(100) / 100, 0.01)))):
        role = rng.choice(ROLES)
        for changed in (
            ids[:at],
            ids[at:],
            ids[:at] + ids[at + 1 :],
            ids[: at + 1] + ids[at:],
            ids[: max(0, at - 1)] + ids[at : at + 1] + ids[max(0, at - 1) : at] + ids[at + 1 :],
        ):
            check_law(encoding, changed, role, rng)


def test_every_control_token_in_place_of_any_other(vector, encoding):
    rng = random.Random(vector["id"])
    ids = vector["token_ids"]
    for at in range(len(ids)):
        control = rng.choice((*CONTROLS, 199_999, LAST_SPECIAL + 1))
        check_law(encoding, [*ids[:at], control, *ids[at + 1 :]], vector["role"], rng)


@settings(max_examples=scaled(1000))
@given(ids=_ids, role=st.sampled_from(ROLES), seed=st.integers(0, 100))
def test_law_on_what_hypothesis_finds(encoding, ids, role, seed):
    check_law(encoding, ids, role, random.Random(seed))


LONG_LEADS = [
    "Hello", " there", " final", " to", "=x", " to=functions.f", " user", " json", ".", "?", "\n",
    " assistant", "assistant", " functions.f", "\u00a0", " 1", "to", "<|endoftext|>", "\U0001f600",
    " analysis", "final", "commentary", " code", "{", " x", "é", " ...",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_text_that_is_content_before_its_header_is_over(seed, encoding):
    """Long text without a marker is content as soon as it can be nothing else: that changes when,
    not what."""
    rng = random.Random(seed)
    n_early = 0
    for _ in range(scaled(400)):
        words = rng.choices(LONG_LEADS, k=rng.randint(4, 60))
        text = rng.choice(("", "<|start|>", "<|start|>assistant", "<|start|>bash")) + "".join(words)
        text += rng.choice(("", "<|end|>", "<|channel|>final<|message|>a<|end|>", "<|message|>b"))
        ids = encode(encoding, text + rng.choice(("", "<|start|>", "<|call|>")))
        parser = StreamableParser(encoding, None, on_error="recover")
        early = [event for event in parser.process_many(ids[:-1]) if event.kind == "DELTA"]
        n_early += bool(early)
        check_law(encoding, ids, rng.choice(ROLES), rng)
    assert n_early


@pytest.mark.parametrize("who", ["assistant", "bash", "final"])
def test_a_last_to_is_no_content_however_long_its_header(who, encoding):
    for n_words in range(20):
        text = "<|start|>" + who + " json" * n_words + " to\n"
        parser = check_law(encoding, encode(encoding, text), None, random.Random(n_words))
        assert parser.messages == []


@pytest.mark.parametrize("seed", range(4))
def test_broken_utf8_is_what_the_codec_makes_of_it(seed, encoding):
    rng = random.Random(seed)
    for stream in random_streams(scaled(200), seed + 100, encoding):
        content = [token for token in stream.ids if token < FIRST_SPECIAL]
        spelled = encoding.decode_bytes(content)
        parser = StreamableParser(encoding, "assistant", on_error="recover")
        parser.process_many([MESSAGE, *content])
        parser.process_many([rng.choice(STOPS)])
        (message,) = parser.messages
        assert message.content[0].text == spelled.decode("utf-8", "replace")


@pytest.mark.parametrize("seed", range(4))
def test_well_formed_streams_are_untouched(seed, encoding):
    rng = random.Random(seed)
    for _ in range(scaled(100)):
        messages = [random_message(rng) for _ in range(rng.randint(1, 4))]
        ids = rendered(encoding, messages, rng)
        role = None
        first = messages[0].author.role.value
        if first != "tool" and rng.random() < 0.5:
            role = first
            ids = ids[2:]
        for cut in [*cuts_inside_content(encoding, ids), len(ids)]:
            parser = recover(encoding, ids[:cut], role)
            assert parser.diagnostics == [], (cut, role, ids)
            strict = parse_messages_from_completion_tokens(encoding, ids[:cut], role)
            assert parser.messages == strict
            assert [m.token_span for m in parser.messages] == [m.token_span for m in strict]
            assert [m.complete for m in parser.messages] == [m.complete for m in strict]


# Strict and lenient parsers have events, too


@pytest.mark.parametrize("seed", range(4))
def test_events_of_parsers_that_raise(seed, encoding):
    rng = random.Random(seed)
    for stream in random_streams(scaled(300), seed, encoding):
        one = StreamableParser(encoding, stream.role, strict=stream.strict)
        many = StreamableParser(encoding, stream.role, strict=stream.strict)
        each, whole = [], []
        errors = []
        for token in stream.ids:
            try:
                each += one.process_many([token])
            except HarmonyError as error:
                each += error.events
                errors.append((str(error), error.position))
        rest = list(stream.ids)
        raised = []
        while rest:
            stop = rng.randint(1, len(rest))
            n_before = len(many.tokens)
            try:
                whole += many.process_many(rest[:stop])
            except HarmonyError as error:
                whole += error.events
                raised.append((str(error), error.position))
            rest = rest[len(many.tokens) - n_before :]
        assert raised == errors, stream
        for parser, events in ((one, each), (many, whole)):
            try:
                events += parser.finish()
            except HarmonyError as error:
                events += error.events
        assert joined(each) == joined(whole), stream
        assert one.messages == many.messages
        assert one.tokens == many.tokens == stream.ids
        assert one.token_counts == many.token_counts
        assert sum(one.token_counts.values()) == len(stream.ids)
        check_events(each, one)


def test_nothing_is_fed_if_one_is_no_id(encoding):
    parser = StreamableParser(encoding, "assistant")
    for wrong, error in (([MESSAGE, 1, "x"], TypeError), ([MESSAGE, -1], OverflowError)):
        with pytest.raises(error):
            parser.process_many(wrong)
        assert parser.tokens == []
        assert parser.state is StreamState.HEADER


def test_any_iterable_of_ids(encoding):
    ids = encode(encoding, "<|channel|>final<|message|>Hello there<|end|>")
    for tokens in (
        ids,
        tuple(ids),
        iter(ids),
        np.array(ids),
        np.array(ids, dtype=np.uint32)[::1],
        np.repeat(np.array(ids, dtype=np.int32), 2)[::2],
        memoryview(np.array(ids, dtype=np.uint64)),
        np.array(ids).tolist(),
    ):
        parser = StreamableParser(encoding, "assistant")
        kinds = [str(event.kind) for event in parser.process_many(tokens)]
        assert kinds == ["MESSAGE_START", "DELTA", "MESSAGE_END"]
        assert parser.tokens == ids
    assert parser.process_many([]) == []


# State


def test_what_a_recovering_parser_shows(encoding):
    parser = StreamableParser(encoding, "assistant", on_error="recover")
    assert parser.state is StreamState.HEADER
    assert parser.current_role is Role.ASSISTANT
    parser.process_many(encode(encoding, "<|channel|>final"))
    assert parser.state is StreamState.HEADER
    assert parser.state_data["header_tokens"] == encode(encoding, "<|channel|>final")
    parser.process_many(encode(encoding, "<|message|>Hello"))
    assert parser.state is StreamState.CONTENT
    assert (parser.current_channel, parser.current_content) == ("final", "Hello")
    assert parser.last_content_delta == "Hello"
    assert parser.state_data["content_tokens"] == encode(encoding, "Hello")
    parser.process(END)
    assert parser.state is StreamState.EXPECT_START
    assert parser.current_role is None
    parser.process_many(encode(encoding, "<|start|>assistant"))
    assert parser.state is StreamState.HEADER
    assert parser.state_data["header_tokens"] == encode(encoding, "assistant")


@pytest.mark.parametrize("seed", range(4))
def test_the_last_delta_is_what_the_id_added(seed, encoding):
    rng = random.Random(seed)
    for stream in random_streams(scaled(200), seed, encoding):
        limit = rng.choice((None, None, 3))
        parser = StreamableParser(
            encoding, stream.role, on_error="recover", max_header_tokens=limit
        )
        before = n_before = None
        for token in stream.ids:
            parser.process(token)
            delta = parser.last_content_delta
            assert delta != ""
            is_same = parser.state is StreamState.CONTENT and len(parser.messages) == n_before
            before = before if is_same else ""
            assert parser.current_content == before + (delta or ""), (stream, token)
            before, n_before = parser.current_content, len(parser.messages)


@pytest.mark.parametrize(
    "text",
    [
        "Frost<|end|>",
        "Frost<|start|>",
        "<|channel|>final Frost<|return|>",
        "<|channel|>commentary to=functions.f Frost<|call|>",
    ],
)
def test_a_message_that_ends_with_its_header_is_in_events_and_messages_only(text, encoding):
    parser = StreamableParser(encoding, "assistant", on_error="recover")
    deltas = []
    for token in encode(encoding, text):
        events = parser.process_many([token])
        deltas += [event.text for event in events if event.kind is ParseEventKind.DELTA]
        assert (parser.last_content_delta, parser.current_content) == (None, "")
    (message,) = parser.messages
    assert [content.text for content in message.content] == deltas == ["Frost"]


@pytest.mark.parametrize("on_error", ["raise", "recover"])
def test_reset(encoding, on_error):
    ids = encode(encoding, "<|channel|>final<|message|>Hello<|end|>")
    parser = StreamableParser(encoding, "assistant", on_error=on_error)
    first = parser.process_many(ids)
    assert parser.reset() is parser
    assert parser.messages == parser.tokens == parser.diagnostics == []
    assert set(parser.token_counts.values()) == {0}
    assert parser.process_many(ids) == first
    parser.reset(role=None)
    assert parser.process_many(encode(encoding, "<|start|>user") + ids)[0].header.role == "user"
    again = pickle.loads(pickle.dumps(parser))
    assert (again.messages, again.tokens) == (parser.messages, parser.tokens)
    with pytest.raises(ValueError, match="unknown role"):
        parser.reset(role="nobody")


def test_copies_at_every_point(vector, encoding):
    ids, role = vector["token_ids"], vector["role"]
    expected = recover(encoding, ids, role)
    for at in range(len(ids) + 1):
        parser = StreamableParser(encoding, role, on_error="recover")
        parser.process_many(ids[:at])
        for twin in (parser.copy(), copy.deepcopy(parser), pickle.loads(pickle.dumps(parser))):
            told = twin.process_many(ids[at:])
            assert told == parser.copy().process_many(ids[at:])
            twin.process_eos()
            assert twin.messages == expected.messages
            assert twin.diagnostics == expected.diagnostics
            assert twin.tokens == ids


def test_messages_that_were_handed_out_change_nothing(encoding):
    parser = StreamableParser(encoding, "assistant", on_error="recover")
    (*_, end) = parser.process_many(encode(encoding, "<|message|>a<|end|>"))
    parser.messages[0].channel = "changed"
    assert parser.messages[0].channel == "changed"
    assert end.message.channel is None
    assert parser.copy().messages[0].channel is None


def test_events_are_frozen_and_can_be_pickled(encoding):
    parser = StreamableParser(encoding, "assistant")
    events = parser.process_many(encode(encoding, "<|channel|>final<|message|>a<|end|>"))
    assert pickle.loads(pickle.dumps(events)) == events
    assert events[-1].message is events[-1].message
    assert pickle.loads(pickle.dumps(events[-1])).message == parser.messages[0]
    assert events[0].message is None
    for name in ("message", "kind", "other"):
        with pytest.raises(AttributeError):
            setattr(events[-1], name, None)


def test_arguments(encoding):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'recover'"):
        StreamableParser(encoding, None, on_error="ignore")
    with pytest.raises(ValueError, match="max_messages must be positive"):
        StreamableParser(encoding, None, max_messages=0)
    with pytest.raises(TypeError):
        StreamableParser(encoding, None, max_header_tokens="many")


# Threads


@pytest.mark.parametrize("name", ["judge", "is_content", "read_header", "read_front", "shown"])
def test_a_parser_that_is_fed_while_it_reads_a_header_does_no_harm(name, encoding, monkeypatch):
    """Headers are read in Python, where other threads may run. Here one does whenever it can; what
    the parser makes of it is nonsense, and no more than that."""
    parser = StreamableParser(encoding, "assistant", on_error="recover")
    read = getattr(HeaderReader, name)
    streams = [stream.ids for stream in random_streams(scaled(500), 0, encoding)]
    # What is made of so many ids is not remembered.
    streams += [
        encode(
            encoding, "<|start|>assistant<|channel|>final" + " word" * 100 + "<|message|>a<|end|>"
        ),
        encode(encoding, "<|start|>assistant<|channel|>final" + " word" * 100 + "<|end|>"),
        encode(encoding, " :" * 100 + "<|channel|>final<|message|>a<|end|>"),
    ]
    rng = random.Random(name)
    is_reading = False
    n_between = 0

    def read_with_company(*arguments, **options):
        nonlocal is_reading, n_between
        if not is_reading:
            is_reading = True
            n_between += 1
            with contextlib.suppress(TypeError, AttributeError, UnicodeDecodeError):
                rng.choice((parser.process_many, lambda _: parser.reset()))(rng.choice(streams))
            is_reading = False
        return read(*arguments, **options)

    monkeypatch.setattr(HeaderReader, name, read_with_company)
    for ids in streams:
        parser.reset()
        with contextlib.suppress(TypeError, AttributeError, UnicodeDecodeError):
            parser.process_many(ids)
    assert n_between
    (*_, end) = parser.reset().process_many(encode(encoding, "<|message|>a<|end|>"))
    assert end.message.content[0].text == "a"


# Token counts


def test_token_counts(encoding):
    parser = StreamableParser(encoding, "assistant", on_error="recover")

    def counts(text):
        parser.process_many(encode(encoding, text))
        return tuple(parser.token_counts.values())

    assert list(parser.token_counts) == ["reasoning", "content", "tool_arguments", "control"]
    assert counts("<|channel|>analysis<|message|>") == (0, 0, 0, 3)
    assert counts("one two") == (2, 0, 0, 3)
    assert counts("<|end|><|start|>assistant") == (2, 0, 0, 6)
    call = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}"
    n_header = len(encode(encoding, call)) - 1
    n = 6 + n_header
    assert counts(call) == (2, 0, 1, n)
    assert counts("<|call|>") == (2, 0, 1, n + 1)
    assert counts("<|start|>assistant<|channel|>final<|message|>a b c") == (2, 3, 1, n + 6)
    assert counts("<|endoftext|><|return|>") == (2, 3, 1, n + 8)
    # A call to a tool that named itself: known when it ends.
    assert counts("<|start|>bash<|message|>ls") == (2, 4, 1, n + 11)
    assert counts("<|call|>") == (2, 3, 2, n + 12)


# ParsedMessage


def test_tool_arguments(encoding):
    def call(arguments, to="functions.f"):
        ids = encode(encoding, f"<|channel|>analysis to={to} code<|message|>")
        return encoding.parse_messages_from_completion_tokens(
            [*ids, *encoding.encode_ordinary(arguments), CALL], "assistant"
        )[0]

    message = call('{"a": [1, 2.5]}')
    assert message.tool_name == "f"
    assert message.tool_arguments == '{"a": [1, 2.5]}'
    assert message.tool_arguments_json == {"a": [1, 2.5]}
    assert message.tool_arguments_complete
    for text in ("", '{"a": ', "NaN", "ls -l", "[" * 100_000):
        message = call(text)
        assert (message.tool_name, message.tool_arguments) == ("f", text)
        assert message.tool_arguments_json is None
        assert not message.tool_arguments_complete
    assert call("9" * 10_000).tool_arguments_complete
    assert call("{}", "lookup").tool_name == "lookup"
    for to in ("python", "browser.search", "container.exec", "user", "all", "", "functions."):
        message = call("{}", to)
        assert (message.tool_name, message.tool_arguments) == (None, None)
        assert not message.tool_arguments_complete
        assert not is_call(message.author.role, message.recipient)
    with pytest.raises(AttributeError):
        message.complete = True


def test_spans_of_strict_parsers(encoding):
    ids = encode(encoding, "<|start|>user<|message|>a<|end|><|start|>assistant<|message|>b")
    one, two = encoding.parse_messages_from_completion_tokens(ids)
    assert (one.complete, one.end_token, one.token_span) == (True, END, (0, 5))
    assert (two.complete, two.end_token, two.token_span) == (False, None, (5, 9))
    bare = encode(encoding, "Hello<|end|>")
    (one,) = encoding.parse_messages_from_completion_tokens(bare, "assistant", strict=False)
    assert (one.complete, one.end_token, one.token_span) == (True, END, (0, 2))


# Limits


def test_max_header_tokens(encoding):
    ids = encode(encoding, "<|start|>assistant<|channel|>final<|message|>a<|end|>")
    for limit in (4, 5, 100):
        parser = recover(encoding, ids, None, max_header_tokens=limit)
        assert [message.channel for message in parser.messages] == ["final"]
        assert parser.diagnostics == []
        StreamableParser(encoding, None, max_header_tokens=limit).process_many(ids)
    parser = recover(encoding, ids, None, max_header_tokens=3)
    kinds = [made.kind for made in parser.diagnostics]
    assert DiagnosticKind.LIMIT in kinds
    strict = StreamableParser(encoding, None, max_header_tokens=3)
    with pytest.raises(ParseError, match="max_header_tokens=3") as caught:
        strict.process_many(ids)
    assert caught.value.position == 3
    assert strict.state is StreamState.EXPECT_START


def test_text_longer_than_a_header_may_be_is_content(encoding):
    ids = encode(encoding, "to be " * 50)
    parser = StreamableParser(encoding, None, on_error="recover", max_header_tokens=5)
    events = parser.process_many(ids)
    assert [str(event.kind) for event in events] == [
        "MESSAGE_START",
        "DIAGNOSTIC",
        "DIAGNOSTIC",
        "DELTA",
    ]
    assert parser.state is StreamState.CONTENT
    (message,) = parser.process_eos().messages
    assert message.content[0].text == "to be " * 50


def test_max_messages(encoding):
    ids = encode(encoding, "<|start|>user<|message|>a<|end|>" * 3)
    for count in (3, 4):
        assert len(recover(encoding, ids, None, max_messages=count).messages) == 3
        StreamableParser(encoding, None, max_messages=count).process_many(ids)
    parser = recover(encoding, ids, None, max_messages=1)
    assert len(parser.messages) == 1
    (limit,) = parser.diagnostics
    assert (limit.kind, limit.token_span, limit.message_index) == (
        DiagnosticKind.LIMIT,
        (5, 15),
        None,
    )
    strict = StreamableParser(encoding, None, max_messages=1)
    with pytest.raises(ParseError, match="max_messages=1") as caught:
        strict.process_many(ids)
    assert caught.value.position == 5
    assert len(strict.messages) == 1
    with pytest.raises(ParseError, match="max_messages=1"):
        strict.process(START)


@pytest.mark.parametrize("seed", range(4))
def test_limits_keep_the_law(seed, encoding):
    rng = random.Random(seed)
    for stream in random_streams(scaled(200), seed, encoding):
        ids = stream.ids
        options = {"max_header_tokens": rng.randint(1, 9), "max_messages": rng.randint(1, 3)}
        parser = recover(encoding, ids, stream.role, **options)
        assert len(parser.messages) <= options["max_messages"]
        spans = sorted([message.token_span for message in parser.messages] + skipped_of(parser))
        where = ids, stream.role, options
        assert [span[0] for span in spans] == [0, *(span[1] for span in spans)][: len(spans)], where
        assert (spans[-1][1] if spans else 0) == len(ids), where
        whole = StreamableParser(encoding, stream.role, on_error="recover", **options)
        whole.process_many(ids)
        assert whole.process_eos().messages == parser.messages
        assert whole.diagnostics == parser.diagnostics
        expected = reference.parse(
            ids,
            stream.role,
            encoding.decode_single_token_bytes,
            max_messages=options["max_messages"],
        )
        parser = recover(encoding, ids, stream.role, max_messages=options["max_messages"])
        assert [message_of(message) for message in parser.messages] == expected.messages, where
        assert in_order(parser.diagnostics) == in_order(expected.diagnostics), where


# Growth


FAMILIES = {
    "one message": lambda n: [START, 173781, MESSAGE, *[24912] * (n - 4), END],
    "empty messages": lambda n: [START, 173781, MESSAGE, END] * (n // 4),
    "bare stops": lambda n: [END] * n,
    "starts": lambda n: [START] * n,
    "channels": lambda n: [CHANNEL] * n,
    "constrains": lambda n: [CONSTRAIN] * n,
    "an endless header": lambda n: [START, 173781, CHANNEL, *[1330] * (n - 3)],
    "channels and words": lambda n: [CHANNEL, 87] * (n // 2) + [END],
    "channels and words, cut": lambda n: [CHANNEL, 87] * (n // 2),
    "recipients": lambda n: [316, 28] * (n // 2) + [MESSAGE],
    "a name cut again and again": lambda n: [316, 28, 87, *[CHANNEL, 13, 87] * (n // 3), MESSAGE],
    "bare text": lambda n: [24912, 220] * (n // 2),
    "header words": lambda n: [CHANNEL, *[17196, 220] * (n // 2), END],
    "broken bytes": lambda n: [MESSAGE, *[2203] * (n - 1)],
    "brackets": lambda n: [8, 12, 11] * (n // 3) + [CHANNEL],
    "unknown ids": lambda n: [LAST_SPECIAL + 1] * n,
    "specials in content": lambda n: [MESSAGE, *[199999] * (n - 1)],
    "one long word": lambda n: [START, *[64] * (n - 2), MESSAGE],
}


def work(encoding, ids):
    """How many lines of Python the reader of headers runs, how many characters the texts have that
    these lines make, and what it hands to the interpreter: characters that its patterns look at are
    not counted, but each is looked at by a pattern that reads forward only."""
    import sys

    n = 0

    def enter(frame, event, argument):
        if not frame.f_code.co_filename.endswith("recovery.py"):
            return None
        known = dict(frame.f_locals)

        def count(frame, event, argument):
            nonlocal n
            n += event == "line"
            for name, value in frame.f_locals.items():
                if type(value) is str and known.get(name) is not value:
                    n += len(value)
            known.update(frame.f_locals)
            return count

        return count

    parser = StreamableParser(encoding, None, on_error="recover")
    before = sys.gettrace()
    sys.settrace(enter)
    try:
        parser.process_many(ids)
        parser.process_eos()
    finally:
        sys.settrace(before)
    return n + len(parser.messages) + len(parser.diagnostics)


@pytest.mark.parametrize("family", FAMILIES)
def test_twice_the_ids_are_at_most_twice_the_work(family, encoding):
    make = FAMILIES[family]
    work(encoding, make(100))  # what is remembered is read once
    assert work(encoding, make(4000)) <= 2.3 * work(encoding, make(2000)) + 100


@pytest.mark.skipif(_bpe.build_mode() != "debug", reason="steps are counted in the debug build")
@pytest.mark.parametrize("family", FAMILIES)
def test_twice_the_ids_are_at_most_twice_the_steps(family, encoding):
    def steps(ids):
        parser = StreamableParser(encoding, None, on_error="recover")
        _parser.reset_steps()
        parser.process_many(ids)
        parser.process_eos()
        return _parser.steps()

    make = FAMILIES[family]
    assert steps(make(20_000)) <= 2.3 * steps(make(10_000)) + 100


@pytest.mark.parametrize("family", FAMILIES)
def test_long_streams(family, encoding):
    # All of the million only when many examples are asked for: it takes minutes.
    ids = FAMILIES[family](min(1_000_000, scaled(50_000)))
    parser = StreamableParser(encoding, None, on_error="recover")
    parser.process_many(ids)
    parser.process_eos()
    spans = sorted([message.token_span for message in parser.messages] + skipped_of(parser))
    assert spans[0][0] == 0
    assert spans[-1][1] == len(ids)
    limited = StreamableParser(
        encoding, None, on_error="recover", max_header_tokens=100, max_messages=10
    )
    limited.process_many(ids)
    assert len(limited.process_eos().messages) <= 10
