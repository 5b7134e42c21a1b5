"""The device that the loop's thread borrows for as long as it handles what it has read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from keymiss.inference.batcher import LONGEST_S, DeviceQueue


class Loan:
    """Of one channel. The loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.at_end: list[Callable[[], object]] = []  # called before the device is given back
        self._loop = loop
        self._queue: DeviceQueue | None = None
        self._until_s = 0.0  # it may be used

    def take(self, queue: DeviceQueue) -> bool:
        """Have the device, still or from now on. False where it is in use, others want it, or it was had for
        long enough."""
        now_s = perf_counter()
        if queue is self._queue and now_s < self._until_s and not queue.is_wanted:
            return True
        if self._queue is not None or not queue.borrow():
            return False
        self._queue, self._until_s = queue, now_s + LONGEST_S
        self._loop.call_soon(self._give_back)
        return True

    def _give_back(self) -> None:
        for end in self.at_end:
            end()
        if self._queue is not None:
            self._queue.give_back()
            self._queue = None
