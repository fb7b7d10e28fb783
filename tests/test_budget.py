"""Conversations cut to a budget, and messages left open."""

import chats
import pytest
from hypothesis import given
from hypothesis import strategies as st

import harmony
from harmony import Conversation, Message, RenderConversationConfig, Role

POLICIES = [
    RenderConversationConfig(),
    RenderConversationConfig(auto_drop_analysis=False),
    RenderConversationConfig(analysis_policy="before_last_final"),
]


def length(encoding, conversation, config=None):
    return len(encoding.render_conversation(conversation, config))


def is_call_or_result(message):
    return message.author.role is Role.TOOL or message.recipient is not None


@given(chats.conversations(), st.floats(0, 1.2), st.sampled_from(POLICIES))
def test_fit(encoding, conversation, share, config):
    whole = length(encoding, conversation, config)
    limit = round(whole * share)
    must_stay = [m for m in conversation if m.author.role in (Role.SYSTEM, Role.DEVELOPER)]
    must_stay += [m for m in conversation if m.author.role is Role.USER][-1:]
    try:
        fitting = harmony.fit(conversation, limit, config=config)
    except harmony.RenderError:
        assert limit < whole
        assert length(encoding, Conversation.from_messages(must_stay), config) > limit
        return
    assert length(encoding, fitting, config) <= limit
    ours = {id(message) for message in fitting}
    # The same messages, in order.
    assert fitting.messages == [m for m in conversation if id(m) in ours]
    assert all(id(message) in ours for message in must_stay)
    if limit >= whole:
        assert fitting == conversation
    results = [m.author.name for m in fitting if m.author.role is Role.TOOL]
    calls = [m.recipient for m in fitting if m.author.role is Role.ASSISTANT]
    assert all(results.count(name) <= calls.count(name) for name in results)
    unanswered = [m.recipient for m in conversation if m.author.role is Role.ASSISTANT]
    assert all(name in unanswered for name in results)


def asked(text):
    return Message.from_role_and_content(Role.USER, text)


LONG = Conversation.from_messages(
    [
        Message.from_role_and_content(Role.SYSTEM, "s"),
        asked("one"),
        chats.call("f", "{}"),
        chats.call("g", "{}"),
        chats.result("f", "1"),
        chats.result("g", "2"),
        chats.message(Role.ASSISTANT, "answer", "final"),
        asked("two"),
    ]
)


def kept(max_tokens, **options):
    fitting = harmony.fit(LONG, max_tokens, **options)
    return [next(i for i, m in enumerate(LONG) if m is message) for message in fitting]


def test_no_more_is_dropped_than_needed(encoding):
    counts = [len(encoding.render(message)) for message in LONG]
    total = sum(counts)
    assert kept(total) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert kept(total - 1) == [0, 2, 3, 4, 5, 6, 7]
    assert kept(total - counts[1] - 1) == [0, 3, 5, 6, 7]
    assert kept(total - counts[1] - 1, keep=lambda message, index: index == 4) == [0, 2, 4, 6, 7]
    assert kept(counts[0] + counts[7]) == [0, 7]
    assert kept(counts[0] + counts[7] + 2, next_turn_role=Role.ASSISTANT) == [0, 7]
    for limit in counts[0] + counts[7] - 1, 0, -5:
        with pytest.raises(harmony.RenderError, match=f"does not fit into {limit} tokens"):
            kept(limit)
    with pytest.raises(harmony.RenderError):
        kept(counts[0] + counts[7] + 1, next_turn_role=Role.ASSISTANT)
    with pytest.raises(harmony.RenderError):
        kept(counts[0] + counts[7], keep=lambda message, index: index == 1)


def test_a_tool_may_answer_in_the_name_of_its_namespace():
    search = chats.built_in_call("browser.search", "{}")
    result = chats.built_in_result("browser", "found " * 50)
    conversation = Conversation.from_messages([search, result, asked("two")])
    assert harmony.fit(conversation, 20).messages == [asked("two")]


def test_a_result_belongs_to_the_latest_call(encoding):
    """The first one was never answered; without it the other would not be, either."""
    calls = [chats.call("f", f'{{"number": {number}}}') for number in range(2)]
    messages = [calls[0], asked("one"), calls[1], chats.result("f", "1"), asked("two")]
    last_ones = Conversation.from_messages(messages[2:])
    limit = len(encoding.render_conversation(last_ones))
    assert harmony.fit(Conversation.from_messages(messages), limit) == last_ones


def test_a_result_belongs_to_the_call_of_its_own_name():
    messages = [
        chats.built_in_call("a.b.c", "{}"),
        chats.built_in_call("a.b", "{}"),
        chats.built_in_result("a.b", "1"),
        asked("two"),
    ]
    limit = 30
    fitting = harmony.fit(
        Conversation.from_messages(messages), limit, keep=lambda message, index: index == 1
    )
    assert fitting.messages == messages[1:]


