"""The `harmony` command: encode, decode and count files or standard input; encode data sets.

What renders and parses is in cli_messages.py, which is imported when one of its commands is used:
the others need no pydantic.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from harmony.errors import HarmonyError
from harmony.tokenizer import Tokenizer, get_tokenizer

try:
    import click
    from click.shell_completion import get_completion_class
except ImportError:
    sys.exit("harmony: error: the command needs click: python -m pip install 'cyharmony[cli]'")

from harmony.cli_files import blamed_on, contents, fail, read_ids, shown_name
from harmony.cli_options import FILE, analysis_policy, given, header_order

_Command = Callable[..., None]

ENCODINGS = ("o200k_harmony", "o200k_base")

# Options of encode-dataset that say nothing of texts.
_FOR_CONVERSATIONS = ("dialect", "train_on", "analysis_policy", "header_order")

_files = click.argument("files", nargs=-1, metavar="[FILE]...", type=FILE)
_encoding = click.option(
    "--encoding", type=click.Choice(ENCODINGS), default=ENCODINGS[0], show_default=True
)
_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object for each file.")


def _special_options(default: str) -> Callable[[_Command], _Command]:
    """The policy for text that looks like a special token, as options of a command."""
    policy = click.option(
        "--special",
        type=click.Choice(["refuse", "text", "token"]),
        default=default,
        show_default=True,
        help="Names of special tokens in the text: an error, plain text, or the special token.",
    )
    allow = click.option(
        "--allow",
        multiple=True,
        metavar="NAME",
        help="A special token to accept as that token, whatever --special says; may be repeated.",
    )
    return lambda command: policy(allow(command))


class _Group(click.Group):
    """With the commands of cli_messages, imported on use."""

    elsewhere = ("diff", "parse", "render", "view")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)  # what shells expect of a program that Ctrl-C stopped
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads any more; click ends quietly
            # Files are blamed where they are read and written.
            fail("standard output", error.strerror)
        except UnicodeEncodeError as error:
            fail("standard output", error)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.elsewhere:
            command: click.Command = getattr(import_module("harmony.cli_messages"), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cyharmony", prog_name="harmony")
def main() -> None:
    """Text and conversations to o200k_harmony token ids and back.

    Commands read the files they are given, or standard input; `-` is standard input too, but not
    for encode-dataset, whose jobs must be able to read their files again. The exit code is 0 if all
    went well, 1 if something is wrong with a file or nobody reads the output any more, 2 if with
    the command, 3 if `diff` found a difference or `parse --recover` had to repair something, and
    130 after Ctrl-C.

    \b
    Examples:
      harmony count README.md
      echo "hello world" | harmony encode
      harmony encode --json notes.txt | harmony decode > copy.txt
      harmony encode --special token prompt.txt
      harmony encode-dataset web.jsonl.zst --out web
      harmony render --for completion request.json
      harmony parse --recover --role assistant completion.ids
      harmony view chat.json --html chat.html
      harmony diff before.json after.json
    """


@main.command()
@_files
@_encoding
@_special_options("refuse")
@_as_json
def encode(
    files: tuple[str, ...], encoding: str, special: str, allow: tuple[str, ...], as_json: bool
) -> None:
    """Write the ids of each file, on a line of its own."""
    tokenizer = get_tokenizer(encoding)
    policy = _policy(tokenizer, special, allow)
    for name, content in contents(files):
        with blamed_on(name):
            ids = tokenizer.encode(content, **policy)
        if as_json:
            click.echo(json.dumps({"file": name, "ids": ids}))
        else:
            click.echo(" ".join(map(str, ids)))


@main.command()
@_files
@_encoding
@click.option(
    "--errors",
    type=click.Choice(["keep", "replace", "strict"]),
    default="keep",
    show_default=True,
    help="Bytes that are not UTF-8: write them as they are, replace them, or fail.",
)
def decode(files: tuple[str, ...], encoding: str, errors: str) -> None:
    """Write the text of ids: numbers between blanks, a JSON list, or what encode --json wrote."""
    tokenizer = get_tokenizer(encoding)
    for name, content in contents(files):
        ids = read_ids(name, content)
        with blamed_on(name):
            if errors == "keep":
                text = tokenizer.decode_bytes(ids)
            elif errors == "replace":
                text = tokenizer.decode(ids).encode()
            else:
                text = tokenizer.decode_utf8(ids).encode()
        click.echo(text, nl=False)


@main.command()
@_files
@_encoding
@_special_options("text")
@_as_json
def count(
    files: tuple[str, ...], encoding: str, special: str, allow: tuple[str, ...], as_json: bool
) -> None:
    """Write the number of tokens of each file, and the total of several."""
    tokenizer = get_tokenizer(encoding)
    policy = _policy(tokenizer, special, allow)
    total = 0
    for name, content in contents(files):
        with blamed_on(name):
            if special == "refuse":
                n_tokens = len(tokenizer.encode_to_numpy(content, **policy))
            else:
                allowed = policy["allowed_special"]
                n_tokens = tokenizer.count_tokens(content, allowed_special=allowed)
        total += n_tokens
        if as_json:
            click.echo(json.dumps({"file": name, "tokens": n_tokens, "bytes": len(content)}))
        else:
            click.echo(f"{n_tokens:>10} {shown_name(name)}")
    if len(files) > 1 and not as_json:
        click.echo(f"{total:>10} total")


@main.command("encode-dataset")
@click.argument("inputs", nargs=-1, required=True, metavar="IN...", type=click.Path())
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=FILE,
    help="A new folder, or that of a job to continue.",
)
@click.option(
    "--text-field", metavar="NAME", help="Rows have a text in this field.  [default: text]"
)
@click.option(
    "--conversations", is_flag=True, help="Rows are conversations: an object with messages."
)
@click.option(
    "--dialect",
    type=click.Choice(["auto", "chat", "harmony"]),
    default="auto",
    show_default=True,
    help="How conversations are written: Chat Completions, or as Conversation.to_json does.",
)
@click.option(
    "--train-on",
    type=click.Choice(["assistant", "last_turn", "final_only"]),
    default="assistant",
    show_default=True,
    help="Which messages of a conversation the loss mask keeps.",
)
@analysis_policy
@header_order
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["parquet", "arrow", "npy"]),
    default="parquet",
    show_default=True,
)
@click.option("--num-threads", type=click.IntRange(1), help="Default: one for each core.")
@click.option(
    "--on-bad-row",
    type=click.Choice(["stop", "skip", "collect"]),
    default="stop",
    show_default=True,
    help="A row that cannot be used: an error, left out, or written to rejects.jsonl.",
)
@click.option("--shard-tokens", type=click.IntRange(1), default=1 << 25, show_default=True)
@click.pass_context
def encode_dataset(
    ctx: click.Context,
    /,
    inputs: tuple[str, ...],
    out: str,
    text_field: str | None,
    conversations: bool,
    dialect: str,
    analysis_policy: str,
    header_order: str,
    file_format: str,
    **options: Any,
) -> None:
    """Encode files of texts or conversations into shards of token ids.

    IN: .jsonl (plain, .gz, .zst), .parquet, .arrow or .feather. A job that was stopped goes on when
    the same command is run again.

    \b
    Examples:
      harmony encode-dataset web-*.jsonl.zst --out web
      harmony encode-dataset chats.jsonl --conversations --on-bad-row collect --out chats
      harmony encode-dataset chats.jsonl --conversations --analysis-policy keep --out thoughts
    """
    if conversations and text_field is not None:
        raise click.UsageError("--text-field and --conversations exclude each other")
    if not conversations and (names := given(ctx, *_FOR_CONVERSATIONS)):
        raise click.UsageError(f"{names[0]} is for --conversations, and these are texts")
    try:
        from harmony import datasets
    except ImportError as error:
        fail("encode-dataset", error)
    config = None
    if conversations:
        from harmony.messages import RenderConversationConfig

        config = RenderConversationConfig(
            analysis_policy=analysis_policy,  # type: ignore[arg-type]
            header_order=header_order,  # type: ignore[arg-type]
        )
    try:
        with _progress_bar() as show:
            dataset = datasets.encode_dataset(
                inputs,
                out,
                text_field="text" if text_field is None else text_field,
                conversations=dialect if conversations else None,  # type: ignore[arg-type]
                format=file_format,  # type: ignore[arg-type]
                config=config,
                progress=show,
                **options,
            )
    except (HarmonyError, OSError) as error:
        fail("encode-dataset", error)
    except MemoryError as error:
        # Python's own says nothing.
        fail("encode-dataset", str(error) or "there is not enough memory")
    except KeyboardInterrupt:
        click.echo("\nharmony: stopped; the same command goes on from here", err=True)
        sys.exit(130)
    rejected = dataset.n_rejected
    tail = f", {rejected:,} bad rows left out" if rejected else ""
    click.echo(
        f"{shown_name(out)}: {len(dataset):,} rows, {dataset.n_tokens:,} tokens{tail}", err=True
    )


@contextmanager
def _progress_bar() -> Iterator[Callable[[Any], None]]:
    """A bar on standard error, if that is a terminal: rows, tokens, MB/s, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[rows]:,} rows"),
        TextColumn("{task.fields[tokens]:,} tokens  {task.fields[speed]:.0f} MB/s"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", rows=0, tokens=0, speed=0.0)
        first: list[Any] = []

        def show(progress: Any) -> None:
            # What earlier runs read is among the bytes of the first report: the speed is that of
            # what came after it.
            first[:] = first or [progress]
            n_bytes = progress.bytes_read - first[0].bytes_read
            seconds = progress.seconds - first[0].seconds
            bar.update(
                task,
                total=progress.bytes_total,
                completed=progress.bytes_read,
                rows=progress.rows,
                tokens=progress.tokens,
                speed=n_bytes / max(seconds, 1e-9) / 1e6,
            )

        yield show


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write the script by which a shell completes commands and options.

    \b
    Examples:
      eval "$(harmony completion bash)"
      harmony completion fish > ~/.config/fish/completions/harmony.fish
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    click.echo(completion_class(main, {}, "harmony", "_HARMONY_COMPLETE").source())


def _policy(tokenizer: Tokenizer, special: str, allow: tuple[str, ...]) -> dict[str, Any]:
    """The options of `Tokenizer.encode` that the command's options stand for."""
    for name in allow:
        if name not in tokenizer.special_tokens_set:
            problem = f"{tokenizer.name} has no special token {name!r}"
            raise click.BadParameter(problem, param_hint="--allow")
    return {
        "allowed_special": "all" if special == "token" else set(allow),
        "disallowed_special": "all" if special == "refuse" else (),
    }
