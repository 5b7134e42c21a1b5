"""Runs over many keys: values are read many at a time, which nobody may notice."""

from __future__ import annotations

import redis

READ = "GB().map(lambda r: [r['key'], r['type'], r['value']]).run({!r}, convertToStr=False)"


def read(client: redis.Redis, pattern: str = "k*") -> dict[bytes, list[object]]:
    """Key -> type and value."""
    results, errors = client.execute_command("RG.PYEXECUTE", READ.format(pattern))
    assert errors == []
    return {key: rest for key, *rest in results}


def test_keys_of_all_types_come_with_what_is_theirs(client: redis.Redis) -> None:
    for n in range(0, 1200, 4):
        client.set(f"k:{n}", n)
        client.rpush(f"k:{n + 1}", n, "x")
        client.sadd(f"k:{n + 2}", n)
        client.set(f"k:{n + 3}", b"\xff%d" % n)
    assert read(client) == {
        b"k:%d" % (n + at): kept
        for n in range(0, 1200, 4)
        for at, kept in enumerate(
            (
                [b"string", b"%d" % n],
                [b"list", [b"%d" % n, b"x"]],
                [b"set", b"PY RECORD"],
                [b"string", b"PY RECORD"],
            )
        )
    }


def test_strings_with_another_key_far_behind_them_keep_their_types(client: redis.Redis) -> None:
    client.mset({f"k:{n}": n for n in range(1000)})
    client.zadd("k:other", {"member": 1})
    found = read(client)
    assert found.pop(b"k:other") == [b"zset", b"PY RECORD"]
    assert found == {b"k:%d" % n: [b"string", b"%d" % n] for n in range(1000)}


def test_values_that_are_too_large_together_are_read(client: redis.Redis) -> None:
    client.config_set("keymiss.max-channel-bytes", 1 << 20)
    client.mset({f"k:{n}": "x" * 300_000 for n in range(20)})
    results, errors = client.execute_command("RG.PYEXECUTE", "GB().map(lambda r: len(r['value'])).run('k*')")
    assert (results, errors) == ([b"300000"] * 20, [])


def test_one_key_is_read_where_there_is_nothing_to_scan(client: redis.Redis) -> None:
    client.hset("k:1", "field", "value")
    script = "GB().map(lambda r: r['value']['field']).run('k:1', noScan=True)"
    assert client.execute_command("RG.PYEXECUTE", script) == [[b"value"], []]
