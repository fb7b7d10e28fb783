"""The reference of the recovering parser: streams seen in the wild, each rule by an example, and
the law on random streams.

HARMONY_EXAMPLES scales the number of random streams.
"""

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import parser as reference
from reference.splitter import WHITE_SPACE
from scale import scaled
from streams import (
    CALL,
    CHANNEL,
    CHANNELS,
    CONSTRAIN,
    CONTROLS,
    END,
    FIRST_SPECIAL,
    LAST_SPECIAL,
    MESSAGE,
    RETURN,
    START,
    STOPS,
    TEXTS,
    UNKNOWN,
    random_streams,
)

import harmony
from harmony.errors import HarmonyError
from harmony.messages import Author, Conversation, Message, RenderConversationConfig, Role

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parent / "vectors" / "malformed.jsonl").read_text().splitlines()
]
FIELDS = ("role", "name", "channel", "recipient", "content_type", "text")
ROLES = (None, *reference.ROLES)
WORDS = (*CHANNELS, *reference.ROLES, "json", "to=", "to=functions.f", "bash", ".", "?", "{}")


@pytest.fixture(scope="module")
def parse(encoding):
    def parse(ids, role=None, **options):
        return reference.parse(ids, role, encoding.decode_single_token_bytes, **options)

    return parse


@pytest.fixture(scope="module")
def read(encoding, parse):
    """Messages of a text in which markers are tokens: (role or name, channel, recipient, type,
    content), a content that goes on with "..." is unfinished."""

    def read(text, role="assistant"):
        messages = parse(encoding.encode(text, allowed_special="all"), role).messages
        return [
            (
                message.name or message.role,
                message.channel,
                message.recipient,
                message.content_type,
                message.text + ("" if message.complete else "..."),
            )
            for message in messages
        ]

    return read


# Streams seen in the wild


@pytest.fixture(params=VECTORS, ids=lambda vector: vector["id"])
def vector(request):
    return request.param


def test_messages(vector, parse):
    messages = parse(vector["token_ids"], vector["role"]).messages
    names = (*FIELDS, "complete")
    found = [{name: getattr(message, name) for name in names} for message in messages]
    assert found == vector["expected"]["messages"]


def test_views(vector, parse):
    messages = parse(vector["token_ids"], vector["role"]).messages
    expected = vector["expected"]
    assert [list(call) for call in reference.tool_calls(messages)] == expected["tool_calls"]
    assert reference.reasoning(messages) == expected["reasoning"]
    assert reference.content(messages) == expected["content"]


def test_repairs_of_the_wild_are_reported(vector, encoding, parse):
    check_reports(encoding, parse, vector["token_ids"], vector["role"])


# Rules by example

