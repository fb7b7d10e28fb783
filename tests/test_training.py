"""What a trainer asks of a rendered conversation, against a slow twin and against parsing."""

import itertools
import random

import numpy as np
import pytest
import random_conversations
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import training as reference
from scale import scaled
from strategies import texts

import harmony
from harmony import (
    Conversation,
    Message,
    RenderConversationConfig,
    RenderError,
    Role,
    TokenPart,
)
from harmony.training import PRESETS

POLICIES = ["upstream", "before_last_final", "keep"]
ORDERS = ["recipient_first", "channel_first"]
CHANNELS = ["analysis", "commentary", "final", None]


def message(role, text="x", channel=None, recipient=None, content_type=None, name=None):
    author = harmony.Author(role=role, name=name)
    made = Message.from_author_and_content(author, text)
    made.channel, made.recipient, made.content_type = channel, recipient, content_type
    return made


def conversation(*messages):
    return Conversation.from_messages(messages)


@st.composite
def messages(draw):
    role = draw(st.sampled_from(["user", "assistant", "assistant", "assistant", "tool", "system"]))
    channel = draw(st.sampled_from(CHANNELS))
    text = draw(texts(3))
    if role == "tool":
        return message(role, text, channel, "assistant", name="functions.f")
    if role != "assistant":
        return message(role, text, channel if role == "user" else None)
    recipient = draw(st.sampled_from([None, None, "functions.f", "python"]))
    # In a header without recipient, parsing takes a content type for one, as openai_harmony does.
    content_type = draw(st.sampled_from([None, "<|constrain|>json", "code"])) if recipient else None
    return message(role, text, channel, recipient, content_type)


conversations = st.lists(messages(), max_size=8).map(lambda made: conversation(*made))


def config(policy, order):
    return RenderConversationConfig(analysis_policy=policy, header_order=order)


def check(encoding, conv, policy, order, next_turn_role=None, for_training=False):
    got = encoding.render_annotated(
        conv,
        next_turn_role=next_turn_role,
        config=config(policy, order),
        for_training=for_training,
    )
    expected = reference.annotated(encoding, conv, policy, order, next_turn_role, for_training)
    assert got.ids.dtype == np.uint32
    assert got.ids.tolist() == [one.token for one in expected]
    assert got.message_index.dtype == np.int32
    assert got.message_index.tolist() == [one.message_index for one in expected]
    assert got.part.dtype == np.uint8
    assert [TokenPart(part).name for part in got.part] == [one.part for one in expected]
    assert [list(Role)[code] for code in got.role] == [m.author.role for m in conv.messages]
    assert [None if c < 0 else got.channels[c] for c in got.channel] == [
        m.channel for m in conv.messages
    ]
    asked = []

    def odd(picked, index):
        asked.append((picked, index))
        return index % 2

    for train_on in (*PRESETS, odd):
        mask = got.loss_mask(train_on)
        assert mask.dtype == np.bool_
        assert mask.tolist() == reference.loss_mask(conv.messages, expected, train_on)
    assert all(conv.messages[index].author.role == Role.ASSISTANT for _, index in asked)
    return got


@given(
    conversations,
    st.sampled_from(POLICIES),
    st.sampled_from(ORDERS),
    st.one_of(st.none(), st.sampled_from([*Role]), st.just("assistant"), st.booleans()),
)
def test_against_the_reference(encoding, conv, policy, order, end):
    if isinstance(end, bool):
        check(encoding, conv, policy, order, for_training=end)
    else:
        check(encoding, conv, policy, order, None if end is None else getattr(end, "value", end))


@pytest.mark.filterwarnings("ignore")
def test_random_conversations_of_all_kinds(encoding):
    checked = 0
    for seed in range(scaled(400)):
        rng = random.Random(seed)
        conv = random_conversations.conversation(rng, harmony, 0)
        policy, order = rng.choice(POLICIES), rng.choice(ORDERS)
        try:
            encoding.render_conversation(conv, config("keep", order))
        except Exception:
            continue
        check(encoding, conv, policy, order, for_training=rng.random() < 0.5)
        checked += 1
    assert checked > 0


@given(conversations, st.sampled_from(POLICIES), st.booleans())
def test_what_the_mask_keeps_parses_to_the_messages(encoding, conv, policy, for_training):
    """Each stretch of true ids is what a model wrote in one go: its messages come out of it."""
    rendered = encoding.render_annotated(
        conv, config=config(policy, "recipient_first"), for_training=for_training
    )
    mask = rendered.loss_mask()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    parsed = []
    for start, stop in edges.reshape(-1, 2).tolist():
        parsed += encoding.parse_messages_from_completion_tokens(
            rendered.ids[start:stop], Role.ASSISTANT
        )
    kept = set(rendered.message_index.tolist())
    expected = [
        m
        for index, m in enumerate(conv.messages)
        if m.author.role == Role.ASSISTANT and index in kept
    ]
    assert [m.to_dict() for m in parsed] == [m.to_dict() for m in expected]


