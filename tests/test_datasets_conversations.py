"""Data sets of conversations: rendered for training, masked, and packed."""

import json
import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scale import scaled
from test_training import conversations as random_conversations

import harmony
from harmony import (
    Conversation,
    DatasetError,
    DeveloperContent,
    Message,
    RenderConversationConfig,
    Role,
    SystemContent,
    ToolDescription,
    ToolNamespaceConfig,
    cli,
    datasets,
    sources,
)
from harmony.batch import TokenBatch
from harmony.datasets import encode_dataset, pack
from harmony.training import PRESETS


def written(conversation):
    return json.loads(conversation.to_json())


@pytest.fixture(scope="module")
def rows(encoding):
    """Conversations that can be rendered with validated headers."""
    rng = random.Random(5)
    made = []
    for i in range(300):
        row = [
            {"role": "user", "content": f"question {i} " * rng.randrange(1, 20)},
            {"role": "assistant", "content": f"hm {i}", "channel": "analysis"},
            {
                "role": "assistant",
                "content": '{"x": 1}',
                "channel": "commentary",
                "recipient": "functions.f",
                "content_type": "<|constrain|>json",
            },
            {"role": "tool", "name": "functions.f", "content": "<|end|> is text here"},
            {"role": "assistant", "content": f"answer {i}", "channel": "final"},
        ]
        made.append({"messages": row[: rng.randrange(1, 6)], "id": i})
    return made


