from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, final

import numpy
from numpy.typing import NDArray
from typing_extensions import Buffer, Self, disjoint_base

from harmony._bpe import RankTables

_Text = str | Buffer
_SpecialNames = Literal["all"] | Collection[str]
_Specials = Sequence[tuple[int, int, int]] | None
_PieceEnds = NDArray[numpy.intp] | None
_Ids = Iterable[int] | Buffer

@final
class IdMemory: ...

@final
class Utf8:
    def __new__(cls, text: str | Buffer) -> Self: ...

@final
class Ids:
    def __new__(cls, tokens: _Ids) -> Self: ...

@final
class Codec:
    ranks: RankTables
    marker: bytes | None
    def __new__(
        cls, ranks: RankTables, specials: dict[int, bytes], marker: bytes | None = None
    ) -> Self: ...
    def encode_list(
        self, text: str | Buffer, specials: _Specials = None, piece_ends: _PieceEnds = None
    ) -> list[int]: ...
    def encode_array(
        self, text: str | Buffer, specials: _Specials = None, piece_ends: _PieceEnds = None
    ) -> NDArray[numpy.uint32]: ...
    def count(
        self, text: str | Buffer, specials: _Specials = None, piece_ends: _PieceEnds = None
    ) -> int: ...
    def count_texts(
        self,
        texts: Texts,
        offsets: NDArray[numpy.int64],
        marker: bytes | None = None,
        row: int = 0,
    ) -> int: ...
    def decode_texts(
        self, ids: _Ids, offsets: NDArray[numpy.int64], errors: str, first_row: int = 0
    ) -> list[str]: ...
    def decode_bytes(self, tokens: _Ids) -> bytes: ...
    def decode_str(self, tokens: _Ids, errors: str) -> str: ...
    def decode_list(self, tokens: _Ids) -> list[bytes]: ...
    def decode_with_offsets(self, tokens: _Ids) -> tuple[str, list[int]]: ...

NONE_ALLOWED: set[str]

@disjoint_base
class TokenizerCalls:
    _codec: Codec
    _splits_by_itself: bool
    def encode(
        self,
        text: _Text,
        *,
        allowed_special: _SpecialNames = ...,
        disallowed_special: _SpecialNames = "all",
    ) -> list[int]: ...
    def encode_ordinary(self, text: _Text) -> list[int]: ...
    def encode_to_numpy(
        self,
        text: _Text,
        *,
        allowed_special: _SpecialNames = ...,
        disallowed_special: _SpecialNames = "all",
    ) -> NDArray[numpy.uint32]: ...

@final
class IdWriter:
    def __new__(cls, codec: Codec) -> Self: ...
    def __len__(self) -> int: ...
    def expect(self, n_bytes: int) -> None: ...
    def clear(self) -> None: ...
    def text(self, text: str) -> None: ...
    def tokens(self, tokens: list[int]) -> None: ...
    def token(self, token: int) -> None: ...
    def texts(
        self,
        texts: Texts,
        offsets: NDArray[numpy.int64],
        marker: bytes | None = None,
        row: int = 0,
    ) -> int: ...
    def writer(self, other: IdWriter) -> None: ...
    def to_list(self) -> list[int]: ...
    def to_lists(self, offsets: NDArray[numpy.int64]) -> list[list[int]]: ...
    def to_array(self) -> NDArray[numpy.uint32]: ...

@final
class Scratch:
    ids: IdWriter
    def __new__(cls, codec: Codec) -> Self: ...

@final
class Texts:
    def __new__(
        cls,
        texts: list[Any] | Buffer,
        scratch: Scratch,
        first_row: int = 0,
        offsets: NDArray[numpy.int64] | None = None,
        present: NDArray[numpy.uint8] | None = None,
    ) -> Self: ...
    def __len__(self) -> int: ...
    def utf8(self, row: int) -> bytes: ...
    def cut(self, row: int, specials: _Specials, piece_ends: _PieceEnds) -> None: ...

def join_ids(rows: list[Any], offsets: NDArray[numpy.int64]) -> NDArray[numpy.uint32]: ...
def bytes_of(text: Buffer) -> bytes | memoryview: ...
def to_utf8(text: str | Buffer) -> str | Buffer: ...
