"""The ports on which workers serve what Prometheus reads, and who else listens there: that would be read in
their place."""

from __future__ import annotations

import time
from collections.abc import Iterator

from . import processes
from .errors import UpError
from .layout import Layout
from .listener import listener_pid
from .monitor_layout import Monitor
from .ready import check_free

LEAVING_S = 5.0  # a worker whose server was killed is there for a moment more
POLL_S = 0.1


def taken(layout: Layout, monitor: Monitor, patience_s: float = LEAVING_S) -> Iterator[UpError]:
    """What is to be said of each that somebody else has, and keeps for `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    for port, worker in _ports(layout, monitor):
        while (complaint := _complaint(layout, port, worker)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if complaint:
            yield complaint


def _complaint(layout: Layout, port: int, worker: str) -> UpError | None:
    try:
        check_free(port, f"port {port} of the metrics of {worker}", "--monitor-port")
    except UpError as error:
        return None if _is_own(layout, listener_pid(port)) else error
    return None


def _ports(layout: Layout, monitor: Monitor) -> Iterator[tuple[int, str]]:
    if layout.module is None:
        return
    for number, node in enumerate(layout.nodes):
        yield monitor.functions_port(number), f"the functions worker of {node.name}"
        if number == 0 or not layout.shared_models:
            whose = "the models worker" if layout.shared_models else f"the models worker of {node.name}"
            yield monitor.models_port(number, layout.servers, layout.shared_models), whose


def _is_own(layout: Layout, pid: int | None) -> bool:
    """Whether it is the shared models worker, or a worker that a server of the cluster has started."""
    if pid is None:
        return False
    servers = {processes.running_pid(node.pid_file) for node in layout.nodes}
    return pid == processes.running_pid(layout.models_pid_file) or processes.parent_of(pid) in servers
