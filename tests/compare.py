"""Comparing two implementations, with messages that point at the place."""

from collections.abc import Callable, Sequence
from typing import Any

# Raised by CPython itself inside both packages, or specified word by word: their texts are compared
# too.
TEXT_MATTERS = {"HarmonyError", "UnicodeDecodeError", "LookupError"}


def assert_same_ids(text: str | bytes, got: Sequence[int], expected: Sequence[int]) -> None:
    """Equal, or an error that shows the first difference; pytest's own diff of long lists takes
    minutes."""
    if list(got) == list(expected):
        return
    at = next(
        (i for i, (ours, theirs) in enumerate(zip(got, expected, strict=False)) if ours != theirs),
        min(len(got), len(expected)),
    )
    around = slice(max(0, at - 3), at + 4)
    raise AssertionError(
        f"ids differ from index {at}: {list(got[around])} instead of {list(expected[around])}, "
        f"in the text that begins {text[:300]!a}"
    )


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, Any]:
    """What a call does: ("value", result), or the name of the exception's class and its text where
    that matters.

    A subclass of HarmonyError counts as HarmonyError: callers catch and name that one.
    """
    try:
        return "value", call(*args, **kwargs)
    except Exception as error:
        names = [cls.__name__ for cls in type(error).__mro__]
        name = "HarmonyError" if "HarmonyError" in names else names[0]
        return name, str(error) if name in TEXT_MATTERS else None
