"""Load from redis-benchmark: part of every server package, and cheap enough not to be what is measured."""

from __future__ import annotations

import contextlib
import csv
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import redis

from .rounds import interleave

if TYPE_CHECKING:
    from .progress import Progress

CLIENTS = 50
TIMEOUT_S = 300.0
PROBE_S = 0.05  # a run that takes so long tells how many requests fill a second
WARM_UP = 5  # requests that say nothing about the rate
FEW_PER_S = 500  # fewer requests are sent by ourselves
MAX_ARGUMENT_BYTES = 128 << 10  # what Linux takes as one argument of a program


class Key(NamedTuple):
    """What is loaded, and from how many clients."""

    name: str
    clients: int

    def __str__(self) -> str:
        return f"{self.name}, {self.clients} client{'s' if self.clients > 1 else ''}"


@dataclass(frozen=True)
class Load:
    """What one run of redis-benchmark saw: requests a second, milliseconds at median and 99th percentile."""

    rate: float
    p50_ms: float
    p99_ms: float


def run(port: int, command: Sequence[str], clients: int, requests: int, pipeline: int = 1) -> Load:
    """Send `command` `requests` times from `clients` connections, each with `pipeline` of them on the way;
    `__rand_int__` in it is a new number each. Only its last argument may be large.

    RuntimeError where redis-benchmark is missing, fails, or meets an error reply.
    """
    program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if program is None:
        raise RuntimeError(
            "redis-benchmark is not installed: it comes with redis-server (package redis-tools)"
        )
    options = ["-p", str(port), "-c", str(clients), "-n", str(requests), "-P", str(pipeline), "--csv"]
    options += ["-r", "1000000000"]
    large = len(command[-1]) >= MAX_ARGUMENT_BYTES
    done = subprocess.run(
        [program, *options, *(["-x", *command[:-1]] if large else command)],
        input=command[-1] if large else "",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0 or "Error from server" in done.stdout + done.stderr:
        raise RuntimeError(f"{' '.join(command)[:200]}: {done.stderr or done.stdout}")
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    (row,) = csv.DictReader(lines)
    return Load(float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]))


def run_few(port: int, command: Sequence[str], clients: int, requests: int) -> Load:
    """As `run`, from threads of this process: for commands that take long. Clients of redis-benchmark that
    have no more to send spin until the last one is answered, and take a core from the server."""
    latencies_ms: list[float] = []
    tickets = iter(range(requests))

    def send() -> None:
        with contextlib.closing(redis.Redis(port=port, socket_timeout=TIMEOUT_S)) as client:
            client.ping()
            ready.wait(TIMEOUT_S)
            for _ in tickets:
                began_s = perf_counter()
                client.execute_command(*command)
                latencies_ms.append((perf_counter() - began_s) * 1000)

    ready = Barrier(clients + 1)
    with ThreadPoolExecutor(clients) as pool:
        sending = [pool.submit(send) for _ in range(clients)]
        ready.wait(TIMEOUT_S)
        began_s = perf_counter()
        for one in sending:
            one.result(TIMEOUT_S)
        took_s = perf_counter() - began_s
    latencies_ms.sort()
    p50_ms, p99_ms = (latencies_ms[int(share * (requests - 1))] for share in (0.5, 0.99))
    return Load(requests / took_s, p50_ms, p99_ms)


def requests_for(port: int, command: Sequence[str], clients: int, seconds: float, pipeline: int = 1) -> int:
    """How many requests take about `seconds`, found by short runs, which warm everything up as well."""
    run(port, command, 1, WARM_UP)  # a model is loaded by the first one, and optimised in the next
    requests = smallest = clients * pipeline
    while requests / (rate := run(port, command, clients, requests, pipeline).rate) < min(PROBE_S, seconds):
        requests *= 8
    return max(int(rate * seconds), smallest)


def loader(
    client: redis.Redis, command: Sequence[str], clients: int, seconds: float, pipeline: int = 1
) -> Callable[[], Load]:
    """A function that loads this client's server with `command` for about `seconds`."""
    port = int(client.connection_pool.connection_kwargs["port"])
    requests = requests_for(port, command, clients, seconds, pipeline)
    if requests < FEW_PER_S * seconds and pipeline == 1 and len(command[-1]) < MAX_ARGUMENT_BYTES:
        return lambda: run_few(port, command, clients, max(requests, 4 * clients))
    return lambda: run(port, command, clients, requests, pipeline)


def loads_of(
    variants: Mapping[str, tuple[redis.Redis, Sequence[str]]],
    rounds: int,
    seconds: float,
    progress: Progress,
) -> dict[Key, list[Load]]:
    """What each variant, a server's client and a command, takes from many clients and from one."""
    loaders = {}
    for clients in (CLIENTS, 1):
        for name, (client, command) in variants.items():
            key = Key(name, clients)
            progress.say(f"warming up: {key}")
            loaders[key] = loader(client, command, clients, seconds)
    return interleave(loaders, rounds, progress)
