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
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from redis.client import NEVER_DECODE
from redis.exceptions import SlotNotCoveredError

from . import commands, sending
from .commands import Command, Key, Keys, Where
from .dag import Dag

P = ParamSpec("P")
T = TypeVar("T")
Queue = TypeVar("Queue", bound="_Queue")

_BYTES: dict[str, Any] = {
    NEVER_DECODE: []
}  # for redis-py: blobs are no text, whatever `decode_responses` says


def _as_built(method: Callable[..., Any], build: Callable[..., Any]) -> None:
    """Give the method the name, the parameters and the words of what it builds on."""
    method.__name__, method.__doc__ = build.__name__, build.__doc__
    built = inspect.signature(build)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [itself, *built.parameters.values()]
    shown = built.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    method.__signature__ = shown  # type: ignore[attr-defined]


def _now(build: Callable[P, Command[T]]) -> Callable[Concatenate[AI, P], T]:
    """A method that sends the command and waits for its result."""

    def method(self: AI, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(build(*args, **kwargs))

    _as_built(method, build)
    return method


def _awaited(
    build: Callable[P, Command[T]],
) -> Callable[Concatenate[AsyncAI, P], Coroutine[Any, Any, T]]:
    """A coroutine that sends the command and waits for its result."""

    async def method(self: AsyncAI, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(build(*args, **kwargs))

    _as_built(method, build)
    return method


def _queued(build: Callable[P, Command[Any]]) -> Callable[Concatenate[Queue, P], Queue]:
    """A method that adds the command to those that `execute()` sends."""

    def method(self: Queue, /, *args: P.args, **kwargs: P.kwargs) -> Queue:
        return self.run(build(*args, **kwargs))

    _as_built(method, build)
    return method


class AI:
    """AI.* on `client`, a redis.Redis or a redis.RedisCluster, which stays usable for everything else.

    Threads may share it. TypeError for an asyncio client.
    """

    def __init__(self, client: Any) -> None:
        if inspect.iscoroutinefunction(client.execute_command):
            raise TypeError(f"{type(client).__name__} is an asyncio client: use AsyncAI")
        self.redis = client
        self._in_cluster = _is_cluster(client)

    def run(self, command: Command[T]) -> T:
        """Send one of `commands` and wait for its result."""
        if not self._in_cluster:
            return command.parse(sending.execute(self.redis, command.args, _BYTES))
        replies = [
            sending.execute_in_cluster(self.redis, command, _BYTES, target)
            for target in _targets(self.redis, command)
        ]
        return command.join([command.parse(reply) for reply in replies])

    def pipeline(self, transaction: bool | None = None) -> Pipeline:
        """A pipeline: commands are queued, and sent together by `execute()`.

        It is a transaction (MULTI) unless told otherwise or in a cluster. Models, scripts and DAGs cannot run
        in one.
        """
        return Pipeline(self.redis, transaction)

    def dag(
        self,
        load: Keys | None = None,
        persist: Keys | None = None,
        routing: Key | None = None,
        timeout: int | None = None,
        readonly: bool = False,
    ) -> Dag[list[Any]]:
        """A DAG to add operations to; see Dag."""
        return Dag(self.run, load, persist, routing, timeout, readonly)

    tensorset = _now(commands.tensorset)
    tensorget = _now(commands.tensorget)
    modelstore = _now(commands.modelstore)
    modelset = _now(commands.modelset)
    modelget = _now(commands.modelget)
    modeldel = _now(commands.modeldel)
    modelexecute = _now(commands.modelexecute)
    modelrun = _now(commands.modelrun)
    modelscan = _now(commands.modelscan)
    scriptstore = _now(commands.scriptstore)
    scriptset = _now(commands.scriptset)
    scriptget = _now(commands.scriptget)
    scriptdel = _now(commands.scriptdel)
    scriptexecute = _now(commands.scriptexecute)
    scriptrun = _now(commands.scriptrun)
    scriptscan = _now(commands.scriptscan)
    info = _now(commands.info)
    infoget = _now(commands.infoget)
    inforeset = _now(commands.inforeset)
    config = _now(commands.config)
    loadbackend = _now(commands.loadbackend)


class AsyncAI:
    """AI.* on `client`, a redis.asyncio.Redis or RedisCluster, which stays usable for everything else.

    TypeError for a synchronous client.
    """

    def __init__(self, client: Any) -> None:
        if not inspect.iscoroutinefunction(client.execute_command):
            raise TypeError(f"{type(client).__name__} is no asyncio client: use AI")
        self.redis = client
        self._in_cluster = _is_cluster(client)

    async def run(self, command: Command[T]) -> T:
        """Send one of `commands` and wait for its result."""
        if not self._in_cluster:
            return command.parse(await self.redis.execute_command(*command.args, **_BYTES))
        await self.redis.initialize()  # does nothing but the first time: where the slots are
        asked = [
            self.redis.execute_command(*command.args, **_BYTES, **target)
            for target in _targets(self.redis, command)
        ]
        return command.join([command.parse(reply) for reply in await asyncio.gather(*asked)])

    def pipeline(self, transaction: bool | None = None) -> AsyncPipeline:
        """A pipeline: commands are queued, and sent together by `await execute()`.

        It is a transaction (MULTI) unless told otherwise or in a cluster. Models, scripts and DAGs cannot run
        in one.
        """
        return AsyncPipeline(self.redis, transaction)

    def dag(
        self,
        load: Keys | None = None,
        persist: Keys | None = None,
        routing: Key | None = None,
        timeout: int | None = None,
        readonly: bool = False,
    ) -> Dag[Coroutine[Any, Any, list[Any]]]:
        """A DAG to add operations to; see Dag. Its `execute()` is awaited."""
        return Dag(self.run, load, persist, routing, timeout, readonly)

    tensorset = _awaited(commands.tensorset)
    tensorget = _awaited(commands.tensorget)
    modelstore = _awaited(commands.modelstore)
    modelset = _awaited(commands.modelset)
    modelget = _awaited(commands.modelget)
    modeldel = _awaited(commands.modeldel)
    modelexecute = _awaited(commands.modelexecute)
    modelrun = _awaited(commands.modelrun)
    modelscan = _awaited(commands.modelscan)
    scriptstore = _awaited(commands.scriptstore)
    scriptset = _awaited(commands.scriptset)
    scriptget = _awaited(commands.scriptget)
    scriptdel = _awaited(commands.scriptdel)
    scriptexecute = _awaited(commands.scriptexecute)
    scriptrun = _awaited(commands.scriptrun)
    scriptscan = _awaited(commands.scriptscan)
    info = _awaited(commands.info)
    infoget = _awaited(commands.infoget)
    inforeset = _awaited(commands.inforeset)
    config = _awaited(commands.config)
    loadbackend = _awaited(commands.loadbackend)


class _Queue:
    """Commands of AI.* among others on a pipeline of redis-py, which is `redis` here. Each returns the
    pipeline.

    ValueError for a transaction on a client with decode_responses: redis-py would decode the tensors in it.
    """

    def __init__(self, client: Any, transaction: bool | None) -> None:
        self._client, self._in_cluster = client, _is_cluster(client)
        if transaction is None:
            transaction = not self._in_cluster
        if transaction and client.get_encoder().decode_responses:
            raise ValueError(
                "a transaction on a client with decode_responses=True cannot carry tensors: "
                "use pipeline(transaction=False), or a client without decode_responses"
            )
        self.redis = client.pipeline(transaction=transaction)
        self._parsers: dict[int, Callable[[Any], Any]] = {}  # by the place of the command among the queued

    def run(self: Queue, command: Command[Any]) -> Queue:
        """Queue one of `commands`. ValueError for one that goes to several nodes."""
        target: dict[str, Any] = {}
        if self._in_cluster:
            if command.where in (Where.SHARDS, Where.NODES):
                raise ValueError(
                    f"{command.name} goes to several nodes: it cannot be in a cluster's pipeline"
                )
            try:
                (target,) = _targets(self._client, command)
            except SlotNotCoveredError:
                target = {}  # the client has not looked where the slots are yet: `execute()` does
        self._parsers[len(self.redis)] = command.parse
        self.redis.execute_command(*command.args, **_BYTES, **target)
        return self

    def dag(
        self: Queue,
        load: Keys | None = None,
        persist: Keys | None = None,
        routing: Key | None = None,
        timeout: int | None = None,
        readonly: bool = False,
    ) -> Dag[Queue]:
        """A DAG to add operations to; see Dag. Its `execute()` queues it."""
        return Dag(self.run, load, persist, routing, timeout, readonly)

    def _parsed(self, replies: list[Any]) -> list[Any]:
        parsers, self._parsers = self._parsers, {}
        return [
            parsers[at](reply) if at in parsers and not isinstance(reply, Exception) else reply
            for at, reply in enumerate(replies)
        ]

    tensorset = _queued(commands.tensorset)
    tensorget = _queued(commands.tensorget)
    modelstore = _queued(commands.modelstore)
    modelset = _queued(commands.modelset)
    modelget = _queued(commands.modelget)
    modeldel = _queued(commands.modeldel)
    modelexecute = _queued(commands.modelexecute)
    modelrun = _queued(commands.modelrun)
    modelscan = _queued(commands.modelscan)
    scriptstore = _queued(commands.scriptstore)
    scriptset = _queued(commands.scriptset)
    scriptget = _queued(commands.scriptget)
    scriptdel = _queued(commands.scriptdel)
    scriptexecute = _queued(commands.scriptexecute)
    scriptrun = _queued(commands.scriptrun)
    scriptscan = _queued(commands.scriptscan)
    info = _queued(commands.info)
    infoget = _queued(commands.infoget)
    inforeset = _queued(commands.inforeset)
    config = _queued(commands.config)
    loadbackend = _queued(commands.loadbackend)


class Pipeline(_Queue):
    """Commands that are sent together. Those that are not AI.* go to `redis`, the pipeline of redis-py."""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send what was queued; all results in order, those of `redis` among them.

        The first error is raised, or with `raise_on_error=False` left in its place.
        """
        return self._parsed(self.redis.execute(raise_on_error))

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.redis.reset()


class AsyncPipeline(_Queue):
    """Commands that are sent together. Those that are not AI.* go to `redis`, the pipeline of redis-py."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send what was queued; all results in order, those of `redis` among them.

        The first error is raised, or with `raise_on_error=False` left in its place.
        """
        return self._parsed(await self.redis.execute(raise_on_error))

    async def __aenter__(self) -> AsyncPipeline:
        await self.redis.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.redis.__aexit__(kind, error, trace)


def _is_cluster(client: Any) -> bool:
    return hasattr(client, "get_node_from_key")


def _targets(cluster: Any, command: Command[Any]) -> list[dict[str, Any]]:
    """For each node that the command goes to, what tells redis-py so."""
    if command.where is Where.KEY:
        return [{}]
    if command.where is Where.TOLD_KEY:
        return [{"target_nodes": cluster.get_node_from_key(command.key)}]
    if command.where is Where.ANY:
        return [{"target_nodes": cluster.get_random_node()}]
    nodes = cluster.get_primaries() if command.where is Where.SHARDS else cluster.get_nodes()
    return [{"target_nodes": node} for node in nodes]
