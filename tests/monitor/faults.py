"""What goes wrong with a monitored cluster, and how it is mended: one context manager for each alert.

Entering one breaks something and leaving it mends that. They can all be there at once, each on a part of the
cluster of its own: those of requests on shard-1, where they are over once they were counted; the others on
the replicas and on shard-2."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

import redis
from monitor.deployment import Monitored
from support.processes import runs, stopped
from support.waiting import wait_until

DEADLINE_S = 60.0
KILLS = 3
FULL = 0.97  # of a limit that is set, what is used already

Fault = Callable[[Monitored], AbstractContextManager[None]]


@dataclass(frozen=True)
class Case:
    """An alert, the fault that it fires for, and labels that it then has."""

    alert: str
    fault: Fault
    labels: Mapping[str, str]


@contextmanager
def replica_is_refused(monitored: Monitored) -> Iterator[None]:
    """The master hangs up on its replica and does not let it in again."""
    with closing(monitored.client("shard-1")) as master:
        master.execute_command("ACL", "SETUSER", "default", "-sync", "-psync")
        try:
            master.execute_command("CLIENT", "KILL", "TYPE", "replica")
            yield
        finally:
            master.execute_command("ACL", "SETUSER", "default", "+sync", "+psync")


@contextmanager
def memory_is_nearly_full(monitored: Monitored) -> Iterator[None]:
    with closing(monitored.client("shard-1-replica-1")) as client:
        used = client.info("memory")["used_memory"]
    with _set(monitored, "shard-1-replica-1", "maxmemory", int(used / FULL)):
        yield


@contextmanager
def models_fill_their_memory(monitored: Monitored) -> Iterator[None]:
    with closing(monitored.client("shard-1")) as client:
        used = client.info("keymiss")["keymiss_bytes_resident"]
    with _set(monitored, "shard-1", "keymiss.models-memory", int(used / FULL)):
        yield


@contextmanager
def functions_worker_is_stuck(monitored: Monitored) -> Iterator[None]:
    with stopped(monitored.functions_worker_pid("shard-2")):
        yield


@contextmanager
def functions_worker_keeps_dying(monitored: Monitored) -> Iterator[None]:
    """Each time it is seen to be back before it is killed again; nothing is left to mend."""
    pid = 0
    for _ in range(KILLS):
        pid = monitored.functions_worker_pid("shard-1-replica-1", other_than=pid)
        os.kill(pid, signal.SIGKILL)
    monitored.functions_worker_pid("shard-1-replica-1", other_than=pid)
    yield


@contextmanager
def metrics_are_turned_off(monitored: Monitored) -> Iterator[None]:
    with _set(monitored, "shard-2-replica-1", "keymiss.metrics-port", 0):
        yield


@contextmanager
def requests_fail(monitored: Monitored) -> Iterator[None]:
    """Thirty functions raise."""
    with closing(monitored.client("shard-1")) as client:
        for _ in range(30):
            assert "on purpose" in _error(client, "RG.TRIGGER", "fail")
    yield


@contextmanager
def the_queue_is_short(monitored: Monitored) -> Iterator[None]:
    """Of six misses at once one may wait."""
    with _set(monitored, "shard-1", "keymiss.max-jobs", 1):
        errors = _get_slowly(monitored, "busy", 6, 1.0)
        assert any("BUSY" in error for error in errors)
    yield


@contextmanager
def there_is_no_time(monitored: Monitored) -> Iterator[None]:
    """Misses have a tenth of a second, and need a whole one."""
    with _set(monitored, "shard-1", "keymiss.job-timeout-ms", 100):
        assert len(_get_slowly(monitored, "late", 10, 1.0)) == 10
    yield


@contextmanager
def misses_are_slow(monitored: Monitored) -> Iterator[None]:
    assert _get_slowly(monitored, "slow", 20, 1.5) == []
    yield


@contextmanager
def a_stream_lags(monitored: Monitored) -> Iterator[None]:
    """An entry of two minutes ago is read, and held."""
    tag = monitored.tags["shard-1"]
    with closing(monitored.client("shard-1")) as client:
        client.set(f"held{{{tag}}}", 1)
        try:
            client.xadd(f"entries:{{{tag}}}-old", {"n": 0}, id=f"{int(time.time() - 120) * 1000}-0")
            yield
        finally:
            client.delete(f"held{{{tag}}}")


@contextmanager
def models_worker_is_stuck(monitored: Monitored) -> Iterator[None]:
    with stopped(monitored.models_worker_pid):
        yield


@contextmanager
def shard_is_killed(monitored: Monitored) -> Iterator[None]:
    """Of two masters one is no majority: its replica does not take over. Mended as users do."""
    pid = monitored.pid("shard-2")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid), DEADLINE_S, "the shard has ended")
    yield
    assert "started shard-2" in monitored.keymiss("up")


FIRST = (
    Case("KeymissMemoryHigh", memory_is_nearly_full, {"shard": "shard-1-replica-1"}),
    Case("KeymissModelsMemoryHigh", models_fill_their_memory, {"job": "keymiss-models"}),
    Case("KeymissFunctionsWorkerDown", functions_worker_is_stuck, {"shard": "shard-2"}),
    Case(
        "KeymissWorkerRestarting",
        functions_worker_keeps_dying,
        {"shard": "shard-1-replica-1", "worker": "functions"},
    ),
    Case(
        "KeymissTargetDown",
        metrics_are_turned_off,
        {"shard": "shard-2-replica-1", "job": "keymiss-functions"},
    ),
    Case("KeymissErrorsHigh", requests_fail, {"shard": "shard-1"}),
    Case("KeymissQueueFull", the_queue_is_short, {"shard": "shard-1"}),
    Case("KeymissTimeouts", there_is_no_time, {"shard": "shard-1"}),
    Case("KeymissLatencyHigh", misses_are_slow, {"shard": "shard-1"}),
    Case("KeymissRegistrationLag", a_stream_lags, {"shard": "shard-1", "function": "hold"}),
)
# These hide what the others are about: they come when those were seen, and go before them, the last first (as
# `keymiss up` wants replicas in sync).
LAST = (
    Case("KeymissShardDown", shard_is_killed, {"shard": "shard-2"}),
    Case("KeymissSlotsUncovered", shard_is_killed, {"cluster": "keymiss"}),
    Case("KeymissModelsWorkerDown", models_worker_is_stuck, {"job": "keymiss-models"}),
    Case("KeymissReplicationBroken", replica_is_refused, {"shard": "shard-1-replica-1"}),
)


@contextmanager
def _set(monitored: Monitored, shard: str, name: str, value: int) -> Iterator[None]:
    """A setting of the shard has this value, and then its old one again."""
    with closing(monitored.client(shard)) as client:
        (old,) = client.config_get(name).values()
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, old)


def _get_slowly(monitored: Monitored, name: str, count: int, seconds: float) -> list[str]:
    """The errors of so many misses at once that take so long each."""
    tag = monitored.tags["shard-1"]

    def get(n: int) -> str:
        with closing(monitored.client("shard-1")) as client:
            return _error(client, "GET", f"wait:{{{tag}}}{name}-{n}:{seconds}")

    with ThreadPoolExecutor(count) as pool:
        return [error for error in pool.map(get, range(count)) if error]


def _error(client: redis.Redis, *command: str) -> str:
    """The error that the command gets; empty where it gets none."""
    try:
        client.execute_command(*command)
    except redis.ResponseError as error:
        return str(error)
    return ""
