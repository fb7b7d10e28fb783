"""Batches: what one call gives for many texts is what many calls give."""

import copy
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import run
from scale import SHRINK, scaled
from strategies import SPECIALS, random_texts, surrogate_texts, texts, token_ids

import harmony
from harmony import batch as batch_module
from harmony._codec import Scratch, Texts
from harmony.batch import TokenBatch
from harmony.errors import VocabularyError

PLAIN = {"disallowed_special": ()}
POLICIES = [
    {},
    {"disallowed_special": ()},
    {"allowed_special": "all"},
    {"allowed_special": {"<|start|>", "<|end|>"}, "disallowed_special": ()},
    {"allowed_special": {"<|start|>", "<|reserved_200000|>"}},
    {"disallowed_special": {"the", "<|end|>"}},
]


@pytest.fixture(scope="module")
def corpus():
    """Enough text for several chunks and threads."""
    texts = list(random_texts(scaled(6_000), seed=5))
    assert texts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_module, "_PARALLEL_ABOVE", batch_module._PARALLEL_ABOVE // SHRINK)
        enough = max(2 * batch_module._PARALLEL_ABOVE, 3 * batch_module.CHUNK_BYTES)
        while sum(map(len, texts)) < enough:
            texts += [" ".join(texts[:300]), "".join(reversed(texts[:500]))]
        yield texts


@pytest.fixture(params=["built in", "loaded", "loaded, other pattern"])
def any_tokenizer(request, encoding, tmp_path, ranks):
    if request.param == "built in":
        return encoding
    import base64

    from harmony.tokenizer import O200K_PATTERN

    path = tmp_path / "small.tiktoken"
    small = sorted(ranks.items(), key=lambda pair: pair[1])[:3000]
    path.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(t), r) for t, r in small))
    pattern = O200K_PATTERN if request.param == "loaded" else r"\w+|\W"
    return harmony.Tokenizer.from_tiktoken_file(
        path, pattern=pattern, special_tokens={"<|start|>": 3000, "[end]": 3001}, name="small"
    )


def check(tokenizer, texts, policy, num_threads=None):
    """All batch calls against one call for each text: results, or the error of the first text."""
    expected = []
    for row, text in enumerate(texts):
        try:
            expected.append(tokenizer.encode(text, **policy))
        except harmony.HarmonyError as error:
            for call in (tokenizer.encode_batch, tokenizer.encode_batch_to_numpy):
                with pytest.raises(type(error)) as caught:
                    call(texts, num_threads=num_threads, **policy)
                assert caught.value.row == row
                assert str(caught.value) == f"row {row}: {error}"
            return
    assert tokenizer.encode_batch(texts, num_threads=num_threads, **policy) == expected
    batch = tokenizer.encode_batch_to_numpy(texts, num_threads=num_threads, **policy)
    assert batch.ids.dtype == np.uint32
    assert batch.offsets.dtype == np.int64
    assert [ids.tolist() for ids in batch] == expected
    rows = [text if isinstance(text, bytes) else text.encode() for text in texts]
    for kind in (pa.large_string(), pa.binary()):
        array = pa.array(rows, pa.large_binary()).cast(kind)
        got = tokenizer.encode_arrow(array, num_threads=num_threads, **policy)
        assert got.to_pylist() == expected
        assert got.equals(batch.to_arrow())
    assert tokenizer.decode_batch(batch, num_threads=num_threads) == [
        tokenizer.decode(ids) for ids in expected
    ]
    assert tokenizer.decode_batch(expected, num_threads=num_threads) == [
        tokenizer.decode(ids) for ids in expected
    ]


@given(st.lists(texts(), max_size=8), st.sampled_from(POLICIES), st.booleans())
def test_batch_ids_are_single_call_ids(encoding, texts, policy, as_bytes):
    check(encoding, [text.encode() if as_bytes else text for text in texts], policy)


@given(st.lists(st.one_of(texts(4), st.sampled_from(SPECIALS)).flatmap(
    lambda text: st.sampled_from([text, text.encode()])), max_size=6))  # fmt: skip
