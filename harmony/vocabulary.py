"""Find, check and map the rank tables: ours from the package, others from .tiktoken files."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from harmony._bpe import RankTables
from harmony.errors import VocabularyError
from harmony.made_once import made_once
from harmony.rank_tables import MAX_IDS, build_rank_tables
from harmony.table_file import map_table_file

# sha256 of the rank file of o200k_base that OpenAI publishes; NOTICE says where it comes from.
O200K_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
O200K_TABLES = Path(__file__).with_name("data") / "o200k.tables"


def load_rank_tables(path: str | os.PathLike[str], source_sha256: str = O200K_SHA256) -> RankTables:
    """Map the table file at `path`. Raises VocabularyError if it is missing or damaged."""
    return RankTables(map_table_file(Path(path), source_sha256), are_proven=True)


@made_once
def o200k_ranks() -> RankTables:
    """The rank tables of o200k, one mapping per process."""
    return load_rank_tables(O200K_TABLES)


def read_tiktoken_file(path: str | os.PathLike[str]) -> tuple[list[bytes], str]:
    """Tokens by rank (b"" where a rank is missing) and sha256 of a `.tiktoken` rank file.

    Raises VocabularyError with the line number if a line is not `base64(token) SP rank`, if a
    token or rank comes twice, or if some single byte is not a token.
    """
    import hashlib  # brings OpenSSL, which takes as much memory as all of this package's code

    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise VocabularyError(f"cannot read the rank file {path}: {error}") from error
    ranks: dict[bytes, int] = {}
    line_of_rank: dict[int, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line:
            continue
        try:
            encoded, rank_text = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(rank_text)
        except (ValueError, binascii.Error) as error:
            raise VocabularyError(
                f"{path}, line {number}: not 'base64 of the token, space, rank' ({error})"
            ) from error
        if not 0 <= rank < MAX_IDS:
            raise VocabularyError(
                f"{path}, line {number}: rank {rank} is not in 0 ... {MAX_IDS - 1}"
            )
        if not token:
            raise VocabularyError(f"{path}, line {number}: the token is empty")
        if token in ranks:
            raise VocabularyError(
                f"{path}, line {number}: token {token!r} came before, "
                f"on line {line_of_rank[ranks[token]]}"
            )
        if rank in line_of_rank:
            raise VocabularyError(
                f"{path}, line {number}: rank {rank} came before, on line {line_of_rank[rank]}"
            )
        ranks[token] = rank
        line_of_rank[rank] = number
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise VocabularyError(
            f"{path}: {len(missing)} single bytes are not tokens, the first is {missing[0]:#04x}; "
            "text with such a byte could not be encoded"
        )
    tokens = [b""] * (max(line_of_rank) + 1)
    for token, rank in ranks.items():
        tokens[rank] = token
    return tokens, hashlib.sha256(content).hexdigest()


def ranks_from(tokens: list[bytes]) -> RankTables:
    """Rank tables for plain merging of any vocabulary."""
    return RankTables(build_rank_tables(tokens))
