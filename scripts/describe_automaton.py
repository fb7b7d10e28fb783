"""Write the automaton of the parser into docs/design.md, from the tables that the code runs on.

python scripts/describe_automaton.py          write it
python scripts/describe_automaton.py check    exit with 1 if the page shows another
"""

from __future__ import annotations

import sys
from pathlib import Path

from harmony._parser import transitions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "design.md"
BEGIN, END = "<!-- begin automaton -->\n", "<!-- end automaton -->\n"

STATES = {
    "EXPECT_START": "between messages",
    "HEADER": "in a header; recovering: behind its first marker",
    "CONTENT": "in content",
    "PROMPTED": "nothing has come yet; `<|start|>` and the role are in the prompt",
    "STARTED": "only `<|start|>` has come",
    "LEAD": "in a header, before its first marker",
    "BARE": "in content that no `<|message|>` stands before: a marker ends it",
    "FULL": "there are as many messages as there may be",
}
ACTIONS = {
    "IGNORE": "nothing",
    "OPEN": "a header begins -> HEADER; recovering: STARTED",
    "COLLECT": "the id is part of the header",
    "READ": "the header is read -> CONTENT; strict and lenient, if it cannot be: an error "
    "-> EXPECT_START, and the given role stays",
    "REFUSE": "an error: only `<|start|>` may come here",
    "LEAVE": "the header was a message -> EXPECT_START; if it cannot be read, an error",
    "CUT": "the stream ends inside a header: an error; recovering: nothing came at all",
    "APPEND": "the id is part of the content, as in openai_harmony",
    "FINISH": "the message is complete, or the stream ends in it -> EXPECT_START",
    "SKIP": "the id is skipped -> EXPECT_START",
    "BEGIN": "a header begins without a start -> LEAD, where the id is looked at again",
    "REPEAT": "another `<|start|>`: part of the header",
    "GATHER": "the id is part of the header -> LEAD; what can only be text becomes content -> BARE",
    "JUDGE": "does the text before this marker belong to the header? -> HEADER, where the id is "
    "looked at again; if not, as RESCUE",
    "RESCUE": "the header ends without `<|message|>`: fields are taken from its front, the rest is "
    "content of a message or is skipped -> EXPECT_START, where an id that is no stop is looked at "
    "again",
    "MEND": "the id is part of the content; what is no UTF-8 becomes U+FFFD at once",
    "DROP": "the id is taken out of the content",
    "REPLACE": "the id becomes U+FFFD",
    "BREAK": "the message is unfinished, or dropped if it is empty -> EXPECT_START, where the id "
    "is looked at again",
    "CLOSE": "as FINISH; a call to a tool that named itself becomes one",
    "PASS": "the id is skipped",
}


def block() -> str:
    """The text between the two marks."""
    strict, lenient, recover = (transitions(mode) for mode in ("STRICT", "LENIENT", "RECOVER"))
    different = {at: lenient[at] for at in lenient if lenient[at] != strict[at]}
    others = ", ".join(
        f"{action} for {state} and {kind}" for (state, kind), action in different.items()
    )
    used = {*strict.values(), *lenient.values(), *recover.values()}
    return "\n".join(
        [
            "Strict:",
            "",
            *_table(strict),
            "",
            f"Lenient is the same, but {others}. Recovering:",
            "",
            *_table(recover),
            "",
            *(f"- `{state}`: {meaning}" for state, meaning in STATES.items()),
            "",
            *(f"- `{action}`: {meaning}" for action, meaning in ACTIONS.items() if action in used),
            "",
        ]
    )


def _table(table: dict[tuple[str, str], str]) -> list[str]:
    states = list(dict.fromkeys(state for state, _ in table))
    kinds = list(dict.fromkeys(kind for _, kind in table))
    missing = {*states} - {*STATES} | {*table.values()} - {*ACTIONS}
    if missing:
        raise SystemExit(f"say here what these mean: {', '.join(sorted(missing))}")
    return [
        "| | " + " | ".join(kinds) + " |",
        "|---" * (len(kinds) + 1) + "|",
        *(
            f"| `{state}` | " + " | ".join(table[state, kind] for kind in kinds) + " |"
            for state in states
        ),
    ]


def main(command: str) -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    written = before + BEGIN + "\n" + block() + "\n" + END + after
    if command == "check":
        return int(written != page)
    PAGE.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "write"))
