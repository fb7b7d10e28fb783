"""Random conversations and JSON schemas, built with any library that has openai_harmony's classes.

Everything comes from a `random.Random`: the same seed with another library makes the same
conversation. Most are valid; the odd ones have fields assigned what the declared types forbid,
subclasses, values JSON cannot hold.
"""

import enum
import json
import math
import random
import struct
from types import ModuleType
from typing import Any

WORDS = [
    "", " ", "a", "hi", "hello world", "user", "tool", "final", "null", "42", "3.14", "\n", "a\nb", "a\r\nb\n", "x\ry",
    "\r", "\n\n", "line one\n\nline three\n", "é", "naïve", "日本語", "🎉", "👩‍👩‍👧",
    "\u2028", "\x00", "\x7f",
    "\t tab",
    '"quoted"', "back\\slash", "<|end|>", "<|constrain|>", "<|channel|>final", "<|start|>assistant", "to=x", "{}",
    '{"a": 1}', "// comment", "don't", "  two", "The quick brown fox jumps over the lazy dog.", "\ud83d\ude00",
]  # fmt: skip
LONE_SURROGATES = ["\ud800", "a\udfffb", "\ude00\ud83d"]

ROLES = ["user", "assistant", "system", "developer", "tool"]
CHANNELS = ["analysis", "commentary", "final", "Analysis", "", "a b"]
RECIPIENTS = [
    "functions.f",
    "python",
    "browser.search",
    "assistant",
    "user",
    "all",
    "All",
    "",
    "a b",
    "<|end|>",
]
CONTENT_TYPES = [
    "<|constrain|>json", "json", "<|constrain|>", "<|constrain|> json", "code", "", " <|constrain|>json",
    "<|constrain|>a<|constrain|>b", "<|constrain|>yaml", "json<|constrain|>",
]  # fmt: skip
NAMES = ["functions.f", "python", "browser.search", "bob", "", "a b", "user", "my tool "]


class Name(str):
    """A `str` that is not exactly a `str`."""


class Choice(str, enum.Enum):
    """Strings whose hash is not that of their text."""

    TYPE = "type"
    STRING = "string"
    FINAL = "final"


class Number(int):
    """An `int` that is not exactly an `int`."""


def chance(rng: random.Random, probability: float) -> bool:
    return rng.random() < probability


def text(rng: random.Random, oddness: float) -> str:
    if chance(rng, oddness * 0.02):
        return rng.choice(LONE_SURROGATES)
    if chance(rng, oddness * 0.02):
        return Name(rng.choice(WORDS))
    return "".join(rng.choice(WORDS) for _ in range(rng.choice([0, 1, 1, 1, 2, 3])))


# numbers


def number(rng: random.Random, oddness: float) -> Any:
    if chance(rng, oddness * 0.03):
        return rng.choice(
            [
                math.nan,
                math.inf,
                -math.inf,
                10**308,
                -(10**309),
                10**400,
                1.7976931348623157e308,
                True,
            ]
        )
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randrange(-5, 100)
    if kind == 1:
        return rng.choice([2**53, 2**63, 2**64, -(2**63), 2**64 - 1, -(2**63) - 1]) + rng.randrange(
            -3, 4
        )
    if kind == 2:
        return rng.choice([-1, 1]) * rng.randrange(10 ** rng.randrange(1, 40))
    if kind == 3:
        return rng.choice(
            [
                0.0,
                -0.0,
                1.0,
                -1.5,
                0.1,
                1e16,
                1e15,
                1e17,
                123456789012345680.0,
                5e-324,
                1e-5,
                1.5e300,
            ]
        )
    if kind == 4:
        return rng.uniform(-1000, 1000)
    if kind == 5:
        return round(rng.uniform(-1000, 1000), rng.randrange(6))
    if kind == 6:
        return rng.choice([-1, 1]) * rng.randrange(10**9) * 10.0 ** rng.randrange(-320, 300)
    bits = rng.getrandbits(64)
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value if math.isfinite(value) and abs(value) < 1e307 else 2.5


