"""Conversations that both of OpenAI's APIs can say, as hypothesis draws them."""

from hypothesis import strategies as st
from strategies import texts

import harmony
from harmony import Author, DeveloperContent, Message, Role, SystemContent, ToolDescription
from harmony.openai.names import to_identifier

FUNCTIONS = ["get_weather", "get-weather", "a.b", "find me", "функция", "1st", "a_x2d_b", "f"]
FORMATS = [None, ("shape", {"type": "object", "properties": {"a": {"type": "number"}}}, None),
           ("shape", {"type": "string"}, "How it looks."), ("json_object", {"type": "object"}, None)]  # fmt: skip

some_text = texts(4).filter(bool)
json_texts = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.none(), texts(2)),
    lambda inner: st.dictionaries(texts(1), inner, max_size=2),
    max_leaves=3,
).map(lambda value: __import__("json").dumps(value, ensure_ascii=False))


def message(role, text, channel=None, recipient=None, content_type=None, name=None):
    author = Author(role=role, name=name)
    return Message(
        author=author,
        content=[
            harmony.TextContent(text=part) for part in ([text] if isinstance(text, str) else text)
        ],
        channel=channel,
        recipient=recipient,
        content_type=content_type,
    )


def call(name, arguments):
    recipient = "functions." + to_identifier(name)
    return message(Role.ASSISTANT, arguments, "commentary", recipient, "<|constrain|>json")


def result(name, text):
    return message(
        Role.TOOL, text, "commentary", "assistant", name="functions." + to_identifier(name)
    )


def built_in_call(recipient, arguments):
    return message(Role.ASSISTANT, arguments, "analysis", recipient, "code")


def built_in_result(recipient, text):
    return message(Role.TOOL, text, "analysis", "assistant", name=recipient)


@st.composite
def openings(draw):
    """System message and, if anything is said there, the developer's first."""
    system = SystemContent.new().with_reasoning_effort(
        draw(st.sampled_from([*harmony.ReasoningEffort, None]))
    )
    if draw(st.booleans()):
        system.with_conversation_start_date("2026-11-24")
    messages = [Message.from_role_and_content(Role.SYSTEM, system)]
    developer = DeveloperContent.new()
    if draw(st.booleans()):
        developer.with_instructions(draw(texts(3)))
    functions = draw(st.lists(st.sampled_from(FUNCTIONS), unique=True, max_size=3))
    if functions:
        schema = draw(
            st.sampled_from([None, {"type": "object", "properties": {"a": {"type": "string"}}}])
        )
        developer.with_function_tools(
            [ToolDescription.new(to_identifier(name), draw(texts(1)), schema) for name in functions]
        )
    if response_format := draw(st.sampled_from(FORMATS)):
        developer.with_response_format(*response_format)
    if developer != DeveloperContent.new():
        messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    return messages


@st.composite
def turns(draw, built_in=False):
    """What one side says: messages in a row."""
    kind = draw(st.sampled_from(["user", "user", "answer", "answer", "calls", "built in"]))
    if kind == "user":
        parts = st.one_of(texts(4), st.lists(texts(2), max_size=3).filter(lambda p: len(p) != 1))
        return [message(Role.USER, draw(parts), name=draw(st.sampled_from([None, None, "bob"])))]
    messages = []
    if draw(st.booleans()):
        messages.append(message(Role.ASSISTANT, draw(some_text), "analysis"))
    if kind == "answer":
        channel = draw(st.sampled_from(["final", "final", "commentary"]))
        return [*messages, message(Role.ASSISTANT, draw(texts(4)), channel)]
    if draw(st.booleans()):
        messages.append(message(Role.ASSISTANT, draw(texts(3)), "commentary"))
    if kind == "built in" and built_in:
        recipient, arguments = draw(st.sampled_from([
            ("python", "print(1)"), ("browser.search", '{"query": "frost", "topn": 3}'),
            ("browser.open", '{"id": 4}'), ("browser.find", '{"pattern":"x"}'), ("browser.find", "no JSON"),
            ("container.exec", '{"cmd":["ls"]}'),
        ]))  # fmt: skip
        # Built-in tools are called one after the other: each call has its answer.
        answer = built_in_result(recipient, draw(texts(3)))
        return [*messages, built_in_call(recipient, arguments), answer]
    names = draw(st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=3))
    messages += [call(name, draw(json_texts)) for name in names]
    if draw(st.booleans()):
        messages += [result(name, draw(texts(3))) for name in names]
    return messages


@st.composite
def conversations(draw, built_in=False):
    messages = draw(openings())
    for turn in draw(st.lists(turns(built_in), max_size=5)):
        messages += turn
    return harmony.Conversation.from_messages(messages)
