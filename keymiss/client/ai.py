"""AI.* on a client of redis-py: AI on a synchronous one, AsyncAI on an asyncio one; of a server or a cluster.

    ai = AI(redis.Redis())
    ai.tensorset("x", np.ones((1, 3), np.float32))
    ai.modelstore("m", "TORCH", "CPU", Path("model.pt").read_bytes())
    ai.modelexecute("m", ["x"], ["y"])
    y = ai.tensorget("y")

    ai = AsyncAI(redis.asyncio.Redis())
    y = await ai.tensorget("y")

What each method takes, gives and raises stands in `commands.py`, once for both.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any, TypeVar

from . import commands, delivery
from .commands import Command
from .dag import Dag
from .methods import awaiting, building, sending
from .pipelines import AsyncPipeline, Pipeline

T = TypeVar("T")


class AI:
    """AI.* on `client`, a redis.Redis or a redis.RedisCluster, which stays usable for everything else.

    Threads may share it. TypeError for an asyncio client.
    """

    def __init__(self, client: Any) -> None:
        if inspect.iscoroutinefunction(client.execute_command):
            raise TypeError(f"{type(client).__name__} is an asyncio client: use AsyncAI")
        self.redis = client
        self._in_cluster = delivery.is_cluster(client)

    def run(self, command: Command[T]) -> T:
        """Send one of `commands` and wait for its result."""
        if not self._in_cluster:
            return command.parse(delivery.execute(self.redis, command))
        replies = [
            delivery.execute_in_cluster(self.redis, command, target)
            for target in delivery.targets(self.redis, command)
        ]
        return command.join([command.parse(reply) for reply in replies])

    def pipeline(self, transaction: bool | None = None) -> Pipeline:
        """A pipeline: commands are queued, and sent together by `execute()`.

        It is a transaction (MULTI) unless told otherwise or in a cluster. Models, scripts and DAGs cannot run
        in one.
        """
        return Pipeline(self.redis, transaction)

    tensorset = sending(commands.tensorset)
    tensorget = sending(commands.tensorget)
    modelstore = sending(commands.modelstore)
    modelset = sending(commands.modelset)
    modelget = sending(commands.modelget)
    modeldel = sending(commands.modeldel)
    modelexecute = sending(commands.modelexecute)
    modelrun = sending(commands.modelrun)
    modelscan = sending(commands.modelscan)
    scriptstore = sending(commands.scriptstore)
    scriptset = sending(commands.scriptset)
    scriptget = sending(commands.scriptget)
    scriptdel = sending(commands.scriptdel)
    scriptexecute = sending(commands.scriptexecute)
    scriptrun = sending(commands.scriptrun)
    scriptscan = sending(commands.scriptscan)
    info = sending(commands.info)
    infoget = sending(commands.infoget)
    inforeset = sending(commands.inforeset)
    config = sending(commands.config)
    loadbackend = sending(commands.loadbackend)
    dag = building(Dag[list[Any]])


class AsyncAI:
    """AI.* on `client`, a redis.asyncio.Redis or RedisCluster, which stays usable for everything else.

    TypeError for a synchronous client.
    """

    def __init__(self, client: Any) -> None:
        if not inspect.iscoroutinefunction(client.execute_command):
            raise TypeError(f"{type(client).__name__} is no asyncio client: use AI")
        self.redis = client
        self._in_cluster = delivery.is_cluster(client)

    async def run(self, command: Command[T]) -> T:
        """Send one of `commands` and wait for its result."""
        if not self._in_cluster:
            return command.parse(await self.redis.execute_command(*command.args, **delivery.UNDECODED))
        await self.redis.initialize()  # does nothing but the first time: where the slots are
        asked = [
            self.redis.execute_command(*command.args, **delivery.UNDECODED, **target)
            for target in delivery.targets(self.redis, command)
        ]
        return command.join([command.parse(reply) for reply in await asyncio.gather(*asked)])

    def pipeline(self, transaction: bool | None = None) -> AsyncPipeline:
        """A pipeline: commands are queued, and sent together by `await execute()`.

        It is a transaction (MULTI) unless told otherwise or in a cluster. Models, scripts and DAGs cannot run
        in one.
        """
        return AsyncPipeline(self.redis, transaction)

    tensorset = awaiting(commands.tensorset)
    tensorget = awaiting(commands.tensorget)
    modelstore = awaiting(commands.modelstore)
    modelset = awaiting(commands.modelset)
    modelget = awaiting(commands.modelget)
    modeldel = awaiting(commands.modeldel)
    modelexecute = awaiting(commands.modelexecute)
    modelrun = awaiting(commands.modelrun)
    modelscan = awaiting(commands.modelscan)
    scriptstore = awaiting(commands.scriptstore)
    scriptset = awaiting(commands.scriptset)
    scriptget = awaiting(commands.scriptget)
    scriptdel = awaiting(commands.scriptdel)
    scriptexecute = awaiting(commands.scriptexecute)
    scriptrun = awaiting(commands.scriptrun)
    scriptscan = awaiting(commands.scriptscan)
    info = awaiting(commands.info)
    infoget = awaiting(commands.infoget)
    inforeset = awaiting(commands.inforeset)
    config = awaiting(commands.config)
    loadbackend = awaiting(commands.loadbackend)
    dag = building(Dag[Coroutine[Any, Any, list[Any]]])
