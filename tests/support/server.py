"""One redis-server or valkey-server process with the module loaded, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support import sanitized
from support.paths import module_path, worker_pythonpath
from support.ports import ports
from support.processes import die_with_parent, kill, runs
from support.waiting import wait_until

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 15.0
CLIENT_TIMEOUT_S = 30.0

KINDS = {"redis": "redis-server", "valkey": "valkey-server"}


def available_kinds() -> list[str]:
    """The servers to test on: those of `KEYMISS_SERVERS` (comma separated), else all that are installed."""
    told = os.environ.get("KEYMISS_SERVERS")
    if told:
        return [kind.strip() for kind in told.split(",")]
    return [kind for kind, binary in KINDS.items() if shutil.which(binary)]


def settings_for_all() -> dict[str, object]:
    """`KEYMISS_TEST_SETTINGS=name=value,name=value`, for every server with the module that is not told
    otherwise.
    """
    told = os.environ.get("KEYMISS_TEST_SETTINGS", "")
    return dict(setting.strip().split("=", 1) for setting in told.split(",") if setting.strip())


def new_client(port: int, **options: Any) -> redis.Redis:
    """A RESP2 client that gives up after `CLIENT_TIMEOUT_S` and never repeats a command by itself."""
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "protocol": 2,
        "socket_timeout": CLIENT_TIMEOUT_S,
        "socket_connect_timeout": CLIENT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    return redis.Redis(**{**settings, **options})


@dataclass
class Server:
    """A server process: `start`, `stop`, `kill` and `restart` it as often as need be; `close` is the end.

    `settings` are lines of its configuration file (name -> value), `keymiss.*` among them. `module=None` is a
    plain server. `wrapper` goes before the server's command line, `environment` on top of the environment.
    """

    kind: str
    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    module: Path | None = field(default_factory=module_path)
    environment: Mapping[str, str] = field(default_factory=dict)
    wrapper: Sequence[str] = ()
    port: int = field(default_factory=ports.take)
    _process: subprocess.Popen[bytes] | None = None
    _closed: bool = False

    @property
    def log_path(self) -> Path:
        return self.folder / "server.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self, **options: Any) -> redis.Redis:
        """A new client of this server; options as redis.Redis takes them."""
        return new_client(self.port, **options)

    def _configuration(self) -> dict[str, object]:
        lines: dict[str, object] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "save": '""',
            "appendonly": "no",
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": 0,
        }
        if self.module is not None:
            python = sanitized.worker_python(self.folder) if sanitized.wanted() else sys.executable
            lines |= {"loadmodule": self.module, "keymiss.python": python, **settings_for_all()}
        return lines | dict(self.settings)

    def start(self) -> Server:
        """Start the process and wait until it has loaded its data and answers."""
        assert not self.alive, "the server runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "server.conf"
        configuration.write_text(
            "".join(f"{name} {value}\n" for name, value in self._configuration().items())
        )
        environment = {
            **os.environ,
            "PYTHONPATH": worker_pythonpath(),
            "HF_HUB_OFFLINE": "1",
            **(sanitized.server_environment() if sanitized.wanted() else {}),
            **self.environment,
        }
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.wrapper, KINDS[self.kind], str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
                start_new_session=True,  # its own process group, ended with it
                preexec_fn=die_with_parent,
            )
        wait_until(self._answers_or_dead, START_DEADLINE_S, f"{self.kind} on port {self.port} answers")
        if not self.alive:
            raise AssertionError(f"{self.kind} ended while starting:\n{self.log[-4000:]}")
        return self

    def _answers_or_dead(self) -> bool:
        if not self.alive:
            return True
        with contextlib.closing(self.client(socket_timeout=5.0)) as client:
            return bool(client.ping())

    def descendants(self) -> list[psutil.Process]:
        """The processes that the server started, their children too."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def worker_pid(self, role: str) -> int:
        """The pid of this server's own worker of this role (`functions`, `models`); 0 if there is none."""
        for process in self.descendants():
            with contextlib.suppress(psutil.Error):
                if _WORKER_MODULES[role] in process.cmdline() and runs(process.pid):
                    return process.pid
        return 0

    def wait_for_worker(self, role: str, other_than: int = 0, deadline_s: float = 30.0) -> int:
        """The pid of that worker, once there is one that is not `other_than`."""
        return wait_until(
            lambda: (pid := self.worker_pid(role)) != other_than and pid,
            deadline_s,
            f"a {role} worker other than {other_than} runs",
        )

    def stop(self) -> None:
        """SIGTERM, as an operator would (it saves if configured to); then whatever is left is killed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the server only; its workers are expected to see the end of their channel."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_DEADLINE_S)

    def restart(self) -> Server:
        """Stop and start again on the same port and folder."""
        self.stop()
        return self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        started = self.descendants()
        if self.alive:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_DEADLINE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        kill(started)

    def close(self) -> None:
        """End the server and what it started, whatever state they are in, and give its port back."""
        if not self._closed:
            self._closed = True
            self._end(signal.SIGKILL)
            ports.release(self.port)


_WORKER_MODULES = {"functions": "keymiss.functions", "models": "keymiss.inference"}


def wait_for_replica(primary: Server, replica: Server, deadline_s: float = 30.0) -> None:
    """Until the replica is in sync and has everything that the primary has written by now."""
    with contextlib.closing(primary.client()) as source, contextlib.closing(replica.client()) as copy:
        wait_until(
            lambda: copy.info("replication").get("master_link_status") == "up",
            deadline_s,
            "the replica's link is up",
        )
        offset = source.info("replication")["master_repl_offset"]
        wait_until(
            lambda: copy.info("replication")["slave_repl_offset"] >= offset,
            deadline_s,
            "the replica caught up",
        )
