"""What the programs that drive old clients share: they run in environments of their own, without pytest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

DEADLINE_S = 30.0


def fails(act: Callable[[], Any], words: str) -> None:
    try:
        act()
    except redis.ResponseError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"it does not fail: {words}")


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
