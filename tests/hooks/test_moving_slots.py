"""Functions and a slot that moves: the shard it leaves sends clients on (ASK), the other serves no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError
from support.cluster import Cluster, node_id
from support.functions import register

TAG = "{move}"
MOVE_TIMEOUT_MS = 5000

ANSWERING = """
GB().foreach(lambda r: override_reply('sync ' + r['key'])).register(
    'sync:*', commands=['get'], eventTypes=['keymiss'], mode='sync')
async def answer(record):
    override_reply('async ' + record['key'])
GB().foreach(answer).register('async:*', commands=['get'], eventTypes=['keymiss'], mode='async_local')
def fill(record):
    execute('SET', record['key'], 'filled')
    override_reply('not kept')
GB().foreach(fill).register('fill:*', commands=['get'], eventTypes=['keymiss'], mode='sync')
"""
ON_WRITES = """
GB().foreach(lambda r: override_reply(r['event'] + ' seen')).register(
    'seen:*', commands=['hset'], mode='sync')
GB('CommandReader').map(lambda words: 'next ' + call_next(*words[1:])).register(
    hook='hget', keyprefix='seen:', mode='sync')
"""


@dataclass
class Move:
    """The slot of `TAG` on its way from `source` to `target`."""

    source: redis.Redis
    target: redis.Redis
    target_port: int

    def send(self, *keys: str) -> None:
        """Move these keys."""
        words = ["MIGRATE", "127.0.0.1", self.target_port, "", 0, MOVE_TIMEOUT_MS, "KEYS", *keys]
        assert self.source.execute_command(*words) in (b"OK", "OK", True)

    def ask(self, *words: Any) -> Any:
        """What the target answers a client that was sent there."""
        connection = self.target.connection_pool.get_connection()
        try:
            connection.send_command("ASKING")
            connection.read_response()
            connection.send_command(*words)
            return connection.read_response()
        finally:
            self.target.connection_pool.release(connection)


@pytest.fixture
def move(cluster: Cluster) -> Iterator[Move]:
    slot = key_slot(TAG.encode())
    source = cluster.shard_of(TAG).master
    target = next(master for master in cluster.masters if master is not source)
    with contextlib.closing(source.client()) as leaving, contextlib.closing(target.client()) as coming:
        register(leaving, ANSWERING)
        register(leaving, ON_WRITES)
        for key in (f"sync:there{TAG}", f"two:1{TAG}", f"two:2{TAG}"):
            leaving.set(key, "value")
        leaving.hset(f"seen:there{TAG}", "a", "value")
        coming.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
        leaving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(target))
        try:
            yield Move(leaving, coming, target.port)
        finally:
            coming.flushall()
            for client in (leaving, coming):
                client.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")


def test_keys_that_are_still_there_are_served_as_ever(move: Move) -> None:
    assert move.source.get(f"sync:there{TAG}") == b"value"
    assert move.source.execute_command("HSET", f"seen:there{TAG}", "b", 1) == b"hset seen"
    assert move.source.execute_command("HGET", f"seen:there{TAG}", "a") == b"next value"
    move.send(f"sync:there{TAG}", f"seen:there{TAG}")
    for words in (("GET", f"sync:there{TAG}"), ("HGET", f"seen:there{TAG}", "a")):
        with pytest.raises(AskError):
            move.source.execute_command(*words)


def test_a_miss_is_sent_on_and_answered_by_the_other_shard(move: Move) -> None:
    for kind in ("sync", "async"):
        key = f"{kind}:{TAG}"
        with pytest.raises(AskError):
            move.source.get(key)
        with pytest.raises(MovedError):
            move.target.get(key)
        assert move.ask("GET", key) == f"{kind} {key}".encode()


def test_a_write_of_a_client_that_was_sent_on_fires_its_functions(move: Move) -> None:
    assert move.ask("HSET", f"seen:{TAG}", "a", 1) == b"hset seen"
    assert move.ask("HEXISTS", f"seen:{TAG}", "a") == 1


def test_a_function_cannot_write_there_and_says_why(move: Move) -> None:
    assert move.ask("GET", f"fill:{TAG}") is None, "the command's own reply"
    errors = [
        dict(zip(entry[7][::2], entry[7][1::2], strict=True))[b"lastError"]
        for entry in move.target.execute_command("RG.DUMPREGISTRATIONS")
    ]
    (error,) = [error for error in errors if error]
    slot = key_slot(TAG.encode())
    assert (
        f"slot {slot} is on its way from one shard to another, try again when it has moved".encode() in error
    )


def test_a_hooked_command_is_to_be_tried_again(move: Move) -> None:
    """Clients of clusters do so by themselves."""
    move.ask("HSET", f"seen:{TAG}", "a", "value")
    with pytest.raises(TryAgainError, match="while their slot moves"):
        move.ask("HGET", f"seen:{TAG}", "a")


def test_a_second_key_that_has_moved_is_a_clear_error(move: Move) -> None:
    keys = f"two:1{TAG}", f"two:2{TAG}"
    move.send(keys[1])
    script = f"GB('CommandReader').map(lambda _: execute('MSET', '{keys[0]}', 1, '{keys[1]}', 2))"
    register(move.source, f"{script}.register(trigger='write', mode='sync')")
    with pytest.raises(ResponseError, match=f"slot {key_slot(TAG.encode())} is on its way"):
        move.source.execute_command("RG.TRIGGER", "write")


def test_a_run_over_all_keys_reads_what_can_be_read_and_counts_the_rest(move: Move) -> None:
    move.ask("SET", f"moved:{TAG}", 1)
    script = "GB().map(lambda r: r['key']).run('moved:*')"
    results, errors = move.source.execute_command("RG.PYEXECUTE", script)
    assert results == []
    assert errors == [
        f"ERR 1 keys, 'moved:{TAG}' among them, were not read: their slots are on the way from one shard to "
        "another".encode()
    ]
    names = move.source.execute_command("RG.PYEXECUTE", "GB('KeysOnlyReader').run('moved:*')")
    assert names == [[f"moved:{TAG}".encode()], []]
