"""What a worker asks of the shard: commands, in order, propagated, bounded, and atomic sections."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from support.scripted import Scripts
from support.server import Server, wait_for_replica
from support.waiting import wait_until


@pytest.fixture
def shard(shared_shard: Server) -> Server:
    with contextlib.closing(shared_shard.client()) as client:
        client.flushall()
    return shared_shard


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        ("+OK|", b"OK"),
        (":-5|", -5),
        ("$3|a b|", b"a b"),
        ("$0||", b""),
        ("$-1|", None),
        ("*-1|", None),
        ("*0|", []),
        ("*2|$1|a|*1|:5|", [b"a", [5]]),
        ("-WRONGTYPE no|", "ResponseError: WRONGTYPE no"),
    ],
)
def test_a_worker_s_reply_reaches_the_client(scripts: Scripts, value: str, reply: Any) -> None:
    assert scripts(f"raw {value}") == reply


@pytest.mark.parametrize(
    "value", ["", "hello", "+OK", "*2|:1|", "$5|a|", "+a|+b|", "%0|", "_|", "*1|" * 65 + ":1|"]
)
def test_a_malformed_reply_becomes_an_error(scripts: Scripts, value: str) -> None:
    assert scripts(f"raw {value}") == "ResponseError: the worker gave a malformed reply"
    assert scripts("raw +still|") == b"still"


def test_a_second_reply_to_one_job_is_ignored(scripts: Scripts) -> None:
    assert scripts("twice") == b"one"
    assert scripts("raw +in step|") == b"in step"


def test_a_command_is_run_in_the_shard(scripts: Scripts) -> None:
    scripts.client.set("greeting", "hi")
    assert scripts("call", "GET", "greeting") == b"hi"
    assert scripts("call", "SET", b"a\0b", b"\0\r\n") == b"OK"
    assert scripts.client.get(b"a\0b") == b"\0\r\n"


def test_a_command_runs_in_the_database_of_its_client(scripts: Scripts, shard: Server) -> None:
    with contextlib.closing(shard.client(db=3)) as client:
        assert Scripts(client)("call", "SET", "here", "1") == b"OK"
        assert client.get("here") == b"1"
    assert scripts.client.get("here") is None


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["NOSUCH", "x"], "unknown command 'NOSUCH'"),
        (["GET"], "wrong number of arguments for 'get' command"),
        ([], "no command given"),
        ([""], "no command given"),
        ([b"GET\0x", "k"], "unknown command"),
        (["LPUSH", "string", "x"], "WRONGTYPE"),
        (["WAIT", "1", "100"], "cannot be run by a function"),
        (["wait", "0", "0"], "cannot be run by a function"),
        (["SUBSCRIBE", "c"], "DENY BLOCKING client"),
        (["MULTI"], "cannot be run by a function"),
        (["HELLO", "3"], "cannot be run by a function"),
        (["MONITOR"], "DENY BLOCKING client"),
        (["SHUTDOWN", "NOSAVE"], "cannot be run by a function"),
        (["keymiss._answer"], "Keymiss's own"),
    ],
)
def test_what_cannot_be_run_is_an_error(scripts: Scripts, command: list[str | bytes], error: str) -> None:
    scripts.client.set("string", "x")
    assert error in scripts("call", *command)
    assert scripts("raw +alive|") == b"alive"


def test_a_command_that_would_block_does_not(scripts: Scripts) -> None:
    assert scripts("call", "BLPOP", "empty", "0") is None


def test_a_command_for_a_job_that_has_ended_is_refused(scripts: Scripts) -> None:
    assert scripts("raw +done|") == b"done"
    assert "has ended" in scripts("call-late")


def test_commands_run_in_the_order_they_were_sent(scripts: Scripts) -> None:
    assert scripts("calls 2000", "RPUSH", "order", "#") == 2000
    assert scripts.client.lrange("order", 0, -1) == [b"%d" % n for n in range(2000)]


def test_what_functions_write_reaches_replica_and_log(scripted: Callable[..., Server]) -> None:
    primary = scripted(appendonly="yes")
    replica = scripted(replicaof=f"127.0.0.1 {primary.port}")
    with contextlib.closing(primary.client()) as client, contextlib.closing(replica.client()) as copy:
        scripts = Scripts(client)
        wait_for_replica(primary, replica)
        assert scripts("calls 500", "INCR", "n") == 500
        assert scripts("atomic 0 n") == 502
        wait_for_replica(primary, replica)
        assert copy.get("n") == b"502"
        assert "while write is not allowed" in Scripts(copy)("call", "SET", "n", "1")
        assert Scripts(copy)("call", "GET", "n") == b"502"
    with contextlib.closing(primary.restart().client()) as client:
        assert client.get("n") == b"502"


def test_commands_respect_maxmemory(scripts: Scripts) -> None:
    scripts.client.config_set("maxmemory", 1)
    assert "OutOfMemoryError" in scripts("call", "SET", "k", "v")
    scripts.client.config_set("maxmemory", 0)
    assert scripts("call", "SET", "k", "v") == b"OK"


def test_commands_respect_maxmemory_as_it_is_when_they_run(scripts: Scripts) -> None:
    """No client's command is in between: the last one had memory, and later it had none."""
    client = scripts.client
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", used + 16_000_000)
    try:
        assert "OutOfMemoryError" in scripts("calls 200", "SET", "k#", b"x" * 200_000)
        assert client.info("memory")["used_memory"] < used + 24_000_000
        assert scripts("calls 200", "DEL", "k#") == 0
        assert scripts("call", "SET", "k", "v") == b"OK"
    finally:
        client.config_set("maxmemory", 0)


