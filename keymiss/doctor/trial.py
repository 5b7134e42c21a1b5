"""A server that is started to see whether the module works in it, and ended. It listens on no port."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..children import end

START_DEADLINE_S = 15.0
ANSWER_DEADLINE_S = 30.0
STOP_DEADLINE_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True)
class Trial:
    """`error` says why the server did not load the module, `worker_error` why no function ran."""

    error: str = ""
    module_version: int = 0
    worker_error: str = ""
    function_s: float = 0.0


def try_module(server: str, module: Path) -> Trial:
    """Load the module into a new server, and run a function that does nothing."""
    with tempfile.TemporaryDirectory(prefix="keymiss-doctor-") as name:
        folder = Path(name)
        settings = {
            "port": "0",
            "unixsocket": str(folder / "socket"),
            "dir": str(folder),
            "save": '""',
            "loadmodule": str(module),
            "keymiss.python": sys.executable,
        }
        config, log = folder / "server.conf", folder / "server.log"
        config.write_text("".join(f"{setting} {value}\n" for setting, value in settings.items()))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [server, str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            return _ask(process, folder / "socket", log)
        finally:
            end(process, STOP_DEADLINE_S)


def _ask(process: subprocess.Popen[bytes], socket: Path, log: Path) -> Trial:
    client = redis.Redis(
        unix_socket_path=str(socket),
        protocol=2,
        socket_timeout=ANSWER_DEADLINE_S,
        retry=Retry(NoBackoff(), 0),
    )
    with closing(client):
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                version = _version(client)
                break
            except redis.RedisError as error:
                if process.poll() is not None:
                    return Trial(error=_reason(log))
                if time.monotonic() > deadline:
                    return Trial(error=f"the server did not start in {START_DEADLINE_S:.0f} s: {error}")
            time.sleep(POLL_S)
        started = time.monotonic()
        try:
            client.execute_command("RG.PYEXECUTE", "pass")
        except redis.RedisError as error:
            return Trial(module_version=version, worker_error=str(error))
        return Trial(module_version=version, function_s=time.monotonic() - started)


def _version(client: redis.Redis) -> int:
    for row in client.execute_command("MODULE", "LIST"):
        told = dict(zip(row[::2], row[1::2], strict=False))
        if told[b"name"] == b"keymiss":
            return int(told[b"ver"])
    return 0


def _reason(log: Path) -> str:
    """What the server said about the module before it ended, or its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if "not loaded" in line or "Module" in line]
    last = (told or lines or ["it said nothing"])[:2]
    return " / ".join(line.partition(" # ")[2] or line for line in last)
