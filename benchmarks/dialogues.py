"""Conversations and completions like those of a server: text of the corpora in the shape of a chat.

Each has a number: the same number is the same text everywhere, another number is another text, so
that whoever remembered a text would gain nothing. The tools are the same in all, as they are in the
requests to one server.
"""

from __future__ import annotations

import functools
import json
import random
from dataclasses import dataclass
from typing import Any

from benchmarks import contenders, corpora

# A message or a conversation in the written form of both packages (`to_dict`), as JSON: what is
# read from it shares no object with anything that was read before.
Written = str

# The corpora that texts are taken from.
CORPORA = ("prose", "code", "cjk")

# Ids that a stream still has where most of it comes before the clock.
N_MORE = 400


@dataclass(frozen=True)
class Stream:
    """A completion of the assistant, which begins after `<|start|>assistant`."""

    ids: list[int]
    # What has been fed before the clock starts.
    before: tuple[int, ...] = ()


class Writer:
    """Takes stretches of the corpora for one conversation."""

    def __init__(self, kind: str, number: int) -> None:
        self._random = random.Random(f"{kind} {number}")

    def prose(self, n_characters: int) -> str:
        return self._stretch("prose", n_characters)

    def code(self, n_characters: int) -> str:
        return self._stretch("code", n_characters)

    def cjk(self, n_characters: int) -> str:
        return self._stretch("cjk", n_characters)

    def arguments(self, n_characters: int) -> str:
        """Arguments of a call, as a model writes them."""
        return json.dumps({"query": self.prose(n_characters), "limit": self._random.randrange(50)})

    def _stretch(self, corpus: str, n_characters: int) -> str:
        """About so many characters that begin with a line."""
        text = _text(corpus)
        at = text.index("\n", self._random.randrange(len(text) - 2 * n_characters - 10_000)) + 1
        return text[at : at + n_characters].strip()


@functools.cache
def _text(corpus: str) -> str:
    return corpora.CORPORA[corpus].text()


# conversations


def short_message(number: int) -> Written:
    """A question of one line."""
    text = " ".join(Writer("short", number).prose(200).split()[:9])
    return json.dumps({"role": "user", "content": text})


def tool_conversation(number: int) -> Written:
    """Some 1,000 ids: three tools, a question, reasoning, a call, its result, an answer, and the
    next question."""
    writer = Writer("tools", number)
    messages = [*_preamble(writer), *_turn(writer, 100), _user(writer.prose(80))]
    return json.dumps({"messages": messages})


def long_conversation(number: int) -> Written:
    """Some 20,000 ids: the same with twelve longer turns, three of them in Chinese, Japanese or
    Korean."""
    writer = Writer("long", number)
    turns = [_turn(writer, 240, is_cjk=turn % 4 == 3) for turn in range(12)]
    messages = [*_preamble(writer), *(message for turn in turns for message in turn)]
    return json.dumps({"messages": [*messages, _user(writer.prose(80))]})


def _preamble(writer: Writer) -> list[dict[str, Any]]:
    system = {
        "type": "system_content",
        "conversation_start_date": "2025-06-28",
        "reasoning_effort": "High",
    }
    developer = {
        "type": "developer_content",
        "instructions": writer.prose(300),
        "tools": {"functions": {"name": "functions", "tools": _TOOLS}},
    }
    return [
        {"role": "system", "content": [system]},
        {"role": "developer", "content": [developer]},
    ]


def _turn(writer: Writer, size: int, *, is_cjk: bool = False) -> list[dict[str, Any]]:
    """From a question to the answer: some seven times `size` ids."""
    tool = "functions.search_documents"
    if is_cjk:
        question, answer = writer.cjk(size), writer.cjk(3 * size)
    else:
        question = writer.prose(3 * size)
        answer = f"{writer.prose(7 * size)}\n\n```\n{writer.code(3 * size)}\n```"
    return [
        _user(question),
        {"role": "assistant", "channel": "analysis", "content": writer.prose(6 * size)},
        {
            "role": "assistant",
            "channel": "commentary",
            "recipient": tool,
            "content_type": "<|constrain|>json",
            "content": writer.arguments(60),
        },
        {
            "role": "tool",
            "name": tool,
            "recipient": "assistant",
            "channel": "commentary",
            "content": json.dumps({"found": [writer.prose(6 * size), writer.code(4 * size)]}),
        },
        {"role": "assistant", "channel": "final", "content": answer},
    ]


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


