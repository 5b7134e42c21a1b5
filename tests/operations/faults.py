"""The faults of docs/operations.md, made on a real cluster; each by the title of its section."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from support.command_line import CommandLine
from support.functions import answering_misses
from support.processes import runs
from support.server import new_client
from support.waiting import wait_until

DEADLINE_S = 30.0
MOST_CLIENTS = 8


@dataclass(frozen=True)
class Subject:
    """The cluster that faults are made on: three shards, each with a replica, as the page has it."""

    keymiss: CommandLine

    @property
    def folder(self) -> Path:
        return self.keymiss.folder / ".keymiss"

    def client(self, server: int) -> redis.Redis:
        """Of the server that the page has on port 30000 + `server`."""
        return new_client(self.keymiss.port + server - 1)

    def ask(self, server: int, *command: Any) -> Any:
        with closing(self.client(server)) as client:
            return client.execute_command(*command)

    def info(self, server: int, section: str = "everything") -> dict[str, Any]:
        with closing(self.client(server)) as client:
            found: dict[str, Any] = client.info(section)
        return found

    def deploy(self, name: str, script: str) -> None:
        """As `keymiss deploy <name>.py` does."""
        self.ask(1, "RG.PYEXECUTE", script, "ID", f"keymiss-{name}", "UPGRADE")

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not runs(pid), DEADLINE_S, "it has ended")

    def kill_server(self, server: int) -> None:
        self.kill(int(self.info(server, "server")["process_id"]))

    def functions_worker(self, server: int) -> int:
        """Its pid, once it runs."""

        def pid() -> int:
            worker = self.info(server, "keymiss")["keymiss_functions_worker"]
            return int(worker["pid"]) if worker["state"] == "ready" else 0

        return wait_until(pid, DEADLINE_S, "the functions worker is ready")

    def at_once(self, times: int, *command: Any) -> None:
        """Send a command by so many clients at the same time; errors are what is wanted."""

        def send(_: int) -> None:
            with suppress(redis.RedisError):
                self.ask(1, *command)

        with ThreadPoolExecutor(MOST_CLIENTS) as pool:
            list(pool.map(send, range(times)))


def shard_down(subject: Subject) -> None:
    subject.kill_server(2)


def functions_worker_down(subject: Subject) -> None:
    """As if the Python that the shard's configuration names had been removed since."""
    subject.keymiss.restart("shard-1", "keymiss.python", "/no/such/python")


def models_worker_down(subject: Subject) -> None:
    (worker,) = [one for one in subject.keymiss.status()["workers"] if one["port"] is None]
    for pid in (worker["keeper_pid"], worker["pid"]):
        subject.kill(pid)


def worker_restarting(subject: Subject) -> None:
    subject.deploy(
        "crash",
        "import os\nGB('CommandReader').map(lambda record: os._exit(1))"
        ".register(trigger='crash', mode='async_local')",
    )
    for _ in range(2):
        subject.at_once(1, "RG.TRIGGER", "crash")
        subject.functions_worker(1)


def errors_high(subject: Subject) -> None:
    subject.deploy("check", "GB('CommandReader').map(lambda record: 1 / 0).register(trigger='check')")
    subject.at_once(12, "RG.TRIGGER", "check")


def sleeping(prefix: str, seconds: float) -> str:
    """A function that answers misses below `prefix`, after a while."""
    pause = f"    import asyncio\n    await asyncio.sleep({seconds})\n    override_reply('rested')\n"
    return answering_misses(prefix, pause)


def queue_full(subject: Subject) -> None:
    subject.deploy("nap", sleeping("nap:", 0.3))
    subject.ask(1, "CONFIG", "SET", "keymiss.max-jobs", 1)
    subject.at_once(MOST_CLIENTS, "GET", "nap:{06S}")


def timeouts(subject: Subject) -> None:
    subject.deploy("nap", sleeping("nap:", 0.3))
    subject.ask(1, "CONFIG", "SET", "keymiss.job-timeout-ms", 100)
    subject.at_once(2, "GET", "nap:{06S}")


def latency_high(subject: Subject) -> None:
    subject.deploy("slow", sleeping("slow:", 1.1))
    subject.at_once(1, "GET", "slow:{06S}")


def registration_lag(subject: Subject) -> None:
    subject.deploy(
        "notes",
        "GB('StreamReader', desc='notes').foreach(lambda record: 1 / 0)"
        ".register(prefix='notes:*', onFailedPolicy='retry', onFailedRetryInterval=1)",
    )
    subject.ask(1, "XADD", "notes:{06S}", "*", "text", "that nobody has read")


def models_memory_high(subject: Subject) -> None:
    for server in range(1, 7):
        subject.ask(server, "CONFIG", "SET", "keymiss.models-memory", 30 << 20)