def test_special_tokens_in_mixed_batches(encoding, texts):
    check(encoding, texts, {"allowed_special": "all"})


@pytest.mark.parametrize("policy", POLICIES[1:3])
def test_other_vocabularies(any_tokenizer, policy):
    check(any_tokenizer, ["the [end] of", "", "<|start|>it", "ab" * 300, "Ünïcode"], policy)
    with pytest.raises(harmony.HarmonyError, match=r"^row 1: "):
        any_tokenizer.encode_batch(["a", "x<|start|>"])


@given(st.lists(surrogate_texts(), max_size=5))
def test_surrogates(encoding, texts):
    batch = encoding.encode_batch_to_numpy(texts, **PLAIN)
    assert [ids.tolist() for ids in batch] == [encoding.encode(text, **PLAIN) for text in texts]


@pytest.mark.parametrize("num_threads", [None, 1, 2, 5])
def test_many_texts(encoding, corpus, num_threads):
    check(encoding, corpus, {"allowed_special": "all"}, num_threads)
    counts = encoding.count_tokens_batch(corpus, num_threads=num_threads)
    assert counts.dtype == np.int64
    assert counts.tolist() == [encoding.count_tokens(text) for text in corpus]
    allowed = encoding.count_tokens_batch(corpus, allowed_special="all", num_threads=num_threads)
    assert allowed.tolist() == [len(encoding.encode(t, allowed_special="all")) for t in corpus]


def test_a_text_larger_than_many_chunks(encoding, corpus):
    texts = ["a", "x y " * batch_module.CHUNK_BYTES, "", "b"]
    check(encoding, texts, PLAIN)


def test_chunks_that_end_in_another_order(encoding, corpus, monkeypatch):
    expected = encoding.encode_batch_to_numpy(corpus, num_threads=1, **PLAIN)

    def run(work, n_chunks, num_threads):
        assert n_chunks > 2
        order = [1, *reversed(range(2, n_chunks)), 0]
        results = {chunk: work(chunk) for chunk in order}
        return [results[chunk] for chunk in range(n_chunks)]

    monkeypatch.setattr(batch_module.workers, "run", run)
    batch = encoding.encode_batch_to_numpy(corpus, **PLAIN)
    assert np.array_equal(batch.ids, expected.ids)
    assert np.array_equal(batch.offsets, expected.offsets)


def test_several_python_threads_at_once(encoding, corpus):
    expected = encoding.encode_batch(corpus, num_threads=1, **PLAIN)
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        for _ in range(3):
            assert encoding.encode_batch(corpus, num_threads=2, **PLAIN) == expected
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_in_a_forked_process(encoding, corpus):
    expected = encoding.encode_batch(corpus, num_threads=2, **PLAIN)
    child = os.fork()
    if not child:
        same = encoding.encode_batch(corpus, num_threads=2, **PLAIN) == expected
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_any_iterable_of_texts(encoding):
    assert encoding.encode_batch(text for text in ("hello", "world")) == encoding.encode_batch(
        ["hello", "world"]
    )
    assert encoding.encode_batch([]) == []
    empty = encoding.encode_batch_to_numpy([])
    assert (len(empty), empty.ids.tolist(), empty.offsets.tolist()) == (0, [], [0])
    assert encoding.count_tokens_batch([]).tolist() == []
    assert encoding.decode_batch([]) == []


