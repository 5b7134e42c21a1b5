"""Waiting for a condition, never for a length of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01


def wait_until(condition: Callable[[], T], deadline_s: float, what: str) -> T:
    """Call `condition` until it returns something true, and return that.

    Fails with `what` (and the last exception or value seen) when that does not happen within `deadline_s`.
    OSError and redis errors count as "not yet": servers come up and go down while tests wait.
    """
    from redis.exceptions import RedisError

    end = time.monotonic() + deadline_s
    while True:
        last: object
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, RedisError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what} (last seen: {last!r})")
        time.sleep(POLL_S)
