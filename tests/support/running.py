"""Commands that wait for a worker, looked at while they wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
from redis.connection import Connection

from support.waiting import wait_until


@contextlib.contextmanager
def sent(client: redis.Redis, *command: Any) -> Iterator[Connection]:
    """A connection that has sent a command and not read its answer."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        yield connection
    finally:
        client.connection_pool.release(connection)


def wait_until_running(client: redis.Redis, count: int) -> None:
    """Until the models worker has been sent so many jobs that it has not answered."""
    wait_until(lambda: client.info("keymiss")["keymiss_models_running"] == count, 10.0, f"{count} jobs run")
