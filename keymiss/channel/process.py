"""A worker's process: it must not outlive the server it works for."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PID_POLL_S = 1.0


def die_with_parent() -> None:
    """Have the kernel kill this process when the process that started it ends.

    Linux; elsewhere the watch below remains.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def peer_pid(sock: socket.socket) -> int:
    """The process at the other end of a unix socket or socketpair; 0 where it is of another container."""
    try:
        pid: int = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )[0]
        return pid
    except (OSError, AttributeError):
        return 0


def watch_pid(pid: int, loop: asyncio.AbstractEventLoop, gone: Callable[[], None]) -> None:
    """Call `gone` when that process has ended.

    End of file does not tell: a forked BGSAVE child keeps the channel open.
    """
    if pid <= 0:
        return
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        loop.call_soon(gone)
        return
    except (OSError, AttributeError):
        _poll_pid(pid, loop, gone)
        return

    def ended() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        gone()

    loop.add_reader(fd, ended)


def _poll_pid(pid: int, loop: asyncio.AbstractEventLoop, gone: Callable[[], None]) -> None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        gone()
    except PermissionError:
        pass
    else:
        loop.call_later(_PID_POLL_S, _poll_pid, pid, loop, gone)
