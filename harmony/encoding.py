"""HarmonyEncoding: the tokenizer under the name that openai_harmony gives it."""

from __future__ import annotations

import enum
import functools
from typing import Any

from harmony.special_tokens import O200K_HARMONY_SPECIALS
from harmony.tokenizer import Tokenizer
from harmony.vocabulary import o200k_ranks


class HarmonyEncodingName(str, enum.Enum):
    """The encodings there are."""

    HARMONY_GPT_OSS = "HarmonyGptOss"

    def __str__(self) -> str:
        return self.value


class HarmonyEncoding(Tokenizer):
    """The encoding of the gpt-oss models: o200k_harmony. Get it from `load_harmony_encoding`."""

    # openai_harmony gives such names no effect, and this class does what it does.
    _refuses_unknown_names = False

    def __init__(self) -> None:
        names = HarmonyEncodingName.HARMONY_GPT_OSS.value
        super().__init__(names, o200k_ranks(), O200K_HARMONY_SPECIALS)

    def __reduce__(self) -> tuple[Any, ...]:
        return load_harmony_encoding, (self.name,)


@functools.cache
def _harmony_gpt_oss() -> HarmonyEncoding:
    return HarmonyEncoding()


def load_harmony_encoding(name: str | HarmonyEncodingName) -> HarmonyEncoding:
    """The encoding `name`, of which there is one: "HarmonyGptOss".

    The same object on every call. Raises ValueError for another name, VocabularyError if the
    tables in the package are damaged.
    """
    if str(name) != HarmonyEncodingName.HARMONY_GPT_OSS.value:
        raise ValueError(f"Invalid HarmonyEncodingName: {name}")
    return _harmony_gpt_oss()
