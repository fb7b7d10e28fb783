"""Instructions of the encoder for each byte of text, counted by valgrind: no clock, no noise.

    python -m benchmarks.instructions          count and show beside what is recorded
    python -m benchmarks.instructions --save   record, for this compiler and CPython

The texts are made of the vocabulary's own tokens, so they are the same everywhere and in need of no
download: words, code-like text, Chinese, Japanese and Korean, and words that do not exist, half of
them Cyrillic, which have to be merged. Each is counted when it is encoded first, and once more.
valgrind knows no AVX-512, so the tiers are portable and avx2. tests/test_instructions.py compares
with the record.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import harmony
from benchmarks import environment

RECORD = Path(__file__).with_name("results") / "instructions.json"
TIERS = ("portable", "avx2")
N_TOKENS = 40_000
PASSES = ("first", "second")


def texts() -> dict[str, str]:
    """name -> some 200 KB of text."""
    tokenizer = harmony.get_tokenizer("o200k_base")
    random_number = random.Random(1)
    words, signs, wide, cyrillic = [], [], [], []
    for token in tokenizer.token_byte_values():
        try:
            text = token.decode()
        except UnicodeDecodeError:
            continue
        if len(text) > 16:
            continue
        if text.startswith(" ") and text[1:].isascii() and text[1:].isalpha():
            words.append(text)
        elif text.isascii():
            signs.append(text)
        elif any("\u3040" <= character <= "\ud7a3" for character in text):
            wide.append(text)
        elif re.fullmatch(" ?[\u0430-\u044f]+", text):
            cyrillic.append(text.strip())
    code = [*words[: len(signs) // 2], *signs]
    pools = {"words": words, "code": code, "cjk": wide}
    made = {
        # The sooner a token is in the vocabulary, the likelier it is in the text.
        name: "".join(pool[int(len(pool) * random_number.random() ** 4)] for _ in range(N_TOKENS))
        for name, pool in pools.items()
    }
    choose = random_number.choice
    made["new"] = "".join(
        f"{choose(words)}{choose(words).strip()} {choose(cyrillic)}{choose(cyrillic)}"
        for _ in range(N_TOKENS // 8)
    )
    return made


PROGRAM = """
import json, os, sys
import harmony

tokenizer = harmony.get_tokenizer("o200k_base")
tokenizer.encode_to_numpy("Hello", disallowed_special=())
for text in json.load(sys.stdin).values():
    os.getppid()    # nobody else calls it: callgrind writes its counts and begins again
    tokenizer.encode_to_numpy(text, disallowed_special=())
    os.getppid()
    tokenizer.encode_to_numpy(text, disallowed_special=())
os.getppid()
"""


def key() -> str:
    """What a record holds for: the machine's kind, the compiler, CPython."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"{os.uname().machine}, {environment.compiler()}, CPython {version}"


def count(tier: str) -> dict[str, float]:
    """Instructions for each byte of each text and pass. Raises RuntimeError without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise RuntimeError("valgrind is not installed")
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts")
        content = texts()
        subprocess.run(
            [
                *[valgrind, "--tool=callgrind", f"--callgrind-out-file={counts}"],
                *["--dump-after=getppid", sys.executable, "-c", PROGRAM],
            ],
            input=json.dumps(content).encode(),
            check=True,
            capture_output=True,
            env={**os.environ, "HARMONY_TIER": tier, "PYTHONHASHSEED": "0"},
            cwd=Path(__file__).parents[1],
        )
        found = {}
        # The first file is of what came before.
        for number, (name, which) in enumerate(itertools.product(content, PASSES), start=2):
            counted = counts.with_name(f"counts.{number}").read_text()
            total = re.search(r"(?m)^totals: (\d+)$", counted)
            assert total
            found[f"{name}, {which}"] = round(int(total[1]) / len(content[name].encode()), 2)
        return found


def recorded() -> dict[str, dict[str, dict[str, float]]]:
    """key -> tier -> text -> instructions for each byte."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true", help="record what was counted")
    record = recorded()
    before = record.get(key(), {})
    counts = {tier: count(tier) for tier in TIERS}
    for tier, per_byte in counts.items():
        for name, value in per_byte.items():
            old = before.get(tier, {}).get(name)
            print(f"{tier:10} {name:14} {value:8.2f}  recorded: {old}")
    if parser.parse_args().save:
        record[key()] = counts
        RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
