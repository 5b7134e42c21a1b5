"""What share of the processors others take while something is measured here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_PROCESSORS = Path("/proc/stat")
_IDLE, _IOWAIT, _END = 3, 4, 8  # columns, proc_stat(5); what guests have follows, and is in user and nice


class Neighbours:
    """Counts while `watching`, one time or several. Others are all processes but this one and its children,
    where those live throughout, and other machines of the same host."""

    def __init__(self) -> None:
        self._taken_s = self._there_s = 0.0

    @property
    def share(self) -> float:
        """0 to 1, of the processors that this process may use."""
        return self._taken_s / self._there_s if self._there_s else 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        all_s, own_s, now_s = _busy_s(), _own_s(), time.monotonic()
        yield
        own_s, all_s = _own_s() - own_s, _busy_s() - all_s
        self._there_s += (time.monotonic() - now_s) * len(os.sched_getaffinity(0))
        self._taken_s += max(all_s - own_s, 0.0)


def share_of_others(seconds: float) -> float:
    """What others take in the next seconds."""
    neighbours = Neighbours()
    with neighbours.watching():
        time.sleep(seconds)
    return neighbours.share


def _busy_s() -> float:
    """Of the processors that this process may use, since the machine started."""
    allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [line.split() for line in _PROCESSORS.read_text().splitlines()]
    ticks = [list(map(int, row[1:])) for row in rows if row[0] in allowed]
    busy = sum(sum(row[:_END]) - row[_IDLE] - row[_IOWAIT] for row in ticks)
    return busy / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Of this process and its children."""
    own = psutil.Process()
    found = 0.0
    for process in own, *own.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found += times.user + times.system
    return found
