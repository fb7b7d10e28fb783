"""The commands render, parse, view and diff."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import harmony
import harmony.view
from harmony import Conversation, Role
from harmony.cli import main
from harmony.documents import form_of

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "conversation.json"
CHAT = {"messages": [{"role": "user", "content": "hi"}], "model": "gpt-oss-20b"}
COMPLETION = [200005, 17196, 200008, 13225, 200002]  # <|channel|>final<|message|>Hello<|return|>
BROKEN = [200005, 17196, 220, 13225, 200007, 200007]  # no <|message|>, and a second <|end|>


@pytest.fixture
def run():
    def run(*arguments, stdin=""):
        return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)

    return run


@pytest.fixture
def write(tmp_path):
    """A file with this content: a JSON document, or ids."""

    def write(content, name="file"):
        path = tmp_path / name
        is_ids = isinstance(content, list) and all(isinstance(item, int) for item in content)
        path.write_text(" ".join(map(str, content)) if is_ids else json.dumps(content))
        return path

    return write


def failed(result, *words):
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("harmony: error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    return True


@pytest.fixture
def example():
    return Conversation.from_json(EXAMPLE.read_text())


def test_render(run, encoding, example):
    result = run("render", EXAMPLE)
    assert [int(word) for word in result.output.split()] == encoding.render_conversation(example)
    for_training = encoding.render_conversation_for_training(example)
    result = run("render", "--for", "training", EXAMPLE)
    assert [int(word) for word in result.output.split()] == for_training
    keep = harmony.RenderConversationConfig(auto_drop_analysis=False)
    ids = encoding.render_conversation_for_completion(example, Role.ASSISTANT, keep)
    result = run("render", "--for", "completion", "--keep-analysis", stdin=EXAMPLE.read_text())
    assert [int(word) for word in result.output.split()] == ids
    assert (
        run("render", "--text", EXAMPLE).output
        == encoding.decode(encoding.render_conversation(example)) + "\n"
    )
    fields = json.loads(run("render", "--json", EXAMPLE).output)
    rendered = encoding.render_annotated(example)
    assert fields["ids"] == rendered.ids.tolist()
    assert fields["message_index"] == rendered.message_index.tolist()
    assert fields["loss_mask"] == rendered.loss_mask().astype(int).tolist()


def test_weights_are_heeded_as_in_data_sets(run, write, encoding):
    chat = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "reasoning": "Hm.", "content": "5", "weight": 0},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "4", "weight": 1},
    ]
    as_harmony = [
        {key: value for key, value in message.items() if key != "reasoning"} for message in chat
    ]
    as_harmony[3]["channel"] = "final"
    for messages in chat, as_harmony:
        file = write({"messages": messages})
        fields = json.loads(run("render", "--json", "--for", "training", file).output)
        kept = [token for token, bit in zip(fields["ids"], fields["loss_mask"], strict=True) if bit]
        assert encoding.decode(kept) == "<|channel|>final<|message|>4<|return|>"
        page = file.with_suffix(".html")
        assert run("view", file, "--html", page).output == ""
        mask = re.search('"mask":"([01]+)"', page.read_text(encoding="utf-8"))[1]
        assert mask == "".join(map(str, fields["loss_mask"]))
        messages[0]["weight"] = 0
        for command in "render", "view":
            problem = "messages[0].weight: is for messages of the assistant"
            assert failed(run(command, write({"messages": messages})), problem)


@pytest.mark.parametrize("order", ["recipient_first", "channel_first"])
@pytest.mark.parametrize("policy", ["upstream", "before_last_final", "keep"])
def test_conversations_are_rendered_as_the_options_say(
    run, write, encoding, example, policy, order
):
    config = harmony.RenderConversationConfig(analysis_policy=policy, header_order=order)
    ids = encoding.render_conversation(example, config)
    options = ["--analysis-policy", policy, "--header-order", order]
    assert [*map(int, run("render", EXAMPLE, *options).output.split())] == ids
    assert run("diff", EXAMPLE, write(ids), *options).output.startswith("equal")
    left_out = run("view", EXAMPLE, *options).output.count("left out of the ids")
    assert left_out == len(example.messages) - len(harmony.view.replay(ids).messages)


@pytest.mark.parametrize("command", ["render", "view", "diff"])
def test_there_is_one_way_to_keep_analysis(run, command):
    files = [EXAMPLE] * (1 + (command == "diff"))
    result = run(command, *files, "--keep-analysis", "--analysis-policy", "upstream")
    assert result.exit_code == 2
    assert "--keep-analysis and --analysis-policy exclude each other" in result.stderr


def test_render_requests(run, write, encoding):
    as_chat = run("render", write(CHAT)).output
    assert as_chat == run("render", write(CHAT["messages"])).output
    assert as_chat == run("render", write({"input": "hi"})).output
    assert as_chat == run("render", "--dialect", "chat", write(CHAT)).output
    one_message = encoding.render(harmony.Message.from_role_and_content(Role.USER, "hi"))
    as_harmony = run("render", "--dialect", "harmony", write(CHAT)).output
    assert as_harmony.split() == list(map(str, one_message))
    messages = json.loads(EXAMPLE.read_text())["messages"]
    assert run("render", write(messages)).output == run("render", EXAMPLE).output


def test_the_form_of_a_document(example):
    assert form_of(json.loads(example.to_json())) == "harmony"
    assert form_of(CHAT) == form_of(CHAT["messages"]) == form_of(None) == "chat"
    assert form_of({"input": []}) == "responses"
    with_null = [{"role": "user", "content": "hi", "channel": None}]
    assert form_of({"messages": with_null}) == "chat"
    assert form_of({"messages": [*with_null, {"channel": "final"}]}) == "harmony"
    assert form_of(example.to_dict()["messages"]) == form_of([{"channel": "final"}]) == "harmony"


def test_render_says_what_is_wrong(run, write):
    assert failed(
        run("render", write({"messages": [{"role": "robot", "content": ""}]})), "messages[0].role"
    )
    assert failed(
        run("render", write({"messages": [{"role": "user", "content": "", "name": "a b"}]})),
        "white space",
    )
    assert failed(
        run("render", "--dialect", "harmony", write({"messages": [{"role": "user"}]})), "content"
    )
    no_text = {"messages": [{"role": "user", "content": [{"type": "text"}]}]}
    done = run("render", "--dialect", "harmony", write(no_text))
    assert failed(done, "messages[0].content[0].text: is missing")
    with_channel = [{"role": "assistant", "content": "4", "channel": "final", "thinking": "hm"}]
    for document in (with_channel, {"messages": with_channel}):
        assert failed(run("render", write(document)), "messages[0].thinking: belongs to a chat")
    with_tools = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]}
    done = run("render", "--dialect", "harmony", write(with_tools))
    assert failed(done, "tools: belongs to a chat")
    done = run("render", write({"messages": [], "functions": [{"name": "f"}]}))
    assert failed(done, "functions: is not read; functions are in tools")
    assert failed(run("render", write({})), "messages")
    assert failed(run("render", write([1, "x"])), "messages[0]")
    assert failed(run("render", stdin="{"), "not a JSON document")
    assert failed(run("render", stdin="[" * 100_000), "not a JSON document")
    assert failed(run("render", "/no/such/file"), "No such file")
    assert run("render", "--dialect", "yaml").exit_code == 2
    assert run("render", "--text", "--json", EXAMPLE).exit_code == 2


def test_parse(run, write, encoding):
    result = run("parse", "--role", "assistant", write(COMPLETION))
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "role": "assistant", "name": None, "content": [{"type": "text", "text": "Hello"}],
        "channel": "final", "complete": True, "token_span": [0, 5],
    }  # fmt: skip
    rendered = run("render", "--keep-analysis", EXAMPLE).output
    lines = run("parse", stdin=rendered).output.splitlines()
    assert len(lines) == len(Conversation.from_json(EXAMPLE.read_text()).messages)


@pytest.mark.parametrize("command", ["decode", "parse", "view"])
@pytest.mark.parametrize(
    "text",
    ["[true, 5]", '[1, 2, "x"]', '["1"]', "[1.5, 2]", "[1, null]", "-5 3", "4294967296 1", '{"ids": 5}', '{"ids": [[1]]}',
     '{"ids": {"a": 1}}', "9" * 5000, "[" * 100_000],
)  # fmt: skip
def test_ids_that_are_none(run, command, text):
    assert failed(run(command, stdin=text), "-: not a ")


def test_parse_names_the_option_that_is_missing(run, write):
    assert failed(run("parse", write(COMPLETION)), "--role")


def harmony_process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "harmony", *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )


@pytest.mark.parametrize(
    "command", [["decode"], ["view"], ["parse", "--follow"], ["render"]], ids=" ".join
)
def test_a_closed_standard_input(command):
    with harmony_process(*command, preexec_fn=lambda: os.close(0)) as process:
        assert process.stderr.read() == "harmony: error: -: standard input is closed\n"
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "command", [["render"], ["view"], ["count"], ["parse"], ["parse", "--follow"]], ids=" ".join
)
def test_a_full_standard_output(command, write, encoding, example):
    ids = write(encoding.render_conversation(example), "ids")
    file = ids if command[0] == "parse" else EXAMPLE
    with open("/dev/full", "w") as full, harmony_process(*command, file, stdout=full) as process:
        problem = process.stderr.read()
    assert problem == "harmony: error: standard output: No space left on device\n"
    assert process.returncode == 1


@pytest.mark.parametrize(
    "command", [["view"], ["parse"], ["parse", "--follow"], ["render", "--json"]], ids=" ".join
)
def test_a_standard_output_of_few_characters(command, encoding, write):
    """What it cannot hold is said in one line; what it can is written."""
    message = harmony.Message.from_role_and_content(Role.USER, "今日は")
    conversation = Conversation.from_messages([message])
    is_rendering = command[0] == "render"
    ids = encoding.render_conversation(conversation)
    file = write(conversation.to_dict() if is_rendering else ids)
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    with harmony_process(*command, file, env=env) as process:
        problem = process.stderr.read()
    if is_rendering:
        assert (problem, process.returncode) == ("", 0)
    else:
        assert problem.startswith("harmony: error: standard output: 'latin-1' codec can't encode")
        assert (problem.count("\n"), process.returncode) == (1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of files that are not UTF-8")
def test_a_name_that_is_not_utf8(write, tmp_path):
    odd, page = tmp_path / os.fsdecode(b"\xff.ids"), tmp_path / "page.html"
    odd.write_text("200005 200008")

    def shown(*command):
        env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
        with harmony_process(*command, env=env) as process:
            assert process.stderr.read() == ""
            return process.stdout.read()

    assert shown("count", odd).endswith("/\ufffd.ids\n")
    assert "/\ufffd.ids message 0 (assistant)\n" in shown("diff", write(COMPLETION), odd)
    assert shown("view", odd, "--html", page) == ""
    text = page.read_text(encoding="utf-8")
    assert "<title>\ufffd.ids</title>" in text and text.endswith("</html>\n")


def test_names_of_files_show_what_a_terminal_would_obey_as_escapes(run, write, tmp_path):
    pytest.importorskip("pyarrow")
    odd, broken, rows, out = (f"\x1b[31m\u202e{name}" for name in ("a", "b", "rows.jsonl", "out"))
    write(COMPLETION, odd), write(BROKEN, broken)
    (tmp_path / rows).write_text('{"text": "hi"}\n')
    commands = [
        ["count", odd],
        ["count", "missing\x1b[31m\u202e"],
        ["render", odd],
        ["parse", "--recover", "--role", "assistant", broken],
        ["diff", odd, broken],
        ["encode-dataset", rows, "--out", out],
        ["encode-dataset", rows, "--out", odd],
    ]
    for command in commands:
        written = run(*[tmp_path / word if "\x1b" in word else word for word in command]).output
        assert "\\x1b[31m\\u202e" in written.replace("\n", ""), command
        assert not {"\x1b", "\u202e"}.intersection(written), command


@pytest.mark.parametrize("command", [["view"], ["parse"], ["parse", "--follow"]], ids=" ".join)
def test_nobody_reads_any_more(command, tmp_path):
    long = tmp_path / "long.ids"
    long.write_text("200005 17196 200008 " + "13225 " * 200_000)
    # Unbuffered, Python would not hear of what was not written.
    env = {**os.environ, "PYTHONUNBUFFERED": ""}
    with harmony_process(*command, "--role", "assistant", long, env=env) as process:
        assert process.stdout.read(20)
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_ctrl_c_ends_with_130():
    command = ["parse", "--recover", "--follow", "--role", "assistant"]
    # Where the tests run in the background, SIGINT is ignored, and children inherit that.
    with harmony_process(
        *command,
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        process.stdin.write("200005 17196 200008\n13225\n")
        process.stdin.flush()
        assert process.stdout.readline()  # it is up and waits for more
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == 130


def test_parse_stops_at_an_error_after_what_was_read(run):
    result = run("parse", "--role", "assistant", stdin=" ".join(map(str, [*COMPLETION, 5])))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["complete"]
    assert result.stderr.startswith("harmony: error: -: Unexpected token 5")


def test_parse_follows_line_by_line(run):
    """As its help says: what a line holds is read before the next one has come."""
    for options, code in ([], 0), (["--follow"], 1):
        result = run(
            "parse", "--role", "assistant", *options, stdin=json.dumps(COMPLETION, indent=1)
        )
        assert result.exit_code == code
    assert "with --follow each line must be that" in " ".join(run("parse", "-h").output.split())


def test_parse_follows_up_to_an_error(run):
    ids = " ".join(map(str, [*COMPLETION, 5]))
    result = run("parse", "--follow", "--role", "assistant", stdin=ids)
    events = [json.loads(line)["event"] for line in result.stdout.splitlines()]
    assert events == ["MESSAGE_START", "DELTA", "MESSAGE_END"]
    assert failed(result, "Unexpected token 5")


def test_parse_recovers(run, write):
    result = run("parse", "--recover", "--role", "assistant", write(BROKEN))
    assert result.exit_code == 3
    assert json.loads(result.stdout)["content"] == [{"type": "text", "text": "Hello"}]
    assert [line.rpartition(": ")[2] for line in result.stderr.splitlines()] == [
        "MISSING_MESSAGE", "REPEATED_TERMINATOR",
    ]  # fmt: skip
    assert run("parse", "--recover", "--role", "assistant", write(COMPLETION)).exit_code == 0


def test_parse_follows_a_stream(write):
    """Events come out while the stream is still open."""
    with subprocess.Popen(
        [sys.executable, "-m", "harmony", "parse", "--recover", "--follow", "--role", "assistant"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        process.stdin.write("200005 17196\n200008\n13225\n")
        process.stdin.flush()
        first = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [event["event"] for event in first] == ["MESSAGE_START", "DELTA"]
        assert first[0]["channel"] == "final" and first[1]["text"] == "Hello"
        process.stdin.write("200007 200007\n")
        process.stdin.close()
        rest = [json.loads(line) for line in process.stdout]
        assert [event["event"] for event in rest] == ["MESSAGE_END", "DIAGNOSTIC"]
        assert rest[0]["message"]["complete"] and rest[1]["kind"] == "REPEATED_TERMINATOR"
    assert process.returncode == 3


def test_view(run, write):
    result = run("view", EXAMPLE)
    assert result.exit_code == 0
    assert "assistant commentary → functions.get_forecast" in result.output
    assert "left out of the ids" in result.output
    assert "left out of the ids" not in run("view", "--keep-analysis", EXAMPLE).output
    shown = run("view", "--ids", "--role", "assistant", write(BROKEN)).output
    assert "200005" in shown and "MISSING_MESSAGE" in shown and "Hello" in shown
    assert run("view", stdin=json.dumps({"ids": COMPLETION})).exit_code == 0
    assert run("view", stdin="").output == ""


@pytest.mark.parametrize(
    "options",
    [["--dialect", "chat"], ["--keep-analysis"], ["--analysis-policy", "keep"], ["--header-order", "channel_first"]],
    ids=" ".join,
)  # fmt: skip
def test_options_for_conversations_alone(run, write, options):
    ids = write(COMPLETION, "ids")
    for command in ["view", ids], ["diff", ids, ids]:
        result = run(*command, *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{options[0]} is for conversations, not for ids" in result.stderr
    # One of two is enough.
    assert run("diff", ids, write(CHAT, "chat"), *options).exit_code == 3


def test_other_options_that_would_say_nothing(run, write):
    ids, chat = write(COMPLETION, "ids"), write(CHAT, "chat")
    for command in ["view", chat], ["diff", chat, chat]:
        result = run(*command, "--role", "user")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "--role is for ids, not for conversations" in result.stderr
    assert run("diff", ids, chat, "--role", "assistant").exit_code == 3
    # What is broken is that first.
    assert failed(run("view", "--role", "user", stdin="[1, 2"), "not a JSON document")
    result = run("view", chat, "--title", "x")
    assert result.exit_code == 2 and "--title is for --html" in result.stderr


@pytest.mark.parametrize("command", ["view", "parse"])
def test_whatever_encode_writes_is_read(run, tmp_path, command):
    for name, text in ("a", "<|start|>user<|message|>Hello"), ("b", ", you<|end|>"):
        (tmp_path / name).write_text(text)
    for form in [], ["--json"]:
        ids = run("encode", "--special", "token", *form, tmp_path / "a", tmp_path / "b").stdout
        assert "Hello, you" in run(command, stdin=ids).stdout


@pytest.mark.parametrize(
    "text",
    ['{\n "file": "wörld",\n "ids": [\n  13225\n ]\n}\n{\n "ids": []\n}', "[\n13225\n]", "\ufeff13225", '\ufeff{"ids": [13225]}'],
)  # fmt: skip
def test_ids_in_other_layouts_are_read(run, tmp_path, text):
    """As json.tool and jq lay them out, and as editors begin a file."""
    (tmp_path / "a").write_text(text, encoding="utf-8")
    (tmp_path / "b").write_text("13225")
    assert run("decode", tmp_path / "a").stdout == "Hello"
    for command in ["parse", "--recover"], ["view"]:
        assert "Hello" in run(*command, tmp_path / "a").output
    assert run("diff", tmp_path / "a", tmp_path / "b").output == "equal: 1 tokens\n"


def test_view_shows_what_a_terminal_would_obey(run, write):
    message = {"role": "user", "content": "\x1b[31mred\x07\u202e[bold]x[/bold]"}
    shown = run("view", "--ids", write({"messages": [message]})).output
    assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown
    assert "\\x1b[31mred\\x07\\u202e[bold]x[/bold]" in shown


@pytest.mark.parametrize("option", [None, "--follow", "--recover"])
def test_parse_writes_what_a_terminal_would_obey_as_escapes(run, encoding, option):
    said = "\x1b[31mred\x9b31m\u202e"
    odd = f"<|start|>user<|channel|>{said}<|message|>{said}<|end|>"
    text = f"{odd}<|start|>user<|message|>é<|end|>"
    ids = json.dumps(encoding.encode(text, allowed_special="all"))
    result = run("parse", *filter(None, [option]), stdin=ids)
    written = result.stdout + result.stderr
    assert not {"\x1b", "\x9b", "\u202e"}.intersection(written)
    assert "red\\u009b31m\\u202e" in (result.stderr if option == "--recover" else result.stdout)
    assert "é" in result.stdout
    assert [json.loads(line) for line in result.stdout.splitlines()]


def test_errors_show_what_a_terminal_would_obey_as_escapes(run, write):
    function = {"name": "f", "parameters": {"\x1b[31mred\x9b31m\u202e": float("nan")}}
    tools = [{"type": "function", "function": function}]
    result = run("render", write({**CHAT, "tools": tools}))
    assert failed(result, ".parameters.\\x1b[31mred\\x9b31m\\u202e: must be a finite number")


def test_view_writes_a_page(run, tmp_path):
    out = tmp_path / "page.html"
    assert run("view", EXAMPLE, "--html", out, "--title", "Tomatoes").output == ""
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "<title>Tomatoes</title>" in text
    assert failed(run("view", EXAMPLE, "--html", tmp_path / "no" / "page.html"), "No such file")


def test_view_writes_a_page_to_standard_output(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("view", EXAMPLE, "--html", "page.html").output == ""
    page = Path("page.html").read_bytes()
    assert run("view", EXAMPLE, "--html", "-").stdout_bytes == page
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_diff(run, write):
    a, b = write([1, 2, 3], "a"), write([1, 2, 4, 5], "b")
    same = run("diff", a, a)
    assert (same.exit_code, same.output) == (0, "equal: 3 tokens\n")
    result = run("diff", a, b)
    assert result.exit_code == 3
    assert result.output.startswith("first difference at token 2: ")
    longer = run("diff", a, write([1, 2, 3, 4], "c"))
    assert longer.exit_code == 3 and "a has ended" in longer.output
    document = json.loads(EXAMPLE.read_text())
    document["messages"][2]["content"] = "Can I put my potatoes out?"
    result = run("diff", EXAMPLE, write(document, "other"))
    assert result.exit_code == 3 and "message 2 (user)" in result.output
    assert failed(run("diff", a, "/no/such/file"), "No such file")
    assert run("diff", "-", a, stdin="1 2 3").output == "equal: 3 tokens\n"
    assert run("diff", "-", "-", stdin="1 2 3").exit_code == 2


def test_diff_shows_all_there_is_for_any_context(run, write):
    a, b = write([1, 2, 3], "a"), write([1, 2, 4, 5], "b")
    shown = [run("diff", a, b, "--context", n).output for n in (4, 10**15)]
    assert shown[0] == shown[1] and shown[0].count("skipped") == 9


def test_names_of_files_are_no_markup(run, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a[").mkdir()
    names = "[b]a.ids", "a[/b].ids"
    for token, name in enumerate(names):
        write([token], name)
    shown = run("diff", *names)
    assert shown.exit_code == 3
    # In the line that names the place, and above the columns.
    assert all(shown.output.count(name) == 2 for name in names)


@pytest.mark.parametrize("command", ["render", "parse", "view", "diff", "completion"])
def test_help_has_examples(run, command):
    for option in "--help", "-h":
        result = run(command, option)
        assert result.exit_code == 0 and "Examples:" in result.output
        assert f"harmony {command} " in result.output
    assert command in run("--help").output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run, shell):
    assert "_HARMONY_COMPLETE" in run("completion", shell).output


def completed(*words):
    """What click tells a shell about the last of the words, with its kind before it."""
    done = subprocess.run(
        [sys.executable, "-c", "from harmony.cli import main; main(prog_name='harmony')"],
        env={**os.environ, "_HARMONY_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    return done.stdout.split()


def test_what_completes():
    assert "plain,render" in completed("harmony", "re")


@pytest.mark.parametrize(
    "command",
    ["count", "encode", "decode", "render", "parse", "view", "diff", "diff a", "encode-dataset",
     "encode-dataset a --out", "view a --html"],
)  # fmt: skip
def test_names_of_files_complete(command):
    """The shell knows them: it is asked for files."""
    assert completed("harmony", *command.split(), "cha") == ["file,cha"]


def test_encoding_needs_none_of_it():
    program = "import sys; from harmony.cli import main; main(['count', '-'], standalone_mode=False); print('pydantic' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], input="hi", capture_output=True, text=True
    )
    assert done.stdout.split() == ["1", "-", "False", "False"]
