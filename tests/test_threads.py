"""One encoding, many threads: the same results, and nobody waits for somebody else's call."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from families import FAMILIES
from processes import run
from scale import scaled
from strategies import random_texts

import harmony
from harmony._bpe import build_mode

N_THREADS = 8
LONG = 2**23 if build_mode() == "debug" else 2**26


def test_one_encoding_serves_many_threads(encoding):
    texts = list(random_texts(scaled(2_000), seed=1))
    texts += [
        "".join(texts[i : i + 400]) for i in range(0, len(texts), 400)
    ]  # long enough to give up the lock
    expected = [encoding.encode(text, allowed_special="all") for text in texts]
    start = threading.Barrier(N_THREADS)

    def work(seed):
        start.wait()
        order = list(range(len(texts)))
        order = order[seed * 97 % len(order) :] + order[: seed * 97 % len(order)]
        for i in order:
            ids = encoding.encode(texts[i], allowed_special="all")
            assert ids == expected[i]
            assert encoding.encode_to_numpy(texts[i], allowed_special="all").tolist() == ids
            assert encoding.count_tokens(texts[i], allowed_special="all") == len(ids)
            assert encoding.decode_utf8(ids) == texts[i]
        return True

    with ThreadPoolExecutor(N_THREADS) as pool:
        assert all(pool.map(work, range(N_THREADS)))


def test_another_tier_while_others_encode():
    """Not all tiers have all loops."""
    program = """
import threading, time
import harmony
from harmony._segments import tiers, use_tier
tokenizer = harmony.get_tokenizer("o200k_harmony")
text = " the words of it, \u4e2d\u6587" * 20_000
expected = tokenizer.count_tokens(text)
counts = []
threads = [
    threading.Thread(target=lambda: counts.extend(tokenizer.count_tokens(text) for _ in range(30)))
    for _ in range(2)
]
for each in threads:
    each.start()
while any(each.is_alive() for each in threads):
    for name in tiers():
        use_tier(name)
        time.sleep(0.0001)
print(counts == [expected] * 60)
"""
    assert run(program).split() == ["True"]


def test_errors_stay_in_their_thread(encoding):
    start = threading.Barrier(N_THREADS)

    def work(number):
        start.wait()
        for _ in range(300):
            if number % 2:
                with pytest.raises(harmony.HarmonyError):
                    encoding.encode(f"{number} <|start|>")
                with pytest.raises(harmony.HarmonyError, match=f": {300_000 + number}$"):
                    encoding.decode([300_000 + number])
            else:
                assert encoding.decode(encoding.encode(f"thread {number}")) == f"thread {number}"
        return True

    with ThreadPoolExecutor(N_THREADS) as pool:
        assert all(pool.map(work, range(N_THREADS)))


FIRST_CALLS = """
import sys, threading
import harmony

start = threading.Barrier(8)
got = []

def load():
    start.wait()
    got.append((harmony.load_harmony_encoding("HarmonyGptOss"), harmony.get_tokenizer("o200k_base")))

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len({id(encoding) for encoding, _ in got}), len({id(tokenizer) for _, tokenizer in got}))
"""


def test_loading_in_many_threads_at_once():
    """Everybody gets the same object, also those who asked before there was one."""
    assert run(FIRST_CALLS).split() == ["1", "1"]


CALLS = {
    "encode_ordinary": lambda encoding, text: encoding.encode_ordinary(text),
    "encode_to_numpy": lambda encoding, text: encoding.encode_to_numpy(text, disallowed_special=()),
    "encode bytes": lambda encoding, text: encoding.encode(text.encode(), disallowed_special=()),
    "count_tokens": lambda encoding, text: encoding.count_tokens(text),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("family", ["contractions", "newline then spaces"])
def test_other_threads_run_during_a_long_call(encoding, call, family):
    """A thread that sleeps for a millisecond at a time. Were the lock held, it would wake once in
    the whole call."""
    ticks = 0
    done = threading.Event()

    def tick():
        nonlocal ticks
        while not done.is_set():
            time.sleep(0.001)
            ticks += 1

    text = FAMILIES[family](LONG)
    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        before = ticks
        call(encoding, text)
        during = ticks - before
    finally:
        done.set()
        ticker.join()
    assert during > 10