def file_of(path, rows):
    """JSON lines, or a table in which a message has every field that any has."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        columns = {"messages": [row["messages"] for row in rows]}
        columns["tools"] = [json.dumps(row.get("tools", [])) for row in rows]
        pq.write_table(pa.table(columns), path)
    return path


def check(dataset, encoding, rows, train_on="assistant", config=None):
    assert len(dataset) == len(rows)
    for got, row in zip(dataset, rows, strict=True):
        conversation = Conversation.from_json(json.dumps(row))
        expected = encoding.render_annotated(conversation, config=config, for_training=True)
        assert got["ids"].tolist() == expected.ids.tolist()
        assert got["loss_mask"].dtype == np.bool_
        assert got["loss_mask"].tolist() == expected.loss_mask(train_on).tolist()


@pytest.mark.parametrize("train_on", PRESETS)
@pytest.mark.parametrize("file_format", ["parquet", "arrow", "npy"])
def test_every_format_and_preset(tmp_path, monkeypatch, encoding, rows, train_on, file_format):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 8192)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = RenderConversationConfig(analysis_policy="keep", header_order="channel_first")
    dataset = encode_dataset(
        path,
        tmp_path / "out",
        conversations="harmony",
        format=file_format,
        train_on=train_on,
        config=config,
        shard_tokens=3_000,
    )
    assert len(dataset.manifest["shards"]) > 2
    check(dataset, encoding, rows, train_on, config)
    assert dataset.manifest["job"]["config"]["validate_headers"] is True


@settings(max_examples=scaled(40))
@given(st.lists(random_conversations, max_size=4))
def test_random_conversations(encoding, tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("random")
    (folder / "a.jsonl").write_text("".join(row.to_json() + "\n" for row in made))
    dataset = encode_dataset(folder / "a.jsonl", folder / "out", conversations="harmony")
    check(dataset, encoding, [written(row) for row in made])


@pytest.mark.parametrize("kind", ["lists", "JSON"])
def test_columns_of_messages(tmp_path, encoding, rows, kind):
    """As Hugging Face keeps them, or as text."""
    messages = [row["messages"] for row in rows]
    if kind == "JSON":
        messages = [json.dumps(row) for row in messages]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": messages, "n": range(len(rows))}), path)
    dataset = encode_dataset(path, tmp_path / "out", conversations="harmony")
    check(dataset, encoding, rows)


BAD = {
    '{"messages": 5}': "holds no list",
    '{"x": []}': "there is no field 'messages'",
    '{"messages": [{"role": "bob", "content": "x"}]}': r"messages\[0\]\.role: .* not 'bob'",
    '{"messages": [{"role": "user"}]}': r"messages\[0\]\.content: is missing",
    '{"messages": [{"role": "user", "content": null}]}': r"messages\[0\]\.content: is missing",
    '{"messages": [{"role": "user", "content": {}}]}': r"messages\[0\]\.content: must be a list",
    '{"messages": [{"role": "user", "content": ["x"]}]}': r"content\[0\]: must be an object",
    '{"messages": [{"role": "user", "content": [null]}]}': r"content\[0\]: must be an object",
    '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}': r"\[0\]\.type: must be one",
    '{"messages": [{"role": "user", "content": [{"type": "text"}]}]}': r"\[0\]\.text: is missing",
    '{"messages": [{"role": "user", "content": "x", "channel": 5}]}': r"\]\.channel: must be a str",
    '{"messages": [{"role": "system", "content": [{"type": "system_content", "tools": {"x": 5}}]}]}': (
        r"messages\[0\]\.content\[0\]\.tools\.x: Input should be a valid dictionary"
    ),
    '{"messages": [7]}': "message 0 is no object",
    '{"messages": [{"role": "tool", "content": "x"}]}': "Tools should have a name",
    '{"messages": [{"role": "assistant", "content": "x", "channel": "a b"}]}': "message 0: channel",
    '{"messages": [{"role": "user", "content": "\\ud800"}]}': "surrogate",
    '{"messages": [': "Expecting",
}


@pytest.mark.parametrize("bad, problem", BAD.items(), ids=range(len(BAD)))
def test_bad_rows(tmp_path, encoding, rows, bad, problem):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(rows[0]) + "\n" + bad + "\n" + json.dumps(rows[1]) + "\n")
    with pytest.raises(DatasetError, match=problem) as caught:
        encode_dataset(path, tmp_path / "stop", conversations="harmony")
    assert caught.value.row == 2
    kept = encode_dataset(path, tmp_path / "collect", conversations="harmony", on_bad_row="collect")
    check(kept, encoding, rows[:2])
    (reject,) = [json.loads(line) for line in (tmp_path / "collect" / "rejects.jsonl").open()]
    assert reject["content"] == bad


# Chat Completions

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Frost tonight?"},
        {
            "role": "assistant",
            "reasoning": "I should look.",
            "tool_calls": [
                {
                    "id": "1",
                    "type": "function",
                    "function": {"name": "forecast", "arguments": '{"place": "here"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "-3"},
        {"role": "assistant", "content": "Yes."},
    ],
    "tools": [{"type": "function", "function": {"name": "forecast", "parameters": {}}}],
}

CALLS = CHAT["messages"][2]["tool_calls"]
TOOLS = [{"type": "function", "function": {"name": "f"}}]
USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
FINAL = {**ANSWER, "channel": "final"}


@pytest.mark.parametrize("dialect", ["chat", "auto"])
@pytest.mark.parametrize("kind", ["a.jsonl", "as-text.jsonl", "a.parquet"])
def test_chat_rows(tmp_path, encoding, rows, dialect, kind):
    """Lists may be kept as their JSON, too."""
    from harmony import openai

    made = [CHAT, {"messages": CHAT["messages"][:2]}]
    path = tmp_path / kind
    if kind == "a.jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
    elif kind == "as-text.jsonl":
        lines = [{key: json.dumps(value) for key, value in row.items()} for row in made]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        columns = {key: [json.dumps(row.get(key, [])) for row in made] for key in CHAT}
        pq.write_table(pa.table(columns), path)
    dataset = encode_dataset(path, tmp_path / "out", conversations=dialect)
    expected = [
        openai.conversation_from_chat(row["messages"], tools=row.get("tools")) for row in made
    ]
    check(dataset, encoding, [written(row) for row in expected])
    assert "Yes.<|return|>" in encoding.decode(dataset[0]["ids"][dataset[0]["loss_mask"]])


@pytest.mark.parametrize("kind", ["a.jsonl", "as-text.jsonl", "a.parquet", "as-text.parquet"])
def test_what_a_request_says_beside_its_messages(tmp_path, encoding, kind):
    from harmony import openai

    schema = {"name": "n", "schema": {"type": "object"}}
    beside = {
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": schema},
        "tools": TOOLS,
    }
    rows = [{"messages": [USER, ANSWER], **more} for more in (beside, dict.fromkeys(beside))]
    expected = [openai.conversation_from_chat(**row) for row in rows]
    if kind.startswith("as-text"):
        for key in ("response_format", "tools"):
            rows[0][key] = json.dumps(rows[0][key])
            rows[1][key] = ""
    path = tmp_path / kind
    if kind.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    dataset = encode_dataset(path, tmp_path / "out", conversations="auto")
    check(dataset, encoding, [written(conversation) for conversation in expected])
    assert "Reasoning: high" in encoding.decode(dataset[0]["ids"])


@pytest.mark.parametrize("dialect", ["chat", "harmony"])
@pytest.mark.parametrize("field", ["messages", "tools", "response_format"])
def test_a_field_that_holds_broken_json(tmp_path, dialect, field):
    path = file_of(tmp_path / "a.jsonl", [{"messages": [USER], field: "[{]"}])
    with pytest.raises(DatasetError, match=f"row 1: the field '{field}' holds no JSON: Expecting"):
        encode_dataset(path, tmp_path / "out", conversations=dialect)


def test_which_dialect_a_row_is_written_in(tmp_path, encoding, rows):
    path = tmp_path / "a.jsonl"
    mixed = [rows[i] for i in range(20) if len(rows[i]["messages"]) > 1]
    path.write_text("".join(json.dumps(row) + "\n" for row in mixed))
    check(encode_dataset(path, tmp_path / "out", conversations="auto"), encoding, mixed)


@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
def test_data_of_gpt_oss(tmp_path, encoding, kind):
    """As the chat template of gpt-oss takes it: reasoning is called thinking, null in others."""
    row = {
        "messages": [
            {"role": "system", "content": "Think in French.", "thinking": None},
            {"role": "user", "content": "2 + 2?", "thinking": None},
            {"role": "assistant", "content": "4", "thinking": "Facile."},
        ]
    }
    path = tmp_path / kind
    if kind == "a.jsonl":
        path.write_text(json.dumps(row))
    else:
        pq.write_table(pa.Table.from_pylist([row]), path)
    keep = RenderConversationConfig(analysis_policy="keep")
    (got,) = encode_dataset(path, tmp_path / "out", conversations="auto", config=keep)
    assert encoding.decode(got["ids"][got["loss_mask"]]) == (
        "<|channel|>analysis<|message|>Facile.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>4<|return|>"
    )


# What the other dialect does not hold

OF_A_CHAT = "belongs to a chat, and this is read as harmony"


@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize(
    "dialect, row, problem",
    [
        *(
            (dialect, {"messages": [USER, {**message, key: value}]}, rf"messages\[1\]\.{key}: {OF_A_CHAT}")
            for dialect, message in [("auto", FINAL), ("harmony", FINAL), ("harmony", ANSWER)]
            for key, value in [
                ("tool_calls", CALLS),
                ("tool_call_id", "1"),
                ("function_call", {"name": "f", "arguments": "{}"}),
                ("thinking", "hm"),
                ("reasoning", "hm"),
                ("reasoning_content", "hm"),
                ("refusal", "no"),
            ]
        ),
        ("auto", {"messages": [{**USER, "channel": "x"}, {**ANSWER, "thinking": "hm"}]}, rf"\[1\]\.thinking: {OF_A_CHAT}"),
        ("auto", {"messages": [USER, FINAL], "tools": TOOLS}, f"tools: {OF_A_CHAT}"),
        ("harmony", {"messages": [USER], "tools": TOOLS}, f"tools: {OF_A_CHAT}"),
        ("auto", {"messages": [USER, FINAL], "reasoning_effort": "low"}, f"reasoning_effort: {OF_A_CHAT}"),
        ("harmony", {"messages": [USER], "response_format": {"type": "text"}}, f"response_format: {OF_A_CHAT}"),
        ("harmony", {"messages": [USER], "functions": [{"name": "f"}]}, f"functions: {OF_A_CHAT}"),
        ("chat", {"messages": [USER, ANSWER], "functions": [{"name": "f"}]}, "functions: is not read"),
        ("auto", {"messages": [USER, ANSWER], "function_call": "auto"}, "function_call: is not read"),
        *(
            ("chat", {"messages": [USER, {**ANSWER, key: "x"}]}, rf"messages\[1\]\.{key}: belongs to harmony")
            for key in ("channel", "recipient", "content_type")
        ),
    ],
)  # fmt: skip
def test_nothing_of_a_row_is_lost(tmp_path, dialect, row, problem, kind):
    """A row that says what its dialect does not read is a bad one."""
    path = tmp_path / kind
    if kind == "a.jsonl":
        path.write_text(json.dumps(row))
    else:
        pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(DatasetError, match=f"row 1: .*{problem}") as caught:
        encode_dataset(path, tmp_path / "out", conversations=dialect)
    assert (caught.value.file, caught.value.row) == (str(path), 1)


@pytest.mark.parametrize("dialect", ["auto", "harmony"])
@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
def test_fields_of_the_other_dialect_that_say_nothing(tmp_path, encoding, dialect, kind):
    """A table has them where chats stand beside other conversations."""
    empty = {"tool_calls": [], "tool_call_id": None, "thinking": "", "reasoning": None}
    row = {"messages": [{**USER, **empty}, {**FINAL, **empty}], "functions": "[]", "tools": []}
    path = file_of(tmp_path / kind, [row])
    dataset = encode_dataset(path, tmp_path / "out", conversations=dialect)
    check(dataset, encoding, [{"messages": [USER, FINAL]}])


@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
def test_header_fields_of_a_chat_that_say_nothing(tmp_path, kind):
    empty = {"channel": None, "recipient": "", "content_type": None}
    rows = [{"messages": [USER, answer]} for answer in (ANSWER, {**ANSWER, **empty})]
    path = file_of(tmp_path / kind, rows)
    plain, with_fields = encode_dataset(path, tmp_path / "out", conversations="chat")
    assert plain["ids"].tolist() == with_fields["ids"].tolist()


# Fields that are null: JSON that was written from a table has them


def filled(value, keys):
    """`value`, its objects with a null for each of `keys` that they do not have."""
    if isinstance(value, dict):
        return dict.fromkeys(keys) | {key: filled(value[key], keys) for key in value}
    return [filled(member, keys) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize("dialect", ["auto", "chat"])
def test_null_is_as_good_as_missing_in_a_chat(tmp_path, encoding, dialect):
    nulls = ["channel", "recipient", "content_type", "name", "weight", "thinking", "phase", "text"]
    row = {**CHAT, "messages": filled(CHAT["messages"], nulls)}
    dataset = encode_dataset(
        file_of(tmp_path / "a.jsonl", [row]), tmp_path / "lines", conversations=dialect
    )
    expected = encode_dataset(
        file_of(tmp_path / "a.parquet", [CHAT]), tmp_path / "table", conversations=dialect
    )
    assert dataset[0]["ids"].tolist() == expected[0]["ids"].tolist()
    assert encoding.decode(dataset[0]["ids"]).count("<|start|>system") == 1


@pytest.mark.parametrize("dialect", ["auto", "harmony"])
@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
def test_null_is_as_good_as_missing_in_the_other_dialect(tmp_path, encoding, dialect, kind):
    """But not in schemas as JSON holds them."""
    place = {"type": "string", "default": None}
    schema = {"type": "object", "properties": {"place": place}}
    function = ToolDescription.new("f", "", schema if kind == "a.jsonl" else None)
    content = DeveloperContent.new().with_function_tools([function])
    lights = ToolNamespaceConfig(name="lights", tools=[ToolDescription.new("on", "")])
    conversation = Conversation.from_messages(
        [
            Message.from_role_and_content(Role.SYSTEM, SystemContent.new().with_tools(lights)),
            Message.from_role_and_content(Role.DEVELOPER, content),
            Message.from_role_and_content(Role.USER, "Frost?"),
            Message.from_role_and_content(Role.ASSISTANT, "No.").with_channel("final"),
        ]
    )
    row = written(conversation)
    nulls = ["channel", "recipient", "content_type", "weight"]
    for message in row["messages"]:
        message["content"] = [
            dict.fromkeys(["model_identity", "channel_config", "tools", "instructions"]) | part
            for part in message["content"]
        ]
        message.update({key: message.get(key) for key in nulls})
    row["messages"][0]["content"][0]["tools"]["functions"] = None
    del row["messages"][0]["content"][0]["model_identity"]
    path = file_of(tmp_path / kind, [row])
    (got,) = encode_dataset(path, tmp_path / "out", conversations=dialect)
    expected = encoding.render_conversation_for_training(conversation)
    assert encoding.decode(got["ids"]) == encoding.decode(expected)
    assert ("default: null" in encoding.decode(got["ids"])) == (kind == "a.jsonl")


KEYS = [
    *["role", "content", "name", "channel", "recipient", "content_type", "tool_calls", "function"],
    *["arguments", "id", "type", "text", "tool_call_id", "reasoning", "phase", "weight", "author"],
    *["parameters", "description", "tools", "instructions", "channel_config", "model_identity"],
]
VALUES = [None, True, 0, -1, 10**30, "", "a", "\ud800", "text", "assistant", "user", "{}", [], {}]
CONTENTS = [
    "x",
    None,
    [{"type": "text", "text": "x"}],
    [{"type": "system_content", "tools": {"x": {"name": "x", "tools": [{"name": "a"}]}}}],
    [{"type": "developer_content", "instructions": "x"}],
]


def mutated(rng, value):
    """`value`, with something odd in a few places."""
    if rng.random() < 0.08:
        return rng.choice([*VALUES, [rng.choice(VALUES)], {rng.choice(KEYS): rng.choice(VALUES)}])
    if isinstance(value, list):
        return [mutated(rng, member) for member in value]
    if isinstance(value, dict):
        members = {key: mutated(rng, member) for key, member in value.items()}
        return members | ({rng.choice(KEYS): rng.choice(VALUES)} if rng.random() < 0.15 else {})
    return value


@pytest.mark.parametrize("dialect", ["auto", "chat", "harmony"])
def test_odd_rows_are_refused_in_words(tmp_path, dialect):
    """None with what Python says of code that met something else than it takes for granted."""
    rng = random.Random(1)
    rows = []
    for _ in range(scaled(6_000)):
        messages = [
            {"role": rng.choice(list(Role)).value, "content": rng.choice(CONTENTS)}
            | rng.choice([{}, {"tool_calls": CHAT["messages"][2]["tool_calls"]}])
            | rng.choice([{}, {"channel": rng.choice(["final", None])}])
            for _ in range(rng.randrange(1, 4))
        ]
        tools = rng.choice([{}, {"tools": CHAT["tools"]}])
        row = mutated(rng, {"messages": messages} | tools)
        rows.append(row if isinstance(row, dict) else {})
    path = file_of(tmp_path / "a.jsonl", rows)
    dataset = encode_dataset(
        path, tmp_path / "out", conversations=dialect, on_bad_row="collect", num_threads=1
    )
    errors = {json.loads(line)["error"] for line in (tmp_path / "out" / "rejects.jsonl").open()}
    assert len(dataset)
    assert len(errors) > 20
    python = re.compile(r"^$|'\w+' object|unhashable|indices must|validation error")
    assert [error for error in errors if python.search(error)] == []


# Weights: OpenAI's format for fine-tuning

WEIGHTED = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Frost?"},
        {**CHAT["messages"][2], "content": "Let me see.", "weight": 0},
        {"role": "tool", "tool_call_id": "1", "content": "-3"},
        {"role": "assistant", "content": "Perhaps.", "weight": 0},
        {"role": "user", "content": "Yes or no?"},
        {"role": "assistant", "content": "Yes.", "reasoning": "Below 0.", "weight": 1},
        {"role": "assistant", "content": "No!", "weight": 0},
        {"role": "assistant", "content": "I mean: yes."},
    ],
    "tools": CHAT["tools"],
}


@pytest.mark.parametrize("kind", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("dialect", ["chat", "auto"])
@pytest.mark.parametrize("train_on", PRESETS)
def test_messages_of_weight_0_are_not_trained_on(tmp_path, encoding, train_on, dialect, kind):
    path = file_of(tmp_path / kind, [WEIGHTED])
    keep = RenderConversationConfig(analysis_policy="keep")
    (got,) = encode_dataset(
        path, tmp_path / "out", conversations=dialect, train_on=train_on, config=keep
    )
    trained_on = {
        "assistant": "<|channel|>analysis<|message|>Below 0.<|end|><|start|>assistant",
        "last_turn": "<|channel|>analysis<|message|>Below 0.<|end|><|start|>assistant",
        "final_only": "<|start|>assistant",
    }[train_on] + (
        "<|channel|>final<|message|>Yes.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>I mean: yes.<|return|>"
    )
    assert encoding.decode(got["ids"][got["loss_mask"]]) == trained_on
    weightless = [
        {key: value for key, value in message.items() if key != "weight"}
        for message in WEIGHTED["messages"]
    ]
    path = file_of(tmp_path / f"weightless-{kind}", [{**WEIGHTED, "messages": weightless}])
    (same,) = encode_dataset(path, tmp_path / "same", conversations=dialect, config=keep)
    assert got["ids"].tolist() == same["ids"].tolist()


@pytest.mark.parametrize("dialect", ["harmony", "auto"])
def test_weights_of_the_other_dialect(tmp_path, encoding, dialect):
    messages = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "Hard.", "channel": "analysis", "weight": 0},
        {"role": "assistant", "content": "4", "channel": "final", "weight": 1},
    ]
    path = file_of(tmp_path / "a.jsonl", [{"messages": messages}])
    keep = RenderConversationConfig(analysis_policy="keep")
    (got,) = encode_dataset(path, tmp_path / "out", conversations=dialect, config=keep)
    expected = "<|start|>assistant<|channel|>final<|message|>4<|return|>"
    assert encoding.decode(got["ids"][got["loss_mask"]]) == expected


@pytest.mark.parametrize("dialect, channel", [("chat", {}), ("harmony", {"channel": "final"})])
@pytest.mark.parametrize(
    "index, weight, problem",
    [
        (0, 0, r"messages\[0\]\.weight: is for messages of the assistant"),
        (0, 1, r"messages\[0\]\.weight: is for messages of the assistant"),
        (1, 2, r"messages\[1\]\.weight: must be one of 0, 1, not 2"),
        (1, 0.5, r"messages\[1\]\.weight: must be one of 0, 1, not 0\.5"),
        (1, "0", r"messages\[1\]\.weight: must be one of 0, 1, not '0'"),
        (1, False, r"messages\[1\]\.weight: must be one of 0, 1, not False"),
        (1, [0], r"messages\[1\]\.weight: must be one of 0, 1, not \[0\]"),
    ],
)
def test_weights_that_make_no_sense(tmp_path, dialect, channel, index, weight, problem):
    messages = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4", "weight": 1, **channel},
    ]
    good = json.loads(json.dumps({"messages": messages}))
    messages[index]["weight"] = weight
    path = file_of(tmp_path / "a.jsonl", [good, {"messages": messages}])
    with pytest.raises(DatasetError, match=problem) as caught:
        encode_dataset(path, tmp_path / "out", conversations=dialect)
    assert (caught.value.file, caught.value.row) == (str(path), 2)


# The command


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["encode-dataset", *map(str, arguments)])


@pytest.mark.parametrize("order", ["recipient_first", "channel_first"])
@pytest.mark.parametrize("policy", ["upstream", "before_last_final", "keep"])
def test_the_command_renders_as_it_is_told(tmp_path, encoding, rows, policy, order):
    path = file_of(tmp_path / "a.jsonl", rows[:20])
    options = ["--dialect", "harmony", "--analysis-policy", policy, "--header-order", order]
    done = invoke(path, "--conversations", *options, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    config = RenderConversationConfig(analysis_policy=policy, header_order=order)
    check(datasets.open(tmp_path / "out"), encoding, rows[:20], config=config)


def test_the_commands_default_is_that_of_the_call(tmp_path):
    """So that a job which one has begun the other continues."""
    path = file_of(tmp_path / "a.jsonl", [CHAT])
    by_call = encode_dataset(path, tmp_path / "out", conversations="auto")
    done = invoke(path, "--conversations", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert datasets.open(tmp_path / "out").manifest == by_call.manifest


@pytest.mark.parametrize(
    "option, value",
    [
        ("--dialect", "chat"),
        ("--train-on", "assistant"),
        ("--analysis-policy", "keep"),
        ("--header-order", "recipient_first"),
    ],
)
def test_the_command_has_options_for_conversations_alone(tmp_path, option, value):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n')
    for about_texts in ([], ["--text-field", "text"]):
        done = invoke(path, *about_texts, option, value, "--out", tmp_path / "out")
        assert done.exit_code == 2
        assert f"{option} is for --conversations" in done.output


# Packing


def naive_check(packed, documents, length, on_long):
    """What packing must give, looked at one document at a time."""
    seen = {}
    for row in packed:
        assert {key: len(value) for key, value in row.items()} == dict.fromkeys(row, length)
        at = 0
        while at < length and row["document"][at] >= 0:
            document = int(row["document"][at])
            stop = at + 1
            while (
                stop < length
                and row["position_ids"][stop] == stop - at
                and (row["document"][stop] == document)
            ):
                stop += 1
            piece = (row["ids"][at:stop].tolist(), row["loss_mask"][at:stop].tolist())
            seen.setdefault(document, []).append(piece)
            at = stop
        assert (row["document"][at:] == -1).all()
        assert (row["ids"][at:] == 199_999).all()
        assert not row["loss_mask"][at:].any()
        assert not row["position_ids"][at:].any()
    for document, (ids, mask) in enumerate(documents):
        if not ids or (len(ids) > length and on_long == "drop"):
            assert document not in seen
            continue
        pieces = sorted(seen.pop(document), key=lambda piece: -len(piece[0]))
        expected = [(ids[i : i + length], mask[i : i + length]) for i in range(0, len(ids), length)]
        assert sorted(pieces) == sorted(expected)
    assert not seen


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 201_088), st.booleans()), max_size=30), max_size=30),
    st.integers(1, 20),
    st.sampled_from(["split", "drop"]),
)
def test_pack(rows, length, on_long):
    documents = [([i for i, _ in row], [m for _, m in row]) for row in rows]
    mask = np.array([m for _, row in documents for m in row], bool)
    packed = pack([ids for ids, _ in documents], length, loss_mask=mask, on_long=on_long)
    naive_check(packed, documents, length, on_long)
    n_ids = sum(len(ids) for ids, _ in documents if len(ids) <= length or on_long == "split")
    # No two rows could have been one: that is what best fit guarantees.
    used = np.sort((packed.document >= 0).sum(axis=1))
    assert len(used) < 2 or used[0] + used[1] > length
    assert used.sum() == n_ids
    for row in range(len(packed)):
        bounds = packed.boundaries(row)
        assert bounds.dtype == np.int32
        assert bounds[0] == 0
        assert bounds[-1] == (packed.document[row] >= 0).sum()
        assert (packed.position_ids[row][bounds[:-1]] == 0).all()
    again = pack([ids for ids, _ in documents], length, loss_mask=mask, on_long=on_long)
    assert (again.ids == packed.ids).all()


def test_pack_takes_a_mask_for_a_data_set_of_texts(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one two"}\n{"text": "three"}\n')
    dataset = encode_dataset(tmp_path / "a.jsonl", tmp_path / "out")
    mask = np.arange(dataset.n_tokens) % 2 == 0
    packed = pack(dataset, dataset.n_tokens, loss_mask=mask)
    assert packed.loss_mask.tolist() == [mask.tolist()]


def test_pack_takes_what_the_others_give(tmp_path, encoding, rows):
    made = [Conversation.from_json(json.dumps(row)) for row in rows[:50]]
    batch = encoding.render_batch(made, for_training=True, annotated=True)
    expected = pack(TokenBatch(batch.ids, batch.offsets), 128, loss_mask=batch.loss_mask())
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:50]))
    dataset = encode_dataset(path, tmp_path / "out", conversations="harmony")
    for given_rows in (batch, dataset, list(batch)):
        packed = pack(given_rows, 128)
        for name in ("ids", "loss_mask", "position_ids", "document"):
            assert (getattr(packed, name) == getattr(expected, name)).all()
    part = pack(batch[10:30], 128)
    flat = TokenBatch(batch.ids, batch.offsets)[10:30]
    same = pack(flat, 128, loss_mask=batch[10:30].loss_mask())
    assert (part.ids == same.ids).all()
    assert (part.loss_mask == same.loss_mask).all()
    texts = pack(encoding.encode_batch_to_numpy(["hello world", "x"]), 4, pad_token=7)
    assert texts.ids.tolist() == [[24912, 2375, 87, 7]]
    assert texts.loss_mask.tolist() == [[True, True, True, False]]
    assert texts.boundaries(0).tolist() == [0, 2, 3]
    assert repr(texts) == "<PackedRows: 1 of 4 ids, 75.0% filled>"
    assert texts.ids.dtype == np.uint32
    assert len(pack([], 4)) == 0


def test_pack_takes_rows_of_a_data_set(tmp_path, encoding, rows):
    path = file_of(tmp_path / "a.jsonl", rows[:30])
    dataset = encode_dataset(path, tmp_path / "out", conversations="harmony")
    expected = pack(dataset, 128)
    for given_rows in (dataset[:], list(dataset), datasets.open(dataset.path, dtype="int64")[:]):
        packed = pack(given_rows, 128)
        for name in ("ids", "loss_mask", "position_ids", "document"):
            assert (getattr(packed, name) == getattr(expected, name)).all()
    some = dataset[[3, 17]]
    packed = pack(some, 512)
    assert packed.loss_mask.sum() == sum(row["loss_mask"].sum() for row in some)
    mask = np.ones(sum(len(row["ids"]) for row in some), bool)
    assert pack(some, 512, loss_mask=mask).loss_mask.sum() == len(mask)
    texts = [{"ids": row["ids"]} for row in some]
    assert pack(texts, 512).loss_mask.sum() == len(mask)
    with pytest.raises(ValueError, match="the loss mask has"):
        pack([texts[0], some[1]], 512)
    # Together they are as long as the ids.
    swapped = [{**some[0], "loss_mask": mask[:1]}, {**some[1], "loss_mask": mask[1:]}]
    with pytest.raises(ValueError, match="row 0: the loss mask has 1 items for"):
        pack(swapped, 512)
    assert pack(swapped, 512, loss_mask=mask).loss_mask.sum() == len(mask)
    with pytest.raises(TypeError, match="row 1: must be a dict with ids"):
        pack([some[0], [1, 2]], 512)
    with pytest.raises(TypeError, match="row 0: must be a dict with ids"):
        pack([{"text": "x"}], 512)
    with pytest.raises(TypeError, match="a list of rows, not one row"):
        pack(dataset[0], 512)
    made = Conversation.from_json(json.dumps(rows[0]))
    with pytest.raises(TypeError, match="a list of rows, not one row"):
        pack(encoding.render_annotated(made), 512)


def test_pack_refuses_what_are_no_ids():
    offsets = np.array([0, 1, 3])
    packed = pack(TokenBatch(np.array([7, 8, 9], np.int64), offsets)[1:], 4)
    assert packed.ids.tolist() == [[8, 9, 199_999, 199_999]]
    for wrong in (-1, 2**32):
        with pytest.raises(OverflowError, match="row 1: "):
            pack(TokenBatch(np.array([7, 8, wrong], np.int64), offsets), 4)
        with pytest.raises(OverflowError, match="row 1: "):
            pack([[7], [8, wrong]], 4)
    with pytest.raises(TypeError, match="row 1: null is no list of ids"):
        pack([[7], None], 4)
    for damaged in ([0, 4], [-1, 3], [0, 3, 2], [0, 2, 1, 3]):
        for kind in (np.uint32, np.int64):
            with pytest.raises(ValueError, match="offsets must not decrease"):
                pack(TokenBatch(np.array([7, 8, 9], kind), np.array(damaged)), 4)


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ({"length": 0}, "length must be at least 1"),
        ({"on_long": "cut"}, "on_long must be"),
        ({"on_long": "error"}, "row 1 has 5 ids, more than 4"),
        ({"loss_mask": np.ones(3, bool)}, "the loss mask has 3 items for 6 ids"),
    ],
)
def test_pack_refuses(arguments, problem):
    with pytest.raises(ValueError, match=problem):
        pack([[1], [2, 3, 4, 5, 6]], **{"length": 4, **arguments})


@pytest.mark.parametrize(
    "mask", [[0.5, 0, 1], [1, np.nan, 0], ["a", "", ""], np.ones((3, 2)), True]
)
def test_masks_are_of_bools(mask):
    with pytest.raises(TypeError, match="the loss mask must hold one bool for each id"):
        pack([[1, 2], [3]], 4, loss_mask=mask)
    with pytest.raises(TypeError, match="row 1: the loss mask must hold one bool for each id"):
        pack([{"ids": [1], "loss_mask": [1]}, {"ids": [1, 2, 3], "loss_mask": mask}], 4)


def test_masks_of_integers_and_what_fills_a_row():
    packed = pack([[1, 2], [3], []], 4, loss_mask=[1, 0, 1], pad_token=np.int32(7))
    assert packed.loss_mask.tolist() == [[True, False, True, False]]
    assert packed.ids.tolist() == [[1, 2, 3, 7]]
    for wrong in (1.5, "7", None):
        with pytest.raises(TypeError, match="integer"):
            pack([[1]], 4, pad_token=wrong)


def test_conversations_need_the_harmony_encoding(tmp_path, base_tokenizer):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(ValueError, match="need a HarmonyEncoding"):
        encode_dataset(
            tmp_path / "a.jsonl", tmp_path / "out", conversations="chat", encoding=base_tokenizer
        )


@pytest.mark.parametrize("name", ["analysis_policy", "header_order"])
def test_a_config_with_an_unknown_choice(tmp_path, rows, name):
    """It is no fault of the rows, which would all be bad ones."""
    path = file_of(tmp_path / "a.jsonl", rows[:2])
    config = RenderConversationConfig()
    setattr(config, name, "bogus")
    options = {"conversations": "harmony", "on_bad_row": "skip"}
    with pytest.raises(ValueError, match=f"{name} must be one of .*, not 'bogus'"):
        encode_dataset(path, tmp_path / "out", config=config, **options)
    with pytest.raises(TypeError, match="a RenderConversationConfig, not RenderOptions"):
        encode_dataset(path, tmp_path / "out", config=harmony.RenderOptions(), **options)
    assert not (tmp_path / "out").exists()


def test_names_of_the_module():
    assert set(datasets.__all__) <= set(dir(datasets))
    assert harmony.DatasetError is DatasetError
