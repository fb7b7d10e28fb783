"""StreamableParser: what the vectors and openai_harmony cannot show."""

import contextlib
import copy
import gc
import pickle
import random
import threading
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scale import scaled
from streams import (
    CALL,
    CHANNEL,
    END,
    MESSAGE,
    RETURN,
    START,
    STOPS,
    random_streams,
)

from harmony import _bpe, _parser
from harmony.errors import HarmonyError, ParseError
from harmony.messages import (
    Author,
    Conversation,
    Message,
    RenderConversationConfig,
    Role,
    TextContent,
)
from harmony.parsed import ParsedMessage
from harmony.parser import StreamableParser, StreamState, parse_messages_from_completion_tokens
from harmony.render import render_conversation

ASSISTANT, FINAL, HELLO = 173781, 17196, 24912
OPEN = [START, ASSISTANT, CHANNEL, FINAL, MESSAGE]  # up to and including <|message|>
HALF_EMOJI, OTHER_HALF = 31446, 244  # F0 9F 92, 96
TWICE_BROKEN = 2203  # 82 AC: neither byte begins a character
UNKNOWN = 201_089

debug_build_only = pytest.mark.skipif(
    _bpe.build_mode() != "debug", reason="steps are counted in the debug build"
)


def feed(parser, ids) -> None:
    """Feed all, going on after errors."""
    for token in ids:
        with contextlib.suppress(HarmonyError):
            parser.process(token)


def snapshot(parser) -> tuple:
    """All that a parser shows."""
    return (
        parser.state,
        parser.state_data,
        parser.current_role,
        parser.current_channel,
        parser.current_recipient,
        parser.current_content_type,
        parser.current_content,
        parser.last_content_delta,
        parser.tokens,
        parser.messages,
    )


def texts(messages) -> list[str]:
    return [message.content[0].text for message in messages]


# --- the automaton


def test_strict_and_lenient_differ_in_one_place():
    strict, lenient = _parser.transitions("STRICT"), _parser.transitions("LENIENT")
    assert strict.keys() == lenient.keys()
    assert {at for at in strict if strict[at] != lenient[at]} == {("HEADER", "stop")}
    assert (strict["HEADER", "stop"], lenient["HEADER", "stop"]) == ("COLLECT", "LEAVE")


def test_recovering_table_refuses_nothing():
    table = _parser.transitions("RECOVER")
    assert not {"REFUSE", "LEAVE", "APPEND", "FINISH"} & set(table.values())
    assert [at for at in table if table[at] == "CUT"] == [("PROMPTED", "end")]


def test_error_says_where(encoding):
    parser = StreamableParser(encoding, None)
    with pytest.raises(ParseError) as refused:
        parser.process(5)
    error = refused.value
    assert (error.position, error.token, error.state) == (0, 5, StreamState.EXPECT_START)
    parser.process(START)
    with pytest.raises(ParseError) as unreadable:
        parser.process(MESSAGE)
    error = unreadable.value
    assert (error.position, error.token, error.state) == (2, MESSAGE, StreamState.HEADER)
    parser.process(START)
    with pytest.raises(ParseError) as cut:
        parser.process_eos()
    assert (cut.value.position, cut.value.token, cut.value.state) == (4, None, StreamState.HEADER)
    again = pickle.loads(pickle.dumps(cut.value))
    assert (str(again), again.position, again.state) == (str(cut.value), 4, StreamState.HEADER)


def test_unreadable_header_keeps_the_reason(encoding):
    with pytest.raises(ParseError, match=r"^could not decode header$") as caught:
        parse_messages_from_completion_tokens(encoding, [START, UNKNOWN, MESSAGE])
    assert str(UNKNOWN) in str(caught.value.__cause__)


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize(
    ("token", "error", "text"),
    [
        (-1, OverflowError, "out of range integral type conversion attempted"),
        (1 << 32, OverflowError, "out of range integral type conversion attempted"),
        (1 << 64, OverflowError, "Python int too large to convert to C long"),
        (-(1 << 64), OverflowError, "Python int too large to convert to C long"),
        (1.0, TypeError, "argument 'token': 'float' object cannot be interpreted as an integer"),
        ("a", TypeError, "argument 'token': 'str' object cannot be interpreted as an integer"),
        (
            None,
            TypeError,
            "argument 'token': 'NoneType' object cannot be interpreted as an integer",
        ),
        (Index("x"), TypeError, r"argument 'token': __index__ returned non-int \(type str\)"),
        (Index(-5), OverflowError, "out of range"),
    ],
)
def test_what_is_no_id_changes_nothing(token, error, text, encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, [*OPEN, HELLO])
    before = snapshot(parser)
    with pytest.raises(error, match=text):
        parser.process(token)
    assert snapshot(parser) == before


