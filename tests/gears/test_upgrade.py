"""A session deployed again: what it replaces, and that a miss finds exactly one function at every moment."""

from __future__ import annotations

import threading

import pytest
import redis
from redis.exceptions import ResponseError
from support.server import Server

ANSWERS = """
async def answer(record):
    execute('INCR', 'inferences')
    override_reply('version %d')
GB().map(answer).register(prefix='%s', commands=['get'], eventTypes=['keymiss'], mode='async_local')
"""


def deploy(client: redis.Redis, version: int, prefix: str = "q*", *options: str) -> None:
    script = ANSWERS % (version, prefix)
    assert client.execute_command("RG.PYEXECUTE", script, "ID", "answers", *options) == b"OK"


def registrations(client: redis.Redis) -> list[bytes]:
    return [entry[1] for entry in client.execute_command("RG.DUMPREGISTRATIONS")]


def test_the_new_function_answers_and_the_old_one_is_gone(client: redis.Redis) -> None:
    deploy(client, 1)
    deploy(client, 2, "q*", "UPGRADE")
    assert client.get("q1") == b"version 2"
    assert len(registrations(client)) == 1
    assert client.get("inferences") == b"1"


def test_the_same_name_again_without_upgrade_is_refused_and_changes_nothing(client: redis.Redis) -> None:
    deploy(client, 1)
    with pytest.raises(ResponseError, match="already exists"):
        deploy(client, 2)
    assert client.get("q1") == b"version 1"


def test_an_upgrade_that_fails_leaves_the_old_function(client: redis.Redis) -> None:
    deploy(client, 1)
    with pytest.raises(ResponseError, match="late"):
        client.execute_command(
            "RG.PYEXECUTE", ANSWERS % (2, "q*") + "raise Exception('too late')", "ID", "answers", "UPGRADE"
        )
    assert client.get("q1") == b"version 1"


def test_an_upgrade_may_watch_other_keys(client: redis.Redis) -> None:
    deploy(client, 1)
    deploy(client, 2, "r*", "UPGRADE")
    assert (client.get("q1"), client.get("r1")) == (None, b"version 2")


def test_globals_start_anew_with_an_upgrade(client: redis.Redis) -> None:
    script = (
        "n = 0\ndef add(x):\n    global n\n    n += 1\n    return n\n"
        "GB('CommandReader').map(add).register(trigger='t')"
    )
    client.execute_command("RG.PYEXECUTE", script, "ID", "counts")
    assert client.execute_command("RG.TRIGGER", "t") == [b"1"]
    assert client.execute_command("RG.TRIGGER", "t") == [b"2"]
    client.execute_command("RG.PYEXECUTE", script, "ID", "counts", "UPGRADE")
    assert client.execute_command("RG.TRIGGER", "t") == [b"1"]


def test_a_session_takes_the_place_of_another_by_name(client: redis.Redis) -> None:
    deploy(client, 1)
    script = ANSWERS % (2, "q*")
    client.execute_command("RG.PYEXECUTE", script, "ID", "newer", "REPLACE_WITH", "answers")
    assert client.get("q1") == b"version 2"
    assert client.execute_command("RG.PYDUMPSESSIONS", "SESSIONS", "answers") == [
        b"Session answers does not exists"
    ]


def test_a_miss_during_an_upgrade_is_exactly_one_inference(server: Server, client: redis.Redis) -> None:
    deploy(client, 0)
    asked, wrong = [0] * 3, []
    ended = threading.Event()

    def ask(at: int) -> None:
        with server.client() as own:
            while not ended.is_set():
                answer = own.get(f"q{at}")
                asked[at] += 1
                if not (answer or b"").startswith(b"version "):
                    wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(asked))]
    for thread in threads:
        thread.start()
    try:
        for version in range(1, 15):
            deploy(client, version, "q*" if version % 2 else "*", "UPGRADE")
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert int(client.get("inferences")) == sum(asked)