EXAMPLES = {
    # Role
    "<|start|><|start|><|start|>user<|message|>a<|end|>": [("user", None, None, None, "a")],
    "<|start|>assistantassistant<|message|>a<|end|>": [("assistant", None, None, None, "a")],
    "<|start|>userfinal<|message|>a<|end|>": [("user", "final", None, None, "a")],
    "<|start|>final<|message|>a<|end|>": [("assistant", "final", None, None, "a")],
    "<|start|>tool to=assistant<|message|>a<|end|>": [("tool", None, "assistant", None, "a")],
    "<|start|>bash to=assistant<|message|>a<|end|>": [("bash", None, "assistant", None, "a")],
    "<|start|>bash to=assistant<|message|>a<|call|>": [("assistant", None, "bash", None, "a")],
    "<|start|>bash is down<|channel|>final<|message|>a<|end|>": [
        ("assistant", None, None, None, "bash is down..."),
        ("assistant", "final", None, None, "a"),
    ],
    "user<|message|>a<|end|>": [("user", None, None, None, "a")],
    # Channel
    "<|channel|>final<|channel|>analysis<|message|>a<|end|>": [
        ("assistant", "analysis", None, None, "a")
    ],
    "<|channel|>final<|channel|><|message|>a<|end|>": [("assistant", "final", None, None, "a")],
    "<|channel|>thoughts<|message|>a<|end|>": [("assistant", "thoughts", None, None, "a")],
    "<|channel|><|endoftext|>final<|message|>a<|end|>": [("assistant", None, None, None, "a")],
    "<|channel|>to=python code<|message|>a<|call|>": [("assistant", None, "python", "code", "a")],
    # Recipient
    " to=a<|channel|>commentary to=b<|message|>a<|call|>": [
        ("assistant", "commentary", "b", None, "a")
    ],
    "<|channel|>commentary functions.f json<|message|>{}<|call|>": [
        ("assistant", "commentary", "functions.f", "json", "{}")
    ],
    " to=container<|channel|>.exec code<|message|>a<|call|>": [
        ("assistant", None, "container.exec", "code", "a")
    ],
    " to=container <|channel|>.exec code<|message|>a<|call|>": [
        ("assistant", ".exec", "container", "code", "a")
    ],
    # Content type
    " to=a<|channel|>commentary <|constrain|>json<|constrain|>code<|message|>a<|call|>": [
        ("assistant", "commentary", "a", "<|constrain|>code", "a")
    ],
    "<|channel|>commentary get_weather json<|message|>a<|call|>": [
        ("assistant", "commentary", "get_weather", "json", "a")
    ],
    "<|channel|>commentary get_weather now<|message|>a<|call|>": [
        ("assistant", "commentary", None, None, "a")
    ],
    "<|channel|>final<|constrain|> so it is. <|message|>a<|end|>": [
        ("assistant", "final", None, None, "so it is. a")
    ],
    "<|channel|>commentary<|constrain|>json to=a<|message|>{}<|call|>": [
        ("assistant", "commentary", "a", "<|constrain|>json", "{}")
    ],
    # Text before the first marker
    " final <|message|>a<|end|>": [("assistant", "final", None, None, "a")],
    "<|start|>assistant to=a b<|message|>c<|call|>": [("assistant", None, "a", "b", "c")],
    "<|start|>assistant to=a b c<|message|>d<|end|>": [
        ("assistant", None, "a", None, "b c..."),
        ("assistant", None, None, None, "d"),
    ],
    "<|start|>user ...<|message|>a<|end|>": [("user", None, None, None, "a")],
    "... <|channel|>final<|message|>a<|end|>": [("assistant", "final", None, None, "a")],
    " Yes. ": [("assistant", None, None, None, " Yes. ...")],
    "\U0001f600": [("assistant", None, None, None, "\U0001f600...")],
    # A header without <|message|>
    "<|start|>userHello<|end|>": [("assistant", None, None, None, "userHello")],
    "<|start|>user Hello<|end|>": [("user", None, None, None, "Hello")],
    "<|start|>assistantHello<|end|>": [("assistant", None, None, None, "Hello")],
    "<|start|>assistantfinal Hello<|end|>": [("assistant", "final", None, None, "Hello")],
    "<|start|>assistantfinally<|end|>": [("assistant", None, None, None, "finally")],
    "<|start|>final Hello<|end|>": [("assistant", "final", None, None, "Hello")],
    "<|channel|>finality<|end|>": [("assistant", None, None, None, "finality")],
    "<|channel|>final, Hello<|end|>": [("assistant", "final", None, None, ", Hello")],
    "<|channel|>final, FINAL! - Hello<|end|>": [("assistant", "final", None, None, "- Hello")],
    "<|channel|>final finality<|end|>": [("assistant", "final", None, None, "finality")],
    "<|channel|>functions.f {}<|call|>": [("assistant", None, "functions.f", None, "{}")],
    " to=functions.f<|channel|>commentary json{}<|call|>": [
        ("assistant", "commentary", "functions.f", "json", "{}")
    ],
    " to=functions.f<|channel|>commentary json is<|call|>": [
        ("assistant", "commentary", "functions.f", None, "json is")
    ],
    "<|channel|>commentary to=f<|constrain|>json {}<|call|>": [
        ("assistant", "commentary", "f", "<|constrain|>json", "{}")
    ],
    "<|channel|>final Hello<|start|>assistant": [("assistant", "final", None, None, "Hello...")],
    "<|start|>bash<|channel|>commentary {}<|call|>": [
        ("assistant", "commentary", "bash", None, "{}")
    ],
    # ... at the end of the stream
    "<|start|>bas": [],
    "<|start|>assist json to=f": [],
    "<|channel|>comm": [],
    "<|channel|>commentary to": [],
    "<|start|>assistant to=functions.f<|channel|>commentary {": [],
    "<|channel|>commentary to me": [("assistant", "commentary", None, None, "to me...")],
    "<|start|>assistantHi": [("assistant", None, None, None, "Hi...")],
    # Between messages
    "<|endoftext|><|end|><|return|>Hi": [("assistant", None, None, None, "Hi...")],
    # Inside content
    "<|message|>a<|message|>b<|constrain|>c<|endoftext|>d<|end|>": [
        ("assistant", None, None, None, "abcd")
    ],
    "<|message|><|channel|>final<|message|>a<|end|>": [("assistant", "final", None, None, "a")],
    "<|message|><|end|>": [("assistant", None, None, None, "")],
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_example(text, read, encoding, parse):
    assert read(text) == EXAMPLES[text]
    check_reports(encoding, parse, encoding.encode(text, allowed_special="all"), "assistant")


def test_hint(read):
    assert read("<|message|>a<|end|>", None)[0][0] == "assistant"
    assert read("<|message|>a<|end|>", "user")[0][0] == "user"
    assert read(" to=assistant<|message|>a<|end|>", "user")[0][:3] == ("user", None, "assistant")
    assert read("<|start|>system<|message|>a<|end|>", "user")[0][0] == "system"


def test_bytes(parse, encoding):
    def texts(ids):
        return [message.text for message in parse([MESSAGE, *ids], "assistant").messages]

    whole = [encoding.encode_single_token(bytes([byte])) for byte in "\U0001f600".encode()]
    assert texts(whole) == ["\U0001f600"]
    assert texts(whole[:3]) == ["\ufffd"]
    assert texts([*whole[:3], END]) == ["\ufffd"]
    assert texts(whole[1:]) == ["\ufffd\ufffd\ufffd"]
    assert texts([*whole[:2], LAST_SPECIAL + 1, *whole]) == ["\ufffd\ufffd\U0001f600"]
    assert texts([*whole[:2], CONSTRAIN, *whole[2:]]) == ["\U0001f600"]


def test_max_messages(parse, encoding):
    ids = encoding.encode("<|message|>a<|end|>" * 3, allowed_special="all")
    found = parse(ids, "assistant", max_messages=1)
    assert len(found.messages) == 1
    assert found.skipped == [(3, 9)]
    assert "LIMIT" in [diagnostic.kind for diagnostic in found.diagnostics]
    limits = [
        diagnostic.kind for diagnostic in parse(ids[:3], "assistant", max_messages=1).diagnostics
    ]
    assert limits == []


# The law


def written(messages):
    """Messages of the package as the reference has them."""
    return [
        (
            message.author.role.value,
            message.author.name,
            message.channel,
            message.recipient,
            message.content_type,
            message.content[0].text,
        )
        for message in messages
    ]


def strict(encoding, ids, role):
    try:
        return written(encoding.parse_messages_from_completion_tokens(ids, role and Role(role)))
    except HarmonyError:
        return None


def fields_of(messages):
    return [tuple(getattr(message, name) for name in FIELDS) for message in messages]


def check_reports(encoding, parse, ids, role):
    """Law 7."""
    found = parse(ids, role)
    if not found.diagnostics:
        assert fields_of(found.messages) == strict(encoding, ids, role), (ids, role)


def check_law(encoding, parse, ids, role):
    where = ids, role
    found = parse(ids, role)
    # 2. Never loses.
    spans = sorted([message.token_span for message in found.messages] + found.skipped)
    assert [span[0] for span in spans] == [0, *(span[1] for span in spans)][: len(spans)], where
    assert not spans or spans[-1][1] == len(ids), where
    assert all(start < stop for start, stop in spans), where
    own = [message.token_span for message in found.messages]
    assert own == sorted(own), where
    assert all(0 <= d.token_span[0] <= d.token_span[1] <= len(ids) for d in found.diagnostics)
    for index, (_, stop) in enumerate(own):
        assert found.messages[index].complete == (ids[stop - 1] in STOPS), where
        assert found.messages[index].end_token == (
            ids[stop - 1] if ids[stop - 1] in STOPS else None
        )
        assert found.messages[index].role in reference.ROLES, where
    # 3. Never leaks.
    ordinary = encoding.decode_bytes([token for token in ids if token < FIRST_SPECIAL])
    spelled = ordinary.decode("utf-8", "replace")
    for message in found.messages:
        content_type = (message.content_type or "").removeprefix("<|constrain|>")
        for text in (message.name, message.recipient, content_type, message.text):
            assert "<|" in spelled or "<|" not in (text or ""), where
        fields = [message.name, message.recipient, content_type]
        if CONSTRAIN not in ids:  # else text in front of the content may have stood apart
            fields.append(message.text)
        for text in fields:
            assert not text or "\ufffd" in text or text in spelled, where
        channel = message.channel or ""
        assert "\ufffd" in channel or channel in spelled + spelled.lower(), where
        for text in (message.name, message.channel, message.recipient, content_type):
            assert text is None or not WHITE_SPACE.intersection(text), where
    # 4. Never invents.
    for message in found.messages:
        assert message.recipient not in ("", "functions."), where
        assert message.role != "assistant" or message.recipient != "assistant", where
    # 7. Every repair is reported.
    check_reports(encoding, parse, ids, role)
    # Views are of the messages.
    reference.tool_calls(found.messages)
    reference.reasoning(found.messages)
    reference.content(found.messages)


@pytest.mark.parametrize("seed", range(8))
def test_law_on_random_streams(seed, encoding, parse):
    for stream in random_streams(scaled(500), seed, encoding):
        check_law(encoding, parse, stream.ids, stream.role)


def test_law_on_every_cut_of_the_wild(vector, encoding, parse):
    ids = vector["token_ids"]
    for at in range(len(ids)):
        for role in ROLES:
            check_law(encoding, parse, ids[:at], role)
            check_law(encoding, parse, ids[at:], role)
            check_law(encoding, parse, ids[:at] + ids[at + 1 :], role)
            check_law(encoding, parse, ids[: at + 1] + ids[at:], role)


def mutated(rng, ids, encoding):
    ids = list(ids)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(ids) + 1)
        change = rng.randrange(6)
        if change == 0:
            del ids[at : at + 1]
        elif change == 1:
            ids[at : at + 1] = ids[at : at + 1] * 2
        elif change == 2 and ids:
            other = rng.randrange(len(ids))
            at = min(at, len(ids) - 1)
            ids[at], ids[other] = ids[other], ids[at]
        elif change == 3:
            ids[at : at + rng.randint(0, 1)] = [rng.choice(CONTROLS)]
        elif change == 4:
            ids[at:at] = [rng.choice((*UNKNOWN, 199_999, 200_018, rng.randrange(FIRST_SPECIAL)))]
        else:
            word = rng.choice(("", " ")) + rng.choice(WORDS) + rng.choice(("", " "))
            ids[at:at] = encoding.encode_ordinary(word)
    return ids


