"""The official implementations, built from our own rank data: no download, no second copy of the
vocabulary.

What they need beside the ranks (the pattern, the special tokens) is written down here once more,
from the published facts and not from `harmony`, so that an error there cannot hide behind itself.
"""

import base64
import contextlib
import functools
import hashlib
import os
from pathlib import Path
from unittest import mock

import pytest

import harmony

N_RANKS = 199_998
FIRST_SPECIAL, LAST_SPECIAL = 199_998, 201_088
RANK_FILE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

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

_NAMED_SPECIALS = {
    199998: "startoftext",
    199999: "endoftext",
    200002: "return",
    200003: "constrain",
    200005: "channel",
    200006: "start",
    200007: "end",
    200008: "message",
    200012: "call",
}
SPECIAL_TOKENS = {
    "o200k_harmony": {
        f"<|{_NAMED_SPECIALS.get(id, f'reserved_{id}')}|>": id
        for id in range(FIRST_SPECIAL, LAST_SPECIAL + 1)
    },
    "o200k_base": {"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018},
}


def official(package: str):
    """An official package, or a skip; with HARMONY_REQUIRE_ORACLE=1 its absence is a failure, so
    that a run that promises the differential tests cannot pass without them."""
    if os.environ.get("HARMONY_REQUIRE_ORACLE") == "1":
        return __import__(package)
    return pytest.importorskip(package)


@functools.cache
def ranks() -> dict[bytes, int]:
    tokenizer = harmony.get_tokenizer("o200k_base")
    return {tokenizer.decode_single_token_bytes(rank): rank for rank in range(N_RANKS)}


@functools.cache
def token_texts() -> list[str]:
    texts = []
    for token in ranks():
        with contextlib.suppress(UnicodeDecodeError):
            texts.append(token.decode())
    return texts


def rank_file(folder: Path) -> Path:
    """The published `o200k_base.tiktoken`, byte for byte, written again from the ranks of our
    package."""
    content = b"".join(
        b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks().items()
    )
    assert hashlib.sha256(content).hexdigest() == RANK_FILE_SHA256
    path = folder / "o200k_base.tiktoken"
    path.write_bytes(content)
    return path


@functools.cache
def tiktoken_encoding(name: str):
    tiktoken = official("tiktoken")
    return tiktoken.Encoding(
        name=name,
        pat_str=O200K_PATTERN,
        mergeable_ranks=ranks(),
        special_tokens=SPECIAL_TOKENS[name],
    )


def upstream_encoding(folder: Path):
    """openai_harmony's encoding; it reads the rank file from `folder` once, while it loads."""
    openai_harmony = official("openai_harmony")
    rank_file(folder)
    with mock.patch.dict(os.environ, {"TIKTOKEN_ENCODINGS_BASE": str(folder)}):
        return openai_harmony.load_harmony_encoding("HarmonyGptOss")
