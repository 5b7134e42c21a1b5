"""`kill -9` of the functions worker: clients are answered in time, and so are the next questions."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

import pytest
import redis
from support.functions import answering_misses, register
from support.load import Load
from support.server import Server
from support.waiting import wait_until

JOB_TIMEOUT_MS = 8000
# A busy machine may be late by seconds, a client that hangs is later.
DEADLINE_S = JOB_TIMEOUT_MS / 1000 + 4.0
KILLS = 3

SLOW_ANSWER = """
import asyncio
async def answer(record):
    await asyncio.sleep(0.05)
    override_reply('answer for ' + record['key'])
GB('KeysReader').map(answer).register(
    prefix='slow:*', commands=['get'], eventTypes=['keymiss'], mode='async_local')
"""


@pytest.fixture
def shard(make_server: Any) -> Server:
    server: Server = make_server(settings={"keymiss.job-timeout-ms": JOB_TIMEOUT_MS})
    return server


def test_clients_asking_while_it_dies_are_all_answered_in_time(shard: Server) -> None:
    with contextlib.closing(shard.client()) as client:
        register(client, SLOW_ANSWER)
        assert client.get("slow:first") == b"answer for slow:first"
    with Load(shard.client, lambda client, n: client.get(f"slow:{n}"), clients=16, timeout_s=60.0) as load:
        for _ in range(KILLS):
            load.wait_for_replies(16)
            victim = shard.wait_for_worker("functions")
            os.kill(victim, signal.SIGKILL)
            shard.wait_for_worker("functions", other_than=victim)
        load.wait_for_replies(16)
    load.check(DEADLINE_S)
    assert all(reply.startswith(b"answer for slow:") for reply in load.replies)


def test_the_next_question_is_answered_without_registering_again(shard: Server) -> None:
    with contextlib.closing(shard.client()) as client:
        register(client, answering_misses("q:"))
        assert client.get("q:1") == b"answer for q:1"
        os.kill(shard.worker_pid("functions"), signal.SIGKILL)
        assert client.get("q:2") == b"answer for q:2"


def test_a_script_that_was_running_is_answered_by_an_error(shard: Server) -> None:
    """A script is not run a second time: it may have written something the first time."""
    replies: list[object] = []

    def run_script() -> None:
        with contextlib.closing(shard.client()) as client:
            try:
                replies.append(
                    client.execute_command(
                        "RG.PYEXECUTE", "import time\nexecute('INCR', 'runs')\ntime.sleep(60)"
                    )
                )
            except redis.RedisError as error:
                replies.append(error)

    with contextlib.closing(shard.client()) as client:
        thread = threading.Thread(target=run_script, daemon=True)
        thread.start()
        wait_until(lambda: client.get("runs") == b"1", 30.0, "the script runs")
        os.kill(shard.worker_pid("functions"), signal.SIGKILL)
        thread.join(DEADLINE_S)
        assert isinstance(replies[0], redis.ResponseError), replies
        assert client.get("runs") == b"1"


def test_it_comes_back_for_commands_even_when_it_died_idle(shard: Server) -> None:
    with contextlib.closing(shard.client()) as client:
        for _ in range(KILLS):
            assert (
                client.execute_command("RG.PYEXECUTE", "GB('PythonReader').run(lambda: (yield 1))")
                is not None
            )
            os.kill(shard.worker_pid("functions"), signal.SIGKILL)
            wait_until(
                lambda: client.info("keymiss")["keymiss_functions_worker"]["state"] != "ready",
                10.0,
                "its end is noticed",
            )


def test_a_worker_that_keeps_dying_at_once_leaves_the_server_serving(shard: Server) -> None:
    """A function that ends its process cannot do more than fail its own questions."""
    with contextlib.closing(shard.client()) as client:
        register(client, answering_misses("deadly:", "    import os\n    os._exit(1)\n"))
        register(client, answering_misses("q:"))
        for n in range(2):
            with pytest.raises(redis.ResponseError):
                client.get(f"deadly:{n}")
            client.set("key", n)
            assert client.get("key") == str(n).encode()
        wait_until(
            lambda: client.get("q:1") == b"answer for q:1", DEADLINE_S * 2, "other functions are answered"
        )


def test_a_function_that_never_returns_does_not_hold_up_the_next_question(make_server: Any) -> None:
    shard = make_server(settings={"keymiss.job-timeout-ms": 2000, "keymiss.hang-timeout-ms": 2000})
    with contextlib.closing(shard.client()) as client:
        register(client, answering_misses("hang:", "    while True:\n        pass\n"))
        register(client, answering_misses("q:"))
        assert client.get("q:1") == b"answer for q:1"
        hung = shard.worker_pid("functions")
        with pytest.raises(redis.ResponseError):
            client.get("hang:1")
        assert client.ping()
        shard.wait_for_worker("functions", other_than=hung)
        wait_until(lambda: client.get("q:2") == b"answer for q:2", 30.0, "the next question is answered")


def test_a_script_that_never_returns_is_answered_by_an_error_at_its_deadline(make_server: Any) -> None:
    shard = make_server(settings={"keymiss.execution-timeout-ms": 1500, "keymiss.hang-timeout-ms": 2000})
    with contextlib.closing(shard.client()) as client:
        with pytest.raises(redis.ResponseError):
            client.execute_command("RG.PYEXECUTE", "while True:\n    pass")
        assert client.ping()
        wait_until(
            lambda: client.execute_command("RG.PYEXECUTE", "execute('SET', 'key', 'value')") == b"OK",
            30.0,
            "the next script runs",
        )
        assert client.get("key") == b"value"
