"""Servers for the length of a benchmark: one of its own, or a cluster."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import redis
from keymiss_deploy.cluster.layout import Layout
from keymiss_deploy.cluster.lifecycle import bring_up, take_down

import keymiss
from keymiss.children import end
from keymiss.client import connect

START_DEADLINE_S = 15.0
STOP_DEADLINE_S = 10.0


def find_server(told: str | None) -> str:
    """The server to measure: `told`, else redis-server, else valkey-server; FileNotFoundError if none."""
    for name in [told] if told else ["redis-server", "valkey-server"]:
        found = shutil.which(name)
        if found:
            return found
    raise FileNotFoundError(f"{told or 'redis-server or valkey-server'} is not installed")


@contextlib.contextmanager
def running_cluster(binary: str, shards: int, timeout_s: float = 60.0) -> Iterator[list[redis.Redis]]:
    """A client of each master of a new cluster with the module, that keeps nothing and is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="keymiss-bench-") as folder, contextlib.ExitStack() as stack:
        layout = Layout(
            folder=Path(folder),
            server=binary,
            port=free_ports(2 * shards)[0],
            shards=shards,
            module=str(keymiss.module_path()),
            shared_models=False,  # none is asked for
            settings={"appendonly": "no"},
        )
        stack.callback(take_down, layout, delete=False)
        bring_up(layout, lambda _: None)
        clients = [connect("127.0.0.1", node.port, timeout_s) for node in layout.nodes]
        yield [stack.enter_context(contextlib.closing(client)) for client in clients]


def free_ports(count: int) -> range:
    """So many ports in a row that nobody listens on."""
    while True:
        with contextlib.ExitStack() as stack:
            first = int(stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                for port in range(first + 1, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
                return range(first, first + count)


@contextlib.contextmanager
def running(binary: str, module: bool, settings: Mapping[str, object] | None = None) -> Iterator[redis.Redis]:
    """A client of a new server, with the module or plain, that keeps nothing and is gone at the end."""
    (port,) = free_ports(1)
    lines: dict[str, object] = {"port": port, "bind": "127.0.0.1", "save": '""', "appendonly": "no"}
    if module:
        lines |= {"loadmodule": keymiss.module_path(), "keymiss.python": sys.executable}
    lines |= settings or {}
    with tempfile.TemporaryDirectory(prefix="keymiss-bench-") as folder:
        configuration = Path(folder) / "server.conf"
        configuration.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen([binary, configuration], cwd=folder, stdout=output, stderr=output)
        client = redis.Redis(port=port, protocol=2, socket_timeout=60.0)
        try:
            _wait_until_it_answers(client, process, log)
            yield client
        finally:
            client.close()
            end(process, STOP_DEADLINE_S)


def _wait_until_it_answers(client: redis.Redis, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_DEADLINE_S
    while True:
        with contextlib.suppress(redis.ConnectionError):
            if client.ping():
                return
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