@pytest.mark.parametrize("seed", range(4))
def test_law_on_mutations_of_the_wild(seed, encoding, parse):
    rng = random.Random(seed)
    for _ in range(scaled(1000)):
        ids = mutated(rng, rng.choice(VECTORS)["token_ids"], encoding)
        check_law(encoding, parse, ids, rng.choice(ROLES))


@pytest.mark.parametrize("seed", range(4))
def test_text_behind_a_message_marker_is_never_lost(seed, encoding, parse):
    rng = random.Random(seed)
    for number in range(scaled(500)):
        ids = mutated(rng, rng.choice(VECTORS)["token_ids"], encoding)
        text = f"zebra{number}"
        places = [at for at, token in enumerate(ids) if token == MESSAGE]
        if not places:
            continue
        at = rng.choice(places) + 1
        ids[at:at] = encoding.encode_ordinary(text)
        texts = [message.text for message in parse(ids, "assistant").messages]
        assert sum(text in found for found in texts) == 1, ids


_header_ids = [
    token for word in WORDS for token in harmony.get_tokenizer("o200k_base").encode(word)
]
_ids = st.lists(
    st.one_of(
        st.sampled_from(CONTROLS),
        st.sampled_from([*_header_ids, 220]),
        st.integers(0, 255),
        st.integers(0, LAST_SPECIAL),
        st.integers(0, 2**32 - 1),
    ),
    max_size=30,
)


