"""The time of day is set while the server runs: nothing waits for it, and nothing ends too early."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from support.functions import register
from support.preload import Preloaded
from support.scripted import Scripts
from support.server import Server
from support.waiting import wait_until

HOUR_S = 3600

# Servers ask for the time of day by gettimeofday alone, for their clocks by clock_gettime.
CALENDAR = r"""
#include <sys/time.h>
#include <time.h>

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    long long us = t.tv_sec * 1000000LL + t.tv_nsec / 1000 + *told;
    now->tv_sec = us / 1000000;
    now->tv_usec = us % 1000000;
    return 0;
}
"""


class Calendar(Preloaded):
    """The time of day of servers with its `environment`: as far ahead of the machine's as it was set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CALENDAR)
        self._ahead_s = 0

    def set_forward(self, seconds: int) -> None:
        """Back, where it is negative."""
        self._ahead_s += seconds
        self.tell(self._ahead_s * 1_000_000)


@pytest.fixture
def calendar(tmp_path: Path) -> Calendar:
    return Calendar(tmp_path)


@pytest.fixture
def started(make_server: Callable[..., Server], calendar: Calendar) -> Iterator[Callable[..., redis.Redis]]:
    """A client of a new server that goes by the calendar: started(settings)."""
    with contextlib.ExitStack() as stack:

        def start(settings: dict[str, object]) -> redis.Redis:
            server = make_server(settings=settings, environment=calendar.environment)
            return stack.enter_context(contextlib.closing(server.client(socket_timeout=10.0)))

        yield start


def test_workers_are_heard_when_the_clock_is_set_back(
    started: Callable[..., redis.Redis], calendar: Calendar
) -> None:
    client = started({"keymiss.max-refires": 0})  # something is on the way between them at any time
    register(client, "GB().foreach(lambda r: execute('INCR', r['key'])).register('k*', mode='async_local')")
    client.set("k1", 0)
    for _ in range(20):
        before = int(client.get("k1"))
        calendar.set_forward(-HOUR_S)
        wait_until(lambda before=before: int(client.get("k1")) > before + 20, 10.0, "it goes round")
    assert client.time()[0] < time.time() - 19 * HOUR_S, "the server goes by another clock"


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_a_deadline_stays_where_the_clock_is_set(
    started: Callable[..., redis.Redis], calendar: Calendar, scripted_python: Path, step_s: int
) -> None:
    client = started({"keymiss.python": scripted_python, "keymiss.job-timeout-ms": 2000})
    scripts = Scripts(client)
    assert scripts("register nevers q:* async_local keymiss get") == b"OK"
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        missed = pool.submit(client.get, "q:1")
        wait_until(lambda: scripts.info("jobs_now") == 1, 5.0, "the job is at work")
        calendar.set_forward(step_s)
        with pytest.raises(redis.ResponseError, match="gave no answer within 2000 ms"):
            missed.result()
    assert 1.9 < time.monotonic() - began < 9.0
