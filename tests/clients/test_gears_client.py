"""keymiss.client.Gears and AsyncGears: functions built in a program, run and registered on the shards."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from time import sleep
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.cluster import Cluster
from support.server import Server
from support.waiting import wait_until

from keymiss import runtime
from keymiss.client import AI, AsyncGears, Builder, Gears, Session, read_registrations
from keymiss.errors import FunctionError
from keymiss.runtime import atomic, configGet, execute, gearsConfigGet, hashtag, isInAtomicBlock, log

NUMBERS = range(1, 7)
CLIENTS: list[dict[str, Any]] = [{}, {"protocol": 3}, {"decode_responses": True}]


class Word:
    """A class of the program: it travels, and comes back as itself."""

    def __init__(self, text: str) -> None:
        self.text = text


# This module is none that a shard could import: its functions and classes travel themselves.
cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])


@pytest.fixture(params=CLIENTS, ids=str)
def any_gears(request: pytest.FixtureRequest, server: Server) -> Iterator[Gears]:
    """On clients of RESP2 and RESP3, decoding and not."""
    with contextlib.closing(server.client(**request.param)) as client:
        yield Gears(client)


@pytest.fixture
def gears(client: redis.Redis) -> Gears:
    client.mset({f"n:{n}": n for n in NUMBERS})
    return Gears(client)


@pytest.fixture
def cluster_gears(cluster: Cluster) -> Iterator[Gears]:
    with contextlib.closing(redis.RedisCluster(host="127.0.0.1", port=cluster.masters[0].port)) as client:
        for n in NUMBERS:
            client.set(f"n:{n}", n)
        yield Gears(client)


def _numbers(gears: Gears) -> Builder:
    return gears.builder("KeysReader", "n:*").map(lambda record: int(record["value"]))


def _given(builder: Builder) -> list[Any]:
    results, errors = builder.run()
    assert errors == []
    return results


def _every_operation(gears: Gears, shards: int) -> None:
    def numbers() -> Builder:
        return _numbers(gears)

    def added(held: int | None, n: int) -> int:
        return n + (held or 0)

    assert sorted(_given(numbers())) == [1, 2, 3, 4, 5, 6]
    assert sorted(_given(numbers().map(float))) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert sorted(_given(numbers().filter(lambda n: n % 2))) == [1, 3, 5]
    assert sorted(_given(numbers().flatmap(lambda n: [n] * (n // 3)))) == [3, 4, 5, 6, 6]
    assert sorted(_given(numbers().foreach(str))) == [1, 2, 3, 4, 5, 6]
    assert sum(_given(numbers().accumulate(added))) == 21
    assert len(_given(numbers().collect().limit(2, 1))) == 2
    assert sorted(_given(numbers().repartition(str))) == [1, 2, 3, 4, 5, 6]
    by_parity = [{"key": "0", "value": 12}, {"key": "1", "value": 9}]
    grouped = numbers().groupby(lambda n: n % 2, lambda key, held, n: added(held, n))
    assert sorted(_given(grouped), key=str) == by_parity
    batched = numbers().batchgroupby(lambda n: n % 2, lambda key, group: sum(group))
    assert sorted(_given(batched), key=str) == by_parity
    aggregated = numbers().aggregateby(
        lambda n: n % 2, 0, lambda key, held, n: held + n, lambda key, held, more: held + more
    )
    assert sorted(_given(aggregated), key=str) == by_parity
    local = _given(numbers().localgroupby(lambda n: "all", lambda key, held, n: added(held, n)))
    assert sum(group["value"] for group in local) == 21
    assert _given(numbers().aggregate(0, added, added)) == [21]
    assert _given(numbers().count()) == [6]
    counted = _given(numbers().countby(lambda n: n > 2))
    assert sorted((group["key"], group["value"]) for group in counted) == [("False", 2), ("True", 4)]
    assert sorted(group["value"] for group in _given(numbers().countby())) == [1] * 6
    assert _given(numbers().avg()) == _given(numbers().avg(float)) == [3.5]
    assert sorted(_given(numbers().map(lambda n: n % 3).distinct())) == [0, 1, 2]
    assert _given(numbers().sort()) == [1, 2, 3, 4, 5, 6]
    assert _given(numbers().sort(False)) == [6, 5, 4, 3, 2, 1]
    assert len(_given(gears.builder("ShardsIDReader"))) == shards


def test_every_operation_works(gears: Gears) -> None:
    _every_operation(gears, shards=1)


def test_every_operation_works_over_a_cluster(cluster_gears: Gears) -> None:
    _every_operation(cluster_gears, shards=3)


def test_objects_come_back_as_what_they_were(any_gears: Gears) -> None:
    any_gears.redis.set("k", "v")
    builder = any_gears.builder().map(lambda record: (record, b"\xff", None, {1.5}, Word(record["key"])))
    [(record, *others, word)] = _given(builder)
    assert record == {"event": None, "key": "k", "type": "string", "value": "v"}
    assert others == [b"\xff", None, {1.5}]
    assert isinstance(word, Word)
    assert word.text == "k"


def test_functions_may_call_what_scripts_call(gears: Gears) -> None:
    gears.redis.execute_command("RG.CONFIGSET", "of-ours", "told")

    def calls(record: dict[str, Any]) -> list[Any]:
        tag = f"{{{hashtag()}}}"
        with atomic():
            execute("SET", f"x{tag}", 1)
            inside = isInAtomicBlock()
        log("from a program")
        return [inside, execute("GET", f"x{tag}"), configGet("of-ours"), gearsConfigGet("none", "default")]

    async def awaits(record: list[Any]) -> list[Any]:
        return [*record, await runtime.executeAsync("PING")]

    builder = gears.builder("KeysReader", "n:1").map(calls).map(awaits)
    assert _given(builder) == [[True, "1", "told", "default", "PONG"]]


def test_in_the_program_itself_they_say_where_they_work() -> None:
    for name in runtime.__all__:
        if name == "atomic":
            with pytest.raises(RuntimeError, match="it works where a shard runs them"), atomic():
                pass
            continue
        if name == "stage":
            with pytest.raises(RuntimeError, match="stage is for functions"):
                runtime.stage("forward")
            continue
        arguments = ("PING",) if name in ("execute", "executeAsync") else ("x",)
        takes = getattr(runtime, name).__code__.co_argcount
        with pytest.raises(RuntimeError, match=f"{name} is for functions"):
            getattr(runtime, name)(*(arguments if takes or name == "call_next" else ()))


def test_errors_of_records_come_beside_the_results(gears: Gears) -> None:
    results, [error] = _numbers(gears).map(lambda n: 1 / 0).run()
    assert results == []
    assert error.startswith("Traceback (most recent call last):\n  File ")
    assert error.endswith("ZeroDivisionError: division by zero")
    results, [error] = gears.builder("KeysReader", "n:1").map(lambda record: threading.Lock()).run()
    assert results == []
    assert "cannot pickle '_thread.lock' object" in error


def test_what_cannot_travel_is_told_at_once(gears: Gears) -> None:
    lock = threading.Lock()
    with pytest.raises(FunctionError, match=r"cannot be sent: TypeError: cannot pickle '_thread.lock'"):
        gears.builder().map(lambda record: lock).run()
    with pytest.raises(TypeError, match="a step takes a function, not 3"):
        gears.builder().map(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'prefix'"):
        gears.builder().run(prefix="a*")


def test_what_the_shard_refuses_is_told_in_its_words(gears: Gears) -> None:
    refused = {
        "The given reader does not exists": lambda: gears.builder("NoReader").run(),
        "unknown execution mode": lambda: gears.builder().run(mode="sometimes"),
        "regex argument must be a string": lambda: gears.builder().run(3),
        "given reader does not exists or does not support register": lambda: gears.builder(
            "PythonReader"
        ).register(),
    }
    for words, act in refused.items():
        with pytest.raises(redis.ResponseError, match=f"gears.error: {words}$"):
            act()


def test_a_module_that_the_shard_lacks_is_named(gears: Gears, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ours_alone")
    exec("def shifted(record):\n    return len(record['key'])\n", vars(module))
    monkeypatch.setitem(__import__("sys").modules, "ours_alone", module)
    builder = gears.builder("KeysReader", "n:1").map(module.shifted)
    with pytest.raises(redis.ResponseError, match="need the module ours_alone, which this shard does not"):
        builder.run()
    cloudpickle.register_pickle_by_value(module)
    try:
        assert _given(builder) == [3]
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_functions_of_another_python_are_refused(gears: Gears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 7, 12))
    with pytest.raises(redis.ResponseError, match=r"these functions come from Python 3\.7, and this shard"):
        gears.builder().run()


def test_an_execution_goes_on_by_itself(gears: Gears) -> None:
    execution = _numbers(gears).count().start()
    assert execution.results() == ([6], [])
    execution.drop()
    with pytest.raises(redis.ResponseError, match="execution plan does not exist"):
        execution.results()
    builder = gears.builder("PythonReader").map(lambda record: __import__("time").sleep(60))
    endless = builder.start(lambda: iter([1]))
    endless.abort()
    assert endless.results() == ([], ["execution was aborted"])


def test_an_execution_is_asked_for_where_it_was_started(cluster_gears: Gears) -> None:
    for _ in range(6):
        execution = _numbers(cluster_gears).count().start()
        assert execution.results() == ([6], [])
        execution.drop()


def test_a_named_session_is_upgraded(gears: Gears) -> None:
    def register(answer: str, session: Session) -> None:
        builder = gears.builder("CommandReader", desc="ours", session=session)
        builder.map(lambda words: [answer, *words[1:]]).register(trigger="ask", convertToStr=False)

    register("one", Session("s", description="words", requirements=["cloudpickle"]))
    assert gears.trigger("ask", "a", 1) == [["one", "a", "1"]]
    with pytest.raises(redis.ResponseError, match="Session s already exists, add UPGRADE to replace it"):
        register("two", Session("s"))
    register("two", Session("s", upgrade=True))
    assert gears.trigger("ask") == [["two"]]
    register("three", Session("t", replace_with="s"))
    assert gears.trigger("ask") == [["three"]]
    rows = gears.redis.execute_command("RG.PYDUMPSESSIONS")
    assert [row[1] for row in rows] == [b"t"]


def test_a_requirement_that_is_none_is_told(gears: Gears) -> None:
    session = Session(requirements=["no such !! requirement"])
    with pytest.raises(redis.ResponseError, match=r"[Ii]nvalid requirement"):
        gears.builder(session=session).run()


def test_a_requirement_may_stand_alone() -> None:
    """A string is one, and not a list of its letters, which are packages too."""
    assert Session(requirements="cloudpickle>=3").arguments() == ("REQUIREMENTS", "cloudpickle>=3")


def test_events_fire_what_was_registered_on_every_shard(cluster_gears: Gears) -> None:
    builder = cluster_gears.builder().foreach(lambda r: execute("INCR", f"seen:{{{hashtag()}}}"))
    builder.register("e:*", mode="async_local", eventTypes=["set"], readValue=False)
    for n in range(12):
        cluster_gears.redis.set(f"e:{n}", n)
    seen = cluster_gears.builder("KeysReader", "seen:*").map(lambda record: int(record["value"]))
    wait_until(lambda: sum(_given(seen)) == 12, 20.0, "all events were seen")
    assert len(_given(seen)) == 3


def test_what_a_reader_reads_is_the_prefix_of_a_registration_without_one(gears: Gears) -> None:
    gears.builder("KeysReader", "e:*").foreach(lambda record: None).register()
    assert [one.prefix for one in read_registrations(gears.redis)] == ["e:*"]


def _tell_and_wait(shard: str) -> None:
    execute("INCR", "runs")
    while not execute("EXISTS", "done"):
        sleep(0.01)


def test_what_is_not_answered_in_time_is_not_run_again(gears: Gears, server: Server) -> None:
    """redis-py itself would send it again, and version 8 waits for five seconds only."""
    gears.builder("ShardsIDReader").run()  # the worker has started
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "socket_timeout": 1.0}
    retry, retry_async = Retry(NoBackoff(), 1), redis.asyncio.retry.Retry(NoBackoff(), 1)

    async def run_async() -> None:
        async with redis.asyncio.Redis(**options, retry=retry_async) as client:
            await AsyncGears(client).builder("ShardsIDReader").foreach(_tell_and_wait).run()

    try:
        with (
            contextlib.closing(redis.Redis(**options, retry=retry)) as client,
            pytest.raises(redis.TimeoutError),
        ):
            Gears(client).builder("ShardsIDReader").foreach(_tell_and_wait).run()
        wait_until(lambda: gears.redis.exists("runs"), 10.0, "it runs")
        assert gears.redis.get("runs") == b"1"
        with pytest.raises(redis.TimeoutError):
            asyncio.run(run_async())
        wait_until(lambda: gears.redis.get("runs") != b"1", 10.0, "it runs again")
        assert gears.redis.get("runs") == b"2"
    finally:
        gears.redis.set("done", 1)


def test_a_command_that_cannot_be_sent_gives_its_connection_back(server: Server) -> None:
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "max_connections": 1}
    with contextlib.closing(redis.Redis(**options)) as client:
        with pytest.raises(redis.DataError):
            Gears(client).trigger("f", None)
        assert client.ping()


def test_asyncio_gives_the_same(server: Server) -> None:
    async def body() -> None:
        async with redis.asyncio.Redis(port=server.port) as client:
            await client.mset({f"n:{n}": n for n in NUMBERS})
            await _use(AsyncGears(client))

    asyncio.run(body())


def test_asyncio_reaches_a_cluster_too(cluster: Cluster) -> None:
    async def body() -> None:
        client = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.masters[0].port)
        try:
            for n in NUMBERS:
                await client.set(f"n:{n}", n)
            await _use(AsyncGears(client))
        finally:
            await client.aclose()

    asyncio.run(body())


async def _use(gears: AsyncGears) -> None:
    numbers = partial(gears.builder, "KeysReader", "n:*")
    assert await numbers().map(lambda record: int(record["value"])).sort().run() == ([1, 2, 3, 4, 5, 6], [])
    execution = await numbers().count().start()
    assert await execution.results() == ([6], [])
    await execution.abort()
    await execution.drop()
    builder = gears.builder("CommandReader").map(lambda words: len(words))
    await builder.register(trigger="count", mode="async_local")
    assert await gears.trigger("count", "a", "b") == ["3"]
    with pytest.raises(redis.ResponseError, match=r"gears\.error: The given reader does not exists$"):
        await gears.builder("NoReader").run()


def test_each_kind_of_client_says_which_class_it_wants(client: redis.Redis) -> None:
    with pytest.raises(TypeError, match="Redis is an asyncio client: use AsyncGears"):
        Gears(redis.asyncio.Redis())
    with pytest.raises(TypeError, match="Redis is no asyncio client: use Gears"):
        AsyncGears(client)
    wrong: Callable[..., Any] = AI
    with pytest.raises(TypeError, match="Redis is an asyncio client: use AsyncAI"):
        wrong(redis.asyncio.Redis())