@settings(max_examples=scaled(2000))
@given(ids=_ids, role=st.sampled_from(ROLES))
def test_law_on_what_hypothesis_finds(encoding, parse, ids, role):
    check_law(encoding, parse, ids, role)


# Law 6: well-formed streams

NAMES = [
    "functions.f", "bash", "browser.search", "tool_x", "json", "code", "to", "_", "-", ".",
    "Assistant", "useful", "finally", "assistant_helper", "functions.", "bash:1", "é", "中文",
    "\U0001f600", "functions.f{}", "=",
]  # fmt: skip
RECIPIENTS = [
    *NAMES, "user", "python", "container.exec", "final", "analysis", "system", ".x", "a<b", "<|x|>",
]  # fmt: skip
TYPES = [
    "json", "code", "text", "yaml", "x{}", "final", "user", "functions.g", "assistant", ".", "<",
    "<|constrain|>json", "<|constrain|>code", "<|constrain|>yaml", "<|constrain|>.",
]  # fmt: skip


def random_message(rng):
    """A message whose header says what it means."""
    role = rng.choice(
        ["user", "assistant", "assistant", "assistant", "system", "developer", "tool"]
    )
    recipient = content_type = None
    if role == "tool" or rng.random() < 0.5:
        recipient = rng.choice([*RECIPIENTS, "assistant"])
        if recipient == "functions." or (role == "assistant" and recipient == "assistant"):
            recipient = "functions.f"
        if rng.random() < 0.6:
            content_type = rng.choice(TYPES)
    name = rng.choice(NAMES) if role == "tool" else None
    message = Message.from_author_and_content(
        Author(role=Role(role), name=name), "".join(rng.choices(TEXTS, k=rng.randint(0, 4)))
    )
    message.channel = rng.choice([None, *CHANNELS])
    message.recipient = recipient
    message.content_type = content_type
    return message


