"""Ids to text, from lists and from arrays, on every corpus."""

from benchmarks import harness
from benchmarks.contenders import DECODE_ARRAY, DECODE_LIST


def main() -> None:
    given = harness.options(__doc__)
    section = harness.new_section("decode", given)
    harness.compare_on_corpora(section, given, [DECODE_LIST, DECODE_ARRAY], fresh=False)
    harness.finish(section, given)


if __name__ == "__main__":
    main()
