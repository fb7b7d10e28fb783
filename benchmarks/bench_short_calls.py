"""What one call costs: texts of 5, 30 and 300 characters, one call each."""

from benchmarks import corpora, harness
from benchmarks.contenders import ENCODE_ARRAY, ENCODE_DEFAULT, ENCODE_LIST

LENGTHS = (5, 30, 300)
N_TEXTS = 500


def texts_of(length: int) -> list[str]:
    """Texts of exactly `length` characters, each starting at a word, from all over the prose."""
    words = " ".join(corpora.CORPORA["prose"].text().split()).split(" ")
    step = len(words) // N_TEXTS
    # A word has at least one character and one space: `length` words are always enough.
    starts = range(0, step * N_TEXTS, step)
    texts = (" ".join(words[start : start + length])[:length] for start in starts)
    return [text for text in texts if len(text) == length]


def main() -> None:
    given = harness.options(__doc__)
    section = harness.new_section("short calls", given)
    for length in LENGTHS:
        texts = texts_of(length)
        harness.compare(
            section,
            given,
            [ENCODE_LIST, ENCODE_DEFAULT, ENCODE_ARRAY],
            f"{length} characters",
            texts,
            single_calls_only=True,
        )
    harness.finish(section, given)


if __name__ == "__main__":
    main()