def test_what_is_kept_may_cost_more_when_an_answer_is_dropped(encoding):
    thought = chats.message(Role.ASSISTANT, "well " * 100, "analysis")
    answer = chats.message(Role.ASSISTANT, "answer", "final")
    later = chats.message(Role.ASSISTANT, "later", "commentary")
    conversation = Conversation.from_messages([asked("one"), thought, answer, asked("two"), answer])
    without_question = Conversation.from_messages(conversation.messages[1:])
    limit = length(encoding, without_question)
    fitting = harmony.fit(conversation, limit, keep=lambda message, index: message is thought)
    assert fitting == without_question
    # Nothing else fits: without its answers the thought is rendered.
    with pytest.raises(harmony.RenderError):
        harmony.fit(
            Conversation.from_messages([thought, answer, later, asked("two")]),
            20,
            keep=lambda message, index: message is thought,
        )


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.DEVELOPER, Role.USER])
def test_what_stays_by_itself_may_be_analysis(encoding, role):
    thought = chats.message(role, "well " * 100, "analysis")
    answer = chats.message(Role.ASSISTANT, "answer", "final")
    conversation = Conversation.from_messages([thought, answer])
    limit = length(encoding, conversation)
    assert limit < 20
    assert harmony.fit(conversation, limit) == conversation


def test_what_has_to_stay_may_cost_more_when_an_answer_is_dropped(encoding):
    rules = chats.message(Role.DEVELOPER, "well " * 100, "analysis")
    answer = chats.message(Role.ASSISTANT, "answer", "final")
    messages = [rules, asked("one"), answer, asked("two"), asked("three")]
    without_question = Conversation.from_messages([rules, *messages[2:]])
    limit = length(encoding, without_question)
    assert harmony.fit(Conversation.from_messages(messages), limit) == without_question


def test_a_conversation_is_rendered_once(monkeypatch):
    calls = []
    for name in "render", "render_conversation", "render_annotated":
        method = getattr(harmony.HarmonyEncoding, name)

        def counting(self, *args, _method=method, _name=name, **options):
            calls.append(_name)
            return _method(self, *args, **options)

        monkeypatch.setattr(harmony.HarmonyEncoding, name, counting)
    turns = [Message.from_role_and_content(Role.USER, f"message {i}") for i in range(200)]
    fitting = harmony.fit(Conversation.from_messages(turns), 300)
    assert 1 < len(fitting.messages) < 200
    assert calls == ["render_annotated"]


@given(chats.conversations())
def test_a_final_message_is_left_open(encoding, conversation):
    def continued():
        return encoding.render_conversation_for_completion(
            conversation, None, continue_final_message=True
        )

    if conversation.messages[-1].author.role is Role.ASSISTANT:
        whole = encoding.render_conversation(conversation)
        assert [*continued(), whole[-1]] == whole
    else:
        with pytest.raises(harmony.RenderError, match="only a message of the assistant"):
            continued()


def test_an_open_message_has_no_next_turn(encoding):
    with pytest.raises(ValueError, match="must be None"):
        encoding.render_conversation_for_completion(
            LONG, Role.ASSISTANT, continue_final_message=True
        )
    with pytest.raises(harmony.RenderError):
        encoding.render_conversation_for_completion(
            Conversation(), None, continue_final_message=True
        )


@given(chats.conversations(built_in=True))
def test_characters_of_ids(encoding, conversation):
    rendered = encoding.render_annotated(conversation)
    spans = harmony.character_spans(rendered)
    assert spans.shape == (len(rendered.ids), 2) and spans.dtype == "int64"
    is_content = rendered.part == harmony.TokenPart.CONTENT
    assert (spans[~is_content] == -1).all()
    for index, message in enumerate(conversation):
        here = is_content & (rendered.message_index == index)
        ids = rendered.ids[here]
        text = encoding.decode_utf8(ids)
        if message.author.role not in (Role.SYSTEM, Role.DEVELOPER) and len(ids):
            assert text == "".join(item.text for item in message.content)
        at = 0
        for token, (start, stop) in zip(ids.tolist(), spans[here].tolist(), strict=True):
            content = encoding.decode_bytes([token])
            assert content in text[start:stop].encode()
            assert start in (at, at - 1) and stop > start
            at = stop
        assert at == (len(text) if len(ids) else 0)


def test_an_id_may_hold_part_of_a_character(encoding):
    rendered = encoding.render_annotated(Conversation.from_messages([asked("a𐐨b")]))
    spans = harmony.character_spans(rendered).tolist()
    assert spans[0] == [-1, -1] and spans[3] == [0, 1] and spans[-2] == [2, 3]
    assert set(map(tuple, spans[4:-2])) == {(1, 2)} and len(spans) > 7
