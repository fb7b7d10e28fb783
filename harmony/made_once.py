"""Objects of which each process has one, made when somebody first asks for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


def made_once(make: Callable[[], Made]) -> Callable[[], Made]:
    """`make`, which gives everybody the same object.

    Threads that are the first ones at the same time may make it several times, and get one of
    them, which functools.cache does not promise. No lock: a process could be forked while it is
    held.
    """
    made: dict[None, Made] = {}

    @functools.wraps(make)
    def get() -> Made:
        try:
            return made[None]
        except KeyError:
            return made.setdefault(None, make())

    return get
