"""Where commands print."""

from __future__ import annotations

from rich.console import Console


def plain_console(stderr: bool = False) -> Console:
    """Shows text as it is: names and answers may have what rich takes for markup (`[b]`) or emoji (`:x:`)."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
