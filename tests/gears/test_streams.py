"""Streams: batches, time limits, failures, and what a worker that died leaves behind."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
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


@pytest.mark.parametrize("mode", ["sync", "async_local"])
def test_what_is_there_already_is_read(client: redis.Redis, mode: str) -> None:
    add(client, "1-1", "1-2", "1-3")
    register(client, f"{TELL}.register('s', batch=2, mode='{mode}')")
    wait_until(lambda: batches(client) == [b"1-1,1-2"], 10.0, "the full batch ran")
    add(client, "1-4")
    wait_until(lambda: batches(client) == [b"1-1,1-2", b"1-3,1-4"], 10.0, "the next one ran")


@pytest.mark.parametrize("mode", ["sync", "async_local"])
def test_a_paused_stream_goes_on_where_it_stopped(client: redis.Redis, mode: str) -> None:
    register(client, f"{TELL}.register('s', mode='{mode}')")
    add(client, "1-0")
    wait_until(lambda: batches(client) == [b"1-0"], 10.0, "the first entry ran")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    client.execute_command("RG.PAUSEREGISTRATIONS", entry[1])
    add(client, "1-1")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    assert entry[7][-1] == b"PAUSED" and batches(client) == [b"1-0"]
    client.execute_command("RG.UNPAUSEREGISTRATIONS", entry[1])
    wait_until(lambda: batches(client) == [b"1-0", b"1-1"], 10.0, "the entry ran")


def test_what_was_read_is_read_again_whole_by_one_that_takes_less_at_a_time(client: redis.Redis) -> None:
    register(client, f"{TELL}.register('s', batch=6, mode='async_local', onFailedPolicy='abort')")
    client.set("batches", "not a list")  # so that the function fails: its entries stay pending
    add(client, *(f"1-{n}" for n in range(1, 7)))
    wait_until(lambda: stream_status(client) == b"ABORTED", 10.0, "the batch failed")
    client.delete("batches")
    client.execute_command("RG.UNREGISTER", client.execute_command("RG.DUMPREGISTRATIONS")[0][1])
    register(client, f"{TELL}.register('s', batch=4, mode='async_local')")
    wait_until(lambda: batches(client) == [b"1-1,1-2,1-3,1-4", b"1-5,1-6"], 10.0, "all six are run")


def stream_status(client: redis.Redis) -> bytes:
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    status: bytes = entry[7][-1]
    return status


def test_a_deleted_stream_stays_deleted_and_begins_anew(client: redis.Redis) -> None:
    register(client, f"{TELL}.register('s', mode='async_local')")
    add(client, "1-1")
    wait_until(lambda: batches(client) == [b"1-1"], 10.0, "the first entry ran")
    client.delete("s")
    add(client, "1-1", "1-2")
    wait_until(lambda: batches(client) == [b"1-1"] * 2 + [b"1-2"], 10.0, "the new entries ran")
    client.delete("s")
    register(client, f"{TELL}.register('t', mode='async_local')")
    add(client, "1-1", key="t")
    wait_until(lambda: len(batches(client)) == 4, 10.0, "another stream's entry ran")
    assert not client.exists("s")


def test_streams_that_are_gone_are_forgotten(fresh_server: Server) -> None:
    count = (
        "import gc\n"
        "from keymiss.functions import streams\n"
        "streams.SWEEP_S = 0.01\n"
        "gc.collect()\n"
        "known = [thing.key for thing in gc.get_objects() if type(thing) is streams._Stream]\n"
        "execute('SET', 'known', ' '.join(sorted(key.decode() for key in known)))"
    )

    def known(client: redis.Redis) -> bytes:
        register(client, count)
        return client.get("known")

    with fresh_server.client() as client:
        known(client)
        register(client, f"{TELL}.register('s:*', batch=2, mode='async_local')")
        note_misses = (
            "GB().foreach(lambda r: execute('INCR', 'missed')).register('s:*', eventTypes=['keymiss'])"
        )
        register(client, note_misses)
        for key in ("s:read", "s:unread", "s:kept"):
            add(client, "1-1", key=key)
        for key in ("s:read", "s:kept"):
            add(client, "1-2", key=key)
        wait_until(lambda: batches(client) == [b"1-1,1-2"] * 2, 10.0, "two were read")
        assert known(client) == b"s:kept s:read s:unread"
        client.delete("s:read", "s:unread")
        wait_until(lambda: known(client) == b"s:kept", 10.0, "what is gone is forgotten")
        client.delete("batches")
        for key in ("s:read", "s:kept"):
            add(client, "2-1", "2-2", key=key)
        wait_until(lambda: batches(client) == [b"2-1,2-2"] * 2, 10.0, "entries are read all the same")
        assert not client.exists("missed"), "nobody has seen that it was looked for them"


def test_a_stream_that_is_tried_again_does_not_hold_up_the_others(client: redis.Redis) -> None:
    register(
        client,
        "def f(r):\n    if r['key'] == 's:bad': raise Exception('no')\n    execute('INCR', 'done')\n"
        "GB('StreamReader').foreach(f)"
        ".register('s:*', mode='async_local', onFailedPolicy='retry', onFailedRetryInterval=600)",
    )
    add(client, "1-1", key="s:bad")
    wait_until(lambda: stream_status(client) == b"WAITING_FOR_RETRY_ON_FAILURE", 10.0, "one failed")
    add(client, "1-1", "1-2", key="s:good")
    wait_until(lambda: client.get("done") == b"2", 10.0, "the other went on")


def test_a_sync_batch_that_is_not_full_runs_when_its_time_is_over(client: redis.Redis) -> None:
    register(client, f"{TELL}.register('s', batch=3, duration=50, mode='sync')")
    add(client, "1-1", "1-2", "1-3", "1-4")
    assert batches(client) == [b"1-1,1-2,1-3"]
    wait_until(lambda: batches(client) == [b"1-1,1-2,1-3", b"1-4"], 10.0, "the last ran by itself")


def test_an_upgrade_waits_for_the_batch_that_runs(client: redis.Redis) -> None:
    script = (
        "import time\n"
        "def f(r):\n"
        "    execute('RPUSH', 'batches', r['id'])\n"
        "    while execute('GET', 'hold'): time.sleep(0.01)\n"
        "GB('StreamReader').foreach(f).register('s', mode='async_local')"
    )
    client.set("hold", 1)
    client.execute_command("RG.PYEXECUTE", script, "ID", "streams")
    add(client, "1-1")
    wait_until(lambda: batches(client) == [b"1-1"], 10.0, "the first entry is being worked on")
    client.execute_command(
        "RG.PYEXECUTE", f"{TELL}.register('s', mode='async_local')", "ID", "streams", "UPGRADE"
    )
    add(client, "1-2")
    client.delete("hold")
    wait_until(lambda: len(batches(client)) == 2, 10.0, "the second entry ran")
    assert batches(client) == [b"1-1", b"1-2"]


HELD = (
    "import time\n"
    "def f(ids):\n"
    "    for entry in ids:\n"
    "        execute('RPUSH', 'batches', entry)\n"
    "        while entry == '1-7' and execute('GET', 'hold'): time.sleep(0.01)\n"
)


@pytest.mark.parametrize("persistence", ["snapshot", "append only file"])
def test_a_killed_server_loses_no_entry_and_repeats_no_batch_that_was_done(
    make_server: Callable[..., Server], persistence: str
) -> None:
    log = {"appendonly": "yes", "appendfsync": "always"}
    server = make_server(settings=log if persistence == "append only file" else {"save": ""})
    with server.client() as client:
        register(client, f"{HELD}{BATCH}.foreach(f).register('s', batch=5, mode='async_local')")
        client.set("hold", 1)
        add(client, *(f"1-{n}" for n in range(1, 16)))
        wait_until(lambda: len(batches(client)) == 7, 10.0, "the second batch is being worked on")
        if persistence == "snapshot":
            client.save()
        else:
            client.delete("hold")
            wait_until(lambda: len(batches(client)) >= 8, 10.0, "it goes on")
    server.kill()
    server.start()
    with server.client() as client:
        client.delete("hold")
        wait_until(lambda: client.xlen("s") == 0, 20.0, "all is done")
        times = Counter(batches(client))
    assert set(times) == {f"1-{n}".encode() for n in range(1, 16)}
    once = 5 if persistence == "snapshot" else 0
    assert all(times[f"1-{n}".encode()] == 1 for n in range(1, once + 1))
    assert all(count <= 2 for count in times.values())


def test_entries_that_are_kept_are_not_read_again_by_the_next_worker(fresh_server: Server) -> None:
    with fresh_server.client() as client:
        register(client, f"{TELL}.register('s', mode='async_local', trimStream=False)")
        add(client, "1-1", "1-2")
        wait_until(lambda: len(batches(client)) == 2, 10.0, "both ran")
        wait_until(
            lambda: client.xpending("s", "__gears_consumer_group__")["pending"] == 0, 10.0, "they are done"
        )
        old = fresh_server.worker_pid("functions")
        os.kill(old, signal.SIGKILL)
        fresh_server.wait_for_worker("functions", other_than=old)
        add(client, "1-3")
        wait_until(lambda: len(batches(client)) == 3, 10.0, "the third ran")
        assert batches(client) == [b"1-1", b"1-2", b"1-3"]


def test_a_batch_that_ends_while_the_server_is_busy_is_acknowledged_once(
    server: Server, client: redis.Redis, tmp_path: Path
) -> None:
    """The answer to that comes later than the worker waits for one."""
    go = tmp_path / "go"
    register(
        client,
        "import pathlib, time\n"
        "def f(r):\n"
        "    execute('RPUSH', 'batches', r['id'])\n"
        f"    while not pathlib.Path('{go}').exists(): time.sleep(0.01)\n"
        "GB('StreamReader').foreach(f).register('s', mode='async_local')",
    )
    client.config_set("keymiss.job-timeout-ms", 300)
    add(client, "1-1")
    wait_until(lambda: batches(client) == [b"1-1"], 10.0, "the entry is being worked on")
    with server.client() as sleeping, server.client(socket_timeout=0.5) as asking:
        connection = sleeping.connection_pool.get_connection()
        connection.send_command("DEBUG", "SLEEP", "2")
        wait_until(lambda: not answers(asking), 2.0, "the server is busy")
        go.touch()
        assert connection.read_response() == b"OK"
        sleeping.connection_pool.release(connection)
    wait_until(lambda: "cannot be acknowledged: the deadline passed" in server.log, 10.0, "it is told")
    add(client, "1-2", "1-3")
    wait_until(lambda: client.xlen("s") == 0, 10.0, "all is done")
    assert batches(client) == [b"1-1", b"1-2", b"1-3"]


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.TimeoutError:
        return False


STUCK = (
    "import time\n"
    "async def f(r):\n"
    "    execute('RPUSH', 'batches', r['id'])\n"
    "    while r['id'] == '1-1' and execute('GET', 'hold'): await asyncio.sleep(0.01)\n"
    "GB('StreamReader').foreach(f).register('s', mode='{mode}')"
)


def registrations(client: redis.Redis) -> list[str]:
    return [entry[1].decode() for entry in client.execute_command("RG.DUMPREGISTRATIONS")]


@pytest.mark.parametrize("mode", ["sync", "async_local"])
def test_a_batch_that_awaits_for_too_long_is_aborted_and_the_next_runs(
    client: redis.Redis, mode: str
) -> None:
    client.config_set("keymiss.execution-timeout-ms", 300)
    client.set("hold", 1)
    register(client, STUCK.replace("{mode}", mode))
    add(client, "1-1", "1-2")
    wait_until(lambda: batches(client) == [b"1-1", b"1-2"], 10.0, "the second entry ran")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    assert entry[7][entry[7].index(b"numAborted") + 1] == 1


@pytest.mark.parametrize("mode", ["sync", "async_local"])
def test_one_that_comes_after_an_unregistered_one_does_not_wait_for_its_batch(
    client: redis.Redis, mode: str
) -> None:
    client.set("hold", 1)
    register(client, STUCK.replace("{mode}", mode))
    add(client, "1-1", "1-2")
    wait_until(lambda: batches(client) == [b"1-1"], 10.0, "the first entry is being worked on")
    client.execute_command("RG.UNREGISTER", *registrations(client))
    register(client, f"{TELL}.register('s', mode='{mode}')")
    add(client, "1-3")
    wait_until(lambda: batches(client) == [b"1-1", b"1-2", b"1-3"], 10.0, "the next two ran, and once")
    client.delete("hold")
    wait_until(lambda: client.xpending("s", "__gears_consumer_group__")["pending"] == 0, 10.0, "all is done")
    assert len(batches(client)) == 3


def test_what_an_unregistered_one_does_not_finish_is_run_by_the_next(client: redis.Redis) -> None:
    client.set("hold", 1)
    client.config_set("keymiss.execution-timeout-ms", 700)
    register(client, STUCK.replace("{mode}", "async_local"))
    add(client, "1-1")
    wait_until(lambda: batches(client) == [b"1-1"], 10.0, "the entry is being worked on")
    client.execute_command("RG.UNREGISTER", *registrations(client))
    register(client, f"{TELL}.register('s', mode='async_local', trimStream=False)")
    wait_until(lambda: batches(client) == [b"1-1", b"1-1"], 10.0, "it ran again once it was aborted")
