"""Fixtures of the tests of AI.* commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis
from support.server import Server


@pytest.fixture
def other(server: Server) -> Iterator[redis.Redis]:
    """A second client, to look on while `client` waits."""
    with contextlib.closing(server.client()) as connected:
        yield connected
