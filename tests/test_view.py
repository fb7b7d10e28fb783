"""What every view rests on: a stream, id by id; notebooks; terminals."""

import io

import chats
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from strategies import surrogate_texts

import harmony
from harmony import Conversation, Message, Role, StreamState
from harmony.view import replay
from harmony.view.looks import token_look
from harmony.view.page import page_data
from harmony.view.replay import entries_of_diagnostics
from harmony.view.terminal import show
from harmony.visible import visible


def check(read, encoding, role):
    n = len(read.ids)
    assert len(read.parts) == n and len(read.states) == n + 1
    # Entries are in order and leave nothing out.
    spans = [entry.span for entry in read.entries]
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])][: len(spans)]
    assert (spans[-1][1] if spans else 0) == n
    parser = harmony.StreamableParser(encoding, role, on_error="recover")
    parser.process_many(read.ids)
    parser.process_eos()
    assert read.messages == parser.messages
    assert [diagnostic for diagnostic, _ in read.diagnostics] == parser.diagnostics
    assert read.states[-1] is parser.state
    for entry in read.entries:
        lengths = [length for _, length in entry.cuts]
        assert lengths == sorted(lengths) and (lengths[-1] if lengths else 0) == len(entry.text)
        assert all(entry.span[0] < at <= n for at, _ in entry.cuts)
        assert entry.span[0] <= entry.header_stop <= entry.span[1] or entry.message is None
    # Its lengths count UTF-16 units, as scripts do.
    for shown, entry in zip(page_data(read)["entries"], read.entries, strict=True):
        if entry.cuts:
            assert shown["cuts"][-1][1] == len(entry.text.encode("utf-16-le")) // 2


ids = st.lists(
    st.one_of(
        st.sampled_from([200002, 200003, 200005, 200006, 200007, 200008, 200012, 173781, 35644, 17196, 220, 1428]),
        st.integers(0, 300), st.integers(0, 202_000),
    ),
    max_size=40,
)  # fmt: skip


@given(ids, st.sampled_from([None, *Role]))
def test_any_ids(encoding, ids, role):
    read = replay(ids, role=role)
    assert read.ids == ids and read.mask is None
    check(read, encoding, role)


def test_ids_are_read_as_a_parser_reads_them():
    assert replay(np.array([1, 2], np.uint8)).ids == [1, 2]
    for no_ids in "12", ["1"], [1.5], None:
        with pytest.raises(TypeError):
            replay(no_ids)


@given(chats.conversations(built_in=True))
def test_conversations(encoding, conversation):
    config = harmony.RenderConversationConfig(auto_drop_analysis=False)
    rendered = encoding.render_annotated(conversation, config=config)
    read = replay(conversation, config=config)
    assert read.ids == rendered.ids.tolist()
    assert list(read.mask) == rendered.loss_mask().tolist()
    check(read, encoding, None)
    if len(read.entries) == len(conversation.messages) and not read.diagnostics:
        assert ["SHCE".index(letter) for letter in read.parts] == rendered.part.tolist()
    assert replay(rendered).entries == read.entries


def test_what_is_left_out_is_shown():
    conversation = Conversation.from_messages(
        [
            chats.message(Role.USER, "a"),
            chats.message(Role.ASSISTANT, "b", "analysis"),
            chats.message(Role.ASSISTANT, "c", "final"),
        ]
    )
    read = replay(conversation)
    assert [(entry.text, entry.is_left_out) for entry in read.entries] == [
        ("a", False), ("b", True), ("c", False),
    ]  # fmt: skip
    assert [message.content[0].text for message in read.messages] == ["a", "c"]


def test_an_open_next_turn_is_shown(encoding):
    messages = [chats.message(Role.ASSISTANT, text, "final") for text in "ab"]
    thought = chats.message(Role.ASSISTANT, "t", "analysis")
    for conversation in [], messages, [thought, *messages]:
        rendered = encoding.render_annotated(
            Conversation.from_messages(conversation), next_turn_role=Role.ASSISTANT
        )
        read = replay(rendered)
        texts = [message.content[0].text for message in conversation]
        assert [entry.text for entry in read.entries] == [*texts, ""]
        assert read.entries[-1].span == (len(read.ids) - 2, len(read.ids))


