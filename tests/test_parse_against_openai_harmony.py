"""The parser against openai_harmony, on random streams: results, errors, and every getter after
every id, going on after errors.

HARMONY_EXAMPLES scales the number of streams; at 1 the suite compares a few thousand.
"""

import json
import random
import re
import unicodedata

import pytest
from scale import scaled
from streams import Stream, random_streams

from harmony.errors import HarmonyError
from harmony.messages import Role
from harmony.parser import StreamableParser, parse_messages_from_completion_tokens

SEEDS = range(8)
REMAINING = "unexpected tokens remaining in message header: "
GETTERS = (
    "current_role", "current_channel", "current_recipient", "current_content_type",
    "last_content_delta",
)  # fmt: skip


@pytest.fixture(scope="module")
def theirs(upstream):
    """openai_harmony with its encoding, which the fixture `upstream` loads."""
    openai_harmony = pytest.importorskip("openai_harmony")
    return openai_harmony, upstream


def error_of(call) -> tuple[str, str] | None:
    """What an error amounts to for a caller: the class it can be caught as, and its text."""
    try:
        call()
    except Exception as error:
        name = type(error).__name__
        if isinstance(error, HarmonyError):
            name = "HarmonyError"
        return name, str(error)
    return None


def same_error(ours, theirs) -> bool:
    if ours == theirs or ours is None or theirs is None:
        return ours == theirs
    if not theirs[1].startswith(REMAINING) or ours[0] != theirs[0]:
        return False
    # How a character is quoted depends on the Unicode version: those that this Python does not
    # know yet may differ.
    shown = [
        re.sub(r"\\u\{([0-9a-f]+)\}", lambda m: chr(int(m[1], 16)), text)
        for _, text in (ours, theirs)
    ]
    return shown[0] == shown[1] and any(unicodedata.category(c) == "Cn" for c in shown[0])


def seen(parser) -> tuple:
    """What the O(1) getters show, with enum members as their values."""
    role = parser.current_role
    return (
        parser.state.value,
        role and role.value,
        *(getattr(parser, name) for name in GETTERS[1:]),
    )


def seen_in_full(parser) -> tuple:
    return (
        parser.current_content,
        json.dumps(parser.state_data),
        parser.tokens,
        repr(parser.messages),
    )


def compare(stream: Stream, encoding, openai_harmony, upstream, rng: random.Random) -> None:
    """Assert that both parsers do the same, step by step, and both functions at once."""
    _, ids, role, strict = stream
    ours = StreamableParser(encoding, role and Role(role), strict=strict)
    theirs = openai_harmony.StreamableParser(
        upstream, role and openai_harmony.Role(role), strict=strict
    )
    where = stream
    assert seen(ours) == seen(theirs), where
    look_closely_every = rng.choice((1, 3, 10, 1000))
    end_early = rng.random() < 0.1
    for i, token in enumerate(ids):
        ours_error = error_of(lambda: ours.process(token))  # noqa: B023
        theirs_error = error_of(lambda: theirs.process(token))  # noqa: B023
        assert same_error(ours_error, theirs_error), (where, i, ours_error, theirs_error)
        assert seen(ours) == seen(theirs), (where, i)
        if i % look_closely_every == look_closely_every - 1:
            assert seen_in_full(ours) == seen_in_full(theirs), (where, i)
        if end_early and rng.random() < 0.1:
            assert same_error(error_of(ours.process_eos), error_of(theirs.process_eos)), (where, i)
            assert seen(ours) == seen(theirs), (where, i)
    assert seen_in_full(ours) == seen_in_full(theirs), where
    assert same_error(error_of(ours.process_eos), error_of(theirs.process_eos)), where
    assert seen(ours) == seen(theirs), where
    assert seen_in_full(ours) == seen_in_full(theirs), where

    ours_messages, theirs_messages = [], []
    ours_error = error_of(
        lambda: ours_messages.extend(
            parse_messages_from_completion_tokens(encoding, ids, role and Role(role), strict=strict)
        )
    )
    theirs_error = error_of(
        lambda: theirs_messages.extend(
            upstream.parse_messages_from_completion_tokens(
                ids, role and openai_harmony.Role(role), strict=strict
            )
        )
    )
    assert same_error(ours_error, theirs_error), (where, ours_error, theirs_error)
    assert repr(ours_messages) == repr(theirs_messages), where
    assert [m.to_json() for m in ours_messages] == [m.to_json() for m in theirs_messages], where


@pytest.mark.parametrize("seed", SEEDS)
def test_random_streams(seed, encoding, theirs):
    rng = random.Random(seed + 1000)
    for stream in random_streams(scaled(400), seed, encoding):
        compare(stream, encoding, *theirs, rng)
