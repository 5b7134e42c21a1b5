"""The functions in examples/gears do what they say: on one server, in a cluster, where their worker dies."""

from __future__ import annotations

import ast
import contextlib
import math
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from support.cluster import Cluster
from support.functions import wait_until_idle
from support.paths import REPOSITORY
from support.server import Server
from support.waiting import wait_until

EXAMPLES = REPOSITORY / "examples" / "gears"
DEADLINE_S = 60.0
TEXTS = {"text:1": "The cat and the dog", "text:2": "the end", "text:3": "A dog's day"}
COUNTED = {"the": 3, "dog": 2, "a": 1, "and": 1, "cat": 1, "day": 1, "end": 1, "s": 1}


def run(client: redis.Redis, name: str, **replaced: str) -> list[bytes]:
    """What the example answers, with some of its words replaced."""
    script = (EXAMPLES / f"{name}.py").read_text()
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    reply = client.execute_command("RG.PYEXECUTE", script)
    if reply in (b"OK", "OK"):
        return []
    results, errors = reply
    assert errors == []
    return list(results)


@contextlib.contextmanager
def writing(server: Server, write: Callable[[redis.Redis], None]) -> Iterator[None]:
    """`write(client)` in another thread, which has ended at the end."""
    failures: list[BaseException] = []

    def run_it() -> None:
        try:
            with server.client() as client:
                write(client)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run_it)
    thread.start()
    try:
        yield
    finally:
        thread.join(DEADLINE_S)
    assert not thread.is_alive() and not failures, failures


def kill_worker(server: Server) -> None:
    os.kill(server.wait_for_worker("functions"), signal.SIGKILL)


def test_words_are_counted(client: redis.Redis) -> None:
    client.mset(TEXTS)
    assert count_words(client) == COUNTED


def test_words_are_counted_in_the_texts_of_all_shards(cluster: Cluster) -> None:
    with contextlib.closing(cluster.client()) as everyone:
        for key, text in TEXTS.items():
            everyone.set(key, text)
        assert {cluster.shard_of(key).first_slot for key in TEXTS} == {s.first_slot for s in cluster.shards}
    with cluster.masters[1].client() as client:
        assert count_words(client) == COUNTED


def count_words(client: redis.Redis) -> dict[str, int]:
    counted = [ast.literal_eval(line.decode()) for line in run(client, "word_count")]
    assert len(counted) == len(COUNTED)
    return {entry["key"]: entry["value"] for entry in counted}


def test_pi_is_found(client: redis.Redis) -> None:
    pi, darts = throw_darts(client)
    assert pi == pytest.approx(math.pi, abs=0.05)
    assert darts == 200_000


def test_every_shard_throws_its_darts_at_pi(cluster: Cluster) -> None:
    with cluster.masters[2].client() as client:
        pi, darts = throw_darts(client)
    assert pi == pytest.approx(math.pi, abs=0.05)
    assert darts == 3 * 200_000


def throw_darts(client: redis.Redis) -> tuple[float, int]:
    """Pi, and how many darts it took."""
    (found,) = run(
        client, "monte_carlo_pi", **{"4 * total[0] / total[1]": "[4 * total[0] / total[1], total[1]]"}
    )
    pi, darts = ast.literal_eval(found.decode())
    return pi, darts


def test_what_is_written_gets_its_time_with_the_command_that_writes_it(client: redis.Redis) -> None:
    run(client, "expire")
    client.set("session:1", "x")
    assert 0 < client.ttl("session:1") <= 1800
    client.hset("session:2", "field", "value")
    assert 0 < client.ttl("session:2") <= 1800
    client.set("session:1", "y")  # SET takes the time away, the function gives it back
    assert 0 < client.ttl("session:1") <= 1800
    client.set("other", "x")
    assert client.ttl("other") == -1


def test_every_order_is_written_once_though_workers_die(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server, file = make_server(), tmp_path / "orders.sqlite"
    added: dict[str, list[bytes]] = {}

    def order(client: redis.Redis) -> None:
        for stream in ("orders:a", "orders:b"):
            added[stream] = []
            for start in range(0, 2000, 50):
                with client.pipeline(transaction=False) as pipe:
                    for amount in range(start, start + 50):
                        pipe.xadd(stream, {"item": "tea", "amount": amount})
                    added[stream] += pipe.execute()

    def rows() -> list[tuple[str, str, int]]:
        with contextlib.closing(sqlite3.connect(file)) as database:
            return database.execute("SELECT stream, id, amount FROM orders").fetchall()

    with server.client() as client:
        run(client, "write_behind", **{'"orders.sqlite"': repr(str(file))})
        wait_until(lambda: "orders are written to" in server.log, DEADLINE_S, "the tables are there")
        with writing(server, order):
            for least in (100, 1500):
                wait_until(lambda least=least: len(rows()) >= least, DEADLINE_S, f"{least} rows are written")
                kill_worker(server)
        expected = {
            (stream, entry.decode(), amount)
            for stream, entries in added.items()
            for amount, entry in enumerate(entries)
        }
        wait_until(lambda: len(rows()) >= len(expected), DEADLINE_S, "all orders are written")
        wait_until(
            lambda: client.xlen("orders:a") + client.xlen("orders:b") == 0, DEADLINE_S, "streams are cut"
        )
    written = rows()
    assert len(written) == len(expected) and set(written) == expected


def test_every_change_is_told_once_though_workers_die(fresh_server: Server) -> None:
    server, count = fresh_server, 1500

    def change(client: redis.Redis) -> None:
        for start in range(0, count, 50):
            with client.pipeline(transaction=False) as pipe:
                for n in range(start, start + 50):
                    pipe.hset(f"person:{n}", "name", f"name {n}")
                pipe.execute()

    with server.client(decode_responses=True) as client:
        run(client, "reliable_notifications")
        stream = "notifications:{06S}"
        with writing(server, change):
            for least in (100, 600):
                wait_until(lambda least=least: client.xlen(stream) >= least, DEADLINE_S, f"{least} are told")
                kill_worker(server)
        wait_until(lambda: client.xlen(stream) >= count, DEADLINE_S, "all changes are told")
        wait_until_idle(client, DEADLINE_S)
        told = [fields for _, fields in client.xrange(stream)]
        assert sorted(fields["key"] for fields in told) == sorted(f"person:{n}" for n in range(count))
        assert all(fields["event"] == "hset" for fields in told)
        client.delete("person:7")
        # Not at once, where the second worker died so late that this one is given to the next.
        wait_until(lambda: client.xlen(stream) > count, DEADLINE_S, "that it went is told")
        (last,) = client.xrevrange(stream, count=1)
        assert last[1] == {"key": "person:7", "event": "del", "value": "null"}
