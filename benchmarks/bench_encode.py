"""Text to ids: lists, arrays, and the call with default arguments, on every corpus.

`python -m benchmarks.bench_encode --quick` takes a minute or two, the full run some ten minutes.
"""

from benchmarks import harness
from benchmarks.contenders import ENCODE_ARRAY, ENCODE_DEFAULT, ENCODE_LIST


def main() -> None:
    given = harness.options(__doc__)
    section = harness.new_section("encode", given)
    harness.compare_on_corpora(section, given, [ENCODE_LIST, ENCODE_ARRAY], fresh=True)
    # Against the first two, only the search for special tokens is added: seen before is enough.
    harness.compare_on_corpora(section, given, [ENCODE_DEFAULT], fresh=False)
    harness.finish(section, given)


if __name__ == "__main__":
    main()
