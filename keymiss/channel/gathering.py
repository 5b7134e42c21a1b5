"""Frames of one thread that are kept back for a moment and written together.

A thread that answers small jobs one after the other would make a system call for each, and wake the server
for each. It says `gather()` once; what it writes from then on as something that can wait
(`Channel.write(..., later=True)`) goes out with its next `flush_gathered()`, with the next frame that cannot
wait, or when the loop's thread writes. It must flush before it waits, and before work that may take long.
The loop's thread writes at the end of each turn by itself; where it gathers, it can do so before.
"""

from __future__ import annotations

import threading
from typing import Protocol


class Flushable(Protocol):
    def flush(self) -> None: ...


class _Thread(threading.local):
    kept: set[Flushable] | None = None  # channels with frames that this thread kept back; None: it does not


_thread = _Thread()


def gather() -> None:
    """This thread keeps its frames back from now on."""
    if _thread.kept is None:
        _thread.kept = set()


def keep(channel: Flushable) -> bool:
    """Whether this thread keeps frames back; it will flush `channel` then."""
    if _thread.kept is None:
        return False
    _thread.kept.add(channel)
    return True


def drop(channel: Flushable) -> None:
    """It has ended: this thread has nothing more to flush there."""
    if _thread.kept:
        _thread.kept.discard(channel)


def flush_gathered() -> None:
    """Write what this thread has kept back."""
    while _thread.kept:
        _thread.kept.pop().flush()
