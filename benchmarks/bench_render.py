"""Messages to ids: a prompt of a chat with tools, short and long, and one short message.

New objects of new text for every single call, made before the clock starts. The median counts, of
five times `--rounds` rounds (a quick run: of `--rounds`).
"""

from benchmarks import dialogues, harness
from benchmarks.dialogues import Written
from benchmarks.harness import Row
from benchmarks.message_contenders import (
    render_conversation,
    render_for_completion,
    render_message,
)


def n_ids(written: Written, ids: list[int]) -> int:
    return len(ids)


def main() -> None:
    given = harness.options(__doc__)
    section = harness.new_section("render", given)
    small, long = dialogues.tool_conversation, dialogues.long_conversation
    rows = [
        Row(render_message(), "one short user message", dialogues.short_message, n_ids, size=500),
        Row(render_for_completion(), "small tool conversation", small, n_ids, size=40),
        Row(render_conversation(), "small tool conversation", small, n_ids, size=40),
        Row(render_for_completion(), "long tool conversation", long, n_ids, size=8),
        Row(render_conversation(), "long tool conversation", long, n_ids, size=8),
    ]
    harness.compare_rows(section, given, rows)
    harness.finish(section, given)


if __name__ == "__main__":
    main()
