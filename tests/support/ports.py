"""Free ports, safe among test processes that run beside each other.

Ports below the ephemeral range are used, because an outgoing connection may take any port of that range
between the moment a test looks and the moment its server binds. A lock file per port keeps parallel test
processes apart.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

DEFAULT_RANGE = "20100-22767"  # the cluster bus, 10,000 above, stays below the ephemeral ports too


class PortPool:
    """Ports from `KEYMISS_TEST_PORTS` ("first-last"), each held by a lock file until `release`."""

    def __init__(self) -> None:
        first, _, last = os.environ.get("KEYMISS_TEST_PORTS", DEFAULT_RANGE).partition("-")
        self._ports = list(range(int(first), int(last) + 1))
        random.Random(os.getpid()).shuffle(self._ports)
        self._folder = Path(tempfile.gettempdir()) / f"keymiss-test-ports-{os.getuid()}"
        self._folder.mkdir(exist_ok=True)
        self._held: dict[int, IO[str]] = {}

    def take(self) -> int:
        """A port that nobody listens on and no other pool holds."""
        return self.take_run(1)

    def take_run(self, count: int) -> int:
        """The first of `count` such ports in a row."""
        for first in self._ports:
            held = []
            for port in range(first, first + count):
                if not self._hold(port):
                    break
                held.append(port)
            if len(held) == count:
                return first
            for port in held:
                self.release(port)
        raise RuntimeError("no free port in KEYMISS_TEST_PORTS")

    def _hold(self, port: int) -> bool:
        if port in self._held:
            return False
        lock = (self._folder / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            return False
        self._held[port] = lock
        return True

    def release(self, port: int) -> None:
        self._held.pop(port).close()


ports = PortPool()
