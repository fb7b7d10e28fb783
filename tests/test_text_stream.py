"""TextStreamParser against the parser of ids, and parse_stripped_text."""

import copy
import random

import pytest
from recovering import joined, recover
from scale import scaled
from streams import LAST_SPECIAL, random_streams
from test_recovery_reference import VECTORS, mutated

import harmony
from harmony import ParseEventKind, Role, TextStreamParser, parse_stripped_text
from harmony.special_tokens import O200K_HARMONY_SPECIALS

NAMES = {token: name for name, token in O200K_HARMONY_SPECIALS.items()}


def text_of(encoding, ids):
    """None if ordinary tokens spell special ones, or if the ids are no text."""
    text, plain = "", []
    for token in ids:
        if token > LAST_SPECIAL:
            return None
        if token in NAMES:
            plain.append("")
            text += NAMES[token]
        else:
            return_text = encoding.decode_bytes([token])
            try:
                text += return_text.decode()
            except UnicodeDecodeError:
                return None
    if "<" in "".join(encoding.decode([t]) for t in ids if t not in NAMES):
        return None
    return text


def feed(encoding, text, role, cuts):
    parser = TextStreamParser(encoding, role)
    events = []
    start = 0
    for stop in (*cuts, len(text)):
        events += parser.process(text[start:stop])
        start = stop
    events += parser.finish()
    return parser, events


def fields(message):
    return (message.to_dict(), message.complete, message.end_token)


def check(encoding, text, role, rng):
    whole, told = feed(encoding, text, role, [])
    for cuts in (range(len(text)), sorted(rng.choices(range(len(text) + 1), k=4))):
        parser, events = feed(encoding, text, role, cuts)
        assert [fields(m) for m in parser.messages] == [fields(m) for m in whole.messages]
        assert [m.token_span for m in parser.messages] == [m.token_span for m in whole.messages]
        assert parser.diagnostics == whole.diagnostics
        assert joined(events) == joined(told)
    assert [e.diagnostic for e in told if e.diagnostic] == whole.diagnostics
    for event in told:
        if event.kind is ParseEventKind.MESSAGE_END:
            assert event.message.token_span == whole.messages[event.message_index].token_span
    for message in whole.messages:
        start, stop = message.token_span
        assert 0 <= start < stop <= len(text)
    return whole


def test_the_wild_as_text(encoding):
    rng = random.Random(0)
    n = 0
    for vector in VECTORS:
        text = text_of(encoding, vector["token_ids"])
        if text is None:
            continue
        n += 1
        parser = check(encoding, text, vector["role"], rng)
        expected = recover(encoding, vector["token_ids"], vector["role"])
        assert [fields(m) for m in parser.messages] == [fields(m) for m in expected.messages]
        assert [d.kind for d in parser.diagnostics] == [d.kind for d in expected.diagnostics]
    assert n > 30


@pytest.mark.parametrize("seed", range(4))
def test_streams_as_text(seed, encoding):
    rng = random.Random(seed)
    streams = [(stream.ids, stream.role) for stream in random_streams(scaled(100), seed, encoding)]
    streams += [
        (mutated(rng, rng.choice(VECTORS)["token_ids"], encoding), "assistant")
        for _ in range(scaled(100))
    ]
    for ids, role in streams:
        text = text_of(encoding, ids)
        if text is not None:
            parser = check(encoding, text, role, rng)
            expected = recover(encoding, ids, role)
            assert [fields(m) for m in parser.messages] == [fields(m) for m in expected.messages]


@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_markers(seed, encoding):
    rng = random.Random(seed)
    parts = ["<|", "<", "|>", "end", "<|end|>", "<|e", "xample|>", "<|start|>", "<|message|>", "é",
             "<|channel|>", "final", "assistant", "<<|", "|", "<|reserved_200017|>", "<|nothing|>",
             "\U0001f600", "\ud800"]  # fmt: skip
    for _ in range(scaled(300)):
        check(encoding, "".join(rng.choices(parts, k=rng.randint(0, 12))), "assistant", rng)


