"""`python -m keymiss.inference`: the models worker, as a child of a server or shared by the shards of a
host.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TypeAlias

from keymiss.channel import die_with_parent, watch_pid
from keymiss.inference.allocator import in_use, restart_with_jemalloc
from keymiss.inference.openmp import spin_briefly
from keymiss.inference.telling import log_by
from keymiss.inference.worker import WATCH_INTERVAL_S, ShardChannel, Worker
from keymiss.logs import Forwarding, Lines, about

log = logging.getLogger("keymiss.inference")

# Done when the worker is to end, with what went wrong where something did.
Stop: TypeAlias = "asyncio.Future[Exception | None]"

_INHERITED_FD = 3
_BACKLOG = 128
_ACCEPT_AGAIN_S = 1.0  # after one that failed
# torch alone is hundreds of thousands of objects to look through, and requests leave no cycles behind.
_GC_THRESHOLDS = 100_000, 50, 50


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m keymiss.inference", description=__doc__)
    parser.add_argument(
        "--listen",
        type=Path,
        metavar="PATH",
        help="serve shards on this unix socket, instead of one on descriptor 3",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="threads of a forward pass (default: keymiss.models-threads, else all cores)",
    )
    arguments = parser.parse_args()
    if arguments.listen is None:
        os.set_inheritable(_INHERITED_FD, True)
    restart_with_jemalloc()
    spin_briefly()
    gc.set_threshold(*_GC_THRESHOLDS)
    if arguments.listen is None:
        os.set_inheritable(_INHERITED_FD, False)
        status = asyncio.run(_serve_parent(arguments.threads))
    else:
        status = asyncio.run(_serve_shards(arguments.listen, arguments.threads))
    sys.stderr.flush()
    os._exit(status)  # a forward pass cannot be interrupted, and nobody waits for it any more


async def _serve_parent(threads: int) -> int:
    """Serve the server that started this process, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server, which ends us
    die_with_parent()
    loop = asyncio.get_running_loop()
    stop = _stopped_by(loop, signal.SIGTERM)
    lines = Lines("models")
    worker = Worker(loop, threads, lines, lambda why: _resolve(stop, why))
    channel = worker.attach(
        socket.socket(fileno=_INHERITED_FD), lambda channel, reason: _resolve(stop, reason)
    )
    log_by(Forwarding(channel.log), lines)
    watch_pid(os.getppid(), loop, lambda: _resolve(stop))
    worker.watch()
    _end_if_stuck(loop, worker)
    reason = await stop
    if reason is not None:  # the server may hear nothing any more; it says itself that this worker has ended
        print(f"models worker: {reason}", file=sys.stderr)
    return 0 if reason is None else 1


async def _serve_shards(path: Path, threads: int) -> int:
    """Serve whoever connects, until a signal comes."""
    loop = asyncio.get_running_loop()
    lines = Lines("models", to_file=True)
    log_by(logging.StreamHandler(sys.stderr), lines)
    lock = _lock(path)
    if lock is None:
        log.error("another models worker serves %s", path)
        return 1
    listener = _listen(path)
    stop = _stopped_by(loop, signal.SIGTERM, signal.SIGINT)
    worker = Worker(loop, threads, lines, lambda why: _resolve(stop, why))
    worker.watch()
    _end_if_stuck(loop, worker)
    log.info("serving %s%s", path, " with jemalloc" if in_use() else "", extra=about("worker-started"))
    accepting = loop.create_task(_accept(loop, listener, worker))
    reason = await stop
    accepting.cancel()
    path.unlink(missing_ok=True)
    if reason is not None:
        log.error("%s", reason, extra=about("worker-ended"))
    return 0 if reason is None else 1


def _end_if_stuck(loop: asyncio.AbstractEventLoop, worker: Worker) -> None:
    """Now and every second: let this process live on. The loop's thread runs quick models itself, and one
    that suddenly is endless would keep it from all shards: then faulthandler's thread ends the process."""
    faulthandler.dump_traceback_later(worker.hang_timeout_s + WATCH_INTERVAL_S, exit=True)
    loop.call_later(WATCH_INTERVAL_S, _end_if_stuck, loop, worker)


async def _accept(loop: asyncio.AbstractEventLoop, listener: socket.socket, worker: Worker) -> None:
    while True:
        try:
            sock, _ = await loop.sock_accept(listener)
        except OSError as error:  # no descriptor is free: the shard waits in the backlog
            log.warning("a shard cannot be accepted yet: %s", error, extra=about("shard-waits"))
            await asyncio.sleep(_ACCEPT_AGAIN_S)
            continue
        log.info("a shard has connected", extra=about("shard-connected"))
        worker.attach(sock, _log_end)


def _log_end(channel: ShardChannel, reason: Exception | None) -> None:
    why = {"error": str(reason)} if reason else {}
    log.info("a shard has left", extra=about("shard-left", why, shard=channel.shard))


def _stopped_by(loop: asyncio.AbstractEventLoop, *signals: signal.Signals) -> Stop:
    """Done when one of these signals comes."""
    stop: Stop = loop.create_future()
    for number in signals:
        loop.add_signal_handler(number, _resolve, stop)
    return stop


def _resolve(stop: Stop, reason: Exception | None = None) -> None:
    if not stop.done():
        stop.set_result(reason)


def _lock(path: Path) -> int | None:
    """Hold `<path>.lock` as long as this process lives; None where another one does. A socket file that is
    left over from a killed worker can then be told from one that is served."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, for this user only."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    main()
