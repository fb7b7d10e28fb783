"""Long runs of one character inside pieces: most of a run is never looked at (the run rule), and the
ids are those of tiktoken all the same.

tiktoken takes quadratic time on such text; sizes are what it can bear.
"""

import random

import pytest
from compare import assert_same_ids
from scale import scaled

# One byte, two, three and four; bytes of which many tokens are runs, and of which none is.
CHARACTERS = ["a", " ", "-", "=", "*", "#", "^", "\t", "\n", "A", "é", "日", "😀", "\u0301", "\x00"]
# Longer than LONG_RUN of _bpe.pyx by anything that could be left over.
SIZES = [4095, 4096, 4097, 5000, 6001, 9000]


@pytest.mark.parametrize("character", CHARACTERS)
def test_runs_of_every_length(tokenizer, tiktoken_harmony, character):
    for size in SIZES:
        text = character * (size // len(character.encode()))
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )


def test_runs_inside_pieces(tokenizer, tiktoken_harmony):
    rng = random.Random(41)
    letters = "abcdexyzABC"
    signs = "-=*#./!~^"
    for _ in range(scaled(40)):
        pool = rng.choice([letters, signs, "日本語中", "😀🎉"])
        ends = ["".join(rng.choices(pool, k=rng.randint(0, 40))) for _ in range(2)]
        unit = rng.choice(pool)
        run = unit * (rng.randint(4000, 7000) // len(unit.encode()))
        text = ends[0] + run + ends[1]
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )


def test_two_long_runs_in_one_piece(tokenizer, tiktoken_harmony):
    for first, second in (("-", "="), ("a", "b"), ("=", "-")):
        text = first * 5000 + second * 6000
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )


@pytest.mark.parametrize("character", CHARACTERS)
def test_a_longer_run_spells_itself(tokenizer, character):
    """A megabyte, which no oracle takes: ids that spell the text, and the same in the middle."""
    text = character * (1_000_000 // len(character.encode()))
    ids = tokenizer.encode_to_numpy(text, disallowed_special=())
    assert tokenizer.decode(ids) == text
    assert tokenizer.count_tokens(text) == len(ids)
