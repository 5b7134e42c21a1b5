"""Two forms of one model: for passes that have all threads, and for those that share the device."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger("keymiss.inference")

T = TypeVar("T")

# Of a model's file. A second copy of larger ones costs more than it gains: one pass keeps all threads busy.
MAX_BYTES = 200 << 20


class Forms(Generic[T]):
    """`alone` has `threads` threads. `make_shared` makes the form whose passes have as many as it is given,
    and may fail; None: passes never share the device."""

    def __init__(self, alone: T, threads: int, make_shared: Callable[[int], T] | None) -> None:
        self._alone = self._shared = alone
        self._threads, self._make_shared = threads, make_shared
        self._thread = threading.local()  # .threads: what its passes have
        self._lock = threading.Lock()
        self.can_share = make_shared is not None

    def take_threads(self, threads: int) -> None:
        """Passes of the calling thread have so many from now on."""
        self._thread.threads = threads

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self._shared is self._alone else 2

    def current(self, may_make: bool) -> T:
        """The form for a pass of the calling thread. The other one is begun when it is first asked for and
        may be made, and takes up to a second: until then it is that for passes alone."""
        threads = getattr(self._thread, "threads", self._threads)
        if threads >= self._threads:
            return self._alone
        if not may_make:
            return self._shared
        with self._lock:  # what it is made from is not kept
            make_shared, self._make_shared = self._make_shared, None
        if make_shared is not None:
            wanted = make_shared, threads
            threading.Thread(target=self._share, args=wanted, name="share", daemon=True).start()
        return self._shared

    def _share(self, make_shared: Callable[[int], T], threads: int) -> None:
        try:
            self._shared = make_shared(threads)
        except Exception as error:  # as libraries have it: passes go on as they are
            log.warning("a model has no form for passes beside each other: %s", error)