def value(rng: random.Random, oddness: float, depth: int = 2) -> Any:
    """Any JSON value, and now and then one that JSON cannot hold."""
    if chance(rng, oddness * 0.01):
        return rng.choice(
            [
                (1, "a"),
                {1, 2},
                b"bytes",
                Number(7),
                Choice.STRING,
                object(),
                {1: 2, "1": 3},
                {None: 1},
            ]
        )
    kind = rng.randrange(8 if depth else 6)
    if kind < 2:
        return text(rng, oddness)
    if kind < 4:
        return number(rng, oddness)
    if kind == 4:
        return rng.choice([True, False])
    if kind == 5:
        return None
    if kind == 6:
        return [value(rng, oddness, depth - 1) for _ in range(rng.randrange(4))]
    return {text(rng, oddness): value(rng, oddness, depth - 1) for _ in range(rng.randrange(4))}


# schemas

TYPES = ["string", "number", "integer", "boolean", "array", "object", "null", "any", "", "String"]


def schema(rng: random.Random, oddness: float, depth: int = 4) -> Any:
    """A JSON schema with every keyword that has an effect, and many that have none, in any order."""
    if chance(rng, 0.03):
        return value(rng, oddness)
    kind = rng.choice(TYPES if depth else TYPES[:4])
    if chance(rng, 0.5):
        kind = rng.choice(["string", "object", "object"] if depth else ["string"])
    members: dict[Any, Any] = {}
    if chance(rng, 0.9):
        members["type"] = kind
    elif chance(rng, 0.7):
        types = [rng.choice(TYPES) for _ in range(rng.randrange(4))]
        members["type"] = types + ([5] if chance(rng, 0.2) else [])
    if kind == "object" and depth:
        members["properties"] = {
            rng.choice(
                ["a", "b", "c d", "é", "$x", 'q"', "日本", "type", "default", text(rng, oddness)]
            ): schema(rng, oddness, depth - 1)
            for _ in range(rng.randrange(5))
        }
        if chance(rng, 0.6):
            members["required"] = [name for name in members["properties"] if chance(rng, 0.5)]
            if chance(rng, 0.2):
                members["required"].append(rng.choice(["zz", 5, None, ["a"]]))
    if kind == "array" and chance(rng, 0.8):
        members["items"] = schema(rng, oddness, depth - 1) if depth else {"type": "string"}
    if depth and chance(rng, 0.15):
        members["oneOf"] = [schema(rng, oddness, depth - 1) for _ in range(rng.randrange(4))]
    if chance(rng, 0.5 if kind == "string" else 0.1):
        members["enum"] = [
            value(rng, 0.0, 1) if chance(rng, 0.2) else text(rng, oddness)
            for _ in range(rng.randrange(4))
        ]
    if chance(rng, 0.3):
        members["default"] = value(rng, oddness)
    if chance(rng, 0.4):
        # Descriptions that repeat matter: what a variant shares with its union is said once.
        members["description"] = rng.choice(["D", "D", "may be null", text(rng, oddness)])
    if chance(rng, 0.1):
        members["title"] = text(rng, oddness)
    if chance(rng, 0.15):
        members["examples"] = [value(rng, oddness, 1) for _ in range(rng.randrange(4))]
    if chance(rng, 0.2):
        members["nullable"] = rng.choice([True, True, False, 1, "true", None])
    if chance(rng, 0.15):
        name = rng.choice(
            [
                "anyOf",
                "allOf",
                "$ref",
                "const",
                "format",
                "pattern",
                "additionalProperties",
                "$defs",
            ]
        )
        members[name] = (
            schema(rng, oddness, depth - 1) if depth and chance(rng, 0.5) else value(rng, oddness)
        )
    if chance(rng, 0.04):
        name = rng.choice(
            [
                "type",
                "properties",
                "required",
                "items",
                "oneOf",
                "enum",
                "description",
                "title",
                "examples",
                "nullable",
            ]
        )
        members[name] = value(rng, oddness)
    if chance(rng, oddness * 0.005):
        members[rng.choice([1, 1.5, True, None, Choice.TYPE, (1, 2), b"type"])] = "x"
    order = list(members)
    rng.shuffle(order)
    return {name: members[name] for name in order}


