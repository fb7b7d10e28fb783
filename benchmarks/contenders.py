"""Who runs, and through which call: one entry per library and task, with the reason for the call.

Entries only describe. `Contender.load` imports the library, so a missing one costs a note and
nothing else; what a library needs beside itself comes from `rank_data`. All calls use one thread.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from benchmarks import rank_data

# The tasks. Encoding takes texts; decoding takes their ids, as lists or as uint32 arrays.
ENCODE_LIST = "encode to lists"
ENCODE_ARRAY = "encode to arrays"
DECODE_LIST = "decode lists to str"
DECODE_ARRAY = "decode arrays to str"
ENCODE_DEFAULT = "encode with default arguments"


@dataclass(frozen=True)
class Loaded:
    """A contender ready to run: `run` is timed and drops what it makes, `outputs` keeps it all.

    Where calls take objects of the library's own, `prepare` makes them of the inputs before `run`,
    anew for each sample and outside the clock. `outputs` takes the inputs themselves.
    """

    run: Callable[[Sequence[Any]], object]
    outputs: Callable[[Sequence[Any]], list[Any]]
    prepare: Callable[[Sequence[Any]], Sequence[Any]] = lambda inputs: inputs


@dataclass(frozen=True)
class Contender:
    library: str  # name of the distribution, as it is installed
    call: str  # as a user would write it
    why: str
    task: str
    load: Callable[[], Loaded]
    # It caches what it has encoded, so that its first pass may be slower than a later one.
    # (tokenizers has a cache too, but one so small that it makes no difference on megabytes.)
    remembers: bool = False
    # One call for all documents: not a contender where the cost of a single call is the question.
    batch: bool = False

    @property
    def key(self) -> str:
        return f"{self.library}: {self.call}"


def one_by_one(call: Callable[[Any], Any]) -> Loaded:
    """One call per document. A `deque` of length 0 runs `map` with the least Python in between."""
    return Loaded(
        run=lambda inputs: deque(map(call, inputs), maxlen=0),
        outputs=lambda inputs: [call(document) for document in inputs],
    )


def all_at_once(
    call: Callable[[Sequence[Any]], Any], split: Callable[[Any], Iterable[Any]]
) -> Loaded:
    """One call for all documents; `split` takes its result apart, for the comparison only."""
    return Loaded(run=call, outputs=lambda inputs: list(split(call(inputs))))


# harmony


def _tokenizer() -> Any:
    import harmony

    return harmony.get_tokenizer("o200k_harmony")


def _encoding() -> Any:
    import harmony

    return harmony.load_harmony_encoding("HarmonyGptOss")


# tiktoken


@functools.cache
def _tiktoken() -> Any:
    """tiktoken's own definition of the encoding, on our rank file instead of its download."""
    import tiktoken
    from tiktoken import load
    from tiktoken_ext import openai_public

    path = str(rank_data.rank_file())
    with (
        mock.patch.dict(os.environ, {"TIKTOKEN_CACHE_DIR": ""}),
        mock.patch.object(
            openai_public, "load_tiktoken_bpe", lambda url, **_: load.load_tiktoken_bpe(path)
        ),
    ):
        return tiktoken.Encoding(**openai_public.o200k_base())


def _tiktoken_to_numpy() -> Loaded:
    return one_by_one(functools.partial(_tiktoken().encode_to_numpy, disallowed_special=()))


# openai-harmony


@functools.cache
def _openai_harmony() -> Any:
    import openai_harmony

    folder = str(rank_data.rank_file().parent)
    with mock.patch.dict(os.environ, {"TIKTOKEN_ENCODINGS_BASE": folder}):
        return openai_harmony.load_harmony_encoding(
            openai_harmony.HarmonyEncodingName.HARMONY_GPT_OSS
        )


def _openai_harmony_ordinary() -> Loaded:
    return one_by_one(functools.partial(_openai_harmony().encode, disallowed_special=()))


# the two packages of one interface


