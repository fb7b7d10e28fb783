"""parse_batch: what the parser makes of each completion, by any number of threads."""

import random
import sys
import threading
import time

import numpy as np
import pytest
from scale import scaled
from streams import END, MESSAGE, START, random_streams
from test_recovery_reference import VECTORS, mutated, random_message, rendered

from harmony import parser as parser_module
from harmony import workers
from harmony.errors import HarmonyError, ParseError

KINDS = [{}, {"strict": False}, {"on_error": "recover"}]


@pytest.fixture(autouse=True)
def threads_for_few_ids(monkeypatch):
    monkeypatch.setattr(parser_module, "_PARALLEL_ABOVE", 0)


def whole(encoding, ids, role, options):
    messages = encoding.parse_messages_from_completion_tokens(ids, role, **options)
    return [(message.to_dict(), message._origin) for message in messages]


def shown(rows):
    return [[(message.to_dict(), message._origin) for message in row] for row in rows]


@pytest.mark.parametrize("num_threads", [1, 2, None])
@pytest.mark.parametrize("options", KINDS, ids=["strict", "lenient", "recover"])
def test_rows_are_parsed_as_each_alone(options, num_threads, encoding):
    rng = random.Random(repr(options))
    for role in (None, "assistant"):
        rows = []
        streams = [stream.ids for stream in random_streams(scaled(300), 1, encoding)]
        streams += [rendered(encoding, [random_message(rng)] * 2, rng) for _ in range(scaled(100))]
        streams += [
            mutated(rng, rng.choice(VECTORS)["token_ids"], encoding) for _ in range(scaled(100))
        ]
        for ids in streams:
            if role and rng.random() < 0.7:
                ids = ids[2:]
            try:
                whole(encoding, ids, role, options)
            except HarmonyError:
                continue
            rows.append(ids)
        assert rows
        expected = [whole(encoding, ids, role, options) for ids in rows]
        assert (
            shown(encoding.parse_batch(rows, role, num_threads=num_threads, **options)) == expected
        )


def test_kinds_of_rows(encoding):
    ids = encoding.encode("<|channel|>final<|message|>Hello<|end|>", allowed_special="all")
    rows = [ids, tuple(ids), np.array(ids), np.array(ids, dtype=np.uint32), iter(ids), []]
    parsed = encoding.parse_batch(iter(rows), "assistant", on_error="recover")
    assert [len(row) for row in parsed] == [1, 1, 1, 1, 1, 0]
    assert encoding.parse_batch([]) == []


@pytest.mark.parametrize("num_threads", [1, 3])
def test_errors_name_the_row(num_threads, encoding):
    good = [START, 173781, MESSAGE, 24912, END]
    rows = [good] * 1000
    rows[777] = [*good, 5]
    with pytest.raises(ParseError, match=r"^row 777: Unexpected token 5 ") as caught:
        encoding.parse_batch(rows, num_threads=num_threads)
    assert (caught.value.row, caught.value.position, caught.value.token) == (777, 5, 5)
    rows[777] = [START, 1.5]
    with pytest.raises(TypeError, match=r"^row 777: .*float"):
        encoding.parse_batch(rows, num_threads=num_threads)
    rows[777] = [-1]
    with pytest.raises(OverflowError, match=r"^row 777: "):
        encoding.parse_batch(rows, num_threads=num_threads)
    rows[777] = None
    with pytest.raises(TypeError, match=r"^row 777: "):
        encoding.parse_batch(rows, num_threads=num_threads)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="num_threads"):
            encoding.parse_batch([good], num_threads=wrong)


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_the_first_row_that_is_wrong_is_named(num_threads, encoding):
    good = [START, 173781, MESSAGE, 24912, END]
    rows = [good] * 32
    for wrong, error in (([5], ParseError), ([-1], OverflowError), (["x"], TypeError)):
        for later in ([5], [1 << 32], None):
            rows[2:4] = [wrong, later]
            with pytest.raises(error, match=r"^row 2: "):
                encoding.parse_batch(rows, num_threads=num_threads)


def test_others_run_while_a_chunk_is_scanned(encoding):
    """The scan holds no lock. Nobody is made to give it up here; another thread runs only while it
    is not held."""
    ids = np.array([START, 173781, MESSAGE, *[24912] * 4_000_000, END], dtype=np.uint32)
    turns = 0
    is_over = False

    def take_turns():
        nonlocal turns
        while not is_over:
            turns += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    thread = threading.Thread(target=take_turns)
    try:
        thread.start()
        before = turns
        (messages,) = encoding.parse_batch([ids], num_threads=1)
        after = turns
    finally:
        is_over = True
        sys.setswitchinterval(interval)
        thread.join()
    assert len(messages[0].content[0].text) == 5 * 4_000_000
    assert after > before


def test_threads_are_for_many_ids_only(encoding, monkeypatch):
    calls = []
    monkeypatch.setattr(workers, "run", lambda *given: calls.append(given) or [])
    monkeypatch.setattr(parser_module, "_PARALLEL_ABOVE", 10)
    for rows, n_threads in [([[1] * 5] * 2, 1), ([[1] * 5, [1] * 6], 2), ([iter([1])], 2)]:
        encoding.parse_batch(rows, num_threads=2)
        assert calls.pop()[2] == n_threads
