"""Byte-pair merging, as one would explain it: while a neighbouring pair is in the vocabulary, join
the best."""

from itertools import pairwise


def merge(ranks: dict[bytes, int], piece: bytes) -> list[int]:
    if piece in ranks:
        return [ranks[piece]]
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        pairs = [
            (ranks[left + right], i)
            for i, (left, right) in enumerate(pairwise(parts))
            if left + right in ranks
        ]
        if not pairs:
            return [ranks[part] for part in parts]
        _, i = min(pairs)  # the lowest rank; the leftmost pair where two are equal
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