@settings(max_examples=scaled(50))
@given(st.lists(conversations, max_size=6), st.sampled_from(POLICIES), st.booleans())
def test_batches(encoding, rows, policy, for_training):
    options = {"config": config(policy, "channel_first"), "for_training": for_training}
    plain = encoding.render_batch(rows, **options)
    batch = encoding.render_batch(rows, annotated=True, **options)
    assert plain.ids.tolist() == batch.ids.tolist()
    assert plain.offsets.tolist() == batch.offsets.tolist()
    singles = [encoding.render_annotated(row, **options) for row in rows]
    assert len(batch) == len(singles)
    for got, expected in zip(batch, singles, strict=True):
        for name in ("ids", "message_index", "part", "role"):
            assert getattr(got, name).tolist() == getattr(expected, name).tolist()
        assert list(map(id, got.messages)) == list(map(id, expected.messages))
        assert [got.channels[c] for c in got.channel if c >= 0] == [
            expected.channels[c] for c in expected.channel if c >= 0
        ]
    for train_on in (*PRESETS, lambda m, index: m.channel == "commentary"):
        masks = [single.loss_mask(train_on).tolist() for single in singles]
        assert batch.loss_mask(train_on).tolist() == list(itertools.chain(*masks))
        assert [row.loss_mask(train_on).tolist() for row in batch] == masks


@pytest.mark.parametrize("cut", [slice(0, 0), slice(1, 3), slice(2, None), slice(-2, None)])
def test_a_slice_of_a_batch_is_a_batch(encoding, cut):
    rows = [TURN, conversation(), conversation(*TURN.messages[:5]), TURN]
    part = encoding.render_batch(rows, annotated=True)[cut]
    expected = encoding.render_batch(rows[cut], annotated=True)
    for name in ("ids", "offsets", "message_index", "part", "message_offsets", "role"):
        assert getattr(part, name).tolist() == getattr(expected, name).tolist()
    assert part.loss_mask("last_turn").tolist() == expected.loss_mask("last_turn").tolist()


def test_a_conversation_may_go_on_after_it_was_rendered(encoding):
    """Its masks are those of the messages that were rendered, as they were."""

    def final(message, index):
        return index == 4 and message.content[0].text == "two"

    conversations = [TURN.model_copy(deep=True) for _ in range(3)]
    batch = encoding.render_batch(conversations, annotated=True)
    rendered = [encoding.render_annotated(conversations[0]), *batch, *batch[1:], batch]

    def masks():
        return [[one.loss_mask(pick).tolist() for pick in (*PRESETS, final)] for one in rendered]

    before = masks()
    rendered[1:] = [*batch, *batch[1:], batch]
    for conv in conversations:
        del conv.messages[:2]
        conv.messages[2].with_channel("commentary")
        conv.messages[3].author.role = Role.ASSISTANT
        conv.messages.append(message("user", "q3"))
    assert masks() == before
    for one in rendered[:-1]:
        assert len(one.messages) == len(one.role) == 8


def test_large_batches_on_threads(encoding):
    rng = random.Random(3)
    rows = [
        conversation(
            message("user", "question " * rng.randrange(50)),
            message("assistant", "thought " * rng.randrange(5000), "analysis"),
            message("assistant", "answer " * rng.randrange(50), "final"),
        )
        for _ in range(300)
    ]
    expected = [encoding.render_conversation_for_training(row) for row in rows]
    for num_threads in (None, 1, 3):
        batch = encoding.render_batch(rows, for_training=True, num_threads=num_threads)
        assert [ids.tolist() for ids in batch] == expected


def test_errors_name_the_row(encoding):
    good = conversation(message("user"))
    nameless = conversation(message("tool"))
    with pytest.raises(
        harmony.HarmonyError, match=r"^row 150: Tools should have a name!"
    ) as caught:
        encoding.render_batch([*[good] * 150, nameless, nameless])
    assert caught.value.row == 150


# Each rule once, in the open.

TURN = conversation(
    message("user", "q"),
    message("assistant", "t", "analysis"),
    message("assistant", "1+1", "commentary", "python"),
    message("tool", "2", name="python"),
    message("assistant", "two", "final"),
    message("user", "q2"),
    message("assistant", "t2", "analysis"),
    message("assistant", "b", "final"),
)


