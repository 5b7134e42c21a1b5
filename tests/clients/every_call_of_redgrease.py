"""Uses a server or a cluster as people do by redgrease: its commands and what they parse, its GearFunctions.

    python every_call_of_redgrease.py PORT

The port is that of the server or of a shard. The keys n:1 to n:6 are there, each the number in its name.
Prints `whole` at the end.
"""

from __future__ import annotations

import sys
from typing import Any

import redgrease
import redis
from attempts import fails, until
from redgrease import (
    CommandReader,
    KeysOnlyReader,
    KeysReader,
    PythonReader,
    RedisGears,
    ShardsIDReader,
    StreamReader,
)

ENDLESS = "import time\nGB('PythonReader').map(lambda x: time.sleep(60)).run(lambda: iter([1]))"


SHARDS = 3


def shards_of(client: Any) -> int:
    """`RedisGears` gives a client of the cluster where there is one."""
    return SHARDS if isinstance(client, redgrease.RedisCluster) else 1


def here(name: str) -> str:
    """In functions: a key of that name that belongs to the shard that they run on."""
    return f"{name}{{{redgrease.hashtag()}}}"


def noted(client: Any, name: str) -> list[str]:
    """What functions put into the sets of that name, on all shards."""
    members: list[str] = []
    for key in client.scan_iter(f"{name}{{*}}"):
        members += [member.decode() for member in client.smembers(key)]
    return sorted(members)


def added(held: int | None, number: int) -> int:
    return number + (held or 0)


def of(done: Any) -> list[Any]:
    """The results of an execution that had no errors: redgrease gives a single one by itself."""
    assert not done.errors, done.errors
    return list(done.value) if isinstance(done.value, list) else [done.value]


def commands(client: RedisGears) -> None:
    gears = client.gears
    assert gears.python_version()[:2] == sys.version_info[:2]
    assert gears.gears_version() == (1, 2, 13)
    assert gears.refreshcluster() is True
    if shards_of(client) > 1:
        assert len(gears.infocluster().shards) == len(gears.pystats()) == SHARDS
        assert all(used.CurrAllocated > 0 for used in gears.pystats().values())
    else:
        assert gears.infocluster() is None
        assert gears.pystats().CurrAllocated > 0
    done = gears.pyexecute("GB('KeysReader').map(lambda x: x['key']).sort().run('n:*')")
    assert of(done) == [b"n:1", b"n:2", b"n:3", b"n:4", b"n:5", b"n:6"]
    failed = gears.pyexecute("GB('KeysReader').map(lambda x: 1 / 0).run('n:1')")
    assert b"ZeroDivisionError" in failed.errors[0]
    assert gears.pyexecute("log('nothing to run')").value is True
    fails(lambda: gears.pyexecute("1 / 0"), "division by zero")


def executions(client: RedisGears) -> None:
    gears = client.gears
    name = gears.pyexecute("GB('KeysReader').count().run('n:*')", unblocking=True).value
    assert of(gears.getresultsblocking(name)) == of(gears.getresults(name)) == [b"6"]
    plans = gears.getexecution(name).values()
    assert len(plans) == shards_of(client)
    assert sum(plan.results for plan in plans) == 1
    for plan in plans:
        assert (plan.status.name, plan.errors) == ("done", [])
        assert {step.type for step in plan.steps} >= {"map", "collect"}
    assert str(name) in [str(execution.executionId) for execution in gears.dumpexecutions()]
    assert [
        e for e in gears.dumpexecutions(status="done", registered=False) if str(e.executionId) == str(name)
    ]
    assert gears.dropexecution(name) is True
    fails(lambda: gears.getresults(name), "execution plan does not exist")
    endless = gears.pyexecute(ENDLESS, unblocking=True).value
    assert gears.abortexecution(endless) is True
    assert gears.getresultsblocking(endless).errors == [b"execution was aborted"]
    assert gears.dropexecution(endless) is True


def settings(client: RedisGears) -> None:
    config = client.gears.config
    for name in (
        *("MaxExecutions", "MaxExecutionsPerRegistration", "ProfileExecutions", "PythonAttemptTraceback"),
        *("ExecutionThreads", "ExecutionMaxIdleTime", "PythonInstallReqMaxIdleTime", "SendMsgRetries"),
        *("DownloadDeps", "DependenciesUrl", "DependenciesSha256", "PythonInstallationDir", "CreateVenv"),
    ):
        getattr(config, name)
    assert config.MaxExecutions == 1000
    config.MaxExecutions = 900
    assert config.MaxExecutions == 900
    assert config.set(MaxExecutions=1000, OfOurs="told")
    assert config.get("MaxExecutions", "OfOurs") == {"MaxExecutions": 1000, "OfOurs": b"told"}


