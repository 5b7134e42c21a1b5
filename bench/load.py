"""Load from redis-benchmark: part of every server package, and cheap enough not to be what is measured."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis

CLIENTS = 50
TIMEOUT_S = 300.0
PROBE_REQUESTS = 2000


@dataclass(frozen=True)
class Load:
    """What one run of redis-benchmark saw: requests a second, milliseconds at median and 99th percentile."""

    rate: float
    p50_ms: float
    p99_ms: float


def run(port: int, command: Sequence[str], clients: int, requests: int) -> Load:
    """Send `command` `requests` times from `clients` connections; `__rand_int__` in it is a new number each.

    RuntimeError where redis-benchmark is missing, fails, or meets an error reply.
    """
    program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if program is None:
        raise RuntimeError(
            "redis-benchmark is not installed: it comes with redis-server (package redis-tools)"
        )
    options = ["-p", str(port), "-c", str(clients), "-n", str(requests), "-r", "1000000000", "--csv"]
    done = subprocess.run(
        [program, *options, *command], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode != 0 or "Error from server" in done.stdout + done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    (row,) = csv.DictReader(lines)
    return Load(float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]))


def requests_for(port: int, command: Sequence[str], clients: int, seconds: float) -> int:
    """How many requests take about `seconds`, found by a short run, which warms everything up as well."""
    rate = run(port, command, clients, PROBE_REQUESTS).rate
    return max(int(rate * seconds), 10 * clients)


def loader(client: redis.Redis, command: Sequence[str], clients: int, seconds: float) -> Callable[[], Load]:
    """A function that loads this client's server with `command` for about `seconds`."""
    port = int(client.connection_pool.connection_kwargs["port"])
    requests = requests_for(port, command, clients, seconds)
    return lambda: run(port, command, clients, requests)