@dataclass(frozen=True)
class Package:
    """A package that renders and parses, and its encoding."""

    module: Any
    encoding: Any


def _harmony_package() -> Package:
    import harmony

    return Package(harmony, _encoding())


def _openai_harmony_package() -> Package:
    import openai_harmony

    return Package(openai_harmony, _openai_harmony())


PACKAGES: dict[str, Callable[[], Package]] = {
    "cyharmony": _harmony_package,
    "openai-harmony": _openai_harmony_package,
}


# quicktok


@functools.cache
def _quicktok() -> Any:
    import quicktok

    return quicktok.get_encoding("o200k_base")


def _quicktok_batch() -> Loaded:
    encoding = _quicktok()

    def split(result: Any) -> list[Any]:
        ids, offsets = result
        return [ids[start:stop] for start, stop in itertools.pairwise(offsets)]

    return all_at_once(lambda texts: encoding.encode_batch(texts, 1), split)


# gigatoken


@functools.cache
def _gigatoken() -> Any:
    import gigatoken

    return gigatoken.Tokenizer.from_tiktoken(rank_data.rank_file()).backend


def _gigatoken_batch() -> Loaded:
    tokenizer = _gigatoken()
    return all_at_once(lambda texts: tokenizer.encode_batch(texts, parallel=False), list)


def _gigatoken_batch_list() -> Loaded:
    tokenizer = _gigatoken()
    return all_at_once(lambda texts: tokenizer.encode_batch_list(texts, parallel=False), list)


def _gigatoken_list() -> Loaded:
    encode = _gigatoken().encode
    return one_by_one(lambda text: encode(text).tolist())


def _gigatoken_decode() -> Loaded:
    decode = _gigatoken().decode
    return one_by_one(lambda ids: decode(ids).decode("utf-8", "replace"))


# tokenizers (Hugging Face)


@functools.cache
def _hugging_face() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(rank_data.hugging_face_file(_tiktoken()._pat_str)))


def _hugging_face_list() -> Loaded:
    encode_batch = _hugging_face().encode_batch_fast
    return one_by_one(lambda text: encode_batch([text], add_special_tokens=False)[0].ids)


