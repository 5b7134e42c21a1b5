"""Commands that wait for a worker, looked at while they wait."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import redis
from redis.connection import Connection

from support.processes import stopped
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


def models_worker_held(client: redis.Redis) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """The models worker stands still, so that what it is sent runs as long as it takes to look at; what the
    block is given lets it go on, as does its end."""
    return stopped(client.info("keymiss")["keymiss_models_worker"]["pid"])