def memory_high(subject: Subject) -> None:
    used = subject.info(1, "memory")["used_memory"]
    subject.ask(1, "CONFIG", "SET", "maxmemory", int(used) + (64 << 10))


def replication_broken(subject: Subject) -> None:
    subject.ask(4, "CONFIG", "SET", "masteruser", "nobody")
    subject.ask(4, "CONFIG", "SET", "masterauth", "wrong")
    subject.ask(4, "CLIENT", "KILL", "TYPE", "master")


def slots_uncovered(subject: Subject) -> None:
    subject.ask(1, "CLUSTER", "DELSLOTSRANGE", 100, 199)


def target_down(subject: Subject) -> None:
    subject.ask(1, "CONFIG", "SET", "keymiss.metrics-port", 0)


def shard_lost(subject: Subject) -> None:
    subject.kill_server(3)
    shutil.rmtree(subject.folder / "shard-3")


def model_missing(subject: Subject) -> None:
    subject.ask(1, "AI.MODELDEL", "bert-qa{06S}")


def function_fails(subject: Subject) -> None:
    subject.deploy(
        "orders",
        "GB('KeysReader').foreach(lambda record: 1 / 0).register(prefix='orders:*', eventTypes=['hset'])",
    )
    subject.ask(1, "HSET", "orders:{06S}", "number", "1")


def disk_full(subject: Subject) -> None:
    """The next file that the server appends to has no room, as the kernel says of /dev/full."""
    files = (subject.folder / "shard-1" / "appendonlydir").glob("*.incr.aof")
    number = max(int(file.name.split(".")[2]) for file in files)
    (subject.folder / "shard-1" / "appendonlydir" / f"appendonly.aof.{number + 1}.incr.aof").symlink_to(
        "/dev/full"
    )
    subject.ask(1, "BGREWRITEAOF")

    def refused() -> bool:
        try:
            subject.ask(1, "SET", "key{06S}", "that finds no room")
            return False
        except redis.ResponseError as error:
            return "MISCONF" in str(error)

    wait_until(refused, DEADLINE_S, "writes are refused")


def append_only_file_damaged(subject: Subject) -> None:
    _damage(subject, "*.incr.aof", lambda data: data + b"\x00this is no command\r\n" * 10)


def data_file_damaged(subject: Subject) -> None:
    _damage(subject, "*.base.rdb", lambda data: data[:9] + bytes(255 - byte for byte in data[9:]))


def _damage(subject: Subject, files: str, damaged: Callable[[bytes], bytes]) -> None:
    """Change the newest such file of a replica, and have it start with that."""
    subject.kill_server(5)
    folder = subject.folder / "shard-2-replica-1"
    (file,) = (folder / "appendonlydir").glob(files)
    file.write_bytes(damaged(file.read_bytes()))
    (folder / "server.log").write_text("")
    subject.keymiss("up", status=1)


def module_upgraded(subject: Subject) -> None:
    """As if the module had been installed anew: the one that the cluster was made with is newer."""
    state = subject.folder / "cluster.json"
    newer = subject.keymiss.folder / "newer.so"
    newer.touch()
    module = subject.keymiss("module").strip()
    state.write_text(state.read_text().replace(module, str(newer)))


def data_lost(subject: Subject) -> None:
    subject.ask(2, "FLUSHALL")


def folder_moved(subject: Subject) -> None:
    subject.folder.rename(subject.keymiss.folder / "moved")


FAULTS: dict[str, Callable[[Subject], None]] = {
    "KeymissShardDown": shard_down,
    "KeymissFunctionsWorkerDown": functions_worker_down,
    "KeymissModelsWorkerDown": models_worker_down,
    "KeymissWorkerRestarting": worker_restarting,
    "KeymissErrorsHigh": errors_high,
    "KeymissQueueFull": queue_full,
    "KeymissTimeouts": timeouts,
    "KeymissLatencyHigh": latency_high,
    "KeymissRegistrationLag": registration_lag,
    "KeymissModelsMemoryHigh": models_memory_high,
    "KeymissMemoryHigh": memory_high,
    "KeymissReplicationBroken": replication_broken,
    "KeymissSlotsUncovered": slots_uncovered,
    "KeymissTargetDown": target_down,
    "A shard is lost with its disk": shard_lost,
    "A model is missing": model_missing,
    "A function fails": function_fails,
    "The disk is full": disk_full,
    "An append-only file is damaged": append_only_file_damaged,
    "A data file is damaged": data_file_damaged,
    "Upgrade and rollback": module_upgraded,
    "Backup and restore": data_lost,
    "The folder was moved": folder_moved,
}
