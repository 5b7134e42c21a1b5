"""What a cluster consists of: its servers, their ports and folders. Written to `cluster.json`, so that
every later command, and a second `up`, finds the same one."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from keymiss.client import STATE_FILE
from keymiss.hashtags import share_of

from .monitor_layout import Monitor

LONGEST_SOCKET_PATH = 100  # a unix socket's address holds 107 bytes
LAST_PORT = 65_535


@dataclass(frozen=True)
class Node:
    """One server: a master, or the replica of the master on port `replica_of`."""

    name: str
    port: int
    bus_port: int
    folder: Path
    replica_of: int | None = None

    @property
    def configuration(self) -> Path:
        return self.folder / "server.conf"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "server.pid"


@dataclass(frozen=True)
class Layout:
    """A cluster in `folder`. On `port` and up: the masters, their replicas, then the bus port of each server.

    Not 10,000 above as is usual: from port 30001 on that is where outgoing connections take their ports."""

    folder: Path
    server: str
    port: int = 30001
    shards: int = 3
    replicas: int = 0
    module: str | None = None  # None: plain servers, to compare with
    shared_models: bool = True  # one models worker for all servers, instead of one each
    settings: dict[str, str] = field(default_factory=dict)
    monitor: Monitor | None = None

    @property
    def nodes(self) -> list[Node]:
        """Masters first, each replica `shards` ports above the previous one of its master."""
        masters = [self._node(n, 0, None) for n in range(self.shards)]
        return masters + [
            self._node(n, copy, masters[n].port)
            for copy in range(1, self.replicas + 1)
            for n in range(self.shards)
        ]

    def _node(self, shard: int, copy: int, master: int | None) -> Node:
        name = f"shard-{shard + 1}" + (f"-replica-{copy}" if copy else "")
        port = self.port + shard + copy * self.shards
        return Node(name, port, port + self.servers, self.folder / name, master)

    @property
    def servers(self) -> int:
        """How many there are."""
        return self.shards * (1 + self.replicas)

    @property
    def last_port(self) -> int:
        """The last that is taken."""
        return self.port + 2 * self.servers - 1

    def slots_of(self, shard: int) -> tuple[int, int]:
        """First and last slot of the shard, counted from 0."""
        return share_of(shard, self.shards)

    @property
    def blobs_folder(self) -> Path:
        """The files of models, one each for all servers: what several map is in memory once."""
        return self.folder / "models"

    @property
    def models_folder(self) -> Path:
        return self.folder / "models-worker"

    @property
    def models_socket(self) -> Path:
        """In the cluster's folder, or where that path is too long for a socket, in one of this user's
        temporary folders."""
        path = self.models_folder / "models.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"keymiss-{os.getuid()}-{name}" / "models.sock"

    @property
    def models_pid_file(self) -> Path:
        return self.models_folder / "worker.pid"

    @property
    def models_keeper_pid_file(self) -> Path:
        return self.models_folder / "keeper.pid"

    @property
    def models_log(self) -> Path:
        return self.models_folder / "worker.log"

    @property
    def monitor_folder(self) -> Path:
        """What Prometheus is told, what it keeps, and what the monitor's programs log."""
        return self.folder / "monitor"

    @property
    def contents(self) -> list[Path]:
        """All that `up`, and what it starts, make in the folder."""
        folders = (self.blobs_folder, self.models_folder, self.monitor_folder)
        return [*(node.folder for node in self.nodes), *folders, self.draft, self.folder / STATE_FILE]

    @property
    def draft(self) -> Path:
        """Of `cluster.json`; only a `save` that was killed leaves it."""
        return self.folder / (STATE_FILE + ".new")

    def save(self) -> None:
        """Write `cluster.json`, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fields = {name: value for name, value in asdict(self).items() if name != "folder"}
        try:
            self.draft.write_text(json.dumps(fields, indent=2) + "\n")
            self.draft.replace(self.folder / STATE_FILE)
        finally:
            self.draft.unlink(missing_ok=True)

    def changed(self, **fields: object) -> Layout:
        return replace(self, **fields)  # type: ignore[arg-type]


def read_layout(folder: Path) -> Layout | None:
    """The cluster that was made in `folder`, or None. ValueError where its `cluster.json` is damaged."""
    state = folder / STATE_FILE
    try:
        fields = json.loads(state.read_text())
        if fields.get("monitor"):
            fields["monitor"] = Monitor(**fields["monitor"])
        return Layout(folder=folder.resolve(), **fields)
    except FileNotFoundError:
        return None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{state} is damaged ({error}): remove it, or the whole folder, and bring the cluster up anew"
        ) from error
