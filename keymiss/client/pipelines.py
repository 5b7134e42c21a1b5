"""Pipelines: AI.* among other commands on a pipeline of redis-py."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from redis.exceptions import RedisError, SlotNotCoveredError

from ..errors import KeymissError
from . import commands, delivery
from .commands import Command, Where
from .dag import Dag
from .methods import building, queueing


class _Queue:
    """Commands of AI.* among others on a pipeline of redis-py, which is `redis` here. Each returns the
    pipeline; but where that runs it at once (after `redis.watch`, before `redis.multi`), its result.

    ValueError for a transaction on a client with decode_responses: redis-py would decode the tensors in it.
    """

    def __init__(self, client: Any, transaction: bool | None) -> None:
        self._client, self._in_cluster = client, delivery.is_cluster(client)
        if transaction is None:
            transaction = not self._in_cluster
        if transaction and client.get_encoder().decode_responses:
            raise ValueError(
                "a transaction on a client with decode_responses=True cannot carry tensors: "
                "use pipeline(transaction=False), or a client without decode_responses"
            )
        self.redis = client.pipeline(transaction=transaction)
        self._parsers: dict[int, Callable[[Any], Any]] = {}  # by the place of the command among the queued

    def run(self, command: Command[Any]) -> Any:
        """Queue one of `commands`. ValueError for one that goes to several nodes."""
        target: dict[str, Any] = {}
        if self._in_cluster:
            if command.where in (Where.SHARDS, Where.NODES):
                raise ValueError(
                    f"{command.name} goes to several nodes: it cannot be in a cluster's pipeline"
                )
            try:
                (target,) = delivery.targets(self._client, command)
            except SlotNotCoveredError:
                target = {}  # the client has not looked where the slots are yet: `execute()` does
        queued = len(self.redis)
        reply = self.redis.execute_command(*command.args, **delivery.UNDECODED, **target)
        if len(self.redis) == queued:
            return self._parsed(command, reply)
        self._parsers[queued] = command.parse
        return self

    def _parsed(self, command: Command[Any], reply: Any) -> Any:
        """The result of a command that was not queued."""
        return command.parse(reply)

    def _results(self, replies: list[Any], raise_on_error: bool) -> list[Any]:
        results: list[Any] = []
        for at, reply in enumerate(replies):
            if at not in self._parsers or isinstance(reply, Exception):
                results.append(reply)
                continue
            try:
                results.append(self._parsers[at](reply))
            except (RedisError, KeymissError) as error:  # of a DAG's operation; a timeout that passed
                if raise_on_error:
                    raise
                results.append(error)
        return results

    tensorset = queueing(commands.tensorset)
    tensorget = queueing(commands.tensorget)
    modelstore = queueing(commands.modelstore)
    modelset = queueing(commands.modelset)
    modelget = queueing(commands.modelget)
    modeldel = queueing(commands.modeldel)
    modelexecute = queueing(commands.modelexecute)
    modelrun = queueing(commands.modelrun)
    modelscan = queueing(commands.modelscan)
    scriptstore = queueing(commands.scriptstore)
    scriptset = queueing(commands.scriptset)
    scriptget = queueing(commands.scriptget)
    scriptdel = queueing(commands.scriptdel)
    scriptexecute = queueing(commands.scriptexecute)
    scriptrun = queueing(commands.scriptrun)
    scriptscan = queueing(commands.scriptscan)
    info = queueing(commands.info)
    infoget = queueing(commands.infoget)
    inforeset = queueing(commands.inforeset)
    config = queueing(commands.config)
    loadbackend = queueing(commands.loadbackend)


class Pipeline(_Queue):
    """Commands that are sent together. Those that are not AI.* go to `redis`, the pipeline of redis-py."""

    dag = building(Dag["Pipeline"])

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send what was queued; all results in order, those of `redis` among them.

        The first error is raised, or with `raise_on_error=False` left in its place.
        """
        try:
            return self._results(self.redis.execute(raise_on_error), raise_on_error)
        finally:
            self._parsers.clear()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parsers.clear()
        self.redis.reset()


class AsyncPipeline(_Queue):
    """Commands that are sent together. Those that are not AI.* go to `redis`, the pipeline of redis-py."""

    dag = building(Dag["AsyncPipeline"])

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send what was queued; all results in order, those of `redis` among them.

        The first error is raised, or with `raise_on_error=False` left in its place.
        """
        try:
            return self._results(await self.redis.execute(raise_on_error), raise_on_error)
        finally:
            self._parsers.clear()

    async def _parsed(self, command: Command[Any], reply: Any) -> Any:
        return command.parse(await reply)

    async def __aenter__(self) -> AsyncPipeline:
        await self.redis.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parsers.clear()
        await self.redis.__aexit__(kind, error, trace)
