"""Arguments of RG.* commands."""

from __future__ import annotations


def as_str(argument: bytes) -> str:
    """An argument as text. What is not UTF-8 is replaced: it names nothing that is there."""
    return argument.decode("utf-8", "replace")
