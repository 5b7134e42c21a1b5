"""`keymiss up --monitor` on plain servers: what it starts, shows and ends depends neither on the module
nor on the kind of server."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from monitor.prometheus import Prometheus
from support.command_line import CommandLine, command_line
from support.ports import ports
from support.processes import runs
from support.server import available_kinds
from support.waiting import wait_until

MONITOR_PORTS = 4
DEADLINE_S = 30.0


@pytest.fixture
def keymiss(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(available_kinds()[0], tmp_path) as started:
        yield started


@contextmanager
def monitor_ports() -> Iterator[int]:
    """The first of those that a monitor takes."""
    first = ports.take_run(MONITOR_PORTS)
    try:
        yield first
    finally:
        for port in range(first, first + MONITOR_PORTS):
            ports.release(port)


def parts(keymiss: CommandLine) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in keymiss.status()["monitor"]}


def test_a_monitor_is_started_beside_a_cluster_found_again_mended_and_ended(keymiss: CommandLine) -> None:
    with monitor_ports() as port:
        keymiss.up("--plain", "--shards", "1")
        assert keymiss.status()["monitor"] == []
        options = ("--monitor-port", str(port), "--monitor-interval", "1")
        said = keymiss("up", "--monitor", *options)
        assert "started prometheus" in said
        pages = re.findall(rf"http://127\.0\.0\.1:{port}[\w/.]*", said)
        assert pages
        for page in pages:
            with urlopen(page, timeout=DEADLINE_S) as answer:
                assert answer.status == 200
        first = parts(keymiss)
        assert "was up already" in keymiss("up", "--monitor", *options)
        assert parts(keymiss) == first

        prometheus = Prometheus(port)
        prometheus.wait_for_scrape('{job="redis"}')
        (up,) = prometheus.query("redis_up")
        assert up.value == 1
        assert {up.labels[name] for name in ("cluster", "shard", "role")} == {"keymiss", "shard-1", "master"}

        os.kill(first["exporter"]["pid"], signal.SIGKILL)
        wait_until(lambda: not runs(first["exporter"]["pid"]), DEADLINE_S, "the exporter has ended")
        assert parts(keymiss)["exporter"]["pid"] is None
        said = keymiss("up")
        assert "started exporter" in said
        assert "started prometheus" not in said
        pids = [part["pid"] for part in parts(keymiss).values()]
        assert "Stopped prometheus, exporter, shard-1" in keymiss("down")
        assert not any(map(runs, pids))
        assert "started prometheus" in keymiss("up")  # it is kept in cluster.json
        assert "stopped prometheus" in keymiss("up", "--no-monitor")
        assert keymiss.status()["monitor"] == []


def test_what_a_monitor_cannot_have_is_said_before_something_starts(keymiss: CommandLine) -> None:
    up = ("up", "--plain", "--shards", "1", "--port", str(keymiss.port), "--server", keymiss.server)
    overlapping = ("--monitor-port", str(keymiss.port + 1))
    assert "overlap: choose others with --monitor-port" in keymiss(*up, *overlapping, status=1)
    assert "takes neither" in keymiss(*up, "--no-monitor", *overlapping, status=2)
    with monitor_ports() as port, closing(socket.create_server(("127.0.0.1", port + 1))):
        said = keymiss(*up, "--monitor-port", str(port), status=1)
    assert f"port {port + 1} of exporter is taken by another program" in said
    with monitor_ports() as port, closing(socket.create_server(("127.0.0.1", port + 2))):
        said = keymiss(*(one for one in up if one != "--plain"), "--monitor-port", str(port), status=1)
    assert f"port {port + 2} of the metrics of the models worker is taken by another program" in said
    assert "no cluster" in keymiss("status", status=1)
    assert list(keymiss.folder.iterdir()) == []
