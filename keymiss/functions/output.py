"""What functions print and log goes to the server's log, so much in a second and no more.

Descriptors 1 and 2 become a pipe, so that it concerns `print`, libraries and child processes alike. A thread
carries what comes to where they went before; what is too much it drops, and says how much that was.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from time import monotonic

DEFAULT_BYTES = 1 << 20
_PIECE = 1 << 16
_LINE = 64  # what a line of the log takes beside its text


class Allowance:
    """So many bytes a second, those of one second at once. Every thread."""

    def __init__(self, per_s: int = DEFAULT_BYTES) -> None:
        self.per_s = per_s
        self._left = float(per_s)
        self._at = monotonic()
        self._dropped = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """False where that is too much now; it is counted."""
        with self._lock:
            now = monotonic()
            self._left = min(float(self.per_s), self._left + (now - self._at) * self.per_s)
            self._at = now
            if count <= self._left:
                self._left -= count
                return True
            self._dropped += count
            return False

    def take_line(self, text: str) -> bool:
        """As `take`, for a line of the log."""
        return self.take(len(text) + _LINE)

    def dropped(self) -> int:
        """Bytes that were dropped since the last call."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
            return dropped


class Output:
    """Descriptors 1 and 2 of this process."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self._originals: dict[int, int] = {}  # by the end of a pipe that is read
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            read, write = os.pipe()
            self._originals[read] = self.stderr = os.dup(descriptor)
            os.dup2(write, descriptor)
            os.close(write)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        threading.Thread(target=self._carry, name="output", daemon=True).start()

    def _carry(self) -> None:
        while self._originals:
            for read in select.select(list(self._originals), [], [])[0]:
                piece = os.read(read, _PIECE)
                if not piece:  # functions have closed the descriptor
                    del self._originals[read]
                elif self.allowance.take(len(piece)):
                    _write(self._originals[read], piece)

    def drain(self) -> None:
        """Carry what is in the pipes: the last words before the process ends."""
        sys.stdout.flush()
        sys.stderr.flush()
        for read in select.select(list(self._originals), [], [], 0)[0]:
            _write(self._originals[read], os.read(read, _PIECE))


def _write(descriptor: int, piece: bytes) -> None:
    try:
        while piece:
            piece = piece[os.write(descriptor, piece) :]
    except OSError:  # whoever read the server's output is gone, as the server itself would find
        return
