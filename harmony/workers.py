"""Chunks of work on threads: the one place that hands them out.

Compiled code gives up the interpreter lock for a chunk at a time, so threads are enough to use all
cores. Those of `run` are parked between calls, shared by all callers, and made again in a process
that was forked; a stream has its own. Whoever calls `run` works too: a call never waits for threads
that other callers keep busy.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# A bound, not a number: threads are made when there is work and no thread is parked.
_MOST_THREADS = 1024

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="harmony")
        return _pool


def _forget_threads() -> None:
    """A forked process has none of the threads of its parent, and may have a lock that one held."""
    global _lock, _pool
    _lock = threading.Lock()
    _pool = None


os.register_at_fork(after_in_child=_forget_threads)


def thread_count(num_threads: int | None) -> int:
    """How many threads `num_threads` asks for; None: one for each core this process may use.

    Raises ValueError if that is less than one.
    """
    if num_threads is None:
        return len(os.sched_getaffinity(0))
    count = operator.index(num_threads)
    if count < 1:
        raise ValueError(f"num_threads must be at least 1, not {count}")
    return count


def run(work: Callable[[int], Result], n_chunks: int, num_threads: int | None) -> list[Result]:
    """`[work(0), ..., work(n_chunks - 1)]`, on up to `num_threads` threads, this one among them.

    Raises what the first chunk that fails raises: first in order, not in time. Chunks that nobody
    has begun are then left undone. Ctrl-C does not wait for the other threads.
    """
    n_helpers = min(thread_count(num_threads), n_chunks) - 1
    if n_helpers < 1:
        return [work(chunk) for chunk in range(n_chunks)]
    job = _Job(work, n_chunks)
    helpers: list[Future[None]] = []
    try:
        for _ in range(n_helpers):
            try:
                helpers.append(_threads().submit(job.help))
            except RuntimeError:
                # The interpreter shuts down, or the system gives no more threads. In the second
                # case a thread of another call may take part nevertheless: it has been submitted.
                break
        job.take_part()
        job.wait()
    finally:
        job.stopped = True
        for helper in helpers:
            helper.cancel()
    if job.errors:
        raise job.errors[min(job.errors)]
    return job.results


class _Job:
    """The chunks of one call. They are handed out in order, so whatever comes before a chunk that
    fails is done, too."""

    def __init__(self, work: Callable[[int], Any], n_chunks: int) -> None:
        self.work = work
        self.results: list[Any] = [None] * n_chunks
        self.errors: dict[int, BaseException] = {}
        self.stopped = False
        self._next_chunk = 0
        self._n_open = 0
        self._changed = threading.Condition()

    def take_part(self) -> None:
        """Do chunks until nobody may begin another one."""
        while (chunk := self._take()) is not None:
            try:
                self.results[chunk] = self.work(chunk)
            except BaseException as error:
                self._end(chunk, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._end(chunk, None)

    def help(self) -> None:
        # The caller hears of it: it is among `errors`.
        with contextlib.suppress(BaseException):
            self.take_part()

    def wait(self) -> None:
        """Until all chunks that were begun are over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._n_open)

    def _take(self) -> int | None:
        with self._changed:
            if self.stopped or self._next_chunk == len(self.results):
                return None
            self._next_chunk += 1
            self._n_open += 1
            return self._next_chunk - 1

    def _end(self, chunk: int, error: BaseException | None) -> None:
        with self._changed:
            self._n_open -= 1
            if error is not None:
                self.errors[chunk] = error
                self.stopped = True
            self._changed.notify_all()


def run_stream(
    work: Callable[[Item], Result], items: Iterable[Item], num_threads: int | None
) -> Generator[Result, None, None]:
    """`map(work, items)`, on up to `num_threads` threads, with a few items under way at a time.

    Errors come in order, too. Items not begun are dropped when the iteration ends early.
    """
    n_threads = thread_count(num_threads)
    if n_threads == 1:
        yield from map(work, items)
        return
    under_way: deque[Future[Result]] = deque()
    waiting = iter(items)
    # Threads of its own: those that all callers share would begin every item at once.
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="harmony")
    try:
        for item in waiting:
            try:
                under_way.append(pool.submit(work, item))
            except RuntimeError:
                # The system gives no more threads. This one does the rest.
                waiting = itertools.chain([item], waiting)
                break
            # One more than can run: a thread that is done finds the next.
            if len(under_way) > n_threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
        yield from map(work, waiting)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