def kept(encoding, train_on, **options):
    options.setdefault("config", RenderConversationConfig(auto_drop_analysis=False))
    rendered = encoding.render_annotated(TURN, **options)
    mask = rendered.loss_mask(train_on)
    return encoding.decode(rendered.ids[mask])


def test_the_presets(encoding):
    first = "<|channel|>analysis<|message|>t<|end|><|start|>assistant to=python<|channel|>commentary<|message|>1+1<|call|>"
    final = "<|channel|>final<|message|>two<|end|>"
    last = "<|channel|>analysis<|message|>t2<|end|><|start|>assistant<|channel|>final<|message|>b<|end|>"
    assert kept(encoding, "assistant") == first + final + last
    assert kept(encoding, "last_turn") == last
    assert kept(encoding, "last_turn", for_training=True) == last[:-7] + "<|return|>"
    assert (
        kept(encoding, "final_only")
        == final + "<|start|>assistant<|channel|>final<|message|>b<|end|>"
    )
    assert kept(encoding, lambda m, index: index == 6) == last[: last.index("<|start|>")]


def test_header_order_changes_the_assistants_headers_alone(encoding):
    call = message("assistant", "{}", "commentary", "functions.f", "<|constrain|>json")
    answer = message("tool", "2", "commentary", "assistant", name="functions.f")
    order = harmony.RenderOptions(header_order="channel_first")
    assert encoding.decode(encoding.render(call, order)) == (
        "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
    )
    assert encoding.render(answer, order) == encoding.render(answer)
    parsed = encoding.parse_messages_from_completion_tokens(encoding.render(call, order))
    assert [m.to_dict() for m in parsed] == [call.to_dict()]
    for bare in (message("assistant", "x", recipient="f"), message("assistant", "x", "final")):
        assert encoding.render(bare, order) == encoding.render(bare)


@pytest.mark.parametrize(
    "policy, left_out",
    [("upstream", {1}), ("before_last_final", {1, 6}), ("keep", set())],
)
def test_analysis_policies(encoding, policy, left_out):
    rendered = encoding.render_annotated(TURN, config=config(policy, "recipient_first"))
    assert set(range(8)) - set(rendered.message_index.tolist()) == left_out
    everything = RenderConversationConfig(auto_drop_analysis=False, analysis_policy=policy)
    assert len(set(encoding.render_annotated(TURN, config=everything).message_index)) == 8


@pytest.mark.parametrize("field", ["analysis_policy", "header_order"])
def test_unknown_options_are_refused(encoding, field):
    with pytest.raises(ValueError, match=field):
        RenderConversationConfig(**{field: "x"})
    assigned = RenderConversationConfig()
    setattr(assigned, field, "x")
    with pytest.raises(ValueError, match=f"{field} must be one of"):
        encoding.render_conversation(TURN, assigned)


def test_what_cannot_be_asked_for(encoding):
    with pytest.raises(ValueError, match="train_on must be one of assistant, last_turn"):
        encoding.render_annotated(TURN).loss_mask("everything")
    with pytest.raises(harmony.HarmonyError, match="next_turn_role or for_training"):
        encoding.render_annotated(TURN, next_turn_role="assistant", for_training=True)
    with pytest.raises(ValueError, match="unknown role: bob"):
        encoding.render_annotated(TURN, next_turn_role="bob")
    with pytest.raises(TypeError, match="a list of conversations, not one"):
        encoding.render_batch(TURN)


def test_an_empty_conversation(encoding):
    empty = encoding.render_annotated(conversation())
    assert (len(empty), empty.loss_mask().tolist()) == (0, [])
    opened = encoding.render_annotated(conversation(), next_turn_role=Role.ASSISTANT)
    assert opened.message_index.tolist() == [-1, -1]
    assert opened.loss_mask().tolist() == [False, False]
    assert len(encoding.render_batch([])) == len(encoding.render_batch([], annotated=True)) == 0


def test_more_channels_than_a_batch_tells_apart(encoding):
    def on(channel):
        return conversation(message("assistant", channel=channel))

    made = [on(f"c{i}") for i in range(1 << 15)]
    assert encoding.render_batch(made, annotated=True).channel[-1] == (1 << 15) - 1
    made[5:5] = [conversation(), on("c0")]
    made += [on("one more"), on("another")]
    with pytest.raises(RenderError, match="row 32770: a batch has at most 32,768") as caught:
        encoding.render_batch(made, annotated=True)
    assert caught.value.row == 32_770
    assert len(encoding.render_batch(made)) == len(made)
