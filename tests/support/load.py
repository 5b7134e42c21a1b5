"""Clients that keep asking from threads of their own while a test breaks things."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import redis

from support.waiting import wait_until


@dataclass(frozen=True)
class Asked:
    """One request: its reply, or the error that the client got instead, and how long that took."""

    reply: Any
    error: redis.RedisError | None
    seconds: float


class Load:
    """While the `with` block runs, `clients` threads call `ask(client, n)` over and over, n counting them,
    each `pause_s` after its last reply.

    Each thread has a client from `connect(socket_timeout=...)`, which connects again after an error. Leaving
    the block waits for requests under way; a client that hangs ends by its socket timeout (`timeout_s`), with
    a `redis.TimeoutError` in `asked`.
    """

    def __init__(
        self,
        connect: Callable[..., redis.Redis],
        ask: Callable[[redis.Redis, int], Any],
        clients: int = 8,
        timeout_s: float = 30.0,
        pause_s: float = 0.0,
    ) -> None:
        self._connect, self._ask, self._timeout_s, self._pause_s = connect, ask, timeout_s, pause_s
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        self.asked: list[Asked] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._timeout_s + 5.0)
        assert not any(thread.is_alive() for thread in self._threads), "a client never came back"

    @property
    def replies(self) -> list[Any]:
        return [asked.reply for asked in self.asked if asked.error is None]

    @property
    def errors(self) -> list[str]:
        return [str(asked.error) for asked in self.asked if asked.error is not None]

    def check(self, deadline_s: float) -> None:
        """Everyone was answered within `deadline_s`, by a reply or by an error of the server's."""
        assert all(asked.seconds < deadline_s for asked in self.asked), (
            "a client waited longer than its deadline"
        )
        lost = [asked.error for asked in self.asked if isinstance(asked.error, redis.TimeoutError)]
        assert not lost, "a client was never answered"

    def wait_for_replies(self, count: int, deadline_s: float = 60.0) -> None:
        """Until the clients together got `count` more replies, errors not counted."""
        seen = len(self.replies)
        wait_until(lambda: len(self.replies) >= seen + count, deadline_s, f"{count} more replies")

    def _run(self) -> None:
        with contextlib.closing(self._connect(socket_timeout=self._timeout_s)) as client:
            while not self._stop.is_set():
                started = time.monotonic()
                reply, error = None, None
                try:
                    reply = self._ask(client, next(self._numbers))
                except redis.RedisError as raised:
                    error = raised
                self.asked.append(Asked(reply, error, time.monotonic() - started))
                if self._pause_s:
                    self._stop.wait(self._pause_s)