def parameters(rng: random.Random, oddness: float) -> Any:
    """A schema as `ToolDescription` takes it: a dict or None."""
    if chance(rng, 0.1):
        return None
    members = schema(rng, oddness)
    return (
        members if isinstance(members, dict) else {"type": "object", "properties": {"a": members}}
    )


# messages


def tools(rng: random.Random, lib: ModuleType, oddness: float) -> list[Any]:
    return [
        lib.ToolDescription.new(text(rng, oddness), text(rng, oddness), parameters(rng, oddness))
        for _ in range(rng.choice([0, 1, 1, 2]))
    ]


def namespace(rng: random.Random, lib: ModuleType, oddness: float) -> Any:
    if chance(rng, 0.1):
        return rng.choice([lib.ToolNamespaceConfig.browser, lib.ToolNamespaceConfig.python])()
    return lib.ToolNamespaceConfig(
        name=rng.choice(["functions", "functions", "a", "é", text(rng, oddness)]),
        description=text(rng, oddness) if chance(rng, 0.5) else None,
        tools=tools(rng, lib, oddness),
    )


def optional_text(rng: random.Random, oddness: float) -> str | None:
    return text(rng, oddness) if chance(rng, 0.6) else None


def system_content(rng: random.Random, lib: ModuleType, oddness: float) -> Any:
    content = lib.SystemContent()
    if chance(rng, 0.4):
        content = lib.SystemContent(
            model_identity=optional_text(rng, oddness),
            reasoning_effort=rng.choice([None, "Low", "Medium", "High"]),
            conversation_start_date=optional_text(rng, oddness),
            knowledge_cutoff=optional_text(rng, oddness),
        )
    if chance(rng, 0.3):
        content.channel_config = rng.choice([None, "config"]) and lib.ChannelConfig(
            valid_channels=[text(rng, oddness) for _ in range(rng.randrange(4))],
            channel_required=chance(rng, 0.5),
        )
    for _ in range(rng.choice([0, 0, 1, 2])):
        content.with_tools(namespace(rng, lib, oddness))
    if chance(rng, oddness * 0.05):
        field = rng.choice([*type(content).model_fields])
        setattr(content, field, odd_value(rng, lib))
    return content


def developer_content(rng: random.Random, lib: ModuleType, oddness: float) -> Any:
    content = lib.DeveloperContent()
    if chance(rng, 0.6):
        content.with_instructions(text(rng, oddness))
    if chance(rng, 0.6):
        content.with_function_tools(tools(rng, lib, oddness))
    for _ in range(rng.choice([0, 0, 1, 2])):
        added = namespace(rng, lib, oddness)
        content.with_tools(added)
        if chance(rng, 0.1):
            content.tools[rng.choice(["functions", "zz", "\uffff", "😀"])] = content.tools.pop(
                added.name
            )
    if chance(rng, oddness * 0.05):
        make_tools_odd(rng, lib, content)
    return content


def odd_value(rng: random.Random, lib: ModuleType) -> Any:
    """What may stand in any field once validation is out of the way."""
    return rng.choice(
        [
            None, "", "low", "Low", 5, 1.5, True, [], {}, ["a"], {"a": 1}, b"x", Name("final"), Choice.FINAL, ("a",),
            lib.Role.USER, lib.ReasoningEffort.LOW, lib.TextContent(text="x"), {"user": None}, {"Low": {}}, {1},
            lib.ChannelConfig.require_channels(["a"]), {"valid_channels": ["a"], "channel_required": True},
            {"functions": lib.ToolNamespaceConfig(name="n", tools=[])}, {"f": {"name": "n", "tools": []}},
        ]
    )  # fmt: skip