def test_markers_are_held_back(encoding):
    parser = TextStreamParser(encoding, "assistant")

    def told(text):
        return [event.text or str(event.kind) for event in parser.process(text)]

    assert told("<|mess") == []
    assert told("age|>Hel") == ["MESSAGE_START", "Hel"]
    assert told("lo <|e") == ["lo "]
    assert told("xample|> <") == ["<|example|> "]
    assert told("b <|en") == ["<b "]
    assert told("d|>") == ["MESSAGE_END"]
    assert parser.messages[0].content[0].text == "Hello <|example|> <b "
    assert parser.messages[0].token_span == (0, len("<|message|>Hello <|example|> <b <|end|>"))
    assert told("<|message|>a<|") == ["MESSAGE_START", "DIAGNOSTIC", "a"]
    assert [event.text for event in parser.finish()] == ["<|", None]


def test_a_copy_goes_its_own_way(encoding):
    parser = TextStreamParser(encoding, Role.ASSISTANT)
    parser.process("<|channel|>final<|message|>he")
    other = copy.copy(parser)
    other.process("y<|end|>")
    assert parser.messages == []
    parser.process("llo<|end|>")
    assert [one.messages[0].content[0].text for one in (other, parser)] == ["hey", "hello"]
    assert not parser.diagnostics


def test_messages_are_the_same_objects(encoding):
    parser, _ = feed(encoding, "<|message|>a<|end|>", "assistant", [])
    assert parser.messages[0] is parser.messages[0]


STRIPPED = {
    "analysisWe think.assistantfinalHello": [("analysis", None, None, "We think."), ("final", None, None, "Hello")],
    "analysisthinking<x>assistantcommentary to=functions.f json{\"a\": 1}": [
        ("analysis", None, None, "thinking<x>"),
        ("commentary", "functions.f", "json", '{"a": 1}'),
    ],
    "analysis a assistantcommentary to=functions.f{}": [
        ("analysis", None, None, " a "),
        ("commentary", "functions.f", None, "{}"),
    ],
    "analysisX.assistant to=functions.fcommentary json{}assistantfinalDone": [
        ("analysis", None, None, "X."),
        ("commentary", "functions.f", "json", "{}"),
        ("final", None, None, "Done"),
    ],
    "assistantfinalHello": [("final", None, None, "Hello")],
    "finalHello": [("final", None, None, "Hello")],
    "Hello": [(None, None, None, "Hello")],
    "finally, it works": [(None, None, None, "finally, it works")],
    "analysis of the data": [(None, None, None, "analysis of the data")],
    "The assistant finally spoke": [(None, None, None, "The assistant finally spoke")],
    "assistantcommentary to=functions.run_code json{}": [("commentary", "functions.run_code", "json", "{}")],
    "assistantcommentary to=functions.decode json{}": [("commentary", "functions.decode", "json", "{}")],
    "assistantcommentary to=functions.jsonify{}": [("commentary", "functions.jsonify", None, "{}")],
    "assistantcommentary to=functions.fjson{}": [("commentary", "functions.f", "json", "{}")],
    "assistant to=functions.get_analysiscommentary json{}": [("commentary", "functions.get_analysis", "json", "{}")],
    "assistant to=functions.final_answer{}": [(None, "functions.final_answer", None, "{}")],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("text", STRIPPED)
def test_stripped_text(text):
    messages = parse_stripped_text(text)
    assert [
        (m.channel, m.recipient, m.content_type, m.content[0].text) for m in messages
    ] == STRIPPED[text]
    assert [m.complete for m in messages] == [True] * (len(messages) - 1) + [False][: len(messages)]
    assert "".join(text[slice(*m.token_span)] for m in messages) == text
    assert all(m.author.role is harmony.Role.ASSISTANT for m in messages)


def test_stripped_calls():
    _, call = parse_stripped_text('analysisHm.assistantcommentary to=functions.f json{"a": 1}')
    assert (call.tool_name, call.tool_arguments_json) == ("f", {"a": 1})
