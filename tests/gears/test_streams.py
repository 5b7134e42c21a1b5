"""Streams: batches, time limits, failures, and what a worker that died leaves behind."""

from __future__ import annotations

import os
import signal

import redis
from support.functions import register
from support.server import Server
from support.waiting import wait_until

BATCH = "GB('StreamReader').map(lambda r: r['id']).aggregate([], lambda a, i: a + [i], lambda a, i: a + i)"
TELL = BATCH + ".foreach(lambda ids: execute('RPUSH', 'batches', ','.join(ids)))"


def batches(client: redis.Redis) -> list[bytes]:
    return client.lrange("batches", 0, -1)


def add(client: redis.Redis, *ids: str, key: str = "s") -> None:
    for entry in ids:
        client.xadd(key, {"field": "value"}, id=entry)


def test_a_batch_that_is_not_full_runs_when_its_time_is_over(client: redis.Redis) -> None:
    register(client, f"{TELL}.register('s', batch=100, duration=50, mode='async_local')")
    add(client, "1-1", "1-2")
    wait_until(lambda: batches(client) == [b"1-1,1-2"], 10.0, "both entries ran in one batch")
    wait_until(lambda: client.xlen("s") == 0, 10.0, "the stream is cut")


def test_many_entries_run_in_full_batches_in_order(client: redis.Redis) -> None:
    register(client, f"{TELL}.register('s', batch=10, mode='async_local')")
    with client.pipeline(transaction=False) as pipe:
        for n in range(1, 201):
            pipe.xadd("s", {"n": n}, id=f"1-{n}")
        pipe.execute()
    wait_until(lambda: len(batches(client)) == 20, 10.0, "twenty batches ran")
    ids = [entry for batch in batches(client) for entry in batch.decode().split(",")]
    assert ids == [f"1-{n}" for n in range(1, 201)]


def test_each_stream_below_the_prefix_has_batches_of_its_own(client: redis.Redis) -> None:
    register(
        client,
        "GB('StreamReader').foreach(lambda r: execute('INCR', 'n' + r['key'])).register('s:*')",
    )
    for key in ("s:1", "s:2"):
        add(client, "1-1", "1-2", key=key)
    wait_until(lambda: (client.get("ns:1"), client.get("ns:2")) == (b"2", b"2"), 10.0, "both were read")


def test_what_a_dead_worker_had_read_is_read_again_first(fresh_server: Server) -> None:
    with fresh_server.client() as client:
        register(
            client,
            "import time\n"
            "def f(r):\n"
            "    execute('RPUSH', 'batches', r['id'])\n"
            "    while execute('GET', 'hold'): time.sleep(0.01)\n"
            "GB('StreamReader').foreach(f).register('s', mode='async_local')",
        )
        client.set("hold", 1)
        add(client, "1-1", "1-2")
        wait_until(lambda: batches(client) == [b"1-1"], 10.0, "the first entry is being worked on")
        os.kill(fresh_server.worker_pid("functions"), signal.SIGKILL)
        client.delete("hold")
        wait_until(lambda: client.execute_command("RG.PYSTATS"), 20.0, "the next worker answers")
        wait_until(lambda: batches(client) == [b"1-1", b"1-1", b"1-2"], 20.0, "the first is done again")
        wait_until(lambda: client.xlen("s") == 0, 10.0, "the stream is cut")


def test_a_paused_stream_goes_on_where_it_stopped(client: redis.Redis) -> None:
    register(client, f"{TELL}.register('s', mode='async_local')")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    client.execute_command("RG.PAUSEREGISTRATIONS", entry[1])
    add(client, "1-1")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    assert entry[7][-1] == b"PAUSED" and batches(client) == []
    client.execute_command("RG.UNPAUSEREGISTRATIONS", entry[1])
    wait_until(lambda: batches(client) == [b"1-1"], 10.0, "the entry ran")
