"""Uses a server, or a cluster by one of its shards, as people do by gearsclient: all that it offers.

    python every_call_of_gearsclient.py PORT HASH_TAG

The hash tag is of that shard. The keys n:1 to n:6 are there, each the number in its name. Prints `whole` at
the end.
"""

from __future__ import annotations

import sys
from typing import Any

import redis
from attempts import fails, until
from gearsclient import GearsRemoteBuilder, atomic, execute, gearsConfigGet, hashtag, log

TAG = f"{{{sys.argv[2]}}}"
OFFSET = 10  # a global of this module: it travels with the functions that name it


class Word:
    """A class of this module: it travels, and comes back as itself."""

    def __init__(self, text: str) -> None:
        self.text = text


def shifted(number: int) -> int:
    return number + OFFSET


def added(held: int | None, number: int) -> int:
    return number + (held or 0)


def numbers(client: redis.Redis) -> Any:
    """A builder whose records are the values of six keys: 1 to 6."""
    return GearsRemoteBuilder("KeysReader", "n:*", r=client).map(lambda record: int(record["value"]))


def given(builder: Any, *arguments: Any, **options: Any) -> list[Any]:
    results, errors = builder.run(*arguments, **options)
    assert errors == [], errors
    return list(results)


def operations(client: redis.Redis) -> None:
    assert sorted(given(numbers(client))) == [1, 2, 3, 4, 5, 6]
    assert sorted(given(numbers(client).map(shifted))) == [11, 12, 13, 14, 15, 16]
    assert sorted(given(numbers(client).filter(lambda n: n % 2))) == [1, 3, 5]
    assert sorted(given(numbers(client).flatmap(lambda n: [n] * (n // 3)))) == [3, 4, 5, 6, 6]
    assert sum(given(numbers(client).accumulate(added))) == 21
    assert given(numbers(client).aggregate(0, added, added)) == [21]
    assert sorted(given(numbers(client).repartition(lambda n: str(n)))) == [1, 2, 3, 4, 5, 6]
    assert given(numbers(client).sort().limit(2, 1)) == [2, 3]
    assert sorted(given(numbers(client).map(lambda n: n % 3).distinct())) == [0, 1, 2]
    assert given(numbers(client).count()) == [6]
    assert given(numbers(client).avg()) == [3.5]
    assert given(numbers(client).avg(shifted)) == [13.5]
    assert given(numbers(client).sort()) == [1, 2, 3, 4, 5, 6]
    assert given(numbers(client).sort(False)) == [6, 5, 4, 3, 2, 1]
    words = given(numbers(client).map(lambda n: Word(str(n))))
    assert sorted(word.text for word in words if isinstance(word, Word)) == ["1", "2", "3", "4", "5", "6"]


def operations_by_key(client: redis.Redis) -> None:
    counted = given(numbers(client).countby(lambda n: n > 2))
    assert sorted((group["key"], group["value"]) for group in counted) == [("False", 2), ("True", 4)]
    assert sorted(group["value"] for group in given(numbers(client).countby())) == [1] * 6
    totals = numbers(client).aggregateby(
        lambda n: n % 2, 0, lambda key, held, n: held + n, lambda key, held, more: held + more
    )
    assert sorted((group["key"], group["value"]) for group in given(totals)) == [("0", 12), ("1", 9)]
    local = given(numbers(client).localgroupby(lambda n: "all", lambda key, held, n: added(held, n)))
    assert {group["key"] for group in local} == {"all"}
    assert sum(group["value"] for group in local) == 21


def readers(client: redis.Redis) -> None:
    names = [f"n:{n}" for n in range(1, 7)]
    builder = GearsRemoteBuilder("KeysOnlyReader", defaultArg="n:*", r=client)
    assert sorted(given(builder)) == names
    assert given(GearsRemoteBuilder("KeysReader", r=client).map(lambda r: r["key"]), "n:3") == ["n:3"]
    assert given(GearsRemoteBuilder("PythonReader", r=client).count(), lambda: iter("ab"))[0] % 2 == 0
    assert all(given(GearsRemoteBuilder("ShardsIDReader", r=client)))
    client.xadd("s" + TAG, {"field": "value"})
    stream = GearsRemoteBuilder("StreamReader", r=client).map(lambda record: record["value"])
    assert given(stream, "s" + TAG) == [{"field": "value"}]
    assert sorted(given(numbers(client), collect=False))[-1] <= 6


def what_functions_may_call(client: redis.Redis) -> None:
    client.execute_command("RG.CONFIGSET", "of-ours", "told")

    client.set("own" + TAG, 1)

    def asks(record: Any) -> list[Any]:
        tag = f"{{{hashtag()}}}"
        with atomic():
            execute("SET", "atomic" + tag, 1)
            execute("INCR", "atomic" + tag)
        log("from gearsclient")
        log("more of it", level="debug")
        return [execute("GET", "atomic" + tag), gearsConfigGet("of-ours"), gearsConfigGet("none", "default")]

    assert given(GearsRemoteBuilder("KeysReader", r=client).map(asks), "own*") == [["2", "told", "default"]]


def errors(client: redis.Redis) -> None:
    results, told = numbers(client).map(lambda n: n / 0).run()
    assert results == []
    assert told and all(b"ZeroDivisionError" in text for text in told)
    fails(lambda: numbers(client).map(str.upper).run(), "map argument must be a function")
    fails(lambda: GearsRemoteBuilder("NoReader", r=client).run(), "The given reader does not exists")


def registrations(client: redis.Redis) -> None:
    builder = GearsRemoteBuilder("CommandReader", r=client, requirements=["six"])
    builder.map(lambda words: [shifted(int(word)) for word in words[1:]]).register(trigger="shift")
    assert set(client.execute_command("RG.TRIGGER", "shift", 1, 2)) == {b"[11, 12]"}  # one of each shard
    builder = GearsRemoteBuilder("KeysReader", r=client, addClientToRequirements=False)
    builder.foreach(lambda r: execute("SADD", f"set:{{{hashtag()}}}", r["key"]))
    builder.register("e:*", mode="async_local", eventTypes=["set"], readValue=False)
    client.set("e:1" + TAG, 1)
    until(lambda: given(GearsRemoteBuilder("KeysOnlyReader", r=client), "set:*"), "the event was seen")


def main() -> None:
    client = redis.Redis(port=int(sys.argv[1]))
    for act in (operations, operations_by_key, readers, what_functions_may_call, errors, registrations):
        act(client)
    print("whole")


main()
