"""What INFO keymiss counts for those who watch a shard: hits, errors by kind, and the stages of a miss."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest
import redis
from support.scripted import Scripts
from support.server import Server
from support.waiting import wait_until

KINDS = ("busy", "timeout", "worker", "function", "model")


@pytest.fixture
def gained(scripts: Scripts) -> Callable[..., dict[str, int]]:
    """gained("hits", ...): what these fields have gained since they were last asked for, where they have."""
    before: dict[str, int] = {}

    def grown(*fields: str) -> dict[str, int]:
        said = scripts.client.info("keymiss")
        now = {field: int(said[f"keymiss_{field}"]) for field in fields}
        difference = {field: count - before.get(field, 0) for field, count in now.items()}
        before.update(now)
        return {field: count for field, count in difference.items() if count}

    return grown


def test_hits_are_hooked_reads_whose_key_was_there(
    scripts: Scripts, gained: Callable[..., dict[str, int]]
) -> None:
    fields = ("hits", "misses", "misses_overridden", "hooked_calls")
    client = scripts.client
    assert scripts("register answers q:* async_local keymiss get") == b"OK"
    assert scripts("register writes w:* async_local set set") == b"OK"
    client.set("q:there", "1")
    client.lpush("q:list", "1")
    client.set("plain", "1")
    gained(*fields)
    assert [client.get("q:there"), client.get("q:there"), client.get("plain")] == [b"1", b"1", b"1"]
    assert gained(*fields) == {"hits": 2, "hooked_calls": 2}
    assert client.get("q:not-there") == b"q:not-there"
    assert gained(*fields) == {"misses": 1, "misses_overridden": 1, "hooked_calls": 1}
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.get("q:list")
    assert client.set("w:1", "1")
    assert gained(*fields) == {"hooked_calls": 2}, "an error and a write are neither"
    transaction = client.pipeline(transaction=True)
    assert transaction.get("q:there").get("q:neither").execute() == [b"1", None]
    assert gained(*fields) == {"hits": 1, "misses": 1, "hooked_calls": 2}


def test_the_stages_of_a_miss_are_measured_once_each(shard: Server, scripts: Scripts) -> None:
    def counts() -> tuple[int, ...]:
        said = scripts.client.info("keymiss")
        return tuple(said[f"keymiss_stage_{stage}_count"] for stage in ("hook", "queue", "reply"))

    assert scripts("register answers q:* async_local keymiss get") == b"OK"
    assert counts() == (0, 0, 0), "what is no miss has none"
    for n in range(5):
        assert scripts.client.get(f"q:{n}") == b"q:%d" % n
    assert counts() == (5, 5, 5)
    scripts.client.pipeline(transaction=True).get("q:5").execute()
    assert counts() == (5, 5, 5), "nobody waits for one inside MULTI"
    for field, figures in scripts.client.info("keymiss").items():
        if field.endswith("_buckets"):
            within = list(figures.values())
            assert (len(figures), *list(figures)[::15]) == (16, "le_50us", "le_10s")
            assert within == sorted(within)
            assert within[-1] == scripts.client.info("keymiss")[field.replace("_buckets", "_count")]


def test_a_miss_that_waits_for_its_worker_is_long_in_the_queue(scripts: Scripts) -> None:
    assert scripts("register answers q:* async_local keymiss get") == b"OK"
    assert "died" in scripts("die")
    assert scripts.client.get("q:1") == b"q:1"
    assert scripts.info("stage_queue_max_us") > 50_000, "keymiss.restart-backoff-ms is 100"


def test_errors_that_clients_get_are_counted_by_kind(
    shard: Server, scripts: Scripts, gained: Callable[..., dict[str, int]]
) -> None:
    fields = tuple(f"errors_{kind}" for kind in KINDS)
    client = scripts.client
    assert scripts("register answers q:* async_local keymiss get") == b"OK"
    assert scripts("raw +fine|") == b"fine"
    assert client.get("q:1") == b"q:1"
    assert gained(*fields) == {}

    assert "what?" in scripts("nonsense")
    assert gained(*fields) == {"errors_function": 1}
    assert "overloaded" in scripts("raw -BUSY overloaded|")
    assert gained(*fields) == {"errors_busy": 1}
    assert "died" in scripts("die")
    assert gained(*fields) == {"errors_worker": 1}

    assert scripts("register dies d:* async_local keymiss get") == b"OK"
    with pytest.raises(redis.ResponseError, match="died"):
        client.get("d:1")
    assert gained(*fields) == {"errors_worker": 1}

    client.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "raw +x|")
    with pytest.raises(redis.ResponseError, match="SAW"):
        client.execute_command("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 0)
    assert gained(*fields) == {"errors_model": 1}

    assert scripts("register nevers n:* async_local keymiss get") == b"OK"
    client.config_set("keymiss.job-timeout-ms", 100)
    with pytest.raises(redis.ResponseError, match="gave no answer"):
        client.get("n:1")
    assert gained(*fields) == {"errors_timeout": 1}
    client.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "never")
    assert client.execute_command("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 0, "TIMEOUT", 50) == b"TIMEDOUT"
    assert gained(*fields) == {}, "to one who said TIMEOUT it is an answer"

    client.config_set("keymiss.job-timeout-ms", 30_000)
    client.config_set("keymiss.max-jobs", 1)
    with contextlib.closing(socket.create_connection(("127.0.0.1", shard.port))) as waiting:
        waiting.sendall(b"AI.SCRIPTEXECUTE s f INPUTS 0\r\n")
        wait_until(lambda: scripts.info("jobs_now") == 1, 5.0, "a job is at work")
        for refused in (
            lambda: client.get("q:2"),
            lambda: scripts.client.execute_command("RG.PYEXECUTE", "x"),
        ):
            with pytest.raises(redis.ResponseError, match="too many jobs"):
                refused()
        with pytest.raises(redis.ResponseError, match="too many jobs"):
            client.execute_command("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 0)
        assert gained(*fields) == {"errors_busy": 3}
    wait_until(lambda: scripts.info("jobs_now") == 0, 5.0, "the client has left")
    assert gained(*fields) == {}, "nobody got an error for that"
