"""Jobs end exactly once, in time, whatever happens to workers and clients meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest
import redis
from support.load import Load
from support.scripted import Scripts
from support.server import Server
from support.waiting import wait_until


def test_a_job_ends_at_its_deadline(scripted: Callable[..., Server]) -> None:
    with contextlib.closing(scripted(keymiss__job_timeout_ms=200).client()) as client:
        assert Scripts(client)("register nevers q:* async_local keymiss get") == b"OK"
        began = time.monotonic()
        with pytest.raises(redis.ResponseError, match="gave no answer within 200 ms"):
            client.get("q:1")
        assert time.monotonic() - began < 2.0
        assert Scripts(client).info("miss_timed_out") == 1
        assert Scripts(client).info("jobs_now") == 0


def test_misses_survive_workers_that_are_killed(shard: Server, scripts: Scripts) -> None:
    scripts.client.config_set("keymiss.restart-backoff-ms", 10)
    assert scripts("register answers q:* async_local keymiss get") == b"OK"
    with Load(shard.client, lambda client, n: client.get(f"q:{n}"), clients=8) as load:
        for kill in range(5):
            load.wait_for_replies(200)
            os.kill(scripts("pid"), signal.SIGKILL)
            if kill == 2:
                scripts.client.flushall()
        load.wait_for_replies(200)
    assert not load.errors
    assert all(reply.startswith(b"q:") for reply in load.replies)
    assert scripts.info("functions_worker")["restarts"] == 5


def test_a_miss_that_kills_every_worker_is_tried_twice(scripts: Scripts) -> None:
    assert scripts("register dies q:* async_local keymiss get") == b"OK"
    with pytest.raises(redis.ResponseError, match="died while it ran this for the second time"):
        scripts.client.get("q:1")
    assert scripts("raw +alive|") == b"alive"
    assert scripts.info("functions_worker")["restarts"] == 2


def test_jobs_over_the_bound_are_refused(shard: Server, scripts: Scripts) -> None:
    assert scripts("register nevers q:* async_local keymiss get") == b"OK"
    scripts.client.config_set("keymiss.max-jobs", 3)
    with contextlib.ExitStack() as stack:
        for n in range(3):
            waiting = stack.enter_context(socket.create_connection(("127.0.0.1", shard.port)))
            waiting.sendall(b"GET q:%d\r\n" % n)
        wait_until(lambda: scripts.info("jobs_now") == 3, 5.0, "three jobs are at work")
        with pytest.raises(redis.ResponseError, match=r"(BUSY )?too many jobs wait for the workers"):
            scripts.client.get("q:3")
    assert scripts.info("miss_refused") == 1
    assert scripts.client.get("plain") is None


def test_more_arguments_than_a_frame_has_room_for_are_refused(shard: Server, scripts: Scripts) -> None:
    """The worker would take such a frame for a broken channel."""
    arguments = 2**20
    pid = scripts("pid")
    with contextlib.closing(socket.create_connection(("127.0.0.1", shard.port), timeout=30.0)) as connection:
        head = b"*%d\r\n$12\r\nRG.PYEXECUTE\r\n" % (1 + arguments)
        connection.sendall(head + b"$1\r\nx\r\n" * arguments)
        assert connection.recv(1000) == b"-ERR the command has too many arguments\r\n"
    assert scripts("pid") == pid


def test_a_sync_function_has_run_when_the_client_asks_again(scripts: Scripts) -> None:
    assert scripts("register writes s:* sync set -") == b"OK"
    assert scripts.client.set("s:1", "x")
    assert scripts.client.get("written:s:1") == b"1"
    with scripts.client.pipeline() as transaction:
        transaction.set("s:2", "x")
        transaction.execute()
    assert scripts.client.get("written:s:2") == b"1"
    scripts.client.eval("redis.call('SET', 's:3', 'x')", 0)
    assert scripts.client.get("written:s:3") == b"1"


def test_a_sync_function_that_is_stuck_holds_the_shard_for_a_bounded_time(scripts: Scripts) -> None:
    scripts.client.config_set("keymiss.sync-timeout-ms", 200)
    assert scripts("register nevers s:* sync set -") == b"OK"
    began = time.monotonic()
    assert scripts.client.set("s:1", "x")
    assert 0.15 < time.monotonic() - began < 3.0


def test_a_sync_function_whose_worker_dies_does_not_fail_the_command(scripts: Scripts) -> None:
    assert scripts("register dies s:* sync set -") == b"OK"
    assert scripts.client.set("s:1", "x")
    wait_until(
        lambda: scripts.info("jobs_now") == 0, 10.0, "the next worker, which was given the event, died too"
    )
    assert scripts("raw +alive|") == b"alive"


def test_clients_that_leave_are_forgotten(shard: Server, scripts: Scripts) -> None:
    scripts.client.config_set("keymiss.job-timeout-ms", 500)
    assert scripts("register nevers q:* async_local keymiss get") == b"OK"
    for n in range(100):
        with socket.create_connection(("127.0.0.1", shard.port)) as leaving:
            leaving.sendall(b"GET q:%d\r\n" % n)
    wait_until(lambda: scripts.info("jobs_now") == 0, 10.0, "their jobs have ended")
    assert scripts("raw +alive|") == b"alive"


def test_commands_that_may_not_wait_are_told_so(scripts: Scripts) -> None:
    with scripts.client.pipeline() as transaction, pytest.raises(redis.ResponseError):
        transaction.execute_command("RG.PYEXECUTE", "raw +hi|")
        transaction.execute()
    with pytest.raises(redis.ResponseError):
        scripts.client.eval("return redis.call('RG.PYEXECUTE', 'raw +hi|')", 0)
    assert scripts("raw +alive|") == b"alive"


def test_a_worker_that_does_not_read_makes_jobs_wait_then_be_refused(scripted: Callable[..., Server]) -> None:
    shard = scripted(keymiss__max_channel_bytes=1 << 20, keymiss__job_timeout_ms=60_000)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(shard.client()))
        scripts = Scripts(client)
        pid = scripts("pid")
        os.kill(pid, signal.SIGSTOP)
        stack.callback(os.kill, pid, signal.SIGCONT)
        padding = b"x" * 200_000
        request = b"*3\r\n$12\r\nRG.PYEXECUTE\r\n$8\r\nraw +ok|\r\n$%d\r\n%s\r\n" % (len(padding), padding)
        waiting = [
            stack.enter_context(socket.create_connection(("127.0.0.1", shard.port), timeout=20.0))
            for _ in range(30)
        ]
        for connection in waiting:
            connection.sendall(request)
        wait_until(lambda: scripts.info("command_refused") > 0, 20.0, "some are refused")
        wait_until(
            lambda: scripts.info("jobs_now") + scripts.info("command_refused") == 30, 20.0, "all have come"
        )
        assert 5 <= scripts.info("jobs_now") <= 15, (
            "a megabyte on the channel, one in the queue, one in the socket"
        )
        os.kill(pid, signal.SIGCONT)
        replies = [connection.recv(200) for connection in waiting]
    refusal = b"-BUSY too many bytes wait for the worker (keymiss.max-channel-bytes)\r\n"
    assert set(replies) == {b"+ok\r\n", refusal}
