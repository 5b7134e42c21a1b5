"""So many lines a second of what clients and functions can make happen any number of times."""

from __future__ import annotations

import threading
from time import monotonic

LINES_PER_S = 10  # as the module: enough to see what is wrong, and no disk is filled by them


class Quota:
    """Every thread."""

    def __init__(self, per_s: int = LINES_PER_S) -> None:
        self._per_s = per_s
        self._second_s = float("-inf")  # when the present second began
        self._lines = self._left_out = 0
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """None where there were enough in this second; else how many were left out since the last one."""
        with self._lock:
            now_s = monotonic()
            if now_s - self._second_s > 1.0:
                self._second_s, self._lines = now_s, 0
            if self._lines == self._per_s:
                self._left_out += 1
                return None
            self._lines += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
