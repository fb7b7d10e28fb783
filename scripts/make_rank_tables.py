"""o200k_base.tiktoken -> harmony/data, with every fact the rank tables rest on re-proved.

    python scripts/make_rank_tables.py pack o200k_base.tiktoken    # rank file -> committed asset
    python scripts/make_rank_tables.py expand harmony/data/o200k.tables    # asset -> rank tables

The build runs `expand`. The asset is the token bytes in rank order, compressed; whoever expands it
gets the published rank file back, to the byte, and its sha256 is checked before anything else.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harmony.rank_tables import build_rank_tables  # noqa: E402
from harmony.table_file import write_table_file  # noqa: E402

SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
N_RANKS = 199_998
LONGEST = 128
ASSET = ROOT / "harmony" / "data" / "o200k_base.ranks.z"


class FactError(Exception):
    """The vocabulary is not what the tables and algorithms rest on."""


def rank_file_of(tokens: list[bytes]) -> bytes:
    """The published form of these tokens: `base64(token) SP rank LF`, in rank order."""
    lines = (b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
    return b"".join(lines)


def pack(rank_file: Path) -> None:
    """Write the asset: lengths of all tokens, one byte each, then their bytes; zlib."""
    content = rank_file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise FactError(f"{rank_file} has sha256 {found}, expected {SHA256}")
    tokens = [base64.b64decode(line.split()[0]) for line in content.splitlines()]
    ASSET.write_bytes(zlib.compress(bytes(map(len, tokens)) + b"".join(tokens), 9))
    assert unpack() == tokens
    print(f"{ASSET.name}: {ASSET.stat().st_size:,} bytes")


def unpack() -> list[bytes]:
    """The tokens by rank, checked against the sha256 of the published file."""
    content = zlib.decompress(ASSET.read_bytes())
    tokens, at = [], N_RANKS
    for length in content[:N_RANKS]:
        tokens.append(content[at : at + length])
        at += length
    found = hashlib.sha256(rank_file_of(tokens)).hexdigest()
    if found != SHA256:
        raise FactError(f"{ASSET} holds ranks with sha256 {found}, expected {SHA256}")
    return tokens


def merge_to_pair(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Byte-pair encode `token` by the definition, up to the merge that would leave one part."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        merges = [
            (rank, i)
            for i in range(len(parts) - 1)
            if (rank := ranks.get(parts[i] + parts[i + 1])) is not None
        ]
        if not merges:
            break
        _, at = min(merges)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def prove(tokens: list[bytes]) -> dict[int, tuple[int, int]]:
    """Prove the facts; return the pair whose merge makes each token, by id.

    1. There are 199,998 distinct tokens of 1 to 128 bytes, ranks 0 ... 199,997.
    2. Ranks 0 ... 255 are the single bytes: no token is older than the bytes it is made of.
    3. Closed: merging the bytes of a token ends in that token, by exactly one last merge. So the
       pair (left id, right id) tells what it merges into, one pair per token; other ways to cut a
       token into two tokens never meet in a merge.
    4. Ordered: that merge has a higher rank than both halves. With 3, the merges of a text happen
       in the order of their ranks, so undoing them from the highest rank down retraces them; this
       is what deciding the validity of a token pair rests on.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    if len(tokens) != N_RANKS or len(ranks) != N_RANKS:
        raise FactError(f"{len(ranks)} distinct tokens in {len(tokens)} ranks, not {N_RANKS}")
    if {len(token) for token in tokens} - set(range(1, LONGEST + 1)):
        raise FactError(f"a token is empty or longer than {LONGEST} bytes")
    if any(len(token) != 1 for token in tokens[:256]):
        raise FactError("ranks 0 ... 255 are not the single bytes")
    final_pairs = {}
    for rank, token in enumerate(tokens[256:], start=256):
        parts = merge_to_pair(token, ranks)
        if len(parts) != 2:
            raise FactError(f"token {rank} ({token!r}) does not merge to itself")
        left, right = ranks[parts[0]], ranks[parts[1]]
        if left >= rank or right >= rank:
            raise FactError(f"token {rank} ({token!r}) is older than its halves {left}, {right}")
        final_pairs[rank] = (left, right)
    return final_pairs


def expand(target: Path) -> None:
    """Write the table file that the package maps at run time."""
    tokens = unpack()
    tables = build_rank_tables(tokens, prove(tokens))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_table_file(target, tables, SHA256)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["pack", rank_file]:
            pack(Path(rank_file))
        case ["expand", target]:
            expand(Path(target))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
