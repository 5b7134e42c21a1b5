"""A cluster beside which `keymiss up --monitor` has started a Prometheus, which is in a hurry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis
import yaml
from keymiss_deploy.cluster import processes
from monitor.prometheus import EVERYTHING, Prometheus
from support.command_line import CommandLine, command_line
from support.paths import REPOSITORY
from support.ports import ports
from support.server import new_client
from support.waiting import wait_until

from keymiss.client import connect, read_shards

CORPUS = REPOSITORY / "corpus"
SERVERS = ("shard-1", "shard-2", "shard-1-replica-1", "shard-2-replica-1")
SHORT = "1s"  # instead of each rule's own `for`
MONITOR_PORTS = 7  # Prometheus, exporter, models worker, four functions workers
STOP_DEADLINE_S = 30.0
WORKER_DEADLINE_S = 60.0


@dataclass(frozen=True)
class Monitored:
    """Two shards with a replica each, articles of the sample corpus, the small model and its functions."""

    keymiss: CommandLine
    prometheus: Prometheus
    tags: dict[str, str]  # a hash tag of each shard

    @property
    def folder(self) -> Path:
        return self.keymiss.folder / ".keymiss"

    def port(self, shard: str) -> int:
        """Of the server with this name."""
        return self.keymiss.port + SERVERS.index(shard)

    def client(self, shard: str, **options: Any) -> redis.Redis:
        return new_client(self.port(shard), **options)

    def pid(self, shard: str) -> int:
        return _pid(self.folder / shard / "server.pid")

    @property
    def models_worker_pid(self) -> int:
        return _pid(self.folder / "models-worker" / "worker.pid")

    def functions_worker_pid(self, shard: str, other_than: int = 0) -> int:
        """Of that server's functions worker, once there is one that is ready and not `other_than`."""
        with closing(self.client(shard)) as client:
            return wait_until(
                lambda: (
                    (worker := client.info("keymiss")["keymiss_functions_worker"])["state"] == "ready"
                    and worker["pid"] != other_than
                    and int(worker["pid"])
                ),
                WORKER_DEADLINE_S,
                f"{shard} has another functions worker",
            )


@contextmanager
def monitored_cluster(server_kind: str, folder: Path) -> Iterator[Monitored]:
    """Brought up and loaded; gone afterwards."""
    monitor_port = ports.take_run(MONITOR_PORTS)
    try:
        with command_line(server_kind, folder) as keymiss:
            keymiss.up("--shards", "2", "--replicas", "1", "--set", "cluster-node-timeout=3000")
            keymiss("up", "--monitor", "--monitor-port", str(monitor_port), "--monitor-interval", "1")
            monitor = folder / ".keymiss" / "monitor"
            _hurry(monitor)
            prometheus = Prometheus(monitor_port)
            # All, before what it is to see: of what was counted before the first scrape no increase is known.
            prometheus.wait_for_targets(EVERYTHING, _count_targets(monitor / "targets"))
            prometheus.wait_for_scrape(EVERYTHING)
            keymiss("model", "store", "--backend", "openvino", "--precision", "bf16")
            keymiss("load", CORPUS / "hiv.txt", CORPUS / "measles.txt")
            keymiss("deploy")
            with closing(connect("127.0.0.1", keymiss.port)) as client:
                shards = {shard.port: shard.hash_tag for shard in read_shards(client)}
            tags = {f"shard-{n + 1}": shards[keymiss.port + n] for n in range(2)}
            yield Monitored(keymiss, prometheus, tags)
    finally:
        for port in range(monitor_port, monitor_port + MONITOR_PORTS):
            ports.release(port)


def _count_targets(folder: Path) -> int:
    groups = [group for file in folder.glob("*.json") for group in json.loads(file.read_text())]
    return sum(len(group["targets"]) for group in groups)


def _hurry(folder: Path) -> None:
    """Start the Prometheus of this folder again: the same rules, `for` aside, and one that can be told to
    forget."""
    rules = yaml.safe_load((folder / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = SHORT
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    pid_file = folder / "prometheus.pid"
    command = psutil.Process(_pid(pid_file)).cmdline()
    assert processes.stop([pid_file], STOP_DEADLINE_S) == [pid_file]
    processes.start_detached([*command, "--web.enable-admin-api"], folder / "prometheus.log", pid_file)


def _pid(pid_file: Path) -> int:
    pid = processes.running_pid(pid_file)
    assert pid is not None, f"the process of {pid_file} has ended"
    return pid
