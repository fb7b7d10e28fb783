"""Tokenizer: text <-> ids. Joins special_tokens and _codec.

    text  ->  special_tokens  ->  _segments  ->  _encode, _bpe  ->  ids      called by _codec

Arguments that are not the defaults are resolved here. The calls for a few words at a time are
compiled (TokenizerCalls); every other crosses into compiled code once.
"""

from __future__ import annotations

import functools
import itertools
import operator
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import harmony
from harmony._bpe import RankTables
from harmony._codec import NONE_ALLOWED, Codec, IdWriter, TokenizerCalls, bytes_of, to_utf8
from harmony.errors import HarmonyError, UnknownTokenError, VocabularyError
from harmony.made_once import made_once
from harmony.special_tokens import (
    O200K_BASE_SPECIALS,
    O200K_HARMONY_SPECIALS,
    SpecialTokens,
)
from harmony.vocabulary import o200k_ranks, ranks_from, read_tiktoken_file

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from harmony.batch import Job
elif sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    Buffer = bytes | bytearray | memoryview  # and whatever else has the buffer protocol

Text = str | Buffer
TokenIds = Iterable[int] | Buffer
SpecialNames = Literal["all"] | Collection[str]
_Span = tuple[int, int, int]  # start, stop, id

# The split pattern of o200k, as tiktoken writes it. It is never run: _pretokenize.pyx is compiled
# from it by hand. A rank file loaded with exactly this pattern uses that scanner too.
O200K_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)

_NO_NAMES: frozenset[str] = frozenset()


@functools.cache
def _batch() -> Any:
    """batch.py, which single texts do not need."""
    return import_module("harmony.batch")


