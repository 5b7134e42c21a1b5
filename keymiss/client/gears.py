"""RG.* on a client of redis-py: Gears on a synchronous one, AsyncGears on an asyncio one; of a server or a
cluster.

    gears = Gears(redis.Redis())
    results, errors = gears.builder("KeysReader").map(lambda record: record["key"]).run("user:*")
    gears.builder("CommandReader").map(lambda words: len(words)).register(trigger="words")
    gears.trigger("words", "one", "two")

    gears = AsyncGears(redis.asyncio.Redis())
    results, errors = await gears.builder("KeysReader").count().run()

Functions travel as cloudpickle writes them, and so do results: only use servers that you trust.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from . import delivery, replies
from .base import AsyncClient, Client
from .builders import Results, Session, Steps, read_results, run_options
from .commands import Command, Where
from .methods import awaiting, sending
from .tracebacks import readable

T = TypeVar("T")

NO_SESSION = Session()


def trigger(name: str, *arguments: Any) -> Command[list[Any]]:
    """Run the function that was registered with trigger=`name`; its results, as the server tells them.

    redis.ResponseError where there is none, or where it failed.
    """
    return Command(("RG.TRIGGER", name, *arguments), replies.plain, Where.SHARD, once=True)


class Builder(Steps):
    """A function under construction, for `Gears`."""

    def __init__(self, gears: Gears, reader: str, default: Any, desc: str | None, session: Session) -> None:
        super().__init__(reader, default, desc, session)
        self._gears = gears

    def run(self, arg: Any = None, collect: bool = True, mode: str = "async", **options: Any) -> Results:
        """Run it on all shards, or with mode="async_local" on one, and wait for (results, errors).

        `arg` is what the reader reads, options are the reader's; with `collect=False` the results of other
        shards are left out. redis.ResponseError where the shard refuses it, FunctionError where a function or
        a result cannot travel.
        """
        return self._gears.run(self._run(run_options(arg, collect, mode, options)))

    def start(self, arg: Any = None, collect: bool = True, mode: str = "async", **options: Any) -> Execution:
        """As `run`, without waiting."""
        node = self._gears.any_shard()
        name = self._gears.run(self._start(run_options(arg, collect, mode, options), node))
        return Execution(self._gears, name, node)

    def register(self, prefix: str | None = None, mode: str = "async", **options: Any) -> None:
        """Run it on each event that the reader is told of, on every shard from now on; without a `prefix` it
        is the `defaultArg` of the builder.

        Options are those of GearsBuilder: eventTypes, keyTypes, commands, readValue, batch, trigger ...
        redis.ResponseError where the shard refuses it, FunctionError where a function cannot travel.
        """
        self._gears.run(self._register({"prefix": prefix, "mode": mode, **options}))


class AsyncBuilder(Steps):
    """A function under construction, for `AsyncGears`."""

    def __init__(
        self, gears: AsyncGears, reader: str, default: Any, desc: str | None, session: Session
    ) -> None:
        super().__init__(reader, default, desc, session)
        self._gears = gears

    async def run(
        self, arg: Any = None, collect: bool = True, mode: str = "async", **options: Any
    ) -> Results:
        """As `Builder.run`."""
        return await self._gears.run(self._run(run_options(arg, collect, mode, options)))

    async def start(
        self, arg: Any = None, collect: bool = True, mode: str = "async", **options: Any
    ) -> AsyncExecution:
        """As `Builder.start`."""
        node = await self._gears.any_shard()
        name = await self._gears.run(self._start(run_options(arg, collect, mode, options), node))
        return AsyncExecution(self._gears, name, node)

    async def register(self, prefix: str | None = None, mode: str = "async", **options: Any) -> None:
        """As `Builder.register`."""
        await self._gears.run(self._register({"prefix": prefix, "mode": mode, **options}))


class Execution:
    """An execution that goes on by itself, on the shard where it was started. It is kept there until it is
    dropped, or until newer ones have taken its place.
    """

    def __init__(self, gears: Gears, name: str, node: Any) -> None:
        self.id = name
        self._gears, self._node = gears, node

    def results(self) -> Results:
        """Wait for (results, errors). redis.ResponseError where the shard does not know it any more."""
        return self._gears.run(_of_execution("RG.GETRESULTSBLOCKING", self.id, self._node, read_results))

    def abort(self) -> None:
        """Stop it; its results so far are kept."""
        self._gears.run(_of_execution("RG.ABORTEXECUTION", self.id, self._node, replies.ok))

    def drop(self) -> None:
        """Forget it, stopping it where it runs."""
        self._gears.run(_of_execution("RG.DROPEXECUTION", self.id, self._node, replies.ok))


class AsyncExecution:
    """As `Execution`, awaited."""

    def __init__(self, gears: AsyncGears, name: str, node: Any) -> None:
        self.id = name
        self._gears, self._node = gears, node

    async def results(self) -> Results:
        """As `Execution.results`."""
        return await self._gears.run(
            _of_execution("RG.GETRESULTSBLOCKING", self.id, self._node, read_results)
        )

    async def abort(self) -> None:
        """As `Execution.abort`."""
        await self._gears.run(_of_execution("RG.ABORTEXECUTION", self.id, self._node, replies.ok))

    async def drop(self) -> None:
        """As `Execution.drop`."""
        await self._gears.run(_of_execution("RG.DROPEXECUTION", self.id, self._node, replies.ok))


class Gears(Client):
    """RG.* on `client`, a redis.Redis or a redis.RedisCluster, which stays usable for everything else.

    Threads may share it. TypeError for an asyncio client.
    """

    _counterpart = "AsyncGears"

    def builder(
        self,
        reader: str = "KeysReader",
        defaultArg: Any = "*",
        desc: str | None = None,
        session: Session = NO_SESSION,
    ) -> Builder:
        """Begin a function: what GearsBuilder takes, and the session that it is to be in."""
        return Builder(self, reader, defaultArg, desc, session)

    def run(self, command: Command[T]) -> T:
        """As `Client.run`; where a script failed, the error says so as Python does, line by line."""
        try:
            return super().run(command)
        except ResponseError as error:
            raise _readable(error) from None

    def any_shard(self) -> Any:
        """A node of the cluster to stay with; None where there is no cluster."""
        return delivery.any_shard(self.redis) if self._in_cluster else None

    trigger = sending(trigger)


class AsyncGears(AsyncClient):
    """RG.* on `client`, a redis.asyncio.Redis or RedisCluster, which stays usable for everything else.

    TypeError for a synchronous client.
    """

    _counterpart = "Gears"

    def builder(
        self,
        reader: str = "KeysReader",
        defaultArg: Any = "*",
        desc: str | None = None,
        session: Session = NO_SESSION,
    ) -> AsyncBuilder:
        """Begin a function: what GearsBuilder takes, and the session that it is to be in."""
        return AsyncBuilder(self, reader, defaultArg, desc, session)

    async def run(self, command: Command[T]) -> T:
        """As `AsyncClient.run`; where a script failed, the error says so as Python does, line by line."""
        try:
            return await super().run(command)
        except ResponseError as error:
            raise _readable(error) from None

    async def any_shard(self) -> Any:
        """A node of the cluster to stay with; None where there is no cluster."""
        if not self._in_cluster:
            return None
        await self.redis.initialize()  # does nothing but the first time
        return delivery.any_shard(self.redis)

    trigger = awaiting(trigger)


def _of_execution(command: str, name: str, node: Any, parse: Callable[[Any], T]) -> Command[T]:
    return Command((command, name), parse, Where.SHARD, node=node)


def _readable(error: ResponseError) -> ResponseError:
    text = str(error)
    told = readable(text)
    return error if told == text else type(error)(told)
