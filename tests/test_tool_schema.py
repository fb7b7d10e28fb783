"""JSON schemas as TypeScript text, the text of namespaces, numbers, and what is too much."""

import json
import math
import random

import pytest
from vectors import FOLDER

from harmony import (
    Conversation,
    DeveloperContent,
    Message,
    RenderOptions,
    Role,
    SystemContent,
    ToolDescription,
    ToolNamespaceConfig,
)
from harmony.render import render_conversation, render_message
from harmony.tool_schema import (
    MAX_VALUES,
    builtin_namespace,
    double_text,
    namespace_text,
    number_as_read,
    tools_section,
    typescript_type,
)

VECTORS = [json.loads(line) for line in (FOLDER / "schema.jsonl").read_text("ascii").splitlines()]


def with_function(parameters, description="d"):
    tool = ToolDescription.new("f", description, parameters)
    developer = DeveloperContent().with_function_tools([tool])
    return Message.from_role_and_content(Role.DEVELOPER, developer)


def rendered_type(tokenizer, parameters, options=None):
    """What stands between `type f = ` and ` => any;` in the rendering of a message."""
    text = tokenizer.decode(render_message(tokenizer, with_function(parameters), options))
    return text[text.index("type f = ") + 9 : text.rindex(" => any;")]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vector(tokenizer, vector):
    assert rendered_type(tokenizer, vector["parameters"]) == vector["typescript"]


def test_types_without_a_message():
    assert typescript_type({"type": ["integer", "null"]}) == "number | null"
    assert typescript_type({"type": "object", "properties": {"a": True}}) == "{\na?: any,\n}"
    assert typescript_type(True) == "any"


def test_keys_keep_their_order():
    names = [f"k{n}" for n in random.Random(0).sample(range(1000), 100)]
    text = typescript_type({"type": "object", "properties": {name: {} for name in names}})
    assert [line.partition("?")[0] for line in text.splitlines()[1:-1]] == names


# namespaces


@pytest.mark.parametrize(
    ("namespace", "text"),
    [
        (("functions", None, []), "## functions\n"),
        (
            ("functions", None, [("f", "d", None)]),
            "## functions\n\nnamespace functions {\n\n// d\ntype f = () => any;\n\n} // namespace functions",
        ),
        (
            ("functions", None, [("f", "", None)]),
            "## functions\n\nnamespace functions {\n\ntype f = () => any;\n\n} // namespace functions",
        ),
        (
            ("functions", None, [("f", "a\r\nb\rc\n\nd\n", None)]),
            "## functions\n\nnamespace functions {\n\n// a\n// b\rc\n// \n// d\n"
            "type f = () => any;\n\n} // namespace functions",
        ),
        (("ns", "A\n\nB\n", []), "## ns\n\nA\n\nB"),
        (
            ("ns", "A\n\nB\n", [("f", "x\r", {})]),
            "## ns\n\n// A\n// \n// B\nnamespace ns {\n\n// x\r\ntype f = (_: any) => any;\n\n} // namespace ns",
        ),
    ],
)
def test_namespace(namespace, text):
    assert namespace_text(*namespace) == text


def test_namespaces_are_ordered_by_key_and_show_their_name(tokenizer):
    developer = DeveloperContent(
        tools={
            key: ToolNamespaceConfig(name=name, tools=[])
            for key, name in {"b": "yy", "\U0001f600": "last", "\uff5e": "third", "a": "zz"}.items()
        }
    )
    message = Message.from_role_and_content(Role.DEVELOPER, developer)
    text = tokenizer.decode(render_message(tokenizer, message))
    headings = [line[3:] for line in text.split("\n") if line.startswith("## ")]
    assert headings == ["zz", "yy", "third", "last"]
    assert tools_section(["x", "y"]) == "# Tools\n\nx\n\ny"


def test_builtin_namespaces(tokenizer):
    assert ToolNamespaceConfig.browser() == ToolNamespaceConfig(**builtin_namespace("browser"))
    assert [tool.name for tool in ToolNamespaceConfig.browser().tools] == ["search", "open", "find"]
    assert ToolNamespaceConfig.python().tools == []
    system = SystemContent(
        model_identity=None, reasoning_effort=None, knowledge_cutoff=None, channel_config=None
    )
    message = Message.from_role_and_content(Role.SYSTEM, system.with_browser_tool())
    text = tokenizer.decode(render_message(tokenizer, message))
    assert "type find = (_: {\n// " not in text
    assert text.endswith(
        "pattern: string,\ncursor?: number, // default: -1\n}) => any;\n\n} // namespace browser<|end|>"
    )


# numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (-1.5, "-1.5"), (45.5, "45.5"), (0.1, "0.1"),
        (1e15, "1000000000000000.0"), (1e16, "1e16"), (123456789012345680.0, "1.2345678901234568e17"),
        (1.5e300, "1.5e300"), (1e100, "1e100"), (1e-5, "0.00001"), (1.234e-5, "0.00001234"),
        (1e-6, "1e-6"), (1.234e-6, "1.234e-6"), (5e-324, "5e-324"), (1234567890123456.0, "1234567890123456.0"),
        (12345678901234.25, "12345678901234.25"), (0.012, "0.012"),
    ],
)  # fmt: skip
def test_notation_of_doubles(value, text):
    assert double_text(value) == text