@pytest.mark.parametrize("kind", [list, tuple, set, iter, lambda names: (n for n in names)])
def test_any_iterable_of_names(any_tokenizer, kind):
    allowed = sorted(any_tokenizer.special_tokens_set)[:2]
    texts = [f"a{name}b" for name in allowed] * 300
    expected = [any_tokenizer.encode(text, allowed_special=set(allowed)) for text in texts]
    for call in (any_tokenizer.encode_batch, any_tokenizer.encode_batch_to_numpy):
        got = call(texts, allowed_special=kind(allowed), disallowed_special=())
        assert [list(ids) for ids in got] == expected
        with pytest.raises(harmony.HarmonyError, match="disallowed special token") as caught:
            call(["x", *texts], disallowed_special=kind(allowed[:1]))
        assert caught.value.row == 1
        assert len(call(texts, disallowed_special=kind([]))) == len(texts)
    counts = any_tokenizer.count_tokens_batch(texts, allowed_special=kind(allowed))
    assert counts.tolist() == list(map(len, expected))
    array = pa.array(texts)
    got = any_tokenizer.encode_arrow(array, allowed_special=kind(allowed), disallowed_special=())
    assert got.to_pylist() == expected
    with pytest.raises(harmony.HarmonyError, match=r"^row 0: "):
        any_tokenizer.encode_arrow(array, disallowed_special=kind(allowed))


@pytest.mark.parametrize("texts", ["hello", b"hello", memoryview(b"hello")])
def test_one_text_is_no_list(encoding, texts):
    for call in (encoding.encode_batch, encoding.count_tokens_batch):
        with pytest.raises(TypeError, match="list of texts"):
            call(texts)


