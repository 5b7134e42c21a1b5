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

from collections.abc import Coroutine
from typing import Any

from . import commands
from .base import AsyncClient, Client
from .dag import Dag
from .methods import awaiting, building, sending
from .pipelines import AsyncPipeline, Pipeline


class AI(Client):
    """AI.* on `client`, a redis.Redis or a redis.RedisCluster, which stays usable for everything else.

    Threads may share it. TypeError for an asyncio client.
    """

    _counterpart = "AsyncAI"

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


class AsyncAI(AsyncClient):
    """AI.* on `client`, a redis.asyncio.Redis or RedisCluster, which stays usable for everything else.

    TypeError for a synchronous client.
    """

    _counterpart = "AI"

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