def test_commands_respect_missing_replicas(scripts: Scripts) -> None:
    scripts.client.config_set("min-replicas-to-write", 1)
    try:
        assert "NOREPLICAS" in scripts("call", "SET", "k", "v")
        assert scripts("call", "GET", "k") is None
        assert scripts("call", "CONFIG", "SET", "min-replicas-to-write", "0") == b"OK"
    finally:
        scripts.client.config_set("min-replicas-to-write", 0)
    assert scripts("call", "SET", "k", "v") == b"OK"


def test_large_replies_pass(scripts: Scripts) -> None:
    size = 30_000_000
    assert scripts(f"big {size}") == b"x" * size
    scripts.client.set("big", b"y" * size)
    assert scripts("call", "GET", "big") == b"y" * size


def test_a_reply_over_the_limit_of_a_frame_is_an_error(scripted: Callable[..., Server]) -> None:
    scripts = Scripts(scripted(keymiss__max_frame_bytes=65536).client())
    scripts.client.set("big", b"y" * 70_000)
    assert "does not fit the channel" in scripts("call", "GET", "big")
    assert "larger than keymiss.max-frame-bytes" in scripts(b"raw " + b"z" * 70_000)


def test_a_worker_is_told_what_was_written_whatever_waits(scripted: Callable[..., Server]) -> None:
    shard = scripted(keymiss__max_channel_bytes="1mb")
    with contextlib.closing(shard.client()) as client, contextlib.closing(shard.client()) as other:
        scripts = Scripts(other)
        pid = scripts("pid")
        client.set("some", b"y" * 1000)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reply = pool.submit(scripts, "calls-unread 3000 some", "SET", "k", "v")
            try:
                wait_until(lambda: client.get("k") == b"v", 20.0, "it is written")
            finally:
                os.kill(pid, signal.SIGCONT)
            assert reply.result(20.0) == b"OK"


def test_an_atomic_section_keeps_others_waiting(shard: Server, scripts: Scripts) -> None:
    thread = threading.Thread(target=scripts, args=("atomic 0.3 n",))
    thread.start()
    seen = set()
    with contextlib.closing(shard.client()) as client:
        while thread.is_alive():
            seen.add(client.get("n"))
    thread.join()
    assert seen <= {None, b"2"}


def test_an_atomic_section_that_does_not_end_is_left(scripted: Callable[..., Server]) -> None:
    shard = scripted(keymiss__sync_timeout_ms=200)
    with contextlib.closing(shard.client()) as client, contextlib.closing(shard.client()) as other:
        client.connection_pool.get_connection().send_command("RG.PYEXECUTE", "atomic 3600 n")
        began = time.monotonic()
        while other.get("n") != b"1":
            assert time.monotonic() - began < 5.0
        assert Scripts(other)("raw +served|") == b"served"
        assert "atomic section did not end in time" in shard.log


def test_a_worker_that_dies_in_an_atomic_section_frees_the_shard(shard: Server, scripts: Scripts) -> None:
    pid = scripts("pid")
    failed: list[Any] = []
    thread = threading.Thread(target=lambda: failed.append(scripts("atomic 3600 n")))
    thread.start()
    began = time.monotonic()
    with contextlib.closing(shard.client(socket_timeout=1.0)) as client:
        while True:  # until the shard is busy with the section
            try:
                client.ping()
            except redis.TimeoutError:
                break
            assert time.monotonic() - began < 4.0
        os.kill(pid, signal.SIGKILL)
        thread.join(5.0)
        assert "died while it ran this" in failed[0]
        assert client.ping()