@pytest.mark.parametrize("number", [True, np.uint8(1), np.int64(1), Index(1)])
def test_integers_of_other_types_are_ids(number, encoding):
    parser = StreamableParser(encoding, None)
    with pytest.raises(HarmonyError, match=r"^Unexpected token 1 while expecting"):
        parser.process(number)
    assert parser.tokens == [1]


def test_arguments(encoding):
    for role, error in ((5, AttributeError), ([], AttributeError), ("nobody", ValueError)):
        with pytest.raises(error):
            StreamableParser(encoding, role)
        with pytest.raises(error):
            parse_messages_from_completion_tokens(encoding, [], role)
    for strict in (0, 1, "x", []):
        with pytest.raises(TypeError):
            StreamableParser(encoding, None, strict=strict)
        with pytest.raises(TypeError):
            parse_messages_from_completion_tokens(encoding, [], strict=strict)
    for strict in (None, True, False, np.True_):
        StreamableParser(encoding, None, strict=strict)
    with pytest.raises(AttributeError):
        StreamableParser(None, None)
    with pytest.raises(TypeError):
        StreamableParser(encoding)
    with pytest.raises(TypeError):
        StreamableParser(encoding, None, True)


@pytest.mark.parametrize("role", Role)
def test_a_role_may_be_plain_text(role, encoding):
    ids = [MESSAGE, HELLO, END]
    expected = parse_messages_from_completion_tokens(encoding, ids, role)
    for text in (role.value, np.str_(role.value)):
        parser = StreamableParser(encoding, text)
        assert parser.current_role is role
        assert parse_messages_from_completion_tokens(encoding, ids, text) == expected
        assert pickle.loads(pickle.dumps(parser.reset(text))).current_role is role


@pytest.mark.parametrize("ids", [5, None, "ab", [1.0], ["x"], [[1]], [5, "x"], np.array([1.5])])
def test_ids_of_wrong_types(ids, encoding):
    with pytest.raises(TypeError):
        parse_messages_from_completion_tokens(encoding, ids)


@pytest.mark.parametrize(
    "ids", [[-1], [1 << 32], [5, -1], np.array([5, -1]), array("q", [1 << 40])]
)
def test_ids_out_of_range(ids, encoding):
    # Also where the stream is refused before that id.
    with pytest.raises(OverflowError):
        parse_messages_from_completion_tokens(encoding, ids)


def test_a_parser_without_constructor_is_harmless(encoding):
    # The header below has been read before, by another parser.
    feed(StreamableParser(encoding, None), [START, ASSISTANT, MESSAGE])
    parser = StreamableParser.__new__(StreamableParser)
    for name in ("state", "current_role", "current_content", "last_content_delta", "messages"):
        assert not getattr(parser, name)
    parser.process(START)
    assert parser._content_chunks() == []
    with pytest.raises(RuntimeError):
        parser.process(MESSAGE)
    assert parser.tokens == [START, MESSAGE]
    parser = StreamableParser.__new__(StreamableParser)
    with pytest.raises(RuntimeError):
        parser.process_many([START, ASSISTANT, MESSAGE, HELLO])
    with pytest.raises((TypeError, AttributeError)):
        StreamableParser.__init__(parser, "no encoding", None)


def test_only_the_encoding_of_the_format_is_one(tokenizer, base_tokenizer):
    for other in (tokenizer, base_tokenizer):
        with pytest.raises(TypeError, match="a HarmonyEncoding is needed, not "):
            StreamableParser(other, None)


def test_a_parser_without_constructor_remembers_no_header(encoding):
    StreamableParser(encoding, None).process_many(OPEN)
    parser = StreamableParser.__new__(StreamableParser)
    with pytest.raises(RuntimeError):
        feed(parser, [*OPEN, HELLO])


def test_constructing_again_starts_again(encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, [*OPEN, HELLO, END, *OPEN, HELLO])
    parser.__init__(encoding, Role.USER)
    assert snapshot(parser) == snapshot(StreamableParser(encoding, Role.USER))


# --- content


def test_deltas_lag_behind_broken_utf8(encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, OPEN)
    deltas = [parser.process(token).last_content_delta for token in (9552, 9559)]
    assert deltas == [" ", "\ufffd"]
    assert parser.current_content == " \ufffd"
    parser.process(END)
    assert texts(parser.messages) == [" \ufffd interesting"]


