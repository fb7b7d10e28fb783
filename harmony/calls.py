"""Which messages call a tool, and which result belongs to which call.

The recipient decides: a tool is called by everything but `all`, role words, and what names no tool
(nothing, or `functions.` alone). The channel does not matter; about half of the real calls are on
the analysis channel.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Sequence

from harmony.messages import Message, Role

FUNCTIONS = "functions."
_BUILT_IN_TOOLS = ("python", "browser", "container")
_NO_TOOLS = ("all", *(role.value for role in Role))


def is_call(role: Role, recipient: str | None) -> bool:
    """Whether a message calls a tool that is not built in."""
    if role is not Role.ASSISTANT or recipient is None or recipient in _NO_TOOLS:
        return False
    return recipient.removeprefix(FUNCTIONS) != "" and not is_built_in(recipient)


def is_built_in(recipient: str) -> bool:
    """Whether it is one of the tools that come with the model, or a function of one."""
    return recipient.partition(".")[0] in _BUILT_IN_TOOLS


def calls_of_results(messages: Sequence[Message]) -> dict[int, int]:
    """The call that each result belongs to, both by their index in `messages`.

    Nothing in a result says so but the tool's name, which may be its namespace alone. Calls without
    anything between them are one turn; built-in tools are called one at a time. Results that stand
    together belong to calls of the latest turn that waits for one, in the order of the calls, and
    then to those of turns before, which may never have been answered.
    """
    found: dict[int, int] = {}
    waiting = _WaitingCalls()
    for are_results, group in itertools.groupby(
        enumerate(messages), lambda numbered: numbered[1].author.role is Role.TOOL
    ):
        if not are_results:
            for index, message in group:
                waiting.see(index, message)
            continue
        results = defaultdict(list)
        for index, message in group:
            if message.author.name is not None:
                results[message.author.name].append(index)
        for tool, indices in results.items():
            found.update(zip(indices, waiting.take(tool, len(indices)), strict=False))
        waiting.end_turn()
    return found


class _WaitingCalls:
    """Calls that wait for their results, by index."""

    def __init__(self) -> None:
        # By recipient and by namespace, of each turn its number and the calls that wait.
        self._turns: defaultdict[str, list[tuple[int, deque[int]]]] = defaultdict(list)
        self._turn = 0
        # These still stand in `_turns` under their other name.
        self._taken: set[int] = set()

    def see(self, index: int, message: Message) -> None:
        """The next message, which is no result."""
        role, recipient = message.author.role, message.recipient
        if not is_call(role, recipient):
            self.end_turn()
            if role is not Role.ASSISTANT or recipient is None or not is_built_in(recipient):
                return
        assert recipient is not None  # a call has one
        for name in {recipient, recipient.partition(".")[0]}:
            turns = self._turns[name]
            if not turns or turns[-1][0] != self._turn:
                turns.append((self._turn, deque()))
            turns[-1][1].append(index)

    def end_turn(self) -> None:
        self._turn += 1

    def take(self, tool: str, n: int) -> list[int]:
        """Up to `n` calls, which wait no more, in their order."""
        turns = self._turns.get(tool)
        calls: list[int] = []
        while turns and len(calls) < n:
            index = turns[-1][1].popleft()
            if not turns[-1][1]:
                turns.pop()
            if index not in self._taken:
                self._taken.add(index)
                calls.append(index)
        return sorted(calls)
