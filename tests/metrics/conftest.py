"""Servers whose workers serve metrics, while a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from support.ports import ports
from support.scraping import scrape
from support.waiting import wait_until

DEADLINE_S = 60.0  # models workers start slowly on a busy machine


@contextmanager
def served(client: redis.Redis, setting: str) -> Iterator[int]:
    """The port that this setting has, from when something is served there."""
    port = ports.take()
    client.config_set(setting, port)
    try:
        wait_until(lambda: scrape(port), DEADLINE_S, "metrics are served")
        yield port
    finally:
        client.config_set(setting, 0)
        ports.release(port)


@pytest.fixture
def functions_port(client: redis.Redis) -> Iterator[int]:
    """Where the functions worker of `server` serves its metrics, and those of the module."""
    with served(client, "keymiss.metrics-port") as port:
        yield port


@pytest.fixture
def models_port(client: redis.Redis) -> Iterator[int]:
    """The same of its models worker."""
    with served(client, "keymiss.models-metrics-port") as port:
        yield port
