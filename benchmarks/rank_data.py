"""What the peers load, written from our own vocabulary: no download, and the same ranks for all."""

from __future__ import annotations

import base64
import functools
import itertools
import json
from pathlib import Path

from benchmarks import cache

RANK_FILE = "o200k_base.tiktoken"
RANK_FILE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
N_RANKS = 199_998


def rank_file() -> Path:
    """The published rank file, byte for byte: what tiktoken, openai-harmony and gigatoken read."""
    path = cache.folder() / "ranks" / RANK_FILE
    if cache.has(path, RANK_FILE_SHA256):
        return path
    import harmony

    token_bytes = harmony.get_tokenizer("o200k_base").decode_single_token_bytes
    lines = (b"%s %d\n" % (base64.b64encode(token_bytes(rank)), rank) for rank in range(N_RANKS))
    content = b"".join(lines)
    if cache.sha256(content) != RANK_FILE_SHA256:
        raise ValueError(
            "the vocabulary of this harmony is not o200k_base: its rank file has another sha256"
        )
    return cache.write(path, content)


def hugging_face_file(pattern: str) -> Path:
    """A `tokenizer.json` with the same ranks and pattern, for the package `tokenizers`."""
    # The pattern is part of the name: another pattern is another file.
    path = (
        cache.folder()
        / "ranks"
        / f"o200k_base-{cache.sha256(pattern.encode())[:12]}.tokenizer.json"
    )
    if not path.is_file():
        cache.write(
            path, json.dumps(_hugging_face_description(pattern), ensure_ascii=False).encode()
        )
    return path


def _hugging_face_description(pattern: str) -> dict[str, object]:
    ranks = _ranks()
    letters = _byte_letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [
        [spelled[half] for half in _last_merge(token, ranks)] for token in ranks if len(token) > 1
    ]
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    to_letters = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, to_letters]},
        "post_processor": None,
        "decoder": to_letters,
        "model": {
            "type": "BPE",
            "ignore_merges": True,
            "vocab": {spelled[token]: rank for token, rank in ranks.items()},
            "merges": merges,
        },
    }


@functools.cache
def _ranks() -> dict[bytes, int]:
    """token -> rank, in order of rank."""
    pairs = (line.split() for line in rank_file().read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens whose merge makes `token`: merge by rank until two parts are left."""
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 2:
        ranked = [ranks.get(left + right, N_RANKS) for left, right in itertools.pairwise(parts)]
        at = ranked.index(min(ranked))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _byte_letters() -> list[str]:
    """The printable letter that stands for each byte in a `tokenizer.json` (the GPT-2 convention):
    itself if it is printable Latin-1, otherwise the next unused letter from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    unprintable = [byte for byte in range(256) if byte not in printable]
    return [
        chr(byte) if byte in printable else chr(0x100 + unprintable.index(byte))
        for byte in range(256)
    ]