@pytest.mark.parametrize("ids", [[HALF_EMOJI] * 3, [TWICE_BROKEN] * 40, [9552, 9559, UNKNOWN, 33]])
def test_content_is_the_sum_of_the_deltas(ids, encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, OPEN)
    content = ""
    for token in ids:
        content += parser.process(token).last_content_delta or ""
        assert parser.current_content == content


def test_reading_content_now_and_then(encoding):
    ids = encoding.encode_ordinary("plain, naïve, 中文, 😀 and plain again " * 20)
    for every in (1, 2, 7, 50):
        parser = StreamableParser(encoding, None)
        feed(parser, OPEN)
        kept = []
        for i, token in enumerate(ids):
            parser.process(token)
            if i % every == 0:
                kept.append((i, parser.current_content))
        for i, content in kept:
            whole = encoding.decode_bytes(ids[: i + 1])
            assert content == whole[: len(content.encode())].decode()
            assert len(whole) - len(content.encode()) < 4  # an unfinished character at most
        parser.process(END)
        assert texts(parser.messages) == [encoding.decode(ids)]


@pytest.mark.parametrize("text", ["plain ", "naïve ", "中文 ", "😀 ", "a\ufffdb"])
@pytest.mark.parametrize("n_bytes", [100, 16_383, 16_384, 16_385, 300_000])
def test_long_content(text, n_bytes, encoding):
    whole = text * (n_bytes // len(text.encode()) + 1)
    ids = [*OPEN, *encoding.encode_ordinary(whole), END] * 2
    for given_ids in (ids, tuple(ids), np.array(ids), np.array(ids, np.uint32)):
        messages = parse_messages_from_completion_tokens(encoding, given_ids)
        assert texts(messages) == [whole, whole]


def test_long_broken_content(encoding):
    # Each id adds two ill-formed sequences and replaces one.
    n = 40_000
    expected = "\ufffd" * (2 * n)
    ids = [*OPEN, *[TWICE_BROKEN] * n, END]
    assert texts(parse_messages_from_completion_tokens(encoding, ids)) == [expected]
    parser = StreamableParser(encoding, None)
    feed(parser, ids[:-1])
    assert parser.current_content == "\ufffd" * n
    assert texts(parser.process_eos().messages) == [expected]


# --- however the stream is fed


def inputs_of(ids):
    yield ids
    yield tuple(ids)
    yield iter(ids)
    yield array("I", ids)
    yield np.array(ids, dtype=np.int64)
    yield np.array(ids, dtype=np.uint32)
    yield np.array([ids, ids], dtype=np.uint64).T[:, 0]


@pytest.mark.parametrize("seed", range(4))
def test_whole_list_equals_one_by_one(seed, encoding):
    rng = random.Random(seed)
    for stream in random_streams(scaled(300), seed, encoding):
        role = stream.role and Role(stream.role)
        parser = StreamableParser(encoding, role, strict=stream.strict)
        expected = None
        try:
            for token in stream.ids:
                parser.process(token)
            expected = parser.process_eos().messages
        except HarmonyError as error:
            problem = (str(error), error.position, error.token, error.state)
        for ids in rng.sample(list(inputs_of(stream.ids)), 2):
            if expected is not None:
                got = parse_messages_from_completion_tokens(
                    encoding, ids, role, strict=stream.strict
                )
                assert got == expected, stream
                continue
            with pytest.raises(ParseError) as caught:
                parse_messages_from_completion_tokens(encoding, ids, role, strict=stream.strict)
            error = caught.value
            assert (str(error), error.position, error.token, error.state) == problem, stream


@pytest.mark.parametrize("seed", range(2))
def test_long_streams_whole_and_one_by_one(seed, encoding):
    # Longer than what is read from a list, and than what is appended, in one go.
    rng = random.Random(seed)
    streams = [s.ids for s in random_streams(300, seed, encoding) if s.kind == "broken utf-8"]
    body = [token for ids in streams for token in ids if token not in STOPS]
    known = [token for token in body if token < UNKNOWN]
    ids = []
    for part in (known, body, known, known):
        start = rng.randrange(len(part))
        ids += [*OPEN, *(part[start:] + part[:start]) * 60, rng.choice(STOPS)]
        ids += [*OPEN, rng.choice(STOPS)] * rng.randint(0, 3)
    assert len(ids) > 2 * 65_536
    parser = StreamableParser(encoding, None)
    feed(parser, ids)
    assert parse_messages_from_completion_tokens(encoding, ids) == parser.messages


@given(st.lists(st.text(), max_size=4), st.data())
def test_any_text_survives(encoding, contents, data):
    ids = []
    for text in contents:
        ids += [*OPEN, *encoding.encode_ordinary(text), data.draw(st.sampled_from(STOPS))]
    assert texts(parse_messages_from_completion_tokens(encoding, ids)) == contents
    parser = StreamableParser(encoding, None)
    deltas = [parser.process(token).last_content_delta or "" for token in ids]
    assert "".join(deltas) == "".join(contents)


FIELD = st.text(st.sampled_from("abcxyz_-.09éß中"), min_size=1, max_size=8)


@st.composite
def conversations(draw) -> Conversation:
    """Conversations whose headers can be read back: fields without white space or markers, tools
    with a name that is no role and a recipient or no content type."""
    messages = []
    for _ in range(draw(st.integers(0, 5))):
        role = draw(st.sampled_from(list(Role)))
        name = None
        recipient = draw(st.none() | FIELD.map("functions.".__add__) | st.just("assistant"))
        content_type = draw(st.none() | st.sampled_from(["json", "<|constrain|>json", "code"]))
        if role is Role.TOOL:
            name = draw(FIELD.map("functions.".__add__))
            recipient = recipient or "assistant"
        if recipient is None:
            content_type = None  # it would be read as the recipient
        author = Author(role=role, name=name)
        message = Message.from_author_and_content(author, draw(st.text(max_size=40)))
        message.channel = draw(st.none() | st.sampled_from(["analysis", "commentary", "final"]))
        message.recipient = recipient
        message.content_type = content_type
        messages.append(message)
    return Conversation.from_messages(messages)


@given(conversations())
def test_rendering_what_was_parsed_gives_the_ids(encoding, conversation):
    config = RenderConversationConfig(auto_drop_analysis=False)
    ids = render_conversation(encoding, conversation, config)
    messages = parse_messages_from_completion_tokens(encoding, ids)
    assert messages == conversation.messages
    assert render_conversation(encoding, Conversation.from_messages(messages), config) == ids


# --- messages


def test_messages_are_the_same_objects_in_a_new_list(encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, [*OPEN, HELLO, END] * 3)
    first, second = parser.messages, parser.messages
    assert first is not second
    assert len(first) == 3
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert len({id(message) for message in first}) == 3
    first.clear()
    assert parser.messages == second
    feed(parser, [*OPEN, HELLO, END])
    assert [one is other for one, other in zip(parser.messages, second, strict=False)] == [True] * 3


def test_assignments_reach_later_reads_and_nothing_else(encoding):
    parser = StreamableParser(encoding, None)
    ids = [*OPEN, HELLO, END, START, ASSISTANT, MESSAGE, HELLO]
    feed(parser, ids)
    untouched = [message.model_copy(deep=True) for message in parser.messages]
    message = parser.messages[0]
    message.recipient = "functions.f"
    message.author.name = "somebody"
    message.content.append(TextContent(text="more"))
    message.content[0].text = "else"
    assert parser.messages[0] is message
    for twin in (parser.copy(), copy.deepcopy(parser), pickle.loads(pickle.dumps(parser))):
        assert twin.messages == untouched
        twin.messages[0].channel = "nowhere"
    parser.process(END)
    assert parser.messages[0] is message
    assert (message.channel, message.recipient) == ("final", "functions.f")
    # The next message of the same kind has nothing of it.
    feed(parser, [*OPEN, HELLO, END])
    assert parser.messages[2] == untouched[0]


def test_messages_are_like_validated_ones(encoding):
    tool = encoding.encode("functions.f to=assistant<|channel|>commentary", allowed_special="all")
    parser = StreamableParser(encoding, None)
    feed(parser, [*OPEN, HELLO, END, START, *tool, MESSAGE, HELLO, END])
    author = Author(role=Role.ASSISTANT, name=None)
    plain = Message(
        author=author,
        content=[TextContent(text="hello")],
        channel="final",
        recipient=None,
        content_type=None,
    )
    other = Message(
        author=Author(role=Role.TOOL, name="functions.f"),
        content=[TextContent(text="hello")],
        channel="commentary",
        recipient="assistant",
        content_type=None,
    )
    for read, made in zip(parser.messages, (plain, other), strict=True):
        assert read == made
        assert made == read
        assert type(read) is ParsedMessage
        assert read.model_dump() == made.model_dump()
        assert repr(read) == repr(made)
        assert read.to_json() == made.to_json()
        assert read.model_dump_json() == made.model_dump_json()
        for one, two in (
            (read, made),
            (read.author, made.author),
            (read.content[0], made.content[0]),
        ):
            assert one.model_fields_set == two.model_fields_set
            assert one.model_extra == two.model_extra
            assert one.__dict__ == two.__dict__
            assert list(one.__dict__) == list(two.__dict__)
            assert one is read or one.__getstate__() == two.__getstate__()
        assert (
            read.__pydantic_private__.keys()
            == ParsedMessage(author=author).__pydantic_private__.keys()
        )
        assert pickle.loads(pickle.dumps(read)) == made
        assert copy.deepcopy(read) == made
        assert read.model_copy(update={"channel": "x"}).channel == "x"
        assert Message.model_validate(read) is read
        assert Conversation(messages=[read]).messages[0] is read
        assert read.model_fields_set is not read.author.model_fields_set


# --- copies and pickles


def ways_to_copy(parser):
    yield parser.copy()
    yield copy.copy(parser)
    yield copy.deepcopy(parser)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(parser, protocol))


