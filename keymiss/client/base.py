"""What AI and Gears stand on: a client of redis-py, and sending commands by it."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, TypeVar

from . import delivery
from .commands import Command

T = TypeVar("T")


class Client:
    """Sends commands by `client`, a redis.Redis or a redis.RedisCluster, which stays usable for all else.

    Threads may share it. TypeError for an asyncio client.
    """

    _counterpart: ClassVar[str]  # the class for asyncio clients

    def __init__(self, client: Any) -> None:
        if inspect.iscoroutinefunction(client.execute_command):
            raise TypeError(f"{type(client).__name__} is an asyncio client: use {self._counterpart}")
        self.redis = client
        self._in_cluster = delivery.is_cluster(client)

    def run(self, command: Command[T]) -> T:
        """Send one of `commands` and wait for its result."""
        if not self._in_cluster:
            return command.parse(delivery.execute(self.redis, command))
        replies = delivery.execute_in_cluster(self.redis, command)
        return command.join([command.parse(reply) for reply in replies])


class AsyncClient:
    """Sends commands by `client`, a redis.asyncio.Redis or RedisCluster, which stays usable for all else.

    TypeError for a synchronous client.
    """

    _counterpart: ClassVar[str]  # the class for clients that are not asyncio's

    def __init__(self, client: Any) -> None:
        if not inspect.iscoroutinefunction(client.execute_command):
            raise TypeError(f"{type(client).__name__} is no asyncio client: use {self._counterpart}")
        self.redis = client
        self._in_cluster = delivery.is_cluster(client)

    async def run(self, command: Command[T]) -> T:
        """Send one of `commands` and wait for its result."""
        if not self._in_cluster:
            return command.parse(await delivery.execute_async(self.redis, command))
        replies = await delivery.execute_in_async_cluster(self.redis, command)
        return command.join([command.parse(reply) for reply in replies])
