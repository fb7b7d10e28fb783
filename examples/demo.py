"""What `make demo` shows: real text to ids and back, a conversation rendered, a completion parsed,
a small data set encoded.

The text is this repository's own prose, sources and test data, and a sample conversation.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import harmony

ROOT = Path(__file__).resolve().parents[1]
CONVERSATION = ROOT / "examples" / "conversation.json"
KINDS = {
    "prose (*.md)": ["*.md", "docs/**/*.md"],
    "Python sources": ["harmony/*.py", "scripts/*.py", "tests/**/*.py", "benchmarks/*.py"],
    "Cython and C sources": ["harmony/*.pyx", "harmony/*.pxd", "harmony/*.h"],
    "test vectors, 60 languages": ["tests/vectors/encode.jsonl"],
    "sample conversation": ["examples/conversation.json"],
}


def main() -> None:
    console = Console()
    encoding = harmony.load_harmony_encoding("HarmonyGptOss")
    show_one_sentence(console, encoding)
    show_files(console, encoding)
    conversation = harmony.Conversation.from_json(CONVERSATION.read_text("utf-8"))
    n_prompt = 3  # system, developer, user; what follows is what a model wrote, and a tool
    prompt = harmony.Conversation.from_messages(conversation.messages[:n_prompt])
    show_rendering(console, encoding, prompt)
    show_stream(console, encoding, conversation.messages[n_prompt : n_prompt + 2])
    show_data_set(console, encoding)


def show_one_sentence(console: Console, encoding: harmony.HarmonyEncoding) -> None:
    """The ids of one message of the sample conversation, and which text each stands for."""
    conversation = json.loads(CONVERSATION.read_text("utf-8"))
    text = next(m["content"] for m in conversation["messages"] if m["role"] == "user")
    ids = encoding.encode(text)
    console.print(f"\n[bold]{text}[/bold]\n{len(ids)} tokens: {ids}")
    console.print(" ".join(repr(encoding.decode([token])) for token in ids), markup=False)


def show_files(console: Console, encoding: harmony.HarmonyEncoding) -> None:
    """Tokens, bytes per token, a round trip and the throughput for each kind of text."""
    table = Table(title="\nText of this repository")
    for heading in ("text", "files", "bytes", "tokens", "bytes/token", "round trip", "MB/s"):
        table.add_column(heading, justify="left" if heading == "text" else "right")
    for kind, patterns in KINDS.items():
        paths = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
        texts = [path.read_text("utf-8") for path in paths]
        ids = [encoding.encode_to_numpy(text, disallowed_special=()) for text in texts]
        same = all(encoding.decode_utf8(i) == text for i, text in zip(ids, texts, strict=True))
        n_bytes = sum(len(text.encode()) for text in texts)
        n_tokens = sum(map(len, ids))
        assert n_tokens == sum(map(encoding.count_tokens, texts))
        if not same:
            raise SystemExit(f"decoding the ids of {kind} does not give the text back")
        table.add_row(
            kind,
            str(len(paths)),
            f"{n_bytes:,}",
            f"{n_tokens:,}",
            f"{n_bytes / n_tokens:.2f}",
            "exact",
            f"{n_bytes / seconds_to_encode(encoding, texts) / 1e6:.0f}",
        )
    console.print(table)


def show_rendering(
    console: Console, encoding: harmony.HarmonyEncoding, prompt: harmony.Conversation
) -> None:
    """A conversation as the model sees it."""
    ids = encoding.render_conversation_for_completion(prompt, harmony.Role.ASSISTANT)
    console.print(f"\n[bold]The prompt of the sample conversation[/bold], {len(ids)} tokens")
    console.print(encoding.decode_utf8(ids), markup=False, highlight=False)


def show_stream(
    console: Console, encoding: harmony.HarmonyEncoding, written: list[harmony.Message]
) -> None:
    """A completion, read token by token as a server reads it, and the messages it holds."""
    ids = [token for message in written for token in encoding.render(message)]
    ids = ids[2:]  # `<|start|>assistant` is the end of the prompt
    parser = harmony.StreamableParser(encoding, harmony.Role.ASSISTANT)
    table = Table(title=f"\nA completion of {len(ids)} tokens, streamed")
    for heading in ("token", "text", "state", "channel", "recipient", "delta"):
        table.add_column(heading)
    for token in ids:
        parser.process(token)
        table.add_row(
            str(token),
            repr(encoding.decode([token])),
            parser.state.value,
            parser.current_channel,
            parser.current_recipient,
            repr(parser.last_content_delta) if parser.last_content_delta else "",
        )
    parser.process_eos()
    console.print(table)
    for message in parser.messages:
        console.print(message.to_json(), markup=False, highlight=False)
    if [m.to_dict() for m in parser.messages] != [m.to_dict() for m in written]:
        raise SystemExit("the parsed messages are not the ones that were rendered")


def show_data_set(console: Console, encoding: harmony.HarmonyEncoding) -> None:
    """Every paragraph of this repository's prose as a row of a data set, read back and packed."""
    from harmony import datasets

    paragraphs = [
        paragraph
        for pattern in KINDS["prose (*.md)"]
        for path in sorted(ROOT.glob(pattern))
        for paragraph in path.read_text("utf-8").split("\n\n")
    ]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "prose.jsonl")
        rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in paragraphs))
        data_set = datasets.encode_dataset(rows, Path(folder, "prose"), format="npy")
        table = Table(title="\nA data set: the paragraphs of this repository's prose")
        for heading in ("file", "bytes"):
            table.add_column(heading, justify="left" if heading == "file" else "right")
        for path in sorted(data_set.path.iterdir()):
            table.add_row(path.name, f"{path.stat().st_size:,}")
        console.print(table)
        for number, text in enumerate(paragraphs):
            if encoding.decode_utf8(data_set[number]["ids"]) != text:
                raise SystemExit(f"row {number} of the data set is not the paragraph it was")
        packed = datasets.pack(data_set, 2048)
        console.print(
            f"{len(data_set):,} rows, {data_set.n_tokens:,} tokens, every row decodes to its text; "
            f"packed: {len(packed)} rows of 2,048 ids, "
            f"{(packed.document >= 0).mean():.1%} filled",
            highlight=False,
        )


def seconds_to_encode(encoding: harmony.HarmonyEncoding, texts: list[str]) -> float:
    """Best of five passes over the texts."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for text in texts:
            encoding.encode_to_numpy(text, disallowed_special=())
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