def make_tools_odd(rng: random.Random, lib: ModuleType, content: Any) -> None:
    """Assign something to one of the attributes from the content down to the parameters of a tool."""
    place, field = content, rng.choice(["instructions", "tools"])
    if content.tools and chance(rng, 0.8):
        place = rng.choice([*content.tools.values()])
        field = rng.choice(["name", "description", "tools"])
        if place.tools and chance(rng, 0.7):
            place = rng.choice(place.tools)
            field = rng.choice(["name", "description", "parameters"])
    setattr(place, field, odd_value(rng, lib))


def odd_content(rng: random.Random, lib: ModuleType) -> Any:
    """Subclasses, with `to_dict` of their own and without."""
    written = rng.choice(
        [
            {"type": "text", "text": "own"}, {"type": "text"}, {"type": "text", "text": None}, {"type": "other"}, {},
            {"text": "x", "type": "text", "more": [1]}, {"type": "system_content"}, ["text", "as a list"], "text", 5,
            {"type": "developer_content", "instructions": "i", "tools": {"b": {"name": "n", "tools": []}}},
            {"type": "developer_content", "tools": {"b": ["n", None, [["t", "d", {"type": "integer"}]]]}},
            {"type": "developer_content", "tools": {"functions": {"name": "n", "tools": [["t", "d", 5]]}}},
            {"type": "system_content", "channel_config": [["a"], False], "reasoning_effort": {"High": None}},
            {"type": "system_content", "channel_config": {"valid_channels": ["a"]}}, {"type": "text", "text": {1}},
            None,
            {1: 2, "type": "text", "text": "x"}, {"type": "text", "text": "x", "\ud800": 1}, ["system_content"],
            {"type": "text", "text": "x", "nan": math.nan}, {"type": "text", "text": "x", "big": 10**400},
        ]
    )  # fmt: skip

    class Own(lib.Content):
        def to_dict(self) -> Any:
            return written

    class Named(lib.TextContent):
        pass

    class NamedSystem(lib.SystemContent):
        more: int = 5

    return rng.choice([Own, Own, lib.Content, lambda: Named(text="n"), NamedSystem])()


def message(rng: random.Random, lib: ModuleType, oddness: float) -> Any:
    role = rng.choice(["user", "assistant", "assistant", "assistant", *ROLES])
    named = role == "tool" or chance(rng, 0.05)
    if chance(rng, 0.02):
        named = not named
    author = lib.Author(role=role, name=rng.choice([*NAMES, text(rng, oddness)]) if named else None)
    contents: list[Any] = []
    for _ in range(rng.choice([0, 1, 1, 1, 1, 1, 2, 3])):
        kind = role if chance(rng, 0.97) else rng.choice(ROLES)
        if kind == "system" and chance(rng, 0.8):
            contents.append(system_content(rng, lib, oddness))
        elif kind == "developer" and chance(rng, 0.8):
            contents.append(developer_content(rng, lib, oddness))
        elif chance(rng, oddness * 0.03):
            contents.append(odd_content(rng, lib))
        else:
            contents.append(lib.TextContent(text=text(rng, oddness)))
    made = lib.Message(author=author, content=contents)
    if chance(rng, 0.6):
        made.channel = rng.choice(["final", "analysis", *CHANNELS])
    if chance(rng, 0.2):
        made.recipient = rng.choice([*RECIPIENTS, text(rng, oddness)])
    if chance(rng, 0.2):
        made.content_type = rng.choice([*CONTENT_TYPES, text(rng, oddness)])
    if chance(rng, oddness * 0.05):
        field = rng.choice(["content", "channel", "recipient", "content_type", "author"])
        setattr(made, field, odd_value(rng, lib))
    if chance(rng, oddness * 0.03) and isinstance(made.author, lib.Author):
        setattr(
            made.author,
            rng.choice(["role", "name"]),
            rng.choice(["user", "assistant", odd_value(rng, lib)]),
        )
    if chance(rng, oddness * 0.02) and contents and isinstance(contents[0], lib.TextContent):
        contents[0].text = odd_value(rng, lib)
    if chance(rng, oddness * 0.01):
        delattr(made, rng.choice(["content", "channel", "recipient", "content_type", "author"]))
    return made