class Tokenizer(TokenizerCalls):
    """A byte-pair tokenizer: text <-> ids.

    Get one from `get_tokenizer` or `Tokenizer.from_tiktoken_file`. Text is `str`, `bytes` or any
    other buffer of UTF-8 (InvalidUtf8Error if it is not); lone surrogates in a `str` become
    U+FFFD. Ids are any iterable of integers or integer array. One tokenizer serves any number of
    threads; long calls run without the interpreter lock and stop on Ctrl-C.
    """

    # Whether names in `allowed_special` that are no special tokens are refused.
    _refuses_unknown_names = True

    def __init__(
        self,
        name: str,
        ranks: RankTables,
        special_tokens: Mapping[str, int],
        *,
        splits_by_itself: bool = True,
    ) -> None:
        self._name = name
        self._ranks = ranks
        self._specials = SpecialTokens(special_tokens)
        names = {token: text.encode() for text, token in special_tokens.items()}
        # Whether the compiled scanner finds the pieces of every text.
        self._splits_by_itself = splits_by_itself
        # A text without the beginning of all special tokens holds none of them.
        marker = self._specials.marker.encode() if splits_by_itself else None
        self._codec = Codec(ranks, names, marker)

    @classmethod
    def from_tiktoken_file(
        cls,
        path: str | os.PathLike[str],
        *,
        pattern: str,
        special_tokens: Mapping[str, int],
        name: str,
    ) -> Tokenizer:
        """Load a `.tiktoken` rank file: lines `base64(token) SP rank`.

        `pattern` splits text into pieces, as in tiktoken; it runs on the `regex` package, unless it
        is the pattern of o200k, which is compiled in. `special_tokens` maps names to ids.
        Raises VocabularyError if the file, the pattern or the special tokens cannot be used.
        """
        return LoadedTokenizer(os.fspath(path), pattern, dict(special_tokens), name)

    # text -> ids; encode, encode_ordinary and encode_to_numpy: TokenizerCalls in _codec.pyx

    def count_tokens(self, text: Text, *, allowed_special: SpecialNames = ()) -> int:
        """Number of ids of `text`, without making them. Names of special tokens are plain text
        unless they are in `allowed_special`."""
        return self._codec.count(*self._resolve(text, allowed_special, ()))

    # many texts -> ids: batch.py, on threads

    def encode_batch(
        self,
        texts: Iterable[Text],
        *,
        num_threads: int | None = None,
        allowed_special: SpecialNames = NONE_ALLOWED,
        disallowed_special: SpecialNames = "all",
    ) -> list[list[int]]:
        """`encode` for each of `texts`, on `num_threads` threads (None: one for each core).

        An error has the index of the text in its message and as its attribute `row`; it is the one
        of the first text that has any.
        """
        return self._job(texts, num_threads, allowed_special, disallowed_special).lists()

    def encode_batch_to_numpy(
        self,
        texts: Iterable[Text],
        *,
        num_threads: int | None = None,
        allowed_special: SpecialNames = NONE_ALLOWED,
        disallowed_special: SpecialNames = "all",
    ) -> harmony.TokenBatch:
        """As `encode_batch`, into one array: `ids` uint32[n], `offsets` int64[m + 1]."""
        job = self._job(texts, num_threads, allowed_special, disallowed_special)
        batch: harmony.TokenBatch = _batch().TokenBatch(*job.arrays())
        return batch

    def encode_arrow(
        self,
        array: Any,
        *,
        num_threads: int | None = None,
        allowed_special: SpecialNames = NONE_ALLOWED,
        disallowed_special: SpecialNames = "all",
    ) -> Any:
        """As `encode_batch`, from an Arrow array of `string`, `large_string`, `binary` or
        `large_binary` to one of `large_list<uint32>`; from a chunked array to a chunked one.

        The text is read where it lies, nulls stay null. Needs pyarrow.
        """
        from harmony import arrow

        return arrow.encode(self, array, num_threads, allowed_special, disallowed_special)

    def count_tokens_batch(
        self,
        texts: Iterable[Text],
        *,
        num_threads: int | None = None,
        allowed_special: SpecialNames = (),
    ) -> NDArray[np.int64]:
        """`count_tokens` for each of `texts`: int64 array. Threads and errors as above."""
        return self._job(texts, num_threads, allowed_special, ()).counts()

    # ids -> text

    def decode(self, tokens: TokenIds, errors: str = "replace") -> str:
        """Text of `tokens`. `errors` as in `bytes.decode`, for bytes that are not UTF-8.

        Raises UnknownTokenError (a HarmonyError) for an id that stands for no token.
        """
        return self._codec.decode_str(tokens, errors)

    def decode_batch(
        self,
        batch: harmony.TokenBatch | Iterable[TokenIds],
        *,
        errors: str = "replace",
        num_threads: int | None = None,
    ) -> list[str]:
        """`decode` for each row of ids. Threads and errors as in `encode_batch`."""
        texts: list[str] = _batch().decode(self, batch, errors, num_threads)
        return texts

    def decode_utf8(self, tokens: TokenIds) -> str:
        """Text of `tokens`. Raises HarmonyError if their bytes are not UTF-8."""
        try:
            return self._codec.decode_str(tokens, "strict")
        except UnknownTokenError as error:
            raise HarmonyError(f"Could not decode tokens: Invalid token error: {error}") from error
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                problem = f"incomplete utf-8 byte sequence from index {error.start}"
            else:
                width = error.end - error.start
                problem = f"invalid utf-8 sequence of {width} bytes from index {error.start}"
            raise HarmonyError(
                f"Could not decode tokens: Invalid utf-8 sequence: {problem}"
            ) from error

    def decode_bytes(self, tokens: TokenIds) -> bytes:
        """Bytes of `tokens`. Raises UnknownTokenError for an id that stands for no token."""
        return self._codec.decode_bytes(tokens)

    def decode_tokens_bytes(self, tokens: TokenIds) -> list[bytes]:
        """Bytes of each token."""
        return self._codec.decode_list(tokens)

    def decode_with_offsets(self, tokens: TokenIds) -> tuple[str, list[int]]:
        """Text of `tokens`, and for each the index in it of the character where the token starts.

        A token that starts inside a character has that character's index. Raises
        UnicodeDecodeError if the bytes are not UTF-8.
        """
        return self._codec.decode_with_offsets(tokens)

    # single tokens

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Bytes of one token, ordinary or special. Raises KeyError if there is none."""
        try:
            return self._codec.decode_bytes((token,))
        except (UnknownTokenError, OverflowError) as error:
            raise KeyError(token) from error

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Id of the one token, ordinary or special, with exactly this text or these bytes.

        Raises KeyError if there is none.
        """
        if isinstance(text_or_bytes, str):
            special = self._specials.ids.get(text_or_bytes)
            token_bytes = text_or_bytes.encode("utf-8", "surrogatepass")
        else:
            token_bytes = bytes(memoryview(text_or_bytes))
            special = self._special_by_bytes.get(token_bytes)
        # An ordinary token never has a special token's bytes, unless a loaded vocabulary does so;
        # then the ordinary one is meant, as in tiktoken.
        token = self._ranks.id_of(token_bytes)
        if token is None:
            token = special
        if token is None:
            raise KeyError(text_or_bytes)
        return token

    def is_special_token(self, token: int) -> bool:
        """Whether `token` is the id of a special token; False for unknown ids too.

        Raises TypeError if it is no integer, OverflowError outside 0 ... 2**32 - 1.
        """
        number = operator.index(token)
        if not 0 <= number <= 0xFFFFFFFF:
            raise OverflowError(f"token id {number} is outside 0 ... {0xFFFFFFFF}")
        return number in self._specials.name_of

    def token_byte_values(self) -> list[bytes]:
        """The bytes of every ordinary token, sorted, as in tiktoken."""
        arrays = self._ranks.arrays
        content, starts = arrays["token_bytes"].tobytes(), arrays["token_starts"].tolist()
        tokens = [content[start:stop] for start, stop in itertools.pairwise(starts)]
        return sorted(filter(None, tokens))

    # what it is

    @property
    def name(self) -> str:
        """Name of the encoding."""
        return self._name

    @property
    def special_tokens_set(self) -> set[str]:
        """Names of the special tokens: a new set, the caller's own."""
        return set(self._specials.names)

    @property
    def max_token_value(self) -> int:
        """The highest id."""
        return max(len(self._ranks.arrays["token_starts"]) - 2, *self._specials.name_of, 0)

    @property
    def n_vocab(self) -> int:
        """Size of a table with a row for every id: the highest id plus one."""
        return self.max_token_value + 1

    @property
    def eot_token(self) -> int:
        """Id of `<|endoftext|>`. Raises KeyError if the vocabulary has none."""
        return self._specials.ids["<|endoftext|>"]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[Any, ...]:
        return get_tokenizer, (self.name,)

    # helpers

    def _job(
        self,
        texts: Iterable[Text],
        num_threads: int | None,
        allowed_special: SpecialNames,
        disallowed_special: SpecialNames,
    ) -> Job:
        job: Job = _batch().job_for(self, texts, num_threads, allowed_special, disallowed_special)
        return job

    def _identity(self) -> tuple[Any, ...]:
        """What two equal tokenizers have in common."""
        return type(self), self.name

    def _description(self) -> dict[str, Any]:
        """What tells the vocabulary from others, for the manifests of data sets."""
        return {"encoding": self.name}

    def _piece_ends(self, text: Text) -> NDArray[np.intp] | None:
        """Ends of the pieces of `text` in bytes; None: the compiled scanner finds them."""
        return None

    def _piece_ends_between(self, text: Text, spans: list[_Span]) -> NDArray[np.intp] | None:
        """The same for a text in which `spans` are special tokens."""
        return None

    @functools.cached_property
    def _special_by_bytes(self) -> dict[bytes, int]:
        return {name.encode(): token for name, token in self._specials.ids.items()}

    def _id_writer(self) -> IdWriter:
        """For rendering: collects the ids of many texts and tokens."""
        return IdWriter(self._codec)

    def _resolve(
        self, text: Text, allowed_special: SpecialNames, disallowed_special: SpecialNames
    ) -> tuple[Text, list[_Span] | None, NDArray[np.intp] | None]:
        """The arguments of the compiled encoder: text, special tokens in it, ends of pieces."""
        specials = self._specials
        if not isinstance(text, str):
            text = bytes_of(text)
        if isinstance(allowed_special, str) and allowed_special == "all":
            allowed = specials.names
        elif allowed_special is NONE_ALLOWED:
            allowed = _NO_NAMES
        else:
            allowed = frozenset(allowed_special)
        if not allowed and not disallowed_special:
            return text, None, self._piece_ends(text)
        all_others = isinstance(disallowed_special, str) and disallowed_special == "all"
        if disallowed_special and not all_others:
            specials.refuse(text, frozenset(disallowed_special))
        may_be_special = specials.may_occur_in(text)
        if all_others and may_be_special:
            specials.refuse_all_but(text, allowed)
        if allowed is not specials.names and allowed:
            allowed = self._checked(allowed)
        if not may_be_special or not allowed:
            return text, None, self._piece_ends(text)
        text = to_utf8(text)
        spans = list(specials.spans(text, allowed))
        return text, spans, self._piece_ends_between(text, spans)

    def _checked(self, allowed: frozenset[Any]) -> frozenset[str]:
        """The names of special tokens among `allowed`; ValueError for what cannot be one."""
        for name in allowed:
            if not isinstance(name, str):
                raise ValueError(f"invalid allowed_special: {name!r} is not a str")
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"invalid allowed_special: {name!r}: {error}") from None
        unknown = allowed - self._specials.names
        if unknown and self._refuses_unknown_names:
            raise ValueError(f"invalid allowed_special: {self.name} has no token {min(unknown)!r}")
        return allowed - unknown