def test_notation_round_trips():
    rng = random.Random(1)
    for _ in range(2000):
        value = rng.uniform(-1, 1) * 10.0 ** rng.randrange(-320, 300)
        assert float(double_text(value)) == value


def test_doubles_are_read_inexactly_only_beyond_15_digits():
    assert number_as_read("45.658802093481164") == 45.65880209348117
    assert number_as_read("18446744073709551616") == 2.0**64
    rng = random.Random(2)
    for _ in range(2000):
        text = f"{rng.randrange(10**15)}e{rng.randrange(-20, 20)}"
        assert number_as_read(text) == float(text)
        assert number_as_read(f"0.000{text}") == pytest.approx(float(f"0.000{text}"), rel=1e-15)


@pytest.mark.parametrize("text", ["1e309", "-1e309", "9" * 309, "1e400", "17976931348623159e292"])
def test_numbers_out_of_range(text):
    with pytest.raises(ValueError, match="number out of range"):
        number_as_read(text)


def test_exact_numbers(tokenizer):
    exact = RenderOptions(exact_numbers=True)
    value, big = 45.658802093481164, 12345678901234567890123
    assert rendered_type(tokenizer, {"oneOf": [{"default": value}]}).endswith("45.65880209348117)")
    text = rendered_type(tokenizer, {"oneOf": [{"default": value}]}, exact)
    assert text.endswith(f" // default: {value})")
    assert "1.2345678901234568e22" in rendered_type(tokenizer, {"oneOf": [{"default": [big]}]})
    assert f"[{big}]" in rendered_type(tokenizer, {"oneOf": [{"default": [big]}]}, exact)
    # The tuple keeps this schema from being plain.
    text = rendered_type(tokenizer, {"oneOf": [{"default": (value, big, -0.0)}]}, exact)
    assert text.endswith(f" // default: [{value},{big},-0.0])")


# what cannot be written


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def test_depth_is_bounded(tokenizer):
    for depth in 119, 117:
        assert rendered_type(tokenizer, nested(depth)).startswith("(_: string[][][]")
    conversation = Conversation.from_messages([with_function(nested(117))])
    assert render_conversation(tokenizer, conversation)
    for depth in 120, 200, 900, 5000, 100_000:
        with pytest.raises(ValueError, match=r"invalid message JSON: .*recursion limit exceeded"):
            render_message(tokenizer, with_function(nested(depth)))
    conversation = Conversation.from_messages([with_function(nested(118))])
    with pytest.raises(ValueError, match=r"invalid conversation JSON: .*recursion limit exceeded"):
        render_conversation(tokenizer, conversation)


def test_cycles_are_refused(tokenizer):
    schema = {"type": "object"}
    schema["properties"] = {"a": schema, "b": schema}
    members = [1]
    members.append(members)
    chain = {}
    chain["items"] = chain
    for parameters in schema, {"default": members}, chain:
        with pytest.raises(ValueError):
            render_message(tokenizer, with_function(parameters))


def test_enormous_schemas_are_refused(tokenizer):
    """A few objects that stand for 2^60 values when written out."""
    schema = {"type": "string"}
    for _ in range(60):
        schema = {"oneOf": [schema, schema]}
    message = with_function(schema)
    with pytest.raises(ValueError, match=f"more than {MAX_VALUES} values"):
        render_message(tokenizer, message)
    message.channel = 5  # so that it is not plain
    with pytest.raises(ValueError, match=f"more than {MAX_VALUES} values"):
        render_message(tokenizer, message)


UNWRITABLE = {
    "nan": (math.nan, ValueError),
    "infinity": (-math.inf, ValueError),
    "too large": (10**400, ValueError),
    "too long": (10**5000, ValueError),
    "lone surrogate": ("\ud800", ValueError),
    "lone surrogate in a key": ({"\udfff": 1}, ValueError),
    "set": ({1, 2}, TypeError),
    "bytes": (b"x", TypeError),
    "object": (object(), TypeError),
    "tuple as key": ({(1, 2): 1}, TypeError),
}


@pytest.mark.parametrize(("value", "error"), UNWRITABLE.values(), ids=UNWRITABLE)
@pytest.mark.parametrize("member", ["default", "$defs"])
def test_values_that_json_cannot_hold(tokenizer, member, value, error):
    """Also where they would not be written."""
    with pytest.raises(error):
        render_message(tokenizer, with_function({member: value}))
    with pytest.raises(error):
        render_message(tokenizer, with_function({member: [{"deeper": value}]}))


def test_values_that_json_spells_differently(tokenizer):
    class Text(str):
        pass

    def default(value):
        return rendered_type(tokenizer, {"oneOf": [{"default": value}]}).partition("default: ")[2]

    assert default((1, "a")) == '[1,"a"])'
    assert (
        default({1: True, None: None, 1.5: 1, False: 2})
        == '{"1":true,"null":null,"1.5":1,"false":2})'
    )
    assert default({1: "first", "0": 0, "1": "last"}) == '{"1":"last","0":0})'
    assert default(Text("x")) == '"x")'
    assert default(Role.USER) == '"user")'
    assert default("\ud83d\ude00") == '"\U0001f600")'