SPLIT_CHARACTERS = [
    *OPEN, HELLO, HALF_EMOJI, OTHER_HALF, 9552, 9559, HALF_EMOJI, END,
    *OPEN, HELLO, UNKNOWN, HELLO, END, 5, START, *OPEN, TWICE_BROKEN, TWICE_BROKEN, HELLO, CALL,
]  # fmt: skip


@pytest.mark.parametrize("role", [None, Role.ASSISTANT])
@pytest.mark.parametrize("strict", [True, False])
def test_copies_at_every_place(role, strict, encoding):
    for cut in range(len(SPLIT_CHARACTERS) + 1):
        parser = StreamableParser(encoding, role, strict=strict)
        feed(parser, SPLIT_CHARACTERS[:cut])
        before = snapshot(parser)
        twins = list(ways_to_copy(parser))
        for twin in twins:
            assert type(twin) is StreamableParser
            assert snapshot(twin) == before
            feed(twin, SPLIT_CHARACTERS[cut:])
        assert snapshot(parser) == before
        feed(parser, SPLIT_CHARACTERS[cut:])
        for twin in twins:
            assert snapshot(twin) == snapshot(parser)


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_random_streams(seed, encoding):
    rng = random.Random(seed)
    for stream in random_streams(scaled(150), seed + 50, encoding):
        parser = StreamableParser(encoding, stream.role and Role(stream.role), strict=stream.strict)
        cut = rng.randint(0, len(stream.ids))
        for token in stream.ids[:cut]:
            feed(parser, [token])
            if rng.random() < 0.05:
                with contextlib.suppress(HarmonyError):
                    parser.process_eos()
            if rng.random() < 0.1:
                _ = parser.current_content
        twins = list(ways_to_copy(parser))
        for some_parser in (parser, *twins):
            feed(some_parser, stream.ids[cut:])
        for twin in twins:
            assert snapshot(twin) == snapshot(parser), stream


