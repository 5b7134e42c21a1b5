"""`os.fork()` in a function: the child is a copy of the worker, and must not act as one.

In the child the channel is not the server's any more, and the process ends when the function that forked
returns: else it would answer the parent's jobs a second time.
"""

from __future__ import annotations

import asyncio
import os

from keymiss.channel import Channel

_is_child = False


def guard(channel: Channel, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
    """Once, when the channel is there."""

    def in_child() -> None:
        global _is_child
        _is_child = True
        channel.closed = True
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, descriptor)
        os.close(nothing)
        if channel.on_loop_thread:  # what else was to run on it is the parent's to run
            ready = loop._ready  # type: ignore[attr-defined]
            ready.clear()
            loop.call_soon(leave_if_child)

    os.register_at_fork(after_in_child=in_child)


def leave_if_child() -> None:
    """End this process if it is a function's child. The worker itself goes on."""
    if _is_child:
        os._exit(0)