CONTENDERS = (
    # Ours come first: the first contender of a task is what all others are compared with.
    Contender(
        "cyharmony",
        "tokenizer.encode_ordinary(text)",
        "no search for special tokens",
        ENCODE_LIST,
        lambda: one_by_one(_tokenizer().encode_ordinary),
        remembers=True,
    ),
    Contender(
        "tiktoken",
        "encoding.encode_ordinary(text)",
        "its fastest way to a list",
        ENCODE_LIST,
        lambda: one_by_one(_tiktoken().encode_ordinary),
    ),
    Contender(
        "openai-harmony",
        "encoding.encode(text, disallowed_special=())",
        "has no encode_ordinary; this spares it the search for special tokens",
        ENCODE_LIST,
        _openai_harmony_ordinary,
    ),
    Contender(
        "quicktok-v1",
        "encoding.encode_ordinary(text)",
        "the call of its own Python benchmark",
        ENCODE_LIST,
        lambda: one_by_one(_quicktok().encode_ordinary),
    ),
    Contender(
        "gigatoken",
        "tokenizer.encode_batch_list(texts, parallel=False)",
        "lists built in Rust, one call for all documents",
        ENCODE_LIST,
        _gigatoken_batch_list,
        remembers=True,
        batch=True,
    ),
    Contender(
        "gigatoken",
        "tokenizer.encode(text).tolist()",
        "one call per document; numpy's list is sometimes the faster one",
        ENCODE_LIST,
        _gigatoken_list,
        remembers=True,
    ),
    Contender(
        "tokenizers",
        "tokenizer.encode_batch_fast([text])[0].ids",
        "the variant without offsets, one document per call",
        ENCODE_LIST,
        _hugging_face_list,
    ),
    Contender(
        "cyharmony",
        "encoding.encode(text)",
        "default arguments, as most callers write it",
        ENCODE_DEFAULT,
        lambda: one_by_one(_encoding().encode),
        remembers=True,
    ),
    Contender(
        "tiktoken",
        "encoding.encode(text)",
        "default arguments",
        ENCODE_DEFAULT,
        lambda: one_by_one(_tiktoken().encode),
    ),
    Contender(
        "openai-harmony",
        "encoding.encode(text)",
        "default arguments",
        ENCODE_DEFAULT,
        lambda: one_by_one(_openai_harmony().encode),
    ),
    Contender(
        "quicktok-v1",
        "encoding.encode(text)",
        "default arguments",
        ENCODE_DEFAULT,
        lambda: one_by_one(_quicktok().encode),
    ),
    Contender(
        "cyharmony",
        "tokenizer.encode_to_numpy(text)",
        "as it is mostly written; handing over an argument costs more than the search it saves",
        ENCODE_ARRAY,
        lambda: one_by_one(_tokenizer().encode_to_numpy),
        remembers=True,
    ),
    Contender(
        "tiktoken",
        "encoding.encode_to_numpy(text, disallowed_special=())",
        "its only way to an array",
        ENCODE_ARRAY,
        _tiktoken_to_numpy,
    ),
    Contender(
        "quicktok-v1",
        "encoding.encode_batch(texts, threads=1)",
        "its only way to an array, one call for all documents",
        ENCODE_ARRAY,
        _quicktok_batch,
        batch=True,
    ),
    Contender(
        "gigatoken",
        "tokenizer.encode(text)",
        "its native call, one per document",
        ENCODE_ARRAY,
        lambda: one_by_one(_gigatoken().encode),
        remembers=True,
    ),
    Contender(
        "gigatoken",
        "tokenizer.encode_batch(texts, parallel=False)",
        "its native call for many documents; the result is one ragged array",
        ENCODE_ARRAY,
        _gigatoken_batch,
        remembers=True,
        batch=True,
    ),
    Contender(
        "cyharmony",
        "tokenizer.decode(ids)",
        "from a list",
        DECODE_LIST,
        lambda: one_by_one(_tokenizer().decode),
    ),
    Contender(
        "tiktoken",
        "encoding.decode(ids)",
        "its only decoder of a list to str",
        DECODE_LIST,
        lambda: one_by_one(_tiktoken().decode),
    ),
    Contender(
        "openai-harmony",
        "encoding.decode_utf8(ids)",
        "makes the str in Rust",
        DECODE_LIST,
        lambda: one_by_one(_openai_harmony().decode_utf8),
    ),
    Contender(
        "quicktok-v1",
        "encoding.decode(ids)",
        "its only decoder of a list to str",
        DECODE_LIST,
        lambda: one_by_one(_quicktok().decode),
    ),
    Contender(
        "gigatoken",
        "tokenizer.decode(ids).decode('utf-8', 'replace')",
        "it decodes to bytes; this is how its tiktoken face makes the str",
        DECODE_LIST,
        _gigatoken_decode,
    ),
    Contender(
        "tokenizers",
        "tokenizer.decode(ids)",
        "its only decoder",
        DECODE_LIST,
        lambda: one_by_one(functools.partial(_hugging_face().decode, skip_special_tokens=False)),
    ),
    Contender(
        "cyharmony",
        "tokenizer.decode(array)",
        "reads the array in place",
        DECODE_ARRAY,
        lambda: one_by_one(_tokenizer().decode),
    ),
    Contender(
        "gigatoken",
        "tokenizer.decode(array).decode('utf-8', 'replace')",
        "borrows a uint32 array; the others would turn it into a list first",
        DECODE_ARRAY,
        _gigatoken_decode,
    ),
)


def contenders_for(task: str) -> list[Contender]:
    return [contender for contender in CONTENDERS if contender.task == task]


def find(task: str, key: str) -> Contender:
    return next(contender for contender in contenders_for(task) if contender.key == key)
