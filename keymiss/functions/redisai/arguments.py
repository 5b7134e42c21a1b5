"""What functions call `redisAI` with: given back where it fits, the recorded error where it does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keymiss.errors import GearsError


def arguments(function: str, given: tuple[Any, ...], least: int, most: int = 0) -> tuple[Any, ...]:
    """The arguments of `function`, of which there must be `least`, or up to `most`."""
    if not least <= len(given) <= max(least, most):
        raise GearsError(f"Wrong number of arguments given to {function}")
    return given


def name(value: Any, what: str) -> str:
    """`what`, which must be a string."""
    if not isinstance(value, str):
        raise GearsError(f"{what} argument must be a string")
    return value


def items(value: Any, what: str) -> list[Any]:
    """What `what` holds, which must be iterable. A string is not: its letters are never what was meant."""
    if isinstance(value, (list, tuple)):  # first: to look for anything iterable takes longer
        return list(value)
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise GearsError(f"{what} must be iterable")
    return list(value)
