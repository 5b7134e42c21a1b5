"""A thousand clients that miss one key cost one run, where the registration asks for that."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading

import pytest
import redis
from support.functions import register
from support.server import Server
from support.waiting import wait_until

CLIENTS = 1000
REPLY_TIMEOUT_S = 30.0


def _slow_answers(options: str) -> str:
    return (
        "import asyncio\n"
        "async def answer(record):\n"
        "    execute('INCR', 'runs')\n"
        "    await asyncio.sleep(0.5)\n"
        "    override_reply('answer for ' + record['key'])\n"
        "GB().map(answer).register(prefix='m:*', commands=['get'], eventTypes=['keymiss'], "
        f"mode='async_local'{options})"
    )


def _ask_all(server: Server, command: bytes, clients: int) -> list[bytes]:
    """Send a command on so many connections at once; their replies, raw."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(clients):
            connected = socket.create_connection(("127.0.0.1", server.port), timeout=REPLY_TIMEOUT_S)
            sockets.append(stack.enter_context(contextlib.closing(connected)))
        for connected in sockets:
            connected.sendall(command)
        selector = stack.enter_context(selectors.DefaultSelector())
        for connected in sockets:
            selector.register(connected, selectors.EVENT_READ)
        replies: list[bytes] = []
        while len(replies) < clients:
            ready = selector.select(REPLY_TIMEOUT_S)
            assert ready, f"{clients - len(replies)} clients were not answered"
            for key, _ in ready:
                replies.append(key.fileobj.recv(1000))  # type: ignore[union-attr]
                selector.unregister(key.fileobj)
        return replies


def _kill_when_running(server: Server, client: redis.Redis) -> threading.Thread:
    def kill() -> None:
        wait_until(lambda: client.get("runs"), 20.0, "the function runs")
        os.kill(server.worker_pid("functions"), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def _savings(client: redis.Redis) -> int:
    return int(client.info("keymiss")["keymiss_single_flight_savings"])


def test_a_thousand_clients_cost_one_run(client: redis.Redis, server: Server) -> None:
    register(client, _slow_answers(", singleFlight=True"))
    before = _savings(client)
    replies = _ask_all(server, b"*2\r\n$3\r\nGET\r\n$3\r\nm:1\r\n", CLIENTS)
    assert set(replies) == {b"$14\r\nanswer for m:1\r\n"}
    assert client.get("runs") == b"1"
    assert _savings(client) == before + CLIENTS - 1


def test_without_the_option_each_miss_is_a_run(client: redis.Redis, server: Server) -> None:
    register(client, _slow_answers(""))
    replies = _ask_all(server, b"*2\r\n$3\r\nGET\r\n$3\r\nm:1\r\n", 10)
    assert set(replies) == {b"$14\r\nanswer for m:1\r\n"}
    assert client.get("runs") == b"10"


def test_the_next_miss_after_the_answer_is_a_run_of_its_own(client: redis.Redis) -> None:
    register(client, _slow_answers(", singleFlight=True"))
    assert client.get("m:1") == client.get("m:1") == b"answer for m:1"
    assert client.get("runs") == b"2"


def test_different_keys_and_databases_do_not_share_a_run(client: redis.Redis, server: Server) -> None:
    register(client, _slow_answers(", singleFlight=True"))
    one = server.client(db=1)
    with contextlib.closing(one), contextlib.closing(server.client()) as zero:
        connections = [c.connection_pool.get_connection() for c in (client, one, zero)]
        for connection, key in zip(connections, ("m:1", "m:1", "m:2"), strict=True):
            connection.send_command("GET", key)
        replies = [connection.read_response() for connection in connections]
        client.connection_pool.release(connections[0])
        assert replies == [b"answer for m:1", b"answer for m:1", b"answer for m:2"]
        assert (client.get("runs"), one.get("runs")) == (b"2", b"1")
        one.flushdb()


def test_clients_that_leave_do_not_end_the_flight_of_others(client: redis.Redis, server: Server) -> None:
    register(client, _slow_answers(", singleFlight=True"))
    leaving = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for connected in leaving:
        connected.sendall(b"*2\r\n$3\r\nGET\r\n$3\r\nm:1\r\n")
    staying = client.connection_pool.get_connection()
    staying.send_command("GET", "m:1")
    for connected in leaving:
        connected.close()
    assert staying.read_response() == b"answer for m:1"
    client.connection_pool.release(staying)
    assert client.get("runs") == b"1"


def test_all_are_answered_by_the_next_worker_when_one_is_killed(fresh_server: Server) -> None:
    with contextlib.closing(fresh_server.client()) as client:
        register(client, _slow_answers(", singleFlight=True"))
        killer = _kill_when_running(fresh_server, client)
        replies = _ask_all(fresh_server, b"*2\r\n$3\r\nGET\r\n$3\r\nm:1\r\n", 200)
        killer.join()
        assert set(replies) == {b"$14\r\nanswer for m:1\r\n"}
        assert client.get("runs") == b"2"


def test_a_synchronous_answer_that_is_lost_with_its_worker_is_an_error(fresh_server: Server) -> None:
    """The main thread waits for it, so nobody else is served meanwhile: it is not started a second time."""
    with contextlib.closing(fresh_server.client()) as client:
        register(
            client,
            "import os, signal\n"
            "def die(record): os.kill(os.getpid(), signal.SIGKILL)\n"
            "GB().foreach(die).register(prefix='m:*', commands=['get'], eventTypes=['keymiss'], mode='sync')",
        )
        with pytest.raises(redis.ResponseError):
            client.get("m:1")
        assert client.ping()
