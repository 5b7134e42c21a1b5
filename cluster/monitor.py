"""Prometheus and the exporter of the servers' own figures, beside a cluster: `keymiss up --monitor`.

Programs of the distribution, not of ours. They listen on 127.0.0.1 only and keep everything in the cluster's
folder, bounded in time and size."""

from __future__ import annotations

import http.client
import shutil
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis

from . import processes, worker_ports
from .configure import configure
from .errors import UpError
from .layout import Layout
from .monitor_files import HOST, metrics_settings, write_configuration
from .monitor_layout import Monitor
from .ready import check_free, wait_for_answer

KEPT_FOR = "7d"
KEPT_AT_MOST = "512MB"
HTTP_TIMEOUT_S = 5.0
STOP_DEADLINE_S = 15.0

PROMETHEUS = ("prometheus",)
EXPORTER = ("prometheus-redis-exporter", "redis_exporter")  # Debian's name, and the project's own


@dataclass(frozen=True)
class _Part:
    """One program of the monitor."""

    name: str
    port: int
    ready: str  # the path that answers once it serves
    argv: list[str | Path]
    folder: Path

    @property
    def pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        return processes.running_pid(self.pid_file)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def check(layout: Layout, monitor: Monitor) -> None:
    """UpError where what it needs is missing: a program, or a port."""
    for names in (PROMETHEUS, EXPORTER):
        if not any(shutil.which(name) for name in names):
            raise UpError(
                f"--monitor starts {names[0]}, which is not installed: `apt-get install prometheus "
                "prometheus-redis-exporter` brings what it needs on Debian and Ubuntu; "
                "--no-monitor goes without"
            )
    last = monitor.last_port(layout.servers, layout.shared_models)
    if monitor.port <= layout.last_port and layout.port <= last:
        raise UpError(
            f"the monitor's ports {monitor.port}-{last} and the servers' {layout.port}-{layout.last_port} "
            "overlap: choose others with --monitor-port"
        )
    for part in _parts(layout, monitor):
        if part.pid is None:
            check_free(part.port, f"port {part.port} of {part.name}", "--monitor-port")
    for complaint in worker_ports.taken(layout, monitor):
        raise complaint


def start(layout: Layout, monitor: Monitor) -> list[str]:
    """Have the servers' workers serve their metrics, and start what of the monitor does not run; returns the
    names of that.

    UpError where a server does not know the settings, or a program does not start."""
    if layout.module is not None:
        for number in range(layout.servers):
            _tell(layout, number, metrics_settings(layout, monitor, number))
    missing = [part for part in _parts(layout, monitor) if part.pid is None]
    if missing:
        write_configuration(layout, monitor)
    for part in missing:
        processes.start_detached(part.argv, part.log, part.pid_file)
    for part in missing:
        wait_for_answer(part.name, partial(_serves, part), part.url, part.log, part.pid_file)
    return [part.name for part in missing]


def stop(layout: Layout) -> list[str]:
    """End what runs of the monitor; returns the names of that."""
    parts = {part.pid_file: part.name for part in _parts(layout, layout.monitor or Monitor())}
    return [parts[pid_file] for pid_file in processes.stop(list(parts), STOP_DEADLINE_S)]


def turn_off(layout: Layout) -> list[str]:
    """End the monitor and have the servers' workers serve no metrics; as `stop`. UpError where a server that
    runs does not take the setting."""
    for number in range(layout.servers if layout.module else 0):
        _tell(layout, number, {"keymiss.metrics-port": "0", "keymiss.models-metrics-port": "0"})
    return stop(layout)


def state(layout: Layout) -> list[dict[str, object]]:
    """Name, address, pid (None: it does not run) and log of each part; nothing without a monitor."""
    if layout.monitor is None:
        return []
    return [
        {"name": part.name, "url": part.url, "pid": part.pid, "log": str(part.log)}
        for part in _parts(layout, layout.monitor)
    ]


def _parts(layout: Layout, monitor: Monitor) -> list[_Part]:
    folder = layout.monitor_folder
    prometheus: list[str | Path] = [
        *PROMETHEUS,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={KEPT_FOR}",
        f"--storage.tsdb.retention.size={KEPT_AT_MOST}",
        f"--web.listen-address={HOST}:{monitor.port}",
    ]
    exporter: list[str | Path] = [
        next(filter(shutil.which, EXPORTER), EXPORTER[0]),
        "-redis.addr=",  # which server is told with each request
        "-include-system-metrics",
        f"-connection-timeout={monitor.interval_s * 600}ms",  # told that a server hangs before it is given up
        f"-web.listen-address={HOST}:{monitor.exporter_port}",
    ]
    return [
        _Part("prometheus", monitor.port, "/-/ready", prometheus, folder),
        _Part("exporter", monitor.exporter_port, "/health", exporter, folder),
    ]


def _serves(part: _Part) -> bool:
    connection = http.client.HTTPConnection(HOST, part.port, timeout=HTTP_TIMEOUT_S)
    with closing(connection):
        try:
            connection.request("GET", part.ready)
            return connection.getresponse().status == http.client.OK
        except http.client.HTTPException:
            return False


def _tell(layout: Layout, number: int, settings: dict[str, str]) -> None:
    """Change those settings of the server that differ, where it runs."""
    node = layout.nodes[number]
    try:
        configure(node, settings)
    except redis.RedisError as error:
        raise UpError(
            f"{node.name} cannot serve metrics: {error}. `keymiss down`, then `keymiss up`, "
            "loads the module anew"
        ) from error