def operations(client: RedisGears) -> None:
    numbers = KeysReader("n:*").values(type="string").map(lambda value: int(value))

    def given(function: Any) -> list[Any]:
        return of(function.run(on=client))

    assert sorted(given(numbers)) == [1, 2, 3, 4, 5, 6]
    assert sorted(given(numbers.filter(lambda n: n % 2))) == [1, 3, 5]
    assert sorted(given(numbers.flatmap(lambda n: [n] * (n // 3)))) == [3, 4, 5, 6, 6]
    assert sorted(given(numbers.foreach(lambda n: redgrease.cmd.sadd(here("seen"), n)))) == [1, 2, 3, 4, 5, 6]
    assert noted(client, "seen") == ["1", "2", "3", "4", "5", "6"]
    assert sum(given(numbers.accumulate(added))) == 21  # one for each shard that has some
    assert given(numbers.aggregate(0, added, added)) == [21]
    assert given(numbers.collect().sort().limit(2, 1)) == [2, 3]
    assert sorted(given(numbers.repartition(lambda n: n))) == [1, 2, 3, 4, 5, 6]
    assert given(numbers.map(lambda n: n % 3).distinct().sort()) == [0, 1, 2]
    assert given(numbers.count()) == [6]
    assert [float(n) for n in given(numbers.avg())] == [3.5]
    by_parity = [{"key": "0", "value": 12}, {"key": "1", "value": 9}]
    grouped = numbers.groupby(lambda n: n % 2, lambda key, held, n: added(held, n))
    assert sorted(given(grouped), key=str) == by_parity
    assert sorted(given(numbers.localgroupby(lambda n: n % 2, lambda key, held, n: added(held, n))), key=str)
    batched = numbers.batchgroupby(lambda n: n % 2, lambda key, group: sum(group))
    assert sorted(given(batched), key=str) == by_parity
    totals = numbers.aggregateby(
        lambda n: n % 2, 0, lambda key, held, n: held + n, lambda key, held, more: held + more
    )
    assert sorted(given(totals), key=str) == by_parity
    assert len(given(numbers.countby(lambda n: n > 2))) == 2


def readers(client: RedisGears) -> None:
    names = [f"n:{n}" for n in range(1, 7)]
    assert sorted(of(KeysReader("n:*").keys().run(on=client))) == names
    assert sorted(of(KeysReader().records(type="string").map(lambda r: r.key).run("n:*", on=client))) == names
    assert sorted(of(KeysOnlyReader("n:*").run(on=client))) == names
    counted = of(PythonReader().map(lambda n: n + 1).run(lambda: iter([1, 2]), on=client))
    assert sorted(counted) == sorted([2, 3] * shards_of(client))  # it reads on each of them
    assert len(of(ShardsIDReader().run(on=client))) == shards_of(client)
    client.xadd("s", {"field": "value"})
    assert of(StreamReader("s").values().run(on=client)) == [{"field": "value"}]
    assert of(StreamReader("s").keys().run(on=client)) == ["s"]


def what_functions_may_call(client: RedisGears) -> None:
    def calls(record: Any) -> list[Any]:
        with redgrease.atomic():
            redgrease.cmd.set(here("x"), 1)
            redgrease.execute("INCRBY", here("x"), 2)
        redgrease.log("from redgrease")
        redgrease.log("more", level=redgrease.LogLevel.Debug)
        redgrease.execute("RG.CONFIGSET", "OfOurs", "told")  # on this shard
        told = [redgrease.configGet("OfOurs"), redgrease.gearsConfigGet("none", "default")]
        return [redgrease.cmd.get(here("x")), *told]

    assert of(KeysReader("n:1").map(calls).run(on=client)) == ["3", "told", "default"]


def registrations(client: RedisGears) -> None:
    @redgrease.command(on=client)
    def shifted(*words: Any) -> list[int]:
        return [int(word) + 10 for word in words]

    shards = shards_of(client)  # a command runs on all of them
    assert shifted(1, 2).value == ([11, 12] if shards == 1 else [[11, 12]] * shards)
    CommandReader().apply(lambda a, b: a + b).register(trigger="joined", on=client)
    assert of(client.gears.trigger("joined", "a", "b")) == ["ab"] * shards
    KeysReader().keys().foreach(lambda key: redgrease.cmd.sadd(here("events"), key)).register(
        "e:*", on=client, mode=redgrease.TriggerMode.AsyncLocal, eventTypes=["set"], readValue=False
    )
    client.set("e:1", 1)
    until(lambda: noted(client, "events") == ["e:1"], "the event was seen")
    StreamReader().values().foreach(lambda value: redgrease.cmd.sadd(here("entries"), value["n"])).register(
        "in", on=client, batch=2, trimStream=True, onFailedPolicy=redgrease.FailurePolicy.Continue
    )
    for n in range(4):
        client.xadd("in", {"n": n})
    until(lambda: noted(client, "entries") == ["0", "1", "2", "3"], "the entries were read")
    required = {entry.Name: entry for entry in client.gears.pydumpreqs(is_installed=True)}
    assert any(wheel.startswith("redgrease-0.3.30") for wheel in required["redgrease[runtime]"].Wheels)
    # By plain redis: redgrease does not know `lastRunDurationMS`, which RedisGears tells since 1.2.
    plain = redis.Redis(port=int(sys.argv[1]))
    rows = plain.execute_command("RG.DUMPREGISTRATIONS")
    assert len(rows) == 4
    for row in rows:
        assert client.gears.unregister(row[1]) is True
    fails(lambda: client.gears.trigger("joined", "a", "b"), "subcommand not found")


def main() -> None:
    client = RedisGears(port=int(sys.argv[1]))
    parts = (commands, executions, settings, operations, readers, what_functions_may_call, registrations)
    for act in parts:
        act(client)
    print("whole")


main()