def check_pickle(error):
    """An error comes out of another process as it went in."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize(
    "bad, error", [(5, TypeError), (None, TypeError), (b"\xff", harmony.InvalidUtf8Error)]
)
def test_errors_name_the_row(encoding, corpus, bad, error):
    texts = [*corpus, bad, *corpus, b"\xfe"]
    for call in (encoding.encode_batch, encoding.encode_batch_to_numpy):
        with pytest.raises(error, match=rf"row {len(corpus)}\b") as caught:
            call(texts, **PLAIN)
        assert caught.value.row == len(corpus)
        check_pickle(caught.value)
    with pytest.raises(error, match=rf"row {len(corpus)}\b"):
        encoding.count_tokens_batch(texts)


@pytest.mark.parametrize(
    "bad, error",
    [([300_000], harmony.UnknownTokenError), (["a"], TypeError), ([-1], OverflowError)],
)
def test_errors_of_decoding_name_the_row(encoding, bad, error):
    rows = [[24912, 2375]] * 200_000
    rows[150_000] = bad
    with pytest.raises(error, match=r"^row 150000: ") as caught:
        encoding.decode_batch(rows)
    assert caught.value.row == 150_000
    check_pickle(caught.value)


def test_null_has_no_ids(encoding):
    column = pa.array(["hello", None, "x"])
    for rows in (
        encoding.encode_arrow(column),
        encoding.encode_arrow(pa.chunked_array([column[:1], column[1:]])),
        [[24912], None],
    ):
        with pytest.raises(TypeError, match=r"^row 1: null is no list of ids") as caught:
            encoding.decode_batch(rows)
        assert caught.value.row == 1
    rows = encoding.encode_arrow(column.drop_null())
    assert encoding.decode_batch(rows) == ["hello", "x"]


def test_texts_that_cannot_be_read_name_the_row(encoding):
    released = memoryview(b"abc")
    released.release()
    for batch in (["a", released], pa.array(["a", None])):
        for method in (encoding.encode_batch, encoding.count_tokens_batch):
            with pytest.raises(ValueError, match=r"^row 1: ") as caught:
                method(batch)
            assert caught.value.row == 1


def test_errors_of_strict_decoding_name_the_row(encoding):
    with pytest.raises(UnicodeDecodeError, match="row 1") as caught:
        encoding.decode_batch([[24912], [160]], errors="strict")
    assert caught.value.row == 1
    check_pickle(caught.value)


def test_errors_with_constructors_of_their_own_keep_what_they_say():
    check_pickle(harmony.errors.name_row(harmony.ConversionError("messages[0]", "is odd"), 3))
    check_pickle(harmony.UnknownTokenError.of(5, 2))


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"num_threads": 0}, ValueError),
        ({"num_threads": "2"}, TypeError),
        ({"disallowed_special": {5}}, TypeError),
        ({"allowed_special": {5}}, ValueError),
    ],
)
def test_arguments_are_checked_without_texts(encoding, arguments, error):
    with pytest.raises(error):
        encoding.encode_batch([], **arguments)


# The batch of ids


def test_token_batch(encoding):
    batch = encoding.encode_batch_to_numpy(["hello world", "", "three little words"])
    assert len(batch) == 3
    assert batch[0].tolist() == [24912, 2375]
    assert batch[-1].tolist() == batch[2].tolist() == encoding.encode("three little words")
    assert np.shares_memory(batch[2], batch.ids)
    assert [ids.tolist() for ids in batch[1:]] == [[], batch[2].tolist()]
    assert len(batch[2:1]) == 0
    assert batch[1:].to_arrow().to_pylist() == [[], batch[2].tolist()]
    assert encoding.decode_batch(batch[1:]) == ["", "three little words"]
    for index in (3, -4):
        with pytest.raises(IndexError, match=str(index)):
            batch[index]
    with pytest.raises(ValueError, match="steps of 1"):
        batch[::2]
    assert repr(batch) == "<TokenBatch of 3 texts, 5 ids>"


def test_to_arrow_copies_nothing(encoding):
    batch = encoding.encode_batch_to_numpy(["hello world", "", "three little words"])
    array = batch.to_arrow()
    assert array.type == pa.large_list(pa.uint32())
    array.validate(full=True)
    assert array.values.buffers()[1].address == batch.ids.ctypes.data
    assert array.buffers()[1].address == batch.offsets.ctypes.data


def test_a_damaged_batch_is_refused(encoding):
    ids = np.array([24912, 2375], np.uint32)
    for offsets in ([0, 3], [-1, 2], [0, 2, 1], []):
        with pytest.raises(ValueError, match="offsets"):
            encoding.decode_batch(TokenBatch(ids, np.array(offsets, np.int64)))
    for offsets in ([0, 3], [-1, 2], [0, 2, 1], [0, 10**9, 1]):
        with pytest.raises(ValueError, match="offsets must not decrease"):
            TokenBatch(ids, np.array(offsets, np.int64)).to_arrow()


@given(st.lists(token_ids(), max_size=6))
def test_decode_batch(encoding, rows):
    assert encoding.decode_batch(rows) == [encoding.decode(ids) for ids in rows]
    arrays = [np.array(ids, np.int64) for ids in rows]
    assert encoding.decode_batch(arrays) == [encoding.decode(ids) for ids in rows]


# Arrow


@given(st.lists(st.none() | texts(5), max_size=8), st.data())
def test_arrow_nulls_slices_and_chunks(encoding, rows, data):
    expected = [None if text is None else encoding.encode(text, **PLAIN) for text in rows]
    kind = data.draw(st.sampled_from([pa.string(), pa.large_string()]))
    array = pa.array(rows, kind)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    got = encoding.encode_arrow(array[start:stop], **PLAIN)
    got.validate(full=True)
    assert got.type == pa.large_list(pa.uint32())
    assert got.to_pylist() == expected[start:stop]
    chunked = pa.chunked_array([array[:start], array[start:stop], array[stop:]], kind)
    got = encoding.encode_arrow(chunked, **PLAIN)
    assert isinstance(got, pa.ChunkedArray)
    assert [len(chunk) for chunk in got.chunks] == [start, stop - start, len(rows) - stop]
    assert got.to_pylist() == expected


def test_arrow_text_behind_a_null_is_not_read(encoding):
    array = pa.Array.from_buffers(
        pa.string(),
        2,
        [
            pa.py_buffer(b"\x02"),
            pa.py_buffer(np.array([0, 2, 4], np.int32)),
            pa.py_buffer(b"\xff\xffhi"),
        ],
    )
    assert encoding.encode_arrow(array).to_pylist() == [None, encoding.encode("hi")]


def test_damaged_arrow_arrays_are_refused(encoding):
    def array(offsets, content, n_rows):
        buffers = [None, pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(content)]
        return pa.Array.from_buffers(pa.string(), n_rows, buffers)

    for offsets, n_rows in (([0, 3, 2], 2), ([0, 5], 1), ([-4, 2], 1), ([0, 3, 2, 4], 3)):
        with pytest.raises(ValueError, match=r"offset"):
            encoding.encode_arrow(array(offsets, b"abcd", n_rows))
    with pytest.raises(harmony.InvalidUtf8Error, match=r"row 1\b") as caught:
        encoding.encode_arrow(array([0, 1, 2], b"a\xc3\xa4", 2))
    assert caught.value.row == 1


@pytest.mark.parametrize("wrong", [[1, 2], pa.array([1, 2]), pa.array(["a"]).dictionary_encode()])
def test_arrow_of_other_types_is_refused(encoding, wrong):
    with pytest.raises(TypeError, match="encode_arrow takes"):
        encoding.encode_arrow(wrong)


def test_what_speaks_arrow_is_taken(encoding):
    class Column:
        def __arrow_c_array__(self, requested_schema=None):
            return pa.array(["hello world"]).__arrow_c_array__(requested_schema)

    assert encoding.encode_arrow(Column()).to_pylist() == [[24912, 2375]]


def test_a_batch_imports_neither_pyarrow_nor_pydantic():
    loaded = run(
        "import harmony, sys; harmony.get_tokenizer('o200k_harmony').encode_batch(['a', 'b']); "
        "print(*sys.modules)"
    ).split()
    assert "harmony.batch" in loaded
    assert not {"pyarrow", "pydantic", "regex"} & set(loaded)


def test_arrow_arrays_of_other_integers():
    """numpy's default is int64, and Arrow ends the process if a list holds what it does not say."""
    batch = TokenBatch(np.array([1, 2, 3]), np.array([0, 1, 3], np.int32))
    assert batch.to_arrow().to_pylist() == [[1], [2, 3]]
    assert batch.to_arrow().type == pa.large_list(pa.uint32())
    with pytest.raises(OverflowError):
        TokenBatch(np.array([-1]), np.array([0, 1])).to_arrow()
    with pytest.raises(TypeError):
        TokenBatch(np.array([1.0]), np.array([0, 1])).to_arrow()


