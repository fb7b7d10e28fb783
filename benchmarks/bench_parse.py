"""Ids to messages: token by token, as a server reads a stream, and all ids at once.

New streams for every sample and new parsers for every stream; a parser is made, and fed what comes
before the part in question, before the clock starts. The median counts, of five times `--rounds`
rounds (a quick run: of `--rounds`).

Rows without a look at the parser compare `process` with `process_many`, and both with what
recovery costs on streams that need none; where a library has only `process`, that is what is timed.

The second table is about growth: what the next tokens cost, with one look at the parser after each,
when so much has been read and when four times as much has. The full run takes some five minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks import harness
from benchmarks.dialogues import Stream, after_messages, completion, open_message
from benchmarks.harness import Row
from benchmarks.message_contenders import (
    feed,
    parse_each_token,
    parse_each_token_and_messages,
    parse_whole,
    read_after_each_token,
)

N_COMPLETE = 60  # messages
N_OPEN = 2_000  # ids


def rows() -> list[Row]:
    short, long = partial(completion, 1), partial(completion, 11)
    one, many = partial(after_messages, 1), partial(after_messages, N_COMPLETE)
    with_messages = parse_each_token_and_messages()
    return [
        Row(parse_each_token(), "a completion", short, n_ids, size=3),
        Row(with_messages, "after 1 message", one, n_ids, size=3),
        Row(with_messages, f"after {N_COMPLETE} messages", many, n_ids, size=3),
        Row(feed("process(token)"), "a completion", short, n_ids, size=3),
        Row(
            feed("process(token), recovering", recovering=True),
            "a completion",
            short,
            n_ids,
            size=3,
        ),
        *(
            Row(
                feed(call, at_once=at_once, recovering=recovering),
                "a completion",
                short,
                n_ids,
                size=3,
            )
            for call, at_once, recovering in (
                ("process_many(16 ids)", 16, False),
                ("process_many(16 ids), recovering", 16, True),
                ("process_many(ids)", None, False),
                ("process_many(ids), recovering", None, True),
            )
        ),
        Row(parse_whole(), "a completion", short, n_ids, size=10),
        Row(parse_whole(), "a long completion", long, n_ids, size=2),
    ]


def growth_rows() -> list[Row]:
    return [
        *_growth("state", open_message, N_OPEN, "ids of content"),
        *_growth("current_content", open_message, N_OPEN, "ids of content"),
        *_growth("current_content", open_message, N_OPEN, "ids of content", is_kept=True),
        *_growth("tokens", open_message, N_OPEN, "ids of content"),
        *_growth("messages", after_messages, N_COMPLETE, "messages"),
    ]


def _growth(
    getter: str, stream: Callable[[int, int], Stream], n: int, of: str, *, is_kept: bool = False
) -> list[Row]:
    """After a stream of `n` messages or ids, and after one of four times as many."""
    entrants = read_after_each_token(getter, is_kept=is_kept)
    return [Row(entrants, f"{size:,} {of}", partial(stream, size), n_ids) for size in (n, 4 * n)]


def n_ids(stream: Stream, output: str) -> int:
    return len(stream.ids)


def main() -> None:
    given = harness.options(__doc__)
    section = harness.new_section("parse", given)
    harness.compare_rows(section, given, [*rows(), *growth_rows()])
    harness.finish(section, given)


if __name__ == "__main__":
    main()