def conversation(rng: random.Random, lib: ModuleType, oddness: float | None = None) -> Any:
    """A conversation. Unless `oddness` is given, every third is odd: has about one odd thing in it."""
    if oddness is None:
        oddness = rng.choice([0.0, 0.0, 1.0])
    messages = [message(rng, lib, oddness) for _ in range(rng.choice([0, 1, 2, 3, 4, 6, 8]))]
    made = lib.Conversation.from_messages(messages)
    if chance(rng, oddness * 0.02):
        made.messages = rng.choice(
            [None, 5, "ab", tuple(messages), [*messages, None], {}, [*messages, "x"]]
        )
    return made


# JSON


class Written:
    """An object of which only the JSON is known."""

    def __init__(self, payload: str) -> None:
        self.payload = payload

    def to_json(self) -> str:
        return self.payload


NUMBER_TEXTS = [
    "0", "-0", "1E5", "0.1e1", "-0.0", "1e400", "1e-400", "100000000000000000000e-20",
    "1.0000000000000000000000000001", "18446744073709551616", "123456789012345678901234567890.5e-3",
    "0.000000000000000000000000000123", "1e309", "00", "1.",
    "NaN", "Infinity", "-Infinity", "+1", "0e999999", "4.35", "179769313486231580793e289", "9007199254740993.0",
]  # fmt: skip


def spoiled(rng: random.Random, value: Any) -> Any:
    """The same JSON value with something exchanged somewhere inside it."""
    if not isinstance(value, (dict, list)) or not value or chance(rng, 0.15):
        return rng.choice(
            [
                None, 5, 1.5, True, "", "text", "user", "Low", [], {}, ["a"], {"user": {}}, {"Low": None}, {"a": "b"},
                {"type": "text", "text": "x"}, ["text", "x"], [[]], "\ud800", [value], {"messages": []},
                {"name": "n", "tools": []}, ["n", None, []], [["a"], True], [value, value],
            ]
        )  # fmt: skip
    if isinstance(value, list):
        at = rng.randrange(len(value))
        if chance(rng, 0.1):
            return [*value[:at], *value[at + 1 :]]
        return [
            spoiled(rng, member) if index == at else member for index, member in enumerate(value)
        ]
    at = rng.choice([*value])
    kind = rng.randrange(12)
    if kind == 0:
        return [*value.values()]
    if kind == 1:
        return {name: member for name, member in value.items() if name != at}
    if kind == 2:
        return {
            **value,
            rng.choice(["more", "type", "content", "name", "1"]): rng.choice(
                [None, "x", {"a": []}]
            ),
        }
    return {name: spoiled(rng, member) if name == at else member for name, member in value.items()}


def written(rng: random.Random, plain: Any) -> str:
    """JSON near that of `plain`: most often with one thing wrong, now and then spelled in a strange way."""
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        plain = spoiled(rng, plain)
    payload = json.dumps(plain, ensure_ascii=chance(rng, 0.8))
    if chance(rng, 0.1):
        payload = payload.replace(" 1.5", " " + rng.choice(NUMBER_TEXTS)).replace(
            " 5", " " + rng.choice(NUMBER_TEXTS)
        )
    if chance(rng, 0.1):
        # A second member of the same name, somewhere.
        name = rng.choice(
            [
                "role",
                "content",
                "type",
                "text",
                "name",
                "channel",
                "tools",
                "more",
                "parameters",
                "default",
            ]
        )
        places = [at for at in range(len(payload)) if payload.startswith(f'"{name}": ', at)]
        if places:
            at = rng.choice(places)
            payload = (
                payload[:at]
                + f'"{name}": '
                + rng.choice(["null", '"x"', "{}"])
                + ", "
                + payload[at:]
            )
    if chance(rng, 0.02):
        at = rng.randrange(len(payload) + 1)
        payload = (
            payload[:at]
            + rng.choice(["", " ", ",", "\n", "\x00", "x", "\u00a0"])
            + payload[at + 1 :]
        )
    return payload
