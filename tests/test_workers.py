"""Chunks on threads: in order, whatever thread did them; the first error in order; no thread lost."""

import os
import threading
import time

import pytest
from processes import run

from harmony import workers


@pytest.mark.parametrize("num_threads", [None, 1, 2, 7])
@pytest.mark.parametrize("n_chunks", [0, 1, 2, 50])
def test_results_are_in_order(num_threads, n_chunks):
    expected = [chunk * chunk for chunk in range(n_chunks)]
    assert workers.run(lambda chunk: chunk * chunk, n_chunks, num_threads) == expected
    assert list(workers.run_stream(lambda x: x * x, range(n_chunks), num_threads)) == expected


def test_threads_work_at_the_same_time():
    """Each chunk waits for the other one."""
    barrier = threading.Barrier(2, timeout=60)
    assert sorted(workers.run(lambda chunk: barrier.wait(), 2, 2)) == [0, 1]
    assert sorted(workers.run_stream(lambda chunk: barrier.wait(), range(2), 2)) == [0, 1]


def test_threads_are_parked_and_used_again():
    barrier = threading.Barrier(2, timeout=60)

    def names():
        seen = set()

        def work(chunk):
            barrier.wait()
            seen.add(threading.current_thread().name)

        workers.run(work, 2, 2)
        return seen

    first = names()
    for _ in range(20):
        names()
    started = {thread.name for thread in threading.enumerate()}
    assert threading.current_thread().name in first
    assert len([name for name in started if name.startswith("harmony")]) < 20


def test_a_thread_that_takes_part_although_it_was_refused(monkeypatch):
    """Executors queue a call before they start a thread for it. If the system gives them none, a
    thread that another caller has started may do it."""
    began = threading.Event()

    class Refusing:
        def submit(self, call):
            threading.Thread(target=call).start()
            raise RuntimeError("can't start new thread")

    def work(chunk):
        if threading.current_thread() is threading.main_thread():
            assert began.wait(60)
        else:
            began.set()
            time.sleep(0.05)
        return chunk

    monkeypatch.setattr(workers, "_threads", Refusing)
    assert workers.run(work, 2, 2) == [0, 1]


@pytest.mark.parametrize("n_started", [0, 1, 2])
def test_a_stream_without_more_threads(monkeypatch, n_started):
    start = threading.Thread.start
    started = []

    def refuse(thread):
        if len(started) == n_started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(workers.run_stream(lambda x: x * x, range(50), 3)) == [x * x for x in range(50)]
    assert len(started) == n_started


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_the_first_error_in_order_is_raised(num_threads):
    """Chunk 3 fails late: chunk 4 fails before it, on another thread."""
    later_failed = threading.Event()
    done = []

    def work(chunk):
        if chunk == 3:
            if num_threads > 1:
                assert later_failed.wait(60)
            raise ValueError("three")
        if chunk == 4:
            later_failed.set()
            raise ValueError("four")
        done.append(chunk)

    with pytest.raises(ValueError, match="three"):
        workers.run(work, 1000, num_threads)
    assert {0, 1, 2} <= set(done)
    assert len(done) < 1000, "chunks that nobody had begun are left"
    later_failed.clear()
    with pytest.raises(ValueError, match="three"):
        list(workers.run_stream(work, range(1000), num_threads))


def test_work_may_hand_out_work():
    def outer(chunk):
        return sum(workers.run(lambda inner: inner, 10, 4))

    assert workers.run(outer, 20, 4) == [45] * 20


def test_a_stream_uses_no_more_threads_than_it_may():
    lock = threading.Lock()
    running = []
    most = []

    def work(item):
        with lock:
            running.append(item)
            most.append(len(running))
        time.sleep(0.002)
        with lock:
            running.remove(item)

    list(workers.run_stream(work, range(40), 2))
    assert max(most) == 2


def test_a_stream_holds_few_items():
    begun = []

    def items():
        for item in range(100):
            begun.append(item)
            yield item

    stream = workers.run_stream(lambda item: item, items(), 3)
    for item in range(10):
        assert next(stream) == item
        assert len(begun) <= item + 1 + 4
    stream.close()
    assert len(begun) < 20


@pytest.mark.parametrize("bad, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_number_of_threads(bad, error):
    with pytest.raises(error):
        workers.run(lambda chunk: chunk, 1, bad)


def test_one_core():
    core = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, [{core}]); import threading\n"
    program += "from harmony import workers; assert workers.thread_count(None) == 1\n"
    program += "assert workers.run(lambda i: i, 5, None) == [0, 1, 2, 3, 4]\n"
    program += "assert threading.active_count() == 1"
    run(program)


FORKED = """
import os, sys, threading
from harmony import workers

def together():
    barrier = threading.Barrier(2, timeout=60)
    return sorted(workers.run(lambda chunk: barrier.wait(), 2, 2))

assert together() == [0, 1]
for _ in range(3):
    child = os.fork()
    if not child:
        assert together() == [0, 1]     # two threads, and none of them the parent's
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert together() == [0, 1]
"""


def test_after_a_fork():
    run(FORKED)


def test_a_fork_while_threads_start():
    """The lock around the pool is held by a thread that the child does not have."""
    with workers._lock:
        child = os.fork()
        if not child:
            try:
                assert workers.run(lambda chunk: chunk, 4, 2) == [0, 1, 2, 3]
            except BaseException:
                os._exit(1)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


INTERRUPTED = """
import os, signal, threading, time
from harmony import workers

release = threading.Event()

def work(chunk):
    if threading.current_thread() is threading.main_thread():
        return chunk
    release.wait(60)

threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    workers.run(work, 4, 2)
except KeyboardInterrupt:
    print("stopped" if not release.is_set() else "too late")
release.set()
"""


def test_ctrl_c_does_not_wait_for_the_other_threads():
    assert run(INTERRUPTED).strip() == "stopped"