BETWEEN = (
    "<|channel|>analysis<|message|>Hm<|start|>assistant<|channel|>final<|message|>Yes<|return|>"
)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        # An end that is missing is found where the next message begins.
        (BETWEEN, {"UNTERMINATED_MESSAGE": 0}),
        # Text of a message of its own; a header that ends with the stream; and no ids at all.
        (f"{BETWEEN} so", {"UNTERMINATED_MESSAGE": 0, "BARE_TEXT": 2}),
        (f"{BETWEEN}<|start|>", {"UNTERMINATED_MESSAGE": 0, "TRUNCATED_HEADER": 2}),
        ("", {"TRUNCATED_HEADER": 0}),
    ],
)
def test_diagnostics_stand_by_their_messages(encoding, text, entries):
    read = replay(encoding.encode(text, allowed_special="all"), role="assistant")
    placed = zip(read.diagnostics, entries_of_diagnostics(read), strict=True)
    assert {str(what.kind): entry for (what, _), entry in placed} == entries
    shown = Console(width=80, file=io.StringIO())
    show(read, shown)
    written = shown.file.getvalue()
    if text == BETWEEN:
        assert written.index("UNTERMINATED_MESSAGE") < written.index("assistant final")


@given(ids, st.sampled_from([None, *Role]))
def test_diagnostics_of_any_ids(ids, role):
    read = replay(ids, role=role)
    messages = read.messages
    for (what, _), index in zip(read.diagnostics, entries_of_diagnostics(read), strict=True):
        if what.message_index is not None:
            assert read.entries[index].message is messages[what.message_index]
        elif ids:
            start, stop = read.entries[index].span
            assert start <= min(what.token_span[0], len(ids) - 1) < stop


def test_states():
    read = replay([200005, 17196, 200008, 13225, 200002], role="assistant")
    header, content = StreamState.HEADER, StreamState.CONTENT
    assert read.states == [header, header, header, content, content, StreamState.EXPECT_START]
    assert read.parts == "HHHCE"


# notebooks


def test_notebooks_show_text_as_text():
    hostile = "<script>alert(1)</script> <|end|> & \x1b \u202e"
    message = Message.from_role_and_content(Role.USER, hostile)
    for thing in message, Conversation.from_messages([message]):
        shown = thing._repr_html_()
        assert "<script" not in shown and "&lt;script&gt;alert(1)" in shown
        assert "\x1b" not in shown and "\u202e" not in shown
    rendered = harmony.load_harmony_encoding("HarmonyGptOss").render_annotated(
        Conversation.from_messages([message, chats.message(Role.ASSISTANT, "x", "final")])
    )
    shown = rendered._repr_html_()
    assert "<script" not in shown
    assert shown.count('title="') == len(rendered.ids)
    assert shown.count(' class="t"') == rendered.loss_mask().sum()
    assert '<b title="200006 at 0">&lt;|start|&gt;</b>' in shown


def test_what_cannot_be_rendered_has_its_plain_repr():
    assert Message.from_role_and_content(Role.TOOL, "a tool without a name")._repr_html_() is None
    assert Message.from_role_and_content(Role.USER, "\ud800")._repr_html_() is None
    assert Message.from_role_and_content(Role.USER, harmony.Content())._repr_html_() is None


def test_long_conversations_are_cut():
    turns = [Message.from_role_and_content(Role.USER, "a")] * 500
    shown = Conversation.from_messages(turns)._repr_html_()
    assert shown.count("<section") == 200 and "and 300 more" in shown


@given(surrogate_texts())
def test_visible_text_is_visible(text):
    shown = visible(text)
    assert all(
        character.isprintable() or character in "\n\t" or character.isspace() for character in shown
    )
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("text", ["", "a b", "é 今 🍅\n"])
def test_ordinary_text_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "look"),
    [("\n", "↵"), ("\\n", "\\n"), ("\r\n", "\\r↵"), ('",\n', '",↵'), ("\t", "\\t")],
)
def test_line_breaks_in_tokens(encoding, text, look):
    """JSON and code are full of tokens that hold a backslash and an n."""
    (token,) = encoding.encode(text)
    assert token_look(encoding, token) == (look, False)