def test_memory_of_a_chunk_is_not_lent_twice(encoding):
    scratch = Scratch(encoding._codec)
    first = Texts(["\xe9" * 1000], scratch)
    second = Texts(["\xfc" * 100_000, "\xfc"], scratch)
    assert first.utf8(0) == "\xe9".encode() * 1000
    assert second.utf8(1) == "\xfc".encode()
    del first, second
    assert Texts(["\xe4"], scratch).utf8(0) == "\xe4".encode()


def test_special_tokens_are_counted_not_believed(encoding):
    class Lying(list):
        def __len__(self):
            return 1

    spans = Lying((at, at + 1, 200006) for at in range(10_000))
    texts = Texts(["x" * 10_000], Scratch(encoding._codec))
    texts.cut(0, spans, None)
    offsets = np.empty(2, np.int64)
    writer = encoding._id_writer()
    writer.texts(texts, offsets)
    assert writer.to_list() == [200006] * 10_000
    assert encoding._codec.encode_list("x" * 10_000, spans) == [200006] * 10_000


@pytest.mark.parametrize("ends", [[2, 3, 6], [2], [1, 6], [4, 6]])
def test_piece_ends_that_do_not_fit_the_special_tokens(encoding, ends):
    """Compiled code relies on neither: a special token is at 2 to 4, the text ends at 6."""
    spans = [(2, 4, 200006)]
    given = np.array(ends, dtype=np.intp)
    with pytest.raises(VocabularyError):
        encoding._codec.encode_list(b"abcdef", spans, given)
    texts = Texts([b"abcdef"], Scratch(encoding._codec))
    texts.cut(0, spans, given)
    with pytest.raises(VocabularyError):
        Scratch(encoding._codec).ids.texts(texts, np.zeros(2, np.int64))