def channel_first(encoding, message):
    """The ids of an assistant's message in the order in which the models write it."""
    encode = encoding.encode_ordinary
    ids = [START, *encode("assistant")]
    if message.channel is not None:
        ids += [CHANNEL, *encode(message.channel)]
    if message.recipient is not None:
        ids += encode(" to=" + message.recipient)
    if message.content_type is not None:
        word = message.content_type.removeprefix("<|constrain|>")
        if word != message.content_type:
            ids += [*encode(" "), CONSTRAIN, *encode(word)]
        else:
            ids += encode(" " + word)
    ids += [MESSAGE, *encode(message.content[0].text)]
    return [*ids, END if message.recipient is None else CALL]


def rendered(encoding, messages, rng):
    if rng.random() < 0.5:
        config = RenderConversationConfig(auto_drop_analysis=False, validate_headers=True)
        conversation = Conversation.from_messages(messages)
        if rng.random() < 0.5:
            return encoding.render_conversation(conversation, config)
        return encoding.render_conversation_for_training(conversation, config)
    ids = []
    for message in messages:
        if message.author.role is Role.ASSISTANT:
            ids += channel_first(encoding, message)
        else:
            ids += encoding.render(message)
    if messages[-1].author.role is Role.ASSISTANT and messages[-1].channel == "final":
        ids[-1] = rng.choice((ids[-1], RETURN))
    return ids


def cuts_inside_content(encoding, ids):
    """Where a stream can be cut between two characters of a content."""
    start = None
    for at, token in enumerate(ids):
        if start is not None:
            try:
                encoding.decode_bytes(ids[start:at]).decode()
            except UnicodeDecodeError:
                pass
            else:
                yield at
        if token == MESSAGE:
            start = at + 1
        elif token in STOPS:
            start = None


@pytest.mark.parametrize("seed", range(4))
def test_well_formed_streams_are_untouched(seed, encoding, parse):
    rng = random.Random(seed)
    for _ in range(scaled(300)):
        messages = [random_message(rng) for _ in range(rng.randint(1, 4))]
        ids = rendered(encoding, messages, rng)
        role = None
        first = messages[0].author.role.value
        if first != "tool" and rng.random() < 0.5:
            role = first
            ids = ids[2:]
        found = parse(ids, role)
        where = role, ids
        assert fields_of(found.messages) == written(messages), where
        assert strict(encoding, ids, role) == written(messages), where
        assert found.diagnostics == [], where
        assert found.skipped == [], where
        assert all(message.complete for message in found.messages), where
        for cut in cuts_inside_content(encoding, ids):
            found = parse(ids[:cut], role)
            assert fields_of(found.messages) == strict(encoding, ids[:cut], role), (cut, where)
            assert found.diagnostics == [], (cut, where)
            assert not found.messages[-1].complete
        check_law(encoding, parse, ids, role)


def test_names_are_those_that_mean_no_role_and_no_channel():
    words = re.compile(f"({'|'.join((*reference.ROLES, *CHANNELS))})+")
    assert not [name for name in NAMES if words.fullmatch(name)]