class NamedParser(StreamableParser):
    def __init__(self, name, encoding):
        super().__init__(encoding, Role.ASSISTANT)
        self.name = name


def test_copies_of_subclasses_keep_their_attributes(encoding):
    parser = NamedParser("a", encoding)
    parser.seen = [1]
    parser.itself = parser
    feed(parser, [MESSAGE, HELLO])
    for twin in ways_to_copy(parser):
        assert type(twin) is NamedParser
        assert (twin.name, twin.seen, twin.current_content) == ("a", [1], "hello")
    assert copy.copy(parser).seen is parser.seen
    assert copy.deepcopy(parser).seen is not parser.seen
    assert pickle.loads(pickle.dumps(parser)).itself is not parser


def test_a_pickle_names_the_encoding(encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, [*OPEN, HELLO])
    pickled = pickle.dumps(parser)
    assert encoding.name.encode() in pickled
    assert len(pickled) < 1000


# --- what things cost, in counts


def steps_of(call) -> int:
    _parser.reset_steps()
    call()
    return _parser.steps()


def read_all(parser) -> tuple:
    return (
        parser.state,
        parser.current_role,
        parser.current_channel,
        parser.current_recipient,
        parser.current_content_type,
        parser.last_content_delta,
    )


@debug_build_only
def test_an_id_costs_the_same_at_any_length(encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, OPEN)

    def one_id():
        parser.process(HELLO)
        read_all(parser)

    first = steps_of(one_id)
    feed(parser, [HELLO] * 5000)
    assert steps_of(one_id) == first
    feed(parser, [END] + [*OPEN, HELLO, END] * 60 + OPEN)
    assert steps_of(one_id) == first