class LoadedTokenizer(Tokenizer):
    """A tokenizer from a rank file (`Tokenizer.from_tiktoken_file`). Pickles to where it came from:
    unpickling reads the file again and refuses it if it has changed."""

    def __init__(self, path: str, pattern: str, special_tokens: dict[str, int], name: str) -> None:
        tokens, self._sha256 = read_tiktoken_file(path)
        for text, token in special_tokens.items():
            if not isinstance(text, str) or not text:
                raise VocabularyError(f"special token {text!r} is not a non-empty str")
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise VocabularyError(f"special token {text!r} holds surrogates")
            if not hasattr(token, "__index__") or not 0 <= operator.index(token) <= 0xFFFFFFFF:
                raise VocabularyError(f"special token {text!r} has id {token!r}, not 0 ... 2**32-1")
            if token < len(tokens) and tokens[token]:
                raise VocabularyError(
                    f"special token {text!r} has the id of token {tokens[token]!r}"
                )
        special_tokens = {text: operator.index(token) for text, token in special_tokens.items()}
        if len(set(special_tokens.values())) != len(special_tokens):
            raise VocabularyError("two special tokens have the same id")
        self._path = path
        self._pattern = pattern
        self._splitter: Any = None
        if not isinstance(pattern, str):
            raise TypeError(f"pattern must be str, not {type(pattern).__name__}")
        if pattern != O200K_PATTERN:
            import regex  # type: ignore[import-untyped]

            try:
                # The version of it that knows sets within sets, as tiktoken's engine does.
                self._splitter = regex.compile(pattern, regex.V1)
            except regex.error as error:
                raise VocabularyError(f"the pattern of {name} does not compile: {error}") from error
        super().__init__(
            name, ranks_from(tokens), special_tokens, splits_by_itself=self._splitter is None
        )

    def _piece_ends(self, text: Text) -> NDArray[np.intp] | None:
        return self._piece_ends_between(text, [])

    def _piece_ends_between(self, text: Text, spans: list[_Span]) -> NDArray[np.intp] | None:
        if self._splits_by_itself:
            return None
        content = to_utf8(text)
        if not isinstance(content, str):
            content = bytes(content)
        ends: list[int] = []
        start = 0
        for stop, resume, _ in [*spans, (len(content), len(content), 0)]:
            self._split(content[start:stop], start, ends)
            start = resume
        return np.array(ends, dtype=np.intp)

    def _split(self, stretch: str | bytes, offset: int, ends: list[int]) -> None:
        """Append the ends, in bytes, of the pieces of one stretch that starts at `offset`."""
        text = stretch if isinstance(stretch, str) else stretch.decode()
        is_ascii = len(text) == len(stretch)
        matched = 0
        for found in self._splitter.finditer(text):
            if found.start() != matched:
                break
            if found.end() > matched:
                piece = found.group()
                offset += len(piece) if is_ascii else len(piece.encode())
                ends.append(offset)
                matched = found.end()
        if matched != len(text):
            raise HarmonyError(
                f"the pattern of {self.name} leaves {text[matched : matched + 20]!r} unmatched; "
                "a split pattern must cover every text"
            )

    def _identity(self) -> tuple[Any, ...]:
        specials = frozenset(self._specials.ids.items())
        return type(self), self._path, self._sha256, self._pattern, specials, self.name

    def _description(self) -> dict[str, Any]:
        # Not the path: the same file may lie elsewhere when a job goes on.
        return {
            **super()._description(),
            "sha256": self._sha256,
            "pattern": self._pattern,
            "special_tokens": self._specials.ids,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        specials = self._specials.ids
        return _load_again, (self._path, self._sha256, self._pattern, specials, self.name)


def _load_again(
    path: str, sha256: str, pattern: str, special_tokens: dict[str, int], name: str
) -> LoadedTokenizer:
    tokenizer = LoadedTokenizer(path, pattern, special_tokens, name)
    if tokenizer._sha256 != sha256:
        raise VocabularyError(
            f"{path} has changed since this tokenizer was pickled: sha256 "
            f"{tokenizer._sha256}, then {sha256}"
        )
    return tokenizer


_BUILT_IN = {
    "o200k_harmony": made_once(
        lambda: Tokenizer("o200k_harmony", o200k_ranks(), O200K_HARMONY_SPECIALS)
    ),
    "o200k_base": made_once(lambda: Tokenizer("o200k_base", o200k_ranks(), O200K_BASE_SPECIALS)),
}


def get_tokenizer(name: str) -> Tokenizer:
    """The built-in tokenizer `"o200k_harmony"` or `"o200k_base"`: the same object on every call.

    Raises ValueError for any other name, VocabularyError if the tables in the package are damaged.
    """
    if name not in _BUILT_IN:
        raise ValueError(f"no built-in tokenizer is named {name!r}; there are {sorted(_BUILT_IN)}")
    return _BUILT_IN[name]()
