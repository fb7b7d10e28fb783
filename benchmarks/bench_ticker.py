"""How long another thread waits while a megabyte is rendered or parsed.

A thread notes the time every millisecond. What it comes late by during one call, at most, is shown
as a share of that call: the median and the most of `--rounds` calls, each on new objects. Beside
each call the same is measured during a call of about the same length that lets others run all the
time (a checksum): what that shows is the machine's own doing, and the first is no better than it.
Garbage collection is off, as in the other benchmarks: a collection holds up all threads for as long
as it takes to look through whatever the program has made, and that has nothing to do with the call.

`python -m benchmarks.bench_ticker` takes half a minute.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import harmony
from benchmarks import corpora
from harmony import Conversation, Message, Role

PERIOD = 0.001
N_BYTES = 1_000_000
N_MESSAGES = (1, 100, 1000)


class Ticker:
    """A thread that notes the time every millisecond."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._stops = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Ticker:
        self._thread.start()
        time.sleep(5 * PERIOD)
        return self

    def __exit__(self, *error: object) -> None:
        self._stops = True
        self._thread.join()

    def _run(self) -> None:
        while not self._stops:
            self.times.append(time.perf_counter())
            time.sleep(PERIOD)


def lateness(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that the call took, and that a tick came late by while it ran, at most."""
    gc.collect()
    with Ticker() as ticker:
        start = time.perf_counter()
        result = call()
        stop = time.perf_counter()
        time.sleep(2 * PERIOD)
    del result  # not before the ticker has stopped: it is not the call that frees it
    late = [
        min(after, stop) - max(before + PERIOD, start)
        for before, after in zip(ticker.times, ticker.times[1:], strict=False)
    ]
    return stop - start, max(0.0, *late)


def checksum(seconds: float) -> Callable[[], object]:
    """A call of about this length that needs no interpreter lock."""
    block = bytes(4_000_000)
    start = time.perf_counter()
    zlib.crc32(block)
    n_bytes = int(len(block) * seconds / (time.perf_counter() - start))
    content = bytes(n_bytes)
    return lambda: zlib.crc32(content)


def texts_of(corpus: str, n_messages: int) -> list[str]:
    """About a megabyte of a corpus in so many texts."""
    text = "".join(corpora.load(corpus, limit=N_BYTES))
    size = len(text) // n_messages
    return [text[at * size : (at + 1) * size] for at in range(n_messages)]


def conversation_of(texts: Sequence[str]) -> Conversation:
    return Conversation.from_messages(
        [Message.from_role_and_content(Role.USER, text) for text in texts]
    )


def rows() -> dict[str, Callable[[], Callable[[], Any]]]:
    """For each row a function that makes a new call."""
    encoding = harmony.load_harmony_encoding("HarmonyGptOss")

    def rendering(texts: list[str]) -> Callable[[], Any]:
        conversation = conversation_of(texts)
        return lambda: encoding.render_conversation(conversation)

    def parsing(ids: list[int]) -> Callable[[], Any]:
        copied = list(ids)
        return lambda: encoding.parse_messages_from_completion_tokens(copied)

    found: dict[str, Callable[[], Callable[[], Any]]] = {}
    for corpus in ("prose", "cjk"):
        for n in N_MESSAGES:
            texts = texts_of(corpus, n)
            ids = encoding.render_conversation(conversation_of(texts))
            found[f"render, {corpus}, {n} messages"] = lambda texts=texts: rendering(texts)
            found[f"parse, {corpus}, {n} messages"] = lambda ids=ids: parsing(ids)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    gc.disable()
    print("| call | ms | median share | most | checksum: median | most |")
    print("|---|---|---|---|---|---|")
    for name, make in rows().items():
        lateness(make())  # warm
        took, shares, control = [], [], []
        for _ in range(given.rounds):
            seconds, late = lateness(make())
            took.append(seconds)
            shares.append(late / seconds)
            seconds, late = lateness(checksum(seconds))
            control.append(late / seconds)
        print(
            f"| {name} | {1e3 * statistics.median(took):.1f} "
            f"| {statistics.median(shares):.2f} | {max(shares):.2f} "
            f"| {statistics.median(control):.2f} | {max(control):.2f} |"
        )


if __name__ == "__main__":
    main()