@debug_build_only
def test_content_pays_for_what_is_new(encoding):
    parser = StreamableParser(encoding, None)
    feed(parser, [*OPEN, *[HELLO] * 5000])
    assert len(parser.current_content) == 25_000
    assert steps_of(lambda: parser.current_content) == 0
    parser.process(HELLO)
    assert steps_of(lambda: parser.current_content) == len("hello")
    # Nor is it decoded again for the message.
    assert steps_of(lambda: parser.process(END).messages) < 10


@debug_build_only
def test_messages_are_built_once(encoding):
    def steps_with(n_messages):
        parser = StreamableParser(encoding, None)
        feed(parser, [*OPEN, HELLO, END] * n_messages + OPEN)
        assert len(parser.messages) == n_messages
        return steps_of(lambda: parser.process(HELLO).messages)

    assert steps_with(1) == steps_with(60)


@debug_build_only
@pytest.mark.parametrize("token", [HELLO, TWICE_BROKEN, HALF_EMOJI, UNKNOWN, START])
def test_content_is_linear(token, encoding):
    def steps_for(n):
        parser = StreamableParser(encoding, None)
        return steps_of(lambda: feed(parser, [*OPEN, *[token] * n, END]))

    assert steps_for(8000) <= 2.1 * steps_for(4000)


def test_reading_messages_makes_no_objects(encoding):
    def count():
        gc.collect()  # what other tests left may go at any moment
        return sum(isinstance(thing, (Message, Author, TextContent)) for thing in gc.get_objects())

    parser = StreamableParser(encoding, None)
    feed(parser, [*OPEN, HELLO, END] * 60)
    assert len(parser.messages) == 60
    before = count()
    kept = [parser.messages for _ in range(20)]
    assert count() == before
    assert len(kept) == 20


# --- threads


def test_one_parser_in_many_threads_does_no_harm(encoding):
    parser = StreamableParser(encoding, None)
    ids = [*OPEN, HELLO, HALF_EMOJI, TWICE_BROKEN, END, *OPEN, *[HELLO] * 3000, RETURN]
    problems = []

    def use(number):
        rng = random.Random(number)
        try:
            for _ in range(3):
                feed(parser, ids)
                for _ in range(20):
                    read_all(parser)
                    assert isinstance(parser.messages, list)
                    assert isinstance(parser.current_content, str)
                parser.copy()
                if rng.random() < 0.5:
                    assert parser.state_data
        except HarmonyError as error:
            problems.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_a_collector_that_uses_a_parser_does_no_harm(encoding):
    """Making objects may run the collector, and that what an object does when it is freed. (From
    Python 3.12 on it runs between two instructions of Python only.)"""
    rng = random.Random(1)
    streams = [stream.ids for stream in random_streams(scaled(100), 1, encoding)]
    parser = None
    uses = [
        lambda: parser.process_many(rng.choice(streams)),
        lambda: parser.process_many([HALF_EMOJI] * 3000),
        lambda: parser.finish(),
        lambda: parser.reset(),
        lambda: read_all(parser),
        lambda: parser.diagnostics,
    ]

    def use(phase, info):
        if phase == "stop" and parser is not None and rng.random() < 0.3:
            # The collector does not run again before this returns.
            with contextlib.suppress(HarmonyError, TypeError):
                rng.choice(uses)()

    thresholds = gc.get_threshold()
    gc.callbacks.append(use)
    try:
        for ids in streams:
            parser = StreamableParser(encoding, None, on_error=rng.choice(["raise", "recover"]))
            gc.set_threshold(rng.choice([1, 2, 5]))
            # Of two uses at once one gets nonsense, which may be an error.
            with contextlib.suppress(HarmonyError, TypeError):
                parser.process_many(ids)
                parser.finish()
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(use)


def test_many_parsers_of_one_encoding(encoding):
    ids = [*OPEN, *encoding.encode_ordinary("many threads, one encoding 中文 " * 5000), END]
    expected = parse_messages_from_completion_tokens(encoding, ids)
    results = []

    def parse():
        results.append(parse_messages_from_completion_tokens(encoding, ids))

    threads = [threading.Thread(target=parse) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8