_TOOLS = [
    {
        "name": "search_documents",
        "description": "Full-text search in the documents of this workspace.",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "Words that must occur"},
                "limit": {"type": "integer", "description": "How many at most", "default": 10},
                "languages": {"type": "array", "items": {"type": "string"}},
                "order": {"type": "string", "enum": ["newest", "best"], "default": "best"},
            },
            "required": ["query"],
        },
    },
    {
        "name": "get_forecast",
        "description": "Forecast for a place, day by day.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {
                    "type": "object",
                    "description": "Where",
                    "properties": {"town": {"type": "string"}, "country": {"type": "string"}},
                    "required": ["town"],
                },
                "days": {"type": "integer", "default": 3},
                "unit": {"type": "string", "enum": ["celsius", "kelvin"], "nullable": True},
            },
            "required": ["place"],
        },
    },
    {"name": "list_workspaces", "description": "The workspaces this user may see."},
]


# completions

_NEXT = "<|start|>assistant"
_ANALYSIS = "<|channel|>analysis<|message|>"
_CALL = "<|channel|>commentary to=functions.search_documents <|constrain|>json<|message|>"
_FINAL = "<|channel|>final<|message|>"

# (header, content, stop token)
_Part = tuple[str, str, str]


def completion(n_turns: int, number: int) -> Stream:
    """Some 1,800 ids for each turn: reasoning, a call, an answer in prose, code and CJK."""
    writer = Writer(f"completion of {n_turns}", number)
    parts = []
    for _ in range(n_turns):
        answer = f"{writer.prose(1500)}\n\n```\n{writer.code(600)}\n```\n\n{writer.cjk(180)}"
        parts += [
            (_ANALYSIS, writer.prose(5000), "<|end|>"),
            (_CALL, writer.arguments(100), "<|call|>"),
            (_FINAL, answer, "<|end|>"),
        ]
    stream = _stream(parts)
    return Stream([*stream.ids[:-1], *_ids("<|return|>")])


def after_messages(n_messages: int, number: int) -> Stream:
    """The beginning of an answer after `n_messages` that are complete: reasoning, calls and answers
    of some lines. The open one depends on `number` only."""
    writer = Writer("after messages", number)
    opened = (_FINAL, writer.prose(8 * N_MORE), "")
    parts = []
    for index in range(n_messages):
        if index % 3 == 1:
            parts.append((_CALL, writer.arguments(60), "<|call|>"))
        else:
            parts.append((_FINAL if index % 3 else _ANALYSIS, writer.prose(250), "<|end|>"))
    ids = [*_ids(_NEXT), *_stream([opened]).ids]
    return Stream(ids[:N_MORE], tuple(_stream(parts).ids))


def open_message(n_ids: int, number: int) -> Stream:
    """The next ids of an answer after its first `n_ids`."""
    text = Writer("open message", number).prose(8 * (n_ids + N_MORE))
    content = _encode(text)[: n_ids + N_MORE]
    return Stream(content[n_ids:], (*_ids(_FINAL), *content[:n_ids]))


def _stream(parts: list[_Part]) -> Stream:
    ids: list[int] = []
    for header, content, stop in parts:
        ids += [*_ids((_NEXT if ids else "") + header), *_encode(content), *_ids(stop)]
    return Stream(ids)


def _encode(text: str) -> list[int]:
    ids: list[int] = _encoding().encode(text, disallowed_special=())
    return ids


def _ids(markup: str) -> list[int]:
    ids: list[int] = _encoding().encode(markup, allowed_special="all")
    return ids


def _encoding() -> Any:
    # Whose ids these are makes no difference: the gate asks both packages what they mean.
    return contenders.PACKAGES["cyharmony"]().encoding
