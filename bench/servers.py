"""A standalone server for the length of a benchmark."""

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

import keymiss

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
def running(binary: str, module: bool, settings: Mapping[str, object] | None = None) -> Iterator[redis.Redis]:
    """A client of a new server, with the module or plain, that keeps nothing and is gone at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
            process.terminate()
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_answers(client: redis.Redis, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_DEADLINE_S
    while True:
        with contextlib.suppress(redis.ConnectionError):
            if client.ping():
                return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
