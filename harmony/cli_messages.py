"""The commands of `harmony` that render and parse: render, parse, view and diff."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony.cli_files import (
    blamed_on,
    contents,
    fail,
    json_documents,
    read_ids,
    shown_name,
    standard_input,
)
from harmony.cli_options import FILE, analysis_policy, given, header_order
from harmony.documents import FORMS, conversation_from_document, loss_mask
from harmony.encoding import load_harmony_encoding
from harmony.errors import ParseError
from harmony.events import ParseEvent
from harmony.messages import AnalysisPolicy, HeaderOrder, RenderConversationConfig, Role
from harmony.parsed import ParsedMessage
from harmony.parser import StreamableParser
from harmony.visible import visible

if TYPE_CHECKING:
    from harmony.view import Replay

# What a command found, where it was asked to look: streams that differ, or that needed repairs.
FOUND = 3

_ROLES = [role.value for role in Role]
_dialect = click.option(
    "--dialect",
    type=click.Choice(["auto", *FORMS]),
    default="auto",
    show_default=True,
    help="How a conversation is written: Conversation.to_json, or a request of one of two APIs.",
)
_role = click.option(
    "--role",
    type=click.Choice(_ROLES),
    help="Whose message it is that ids begin with, if <|start|> and the role are in the prompt.",
)
_keep_analysis = click.option(
    "--keep-analysis", is_flag=True, help="Render all analysis, also that before a final message."
)
# Options that say nothing of ids.
_FOR_CONVERSATIONS = ("dialect", "keep_analysis", "analysis_policy", "header_order")
_file = click.argument("file", default="-", metavar="[FILE]", type=FILE)


def _rendering(command: Callable[..., None]) -> Callable[..., None]:
    """How conversations are rendered, as options of a command; `_config` takes them."""
    return _keep_analysis(analysis_policy(header_order(command)))


def _config(
    keep_analysis: bool, analysis_policy: AnalysisPolicy, header_order: HeaderOrder
) -> RenderConversationConfig:
    if keep_analysis and given(click.get_current_context(), "analysis_policy"):
        raise click.UsageError("--keep-analysis and --analysis-policy exclude each other")
    return RenderConversationConfig(
        auto_drop_analysis=not keep_analysis,
        analysis_policy=analysis_policy,
        header_order=header_order,
        validate_headers=True,
    )


@click.command()
@_file
@_dialect
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["conversation", "completion", "training"]),
    default="conversation",
    show_default=True,
    help="Completion: end with the beginning of an answer. Training: as a model ends its answer.",
)
@_rendering
@click.option("--text", "as_text", is_flag=True, help="The text that the ids stand for.")
@click.option("--json", "as_json", is_flag=True, help="Ids, and of each its message and loss mask.")
def render(
    file: str, dialect: str, purpose: str, as_text: bool, as_json: bool, **rendering: Any
) -> None:
    """Write the ids of a conversation, a JSON document.

    \b
    Examples:
      harmony render chat.json
      harmony render --for completion request.json | harmony view
      harmony render --text chat.json
    """
    if as_text and as_json:
        raise click.UsageError("--text and --json exclude each other")
    config = _config(**rendering)
    encoding = load_harmony_encoding("HarmonyGptOss")
    ((name, content),) = contents((file,))
    with blamed_on(name):
        conversation, not_trained_on = conversation_from_document(_json(name, content), dialect)
        rendered = encoding.render_annotated(
            conversation,
            next_turn_role=Role.ASSISTANT if purpose == "completion" else None,
            config=config,
            for_training=purpose == "training",
        )
    if as_json:
        click.echo(
            json.dumps(
                {
                    "ids": rendered.ids.tolist(),
                    "message_index": rendered.message_index.tolist(),
                    "loss_mask": loss_mask(rendered, not_trained_on).astype(int).tolist(),
                }
            )
        )
    elif as_text:
        click.echo(encoding.decode_bytes(rendered.ids))
    else:
        click.echo(" ".join(map(str, rendered.ids.tolist())))


@click.command()
@_file
@_role
@click.option("--recover", is_flag=True, help="Repair what breaks the format, and say so.")
@click.option("--follow", is_flag=True, help="Write what happens as the ids come in, one a line.")
def parse(file: str, role: str | None, recover: bool, follow: bool) -> None:
    """Write the messages in ids, one JSON object a line.

    Ids are numbers between blanks, a JSON list, or what encode --json wrote; with --follow each
    line must be that by itself. With --recover each repair is a line on standard error, and the
    exit code is 3 if there were any.

    \b
    Examples:
      harmony parse --role assistant completion.ids
      harmony parse --recover --role assistant completion.ids
      tail -f ids | harmony parse --recover --follow --role assistant
    """
    parser = StreamableParser(
        load_harmony_encoding("HarmonyGptOss"), role, on_error="recover" if recover else "raise"
    )
    problem = None
    try:
        if follow:
            for chunk in _chunks(file):
                _echo_events(parser.process_many(chunk))
            _echo_events(parser.finish())
        else:
            ((name, content),) = contents((file,))
            parser.process_many(read_ids(name, content))
            parser.process_eos()
    except ParseError as error:
        problem = error
        if follow:
            _echo_events(error.events or [])
    if not follow:
        for message in parser.messages:
            click.echo(_line(_shape(message)))
    if problem is not None:
        fail(file, problem)
    for diagnostic in parser.diagnostics:
        start, stop = diagnostic.token_span
        text = f": {_line(diagnostic.text)}" if diagnostic.text else ""
        click.echo(
            f"harmony: {shown_name(file)}: ids {start} to {stop}: {diagnostic.kind}{text}", err=True
        )
    if parser.diagnostics:
        sys.exit(FOUND)


def _line(value: Any) -> str:
    """JSON in one line; with escapes for all but ASCII if it holds what a terminal would obey."""
    line = json.dumps(value, ensure_ascii=False)
    return line if visible(line) == line else json.dumps(value)


def _shape(message: ParsedMessage) -> dict[str, Any]:
    return {
        **message.to_dict(),
        "complete": message.complete,
        "token_span": message.token_span,
    }


def _chunks(file: str) -> Iterator[list[int]]:
    """The ids of a stream, line by line as they come in."""
    with (
        blamed_on(file),
        nullcontext(standard_input()) if file == "-" else open(file, "rb") as stream,
    ):
        for line in stream:
            yield read_ids(file, line)


def _echo_events(events: list[ParseEvent]) -> None:
    for event in events:
        fields: dict[str, Any] = {"event": str(event.kind), "token_span": event.token_span}
        if event.header is not None:
            fields |= {key: value for key, value in event.header._asdict().items() if value}
        if event.text is not None:
            fields["text"] = event.text
        if event.message is not None:
            fields["message"] = _shape(event.message)
        if event.diagnostic is not None:
            fields |= {"kind": str(event.diagnostic.kind), "text": event.diagnostic.text}
        click.echo(_line(fields))


@click.command()
@_file
@_dialect
@_role
@_rendering
@click.option("--ids", "with_ids", is_flag=True, help="Show each token and its id.")
@click.option(
    "--html",
    "page_file",
    metavar="OUT",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write a page for a browser instead, to a file or to -; it needs nothing but itself.",
)
@click.option("--title", help="Title of the page.  [default: the name of the file]")
def view(
    file: str,
    dialect: str,
    role: str | None,
    with_ids: bool,
    page_file: str | None,
    title: str | None,
    **rendering: Any,
) -> None:
    """Show a conversation (JSON) or a stream of ids, whatever they are.

    \b
    Examples:
      harmony view chat.json
      harmony view --ids --role assistant completion.ids
      harmony view chat.json --html chat.html
    """
    if title is not None and page_file is None:
        raise click.UsageError("--title is for --html")
    (read,) = _replays((file,), dialect, role, _config(**rendering))
    if page_file is None:
        from rich.console import Console

        from harmony.view.terminal import show

        show(read, Console(), ids=with_ids)
        return
    from harmony.view import page

    named = shown_name(title or ("Standard input" if file == "-" else Path(file).name))
    content = page(read, title=named).encode()
    if page_file == "-":
        click.echo(content, nl=False)
        return
    with blamed_on(page_file):
        Path(page_file).write_bytes(content)


@click.command()
@click.argument("a", metavar="A", type=FILE)
@click.argument("b", metavar="B", type=FILE)
@_dialect
@_role
@_rendering
@click.option(
    "--context",
    type=click.IntRange(0),
    default=6,
    show_default=True,
    help="Tokens around the difference.",
)
def diff(a: str, b: str, dialect: str, role: str | None, context: int, **rendering: Any) -> None:
    """Compare two streams of ids, or what two conversations render to.

    Shows both side by side around the first token that differs, and says in which message that is.
    The exit code is 0 if they are equal, 3 if they differ.

    \b
    Examples:
      harmony diff expected.ids actual.ids
      harmony diff before.json after.json --context 20
    """
    if a == b == "-":
        raise click.UsageError("standard input cannot be both A and B")
    from rich.console import Console

    from harmony.view.terminal import difference, first_difference

    left, right = _replays((a, b), dialect, role, _config(**rendering))
    at = first_difference(left.ids, right.ids)
    if at is None:
        click.echo(f"equal: {len(left.ids):,} tokens")
        return
    places = [_place(name, replay, at) for name, replay in ((a, left), (b, right))]
    click.echo(f"first difference at token {at:,}: {places[0]}; {places[1]}")
    table = difference(left, right, (a, b), context)
    if table is not None:
        Console().print(table)
    sys.exit(FOUND)


def _place(name: str, replay: Replay, at: int) -> str:
    """Where a position is, in words."""
    for number, entry in enumerate(replay.entries):
        if entry.span[0] <= at < entry.span[1]:
            who = "skipped" if entry.message is None else entry.message.author.role.value
            return f"in {shown_name(name)} message {number} ({who})"
    return f"{shown_name(name)} has ended"


def _replays(
    files: tuple[str, ...], dialect: str, role: str | None, config: RenderConversationConfig
) -> list[Replay]:
    """What the files hold, as a parser sees it: conversations, or ids. Options that are for what
    none of them holds are refused."""
    from harmony.view import replay

    replays = []
    are_ids = []
    for name, content in contents(files):
        are_ids.append(_is_ids(content))
        with blamed_on(name):
            if are_ids[-1]:
                read = replay(read_ids(name, content), role=role)
            else:
                read = _replay_of_document(_json(name, content), dialect, config)
        replays.append(read)
    if role is not None and not any(are_ids):
        raise click.UsageError("--role is for ids, not for conversations")
    if all(are_ids) and (names := given(click.get_current_context(), *_FOR_CONVERSATIONS)):
        raise click.UsageError(f"{names[0]} is for conversations, not for ids")
    return replays


def _replay_of_document(document: Any, dialect: str, config: RenderConversationConfig) -> Replay:
    from harmony.view import replay

    conversation, not_trained_on = conversation_from_document(document, dialect)
    encoding = load_harmony_encoding("HarmonyGptOss")
    rendered = encoding.render_annotated(conversation, config=config)
    return replay(rendered)._replace(mask=loss_mask(rendered, not_trained_on).tolist())


def _is_ids(content: bytes) -> bool:
    """Whether this is one of the forms that `read_ids` reads, and not a conversation."""
    text = content.decode("utf-8-sig", "replace").lstrip()
    if not text or text[0].isdigit() or text[0] == "-":
        return True
    try:
        document = next(json_documents(text))
    except (ValueError, RecursionError):
        return False
    if isinstance(document, dict):
        return "ids" in document
    return isinstance(document, list) and not any(isinstance(item, dict) for item in document)


def _json(name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        fail(name, f"not a JSON document ({error})")
