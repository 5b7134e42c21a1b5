"""Functions that write what fires them: as often as they need to, but not without end."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from support.functions import register
from support.server import Server
from support.waiting import wait_until

from keymiss.functions.refires import Chain, followed

MOST = 20

PLAIN = "def f(r): execute('INCR', r['key'])\n"
COROUTINE = "async def f(r): await executeAsync('INCR', r['key'])\n"
NOT_WAITING = "async def f(r): executeAsync('INCR', r['key'])\n"


def numbers(client: redis.Redis) -> list[dict[bytes, Any]]:
    """What RG.DUMPREGISTRATIONS tells of each registration's runs."""
    data = [entry[7] for entry in client.execute_command("RG.DUMPREGISTRATIONS")]
    return [dict(zip(told[::2], told[1::2], strict=True)) for told in data]


def is_stopped(client: redis.Redis) -> bool:
    return any(b"keymiss.max-refires" in (told[b"lastError"] or b"") for told in numbers(client))


@pytest.mark.parametrize(
    ("function", "option"),
    [
        (PLAIN, "mode='async'"),
        (PLAIN, "mode='async_local'"),
        (PLAIN, "parallel=True"),
        (COROUTINE, "mode='async_local'"),
        (NOT_WAITING, "mode='async'"),
    ],
)
def test_a_function_that_fires_itself_is_stopped(
    server: Server, client: redis.Redis, function: str, option: str
) -> None:
    client.config_set("keymiss.max-refires", MOST)
    client.config_set("keymiss.functions-processes", 2)
    register(client, f"{function}GB().foreach(f).register('k*', {option})")
    client.set("k1", 0)
    wait_until(lambda: is_stopped(client), 10.0, "it is stopped, and its registration says so")
    assert client.get("k1") == b"%d" % MOST
    (told,) = numbers(client)
    assert (told[b"numTriggered"], told[b"numSuccess"], told[b"numFailures"]) == (MOST + 1, MOST, 1)
    assert "has run 20 times in a row for the key 'k1'" in server.log
    client.set("k2", 0)  # it is not what is stopped, but the loop: it goes on for others
    wait_until(lambda: client.get("k2") == b"%d" % MOST, 10.0, "it has run for another key")


def test_functions_that_fire_each_other_are_stopped(client: redis.Redis) -> None:
    client.config_set("keymiss.max-refires", MOST)
    register(
        client,
        "def mirror(r, to): execute('SET', to + r['key'][1:], r['value'])\n"
        "GB().foreach(lambda r: mirror(r, 'b')).register('a*', eventTypes=['set'], mode='async_local')\n"
        "GB().foreach(lambda r: mirror(r, 'a')).register('b*', eventTypes=['set'], mode='async_local')",
    )
    client.set("a1", "x")
    wait_until(lambda: is_stopped(client), 10.0, "they are stopped")
    assert [told[b"numSuccess"] for told in numbers(client)] == [MOST, MOST]


def test_a_function_may_fire_itself_some_times(client: redis.Redis) -> None:
    register(
        client,
        "def f(r):\n    if int(r['value']) < 300: execute('INCR', r['key'])\n"
        "GB().foreach(f).register('k*', mode='async_local')",
    )
    client.set("k1", 0)
    wait_until(lambda: client.get("k1") == b"300", 20.0, "it has counted")
    wait_until(lambda: numbers(client)[0][b"numSuccess"] == 301, 10.0, "the last one has ended")
    assert not is_stopped(client)


def test_what_is_written_again_and_again_by_clients_is_no_loop(client: redis.Redis) -> None:
    client.config_set("keymiss.max-refires", 2)
    register(client, "GB().foreach(lambda r: execute('INCR', 'n')).register('k*', mode='async_local')")
    for _ in range(10):
        client.set("k1", 0)
    wait_until(lambda: client.get("n") == b"10", 10.0, "each has fired")
    assert not is_stopped(client)


def test_a_chain_counts_what_led_to_an_event_only() -> None:
    """Not what else the same event has caused."""
    first = followed(None, ("r", b"k"))
    for key in (b"a", b"b", b"c"):
        assert followed(followed(first, ("r", key)), ("s", b"all"))["s", b"all"] == 1


def test_a_chain_forgets_what_was_long_ago() -> None:
    chain: Chain | None = None
    for n in range(100_000):  # a list of keys, each of which fires the next
        chain = followed(chain, ("r", b"%d" % n))
        assert len(chain) <= 16
    assert chain is not None and set(chain.values()) == {1}
