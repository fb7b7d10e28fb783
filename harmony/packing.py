"""Rows of ids -> rows of one length, for training: best-fit packing.

Documents are placed from the longest to the shortest, each into the row where the least room is
left over; that wastes little and cuts nothing that fits a row.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harmony._codec import check_offsets
from harmony.batch import TokenBatch, join, position
from harmony.special_tokens import O200K_HARMONY_SPECIALS

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDOFTEXT = O200K_HARMONY_SPECIALS["<|endoftext|>"]


class PackedRows:
    """Documents in rows of one length.

    `ids` uint32[r, length]; `loss_mask` bool[r, length], false in padding; `position_ids`
    int32[r, length], from 0 in each document and in padding; `document` int32[r, length]: the index
    of the row that was packed, -1 in padding. `packed[i]` is a dict of the four for one row.
    """

    def __init__(self, n_rows: int, length: int, pad_token: int) -> None:
        self.ids = np.full((n_rows, length), pad_token, np.uint32)
        self.loss_mask = np.zeros((n_rows, length), np.bool_)
        self.position_ids = np.zeros((n_rows, length), np.int32)
        self.document = np.full((n_rows, length), -1, np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        row = position(index, len(self))
        return {
            "ids": self.ids[row],
            "loss_mask": self.loss_mask[row],
            "position_ids": self.position_ids[row],
            "document": self.document[row],
        }

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for row in range(len(self)):
            yield self[row]

    def boundaries(self, row: int) -> NDArray[np.int32]:
        """Where the documents of a row begin, and where the last one ends: int32, 1-D, what
        variable-length attention calls `cu_seqlens`."""
        document = self.document[position(row, len(self))]
        filled = np.count_nonzero(document >= 0)
        starts = np.flatnonzero(self.position_ids[row, :filled] == 0)
        return np.append(starts, filled).astype(np.int32)

    def __repr__(self) -> str:
        filled = np.count_nonzero(self.document >= 0) / max(1, self.document.size)
        return f"<PackedRows: {len(self):,} of {self.ids.shape[1]:,} ids, {filled:.1%} filled>"


def pack(
    rows: Any,
    length: int,
    *,
    loss_mask: NDArray[np.bool_] | None = None,
    pad_token: int = ENDOFTEXT,
    on_long: Literal["split", "drop", "error"] = "split",
) -> PackedRows:
    """Pack documents into rows of `length` ids.

    `rows`: a TokenBatch; a RenderedBatch, a list of RenderedConversations, a Dataset or rows of one
    (`dataset[10:20]`), which bring their masks; or a list of ids each. `loss_mask`: bool[n] for all
    ids one after another; without any, all ids count. A document longer than `length` is cut into
    pieces that count as documents of their own ("split"), left out ("drop") or an error ("error").
    Empty documents leave no trace. Equal input is packed equally. Raises ValueError for arguments
    that do not fit together.
    """
    pad_token = operator.index(pad_token)
    if length < 1:
        raise ValueError(f"length must be at least 1, not {length}")
    if on_long not in ("split", "drop", "error"):
        raise ValueError(f"on_long must be split, drop or error, not {on_long!r}")
    documents = _documents(rows, loss_mask)
    pieces = _pieces(documents, length, on_long)
    row_of, n_rows = _best_fit([stop - start for _, start, stop in pieces], length)
    packed = PackedRows(n_rows, length, pad_token)
    filled = [0] * n_rows
    for (document, start, stop), row in zip(pieces, row_of, strict=True):
        ids, mask = documents[document]
        at = slice(filled[row], filled[row] + stop - start)
        packed.ids[row, at] = ids[start:stop]
        packed.loss_mask[row, at] = True if mask is None else mask[start:stop]
        packed.position_ids[row, at] = np.arange(stop - start, dtype=np.int32)
        packed.document[row, at] = document
        filled[row] = at.stop
    return packed


_Document = tuple["NDArray[np.uint32]", "NDArray[np.bool_] | None"]


def _documents(rows: Any, loss_mask: NDArray[np.bool_] | None) -> list[_Document]:
    """Ids and mask of each document."""
    if hasattr(rows, "rows"):
        with_masks = list(rows.rows())
        if loss_mask is None:
            return with_masks
        rows = [ids for ids, _ in with_masks]
    if isinstance(rows, dict) or (_is_rendered(rows) and not isinstance(rows, TokenBatch)):
        raise TypeError("rows must be a list of rows, not one row")
    if loss_mask is None and _is_rendered(rows):
        loss_mask = rows.loss_mask()
    if isinstance(rows, TokenBatch):
        check_offsets(np.ascontiguousarray(rows.offsets, np.int64), len(rows.ids))
        if np.asarray(rows.ids).dtype != np.uint32:
            rows = join(TokenBatch(rows.ids, rows.offsets))
    else:
        rows, masks = _columns(list(rows))
        rows = join(rows)
        if loss_mask is None and masks is not None:
            loss_mask = _joined(masks, np.diff(rows.offsets).tolist())
    documents: list[_Document] = []
    first = int(rows.offsets[0])  # of a slice not 0
    n_ids = int(rows.offsets[-1]) - first
    if loss_mask is not None:
        loss_mask = _checked(loss_mask, "the loss mask")
        if len(loss_mask) != n_ids:
            raise ValueError(f"the loss mask has {len(loss_mask)} items for {n_ids} ids")
    offsets = rows.offsets.tolist()
    for start, stop in itertools.pairwise(offsets):
        mask = None if loss_mask is None else loss_mask[start - first : stop - first]
        documents.append((rows.ids[start:stop], mask))
    return documents


def _is_rendered(rows: Any) -> bool:
    """Whether these are rendered conversations, or one. They say what to train on."""
    return hasattr(rows, "loss_mask")


def _columns(rows: list[Any]) -> tuple[list[Any], list[Any] | None]:
    """The ids of each row and, of rows of a Dataset and of rendered conversations, the masks, if
    there are any."""
    rows = [
        {"ids": row.ids, "loss_mask": row.loss_mask()} if _is_rendered(row) else row for row in rows
    ]
    if not any(isinstance(row, dict) for row in rows):
        return rows, None
    for at, row in enumerate(rows):
        if not isinstance(row, dict) or "ids" not in row:
            raise TypeError(f"row {at}: must be a dict with ids, as all rows of a Dataset are")
    has_masks = any("loss_mask" in row for row in rows)
    masks = [row.get("loss_mask", ()) for row in rows] if has_masks else None
    return [row["ids"] for row in rows], masks


def _joined(masks: list[Any], lengths: list[int]) -> NDArray[np.bool_]:
    """The masks of rows of these lengths in one. ValueError for one of another length."""
    checked = []
    for at, (given, length) in enumerate(zip(masks, lengths, strict=True)):
        mask = _checked(given, f"row {at}: the loss mask")
        if len(mask) != length:
            raise ValueError(f"row {at}: the loss mask has {len(mask)} items for {length} ids")
        checked.append(mask)
    return np.concatenate(checked)


def _checked(mask: Any, name: str) -> NDArray[np.bool_]:
    """A mask as an array. TypeError for anything but bools, or integers that stand for them, one
    after another."""
    array = np.asarray(mask)
    # A list without items is an array of floats.
    if array.ndim != 1 or (array.size and array.dtype.kind not in "biu"):
        raise TypeError(f"{name} must hold one bool for each id, not {array.ndim}-D {array.dtype}")
    return array.astype(np.bool_, copy=False)


def _pieces(documents: list[_Document], length: int, on_long: str) -> list[tuple[int, int, int]]:
    """Document, start and stop of each stretch that is placed as a whole."""
    pieces = []
    for document, (ids, _) in enumerate(documents):
        if len(ids) > length and on_long == "error":
            raise ValueError(f"row {document} has {len(ids)} ids, more than {length}")
        if len(ids) > length and on_long == "drop":
            continue
        pieces += [
            (document, start, min(start + length, len(ids))) for start in range(0, len(ids), length)
        ]
    return pieces


def _best_fit(lengths: list[int], capacity: int) -> tuple[list[int], int]:
    """For each piece the row it goes into, and the number of rows."""
    row_of = [0] * len(lengths)
    n_rows = 0
    rows_with: dict[int, list[int]] = {}  # room that is left -> the rows that have it
    rooms: list[int] = []  # its keys, in order
    for piece in sorted(range(len(lengths)), key=lambda piece: -lengths[piece]):
        at = bisect.bisect_left(rooms, lengths[piece])
        if at == len(rooms):
            room, row = capacity, n_rows
            n_rows += 1
        else:
            room = rooms[at]
            row = rows_with[room].pop()
            if not rows_with[room]:
                del rows_with[room], rooms[at]
        row_of[piece] = row
        room -= lengths[piece]
        if room and room not in rows_with:
            bisect.insort(rooms, room)
            rows_with[room] = []
        if room:
            rows_with[room].append(row)
    return row_of, n_rows
