"""The workers of the servers, and how much waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Any

from keymiss.doctor.check import Finding, fail, ok, warn

from .. import worker_ports
from ..lifecycle import models_worker_pids
from ..monitor import state
from ..processes import last_lines
from .reading import Reading, Server

YOUNG_S = 600  # a worker that was started again within this time is told of
QUEUE_SHARE = 0.5  # of keymiss.max-jobs
ELSEWHERE = 100  # ports from those of a monitor that somebody else has


def functions(reading: Reading) -> Iterator[Finding]:
    """The functions workers run, or will when they are needed."""
    yield from _workers(reading, "functions")


def models(reading: Reading) -> Iterator[Finding]:
    """So do the models workers, and the one that the shards of `keymiss up` share."""
    layout = reading.layout
    if layout is not None and layout.module is not None and layout.shared_models:
        keeper, worker = models_worker_pids(layout)
        if worker is None or keeper is None:
            missing = "shared models worker" if worker is None else "keeper of the shared models worker"
            log = last_lines(layout.models_log, 1)
            yield fail(f"the {missing} does not run; the log ends with: {log}", reading.again)
    yield from _workers(reading, "models")


def _workers(reading: Reading, role: str) -> Iterator[Finding]:
    states: dict[str, int] = {}
    for server in reading.here:
        worker = server.info.get(f"keymiss_{role}_worker")
        if not isinstance(worker, dict):
            continue  # no module, which is told of elsewhere
        states[str(worker["state"])] = states.get(str(worker["state"]), 0) + 1
        yield from _worker(server, role, worker)
    if states:
        yield ok(", ".join(f"{count} {state}" for state, count in sorted(states.items())))


def _worker(server: Server, role: str, worker: dict[str, Any]) -> Iterator[Finding]:
    log = quote(str(server.node.log)) if server.node is not None else "the server's log"
    grep = f"grep '{role} worker' {log} | tail"
    last_error = server.info.get(f"keymiss_{role}_last_error")
    if last_error:
        yield fail(f"the {role} worker of {server.name} is {worker['state']}: {last_error}", grep)
    elif int(worker["restarts"]) and worker["state"] == "ready" and int(worker["uptime_seconds"]) < YOUNG_S:
        yield warn(
            f"the {role} worker of {server.name} was started again {worker['restarts']} times, "
            f"last {worker['uptime_seconds']} s ago",
            grep,
        )


def monitor(reading: Reading) -> Iterator[Finding]:
    """What watches the cluster runs, where that was asked for, and reads this cluster's workers."""
    layout, again = reading.layout, reading.again
    if layout is None or layout.monitor is None:
        return
    parts = state(layout)
    for part in parts:
        if part["pid"] is None:
            yield fail(f"{part['name']} does not run; its log: {part['log']}", again)
    complaints = list(worker_ports.taken(layout, layout.monitor, patience_s=0))
    for complaint in complaints:
        others = f"--monitor-port {layout.monitor.port + ELSEWHERE}"
        yield fail(str(complaint), f"{again} --no-monitor; {again} {others}")
    if all(part["pid"] for part in parts) and not complaints:
        yield ok(", ".join(f"{part['name']} at {part['url']}" for part in parts))


def queues(reading: Reading) -> Iterator[Finding]:
    """No queue is near its end."""
    waiting = 0
    for server in reading.here:
        jobs, most = int(server.info.get("keymiss_jobs_now", 0)), server.number("keymiss.max-jobs")
        waiting += jobs
        if most and jobs > QUEUE_SHARE * most:
            yield warn(
                f"{jobs} of at most {most} jobs are at {server.name}",
                f"{server.cli} INFO keymiss | grep -E 'queue|running|refused'",
            )
    if any(server.has_module for server in reading.here):
        yield ok(f"{waiting} jobs")
