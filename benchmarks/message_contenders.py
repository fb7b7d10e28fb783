"""Messages to ids, ids to messages: the calls that both packages of this interface have.

As in `contenders`, entries only describe. A call is written once and made on each package, with
objects of that package's own classes.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import cache
from benchmarks.contenders import PACKAGES, Contender, Loaded, Package, one_by_one
from benchmarks.dialogues import Stream
from benchmarks.report import GROWTH

# What is made of one package: a contender ready to run.
Load = Callable[[Package], Loaded]

# What a server shows of a stream after each token.
GETTERS = ("current_role", "current_channel", "current_recipient", "last_content_delta")


def both(task: str, call: str, why: str, load: Load) -> list[Contender]:
    """One contender of each package."""
    return [
        Contender(library, call, why, task, functools.partial(_load, library, load))
        for library in PACKAGES
    ]


def _load(library: str, load: Load) -> Loaded:
    return load(PACKAGES[library]())


# messages -> ids


def render_message() -> list[Contender]:
    def load(package: Package) -> Loaded:
        def message(written: str) -> Any:
            return package.module.Message.from_dict(json.loads(written))

        return _rendering(package.encoding.render, message)

    return both("one message", "encoding.render(message)", "its only call for a message", load)


def render_conversation() -> list[Contender]:
    def load(package: Package) -> Loaded:
        return _rendering(
            package.encoding.render_conversation, package.module.Conversation.from_json
        )

    call = "encoding.render_conversation(conversation)"
    return both("a conversation", call, "default arguments", load)


def render_for_completion() -> list[Contender]:
    def load(package: Package) -> Loaded:
        render = package.encoding.render_conversation_for_completion
        role = package.module.Role.ASSISTANT
        return _rendering(
            lambda conversation: render(conversation, role), package.module.Conversation.from_json
        )

    call = "encoding.render_conversation_for_completion(conversation, role)"
    return both("a prompt", call, "what a server calls for each request", load)


def _rendering(render: Callable[[Any], list[int]], made_of: Callable[[str], Any]) -> Loaded:
    """Inputs are written messages or conversations; `made_of` makes the object."""
    return Loaded(
        run=one_by_one(render).run,
        outputs=lambda inputs: [render(made_of(written)) for written in inputs],
        prepare=lambda inputs: [made_of(written) for written in inputs],
    )


# ids -> messages


def parse_whole() -> list[Contender]:
    def load(package: Package) -> Loaded:
        parse = package.encoding.parse_messages_from_completion_tokens
        role = package.module.Role.ASSISTANT
        return Loaded(
            run=one_by_one(lambda stream: parse(stream.ids, role)).run,
            outputs=lambda streams: [
                json.dumps(_written(parse(stream.ids, role))) for stream in streams
            ],
        )

    call = "encoding.parse_messages_from_completion_tokens(ids, role)"
    return both("all ids at once", call, "its only call for a list", load)


def parse_each_token() -> list[Contender]:
    return _token_by_token("token by token", GETTERS, _run_getters)


def parse_each_token_and_messages() -> list[Contender]:
    getters = (*GETTERS, "messages")
    return _token_by_token("token by token", getters, _run_getters_and_messages)


def read_after_each_token(getter: str, *, is_kept: bool = False) -> list[Contender]:
    """`is_kept`: the caller holds what it read until it has read again."""
    read = operator.attrgetter(getter)
    run = functools.partial(_run_kept if is_kept else _run_dropped, read)
    return _token_by_token(GROWTH, (getter,), run, " (kept)" if is_kept else "")


# A parser that has been fed what comes before the clock, and the ids to feed.
_Fed = tuple[Any, list[int]]


def _token_by_token(
    task: str, getters: Sequence[str], run: Callable[[Sequence[_Fed]], object], remark: str = ""
) -> list[Contender]:
    def load(package: Package) -> Loaded:
        def prepare(streams: Sequence[Stream]) -> list[_Fed]:
            return [_fed(package, stream) for stream in streams]

        def outputs(streams: Sequence[Stream]) -> list[str]:
            return [_shown(parser, ids, getters) for parser, ids in prepare(streams)]

        return Loaded(run, outputs, prepare)

    call = f"process(token), {', '.join(getters)}{remark}"
    return both(task, call, "the loop of a server that streams", load)


def feed(call: str, *, at_once: int | None = 1, recovering: bool = False) -> list[Contender]:
    """Feeding a stream without a look at it, `at_once` ids in each call (None: all of them).

    Where there is no `process_many` and no recovery, `process` is called for each id.
    """

    def load(package: Package) -> Loaded:
        has_both = hasattr(package.module.StreamableParser, "process_many")
        options = {"on_error": "recover"} if recovering and has_both else {}

        def prepare(streams: Sequence[Stream]) -> list[_Fed]:
            return [_fed(package, stream, **options) for stream in streams]

        def run(fed: Sequence[_Fed]) -> None:
            for parser, ids in fed:
                if at_once == 1 or not has_both:
                    for token in ids:
                        parser.process(token)
                elif at_once is None:
                    parser.process_many(ids)
                else:
                    for start in range(0, len(ids), at_once):
                        parser.process_many(ids[start : start + at_once])

        def outputs(streams: Sequence[Stream]) -> list[str]:
            fed = prepare(streams)
            run(fed)
            return [json.dumps(_written(parser.process_eos().messages)) for parser, _ in fed]

        return Loaded(run, outputs, prepare)

    return both("token by token", call, "a server that waits for events", load)


def _fed(package: Package, stream: Stream, **options: str) -> _Fed:
    role = package.module.Role.ASSISTANT
    parser = package.module.StreamableParser(package.encoding, role, **options)
    for token in stream.before:
        parser.process(token)
    # A caller who reads the messages after every token has read those that are complete.
    _ = parser.messages
    return parser, stream.ids


def _run_getters(fed: Sequence[_Fed]) -> None:
    for parser, ids in fed:
        for token in ids:
            parser.process(token)
            _ = parser.current_role
            _ = parser.current_channel
            _ = parser.current_recipient
            _ = parser.last_content_delta


def _run_getters_and_messages(fed: Sequence[_Fed]) -> None:
    for parser, ids in fed:
        for token in ids:
            parser.process(token)
            _ = parser.current_role
            _ = parser.current_channel
            _ = parser.current_recipient
            _ = parser.last_content_delta
            _ = parser.messages


def _run_dropped(read: Callable[[Any], Any], fed: Sequence[_Fed]) -> None:
    for parser, ids in fed:
        for token in ids:
            parser.process(token)
            read(parser)


def _run_kept(read: Callable[[Any], Any], fed: Sequence[_Fed]) -> None:
    for parser, ids in fed:
        for token in ids:
            parser.process(token)
            _ = read(parser)


def _shown(parser: Any, ids: Sequence[int], getters: Sequence[str]) -> str:
    """All that the getters show after each token, and the messages at the end, as JSON."""
    steps = []
    for token in ids:
        parser.process(token)
        steps.append([_plain(getattr(parser, getter)) for getter in getters])
    return json.dumps([steps, _written(parser.process_eos().messages)])


def _plain(shown: Any) -> Any:
    """Lists, of messages or ids, by their sha256, since there is one for every token; enumerations
    by their values; everything else as it is."""
    if isinstance(shown, list):
        written = [one if isinstance(one, int) else one.to_dict() for one in shown]
        return cache.sha256(json.dumps(written).encode())
    return getattr(shown, "value", shown)


def _written(messages: Sequence[Any]) -> list[dict[str, Any]]:
    return [message.to_dict() for message in messages]
