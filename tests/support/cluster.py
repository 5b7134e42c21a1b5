"""A cluster of servers on this machine: masters that share the slots evenly, each with its replicas."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from string import ascii_lowercase
from typing import Any

import redis
from redis.crc import key_slot

from support.server import Server, wait_for_replica
from support.waiting import wait_until

SLOTS = 16384
FORM_DEADLINE_S = 60.0
CLI_DEADLINE_S = 120.0


@dataclass
class Shard:
    """A master, its replicas, and a hash tag whose slot it serves."""

    master: Server
    first_slot: int
    last_slot: int
    replicas: list[Server] = field(default_factory=list)

    @property
    def hash_tag(self) -> str:
        """The shortest run of letters that hashes to a slot of this shard."""
        for length in (1, 2, 3):
            for letters in product(ascii_lowercase, repeat=length):
                tag = "".join(letters)
                if self.first_slot <= key_slot(tag.encode()) <= self.last_slot:
                    return tag
        raise AssertionError("unreachable: three letters reach every slot range of a test cluster")


class Cluster:
    """Forms itself from servers made by `make(name, settings)`, which starts them and owns their end."""

    def __init__(
        self,
        make: Callable[..., Server],
        shards: int = 3,
        replicas: int = 0,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.settings: Mapping[str, object] = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": 2000,
            "cluster-require-full-coverage": "no",
            **(settings or {}),
        }
        self.shards: list[Shard] = []
        for n in range(shards):
            master = make(settings=self.settings)
            shard = Shard(master, n * SLOTS // shards, (n + 1) * SLOTS // shards - 1)
            shard.replicas = [make(settings=self.settings) for _ in range(replicas)]
            self.shards.append(shard)
        self._form()

    @property
    def servers(self) -> list[Server]:
        return [server for shard in self.shards for server in (shard.master, *shard.replicas)]

    @property
    def masters(self) -> list[Server]:
        return [shard.master for shard in self.shards]

    def client(self, **options: Any) -> redis.RedisCluster:
        """A client that follows redirects, as `redis-cli -c` does."""
        return redis.RedisCluster(host="127.0.0.1", port=self.shards[0].master.port, protocol=2, **options)

    def shard_of(self, key: str) -> Shard:
        slot = key_slot(key.encode())
        return next(shard for shard in self.shards if shard.first_slot <= slot <= shard.last_slot)

    def add(self, server: Server) -> None:
        """Add an empty master without slots, as an operator does."""
        self._cli("add-node", f"127.0.0.1:{server.port}")
        everyone = {node_id(member) for member in (*self.servers, server)}
        for member in (*self.servers, server):
            with contextlib.closing(member.client()) as client:
                wait_until(partial(_knows, client, everyone), FORM_DEADLINE_S, "the new one is known")
                wait_until(partial(_whole, client), FORM_DEADLINE_S, "the cluster is whole")

    def move(self, source: Server, target: Server, slots: int) -> None:
        """Move the lowest slots of `source` to `target`."""
        options = ["--cluster-from", node_id(source).decode(), "--cluster-to", node_id(target).decode()]
        self._cli("reshard", *options, "--cluster-slots", str(slots), "--cluster-yes")

    def remove(self, server: Server) -> None:
        """Have all others forget a master without slots."""
        self._cli("del-node", node_id(server).decode())

    def _cli(self, command: str, *arguments: str) -> None:
        """`redis-cli --cluster`, or that of this kind of server, by way of the first master; it refuses while
        the nodes do not agree on who has which slots.
        """
        address = f"127.0.0.1:{self.masters[0].port}"
        wait_until(
            lambda: self._run_cli("check", address).returncode == 0, FORM_DEADLINE_S, "the nodes agree"
        )
        places = (*arguments, address) if command == "add-node" else (address, *arguments)
        done = self._run_cli(command, *places)
        assert done.returncode == 0, done.stdout + done.stderr

    def _run_cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which(f"{self.masters[0].kind}-cli")
        assert program is not None
        command = [program, "--cluster", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=CLI_DEADLINE_S, check=False)

    def _form(self) -> None:
        with contextlib.ExitStack() as stack:
            clients = {s.port: stack.enter_context(contextlib.closing(s.client())) for s in self.servers}
            first = self.servers[0]
            for epoch, shard in enumerate(self.shards, start=1):
                client = clients[shard.master.port]
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", shard.first_slot, shard.last_slot)
            for server in self.servers[1:]:
                clients[first.port].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
            everyone = {client.execute_command("CLUSTER", "MYID") for client in clients.values()}
            for server in self.servers:
                wait_until(
                    partial(_knows, clients[server.port], everyone),
                    FORM_DEADLINE_S,
                    "the nodes have met",
                )
            for shard in self.shards:
                master_id = clients[shard.master.port].execute_command("CLUSTER", "MYID")
                for replica in shard.replicas:
                    clients[replica.port].execute_command("CLUSTER", "REPLICATE", master_id)
            for server in self.servers:
                wait_until(
                    partial(_whole, clients[server.port]),
                    FORM_DEADLINE_S,
                    "the cluster is whole",
                )
        for shard in self.shards:
            for replica in shard.replicas:
                wait_for_replica(shard.master, replica)


def node_id(server: Server) -> bytes:
    with contextlib.closing(server.client()) as client:
        name: bytes = client.execute_command("CLUSTER", "MYID")
        return name


def _knows(client: redis.Redis, everyone: set[bytes]) -> bool:
    """Whether this node has shaken hands with all of them."""
    nodes: bytes = client.execute_command("CLUSTER", "NODES")
    return everyone <= {line.split()[0] for line in nodes.splitlines() if b"handshake" not in line}


def _whole(client: redis.Redis) -> bool:
    info = dict(
        line.split(b":", 1) for line in client.execute_command("CLUSTER", "INFO").split() if b":" in line
    )
    return info.get(b"cluster_state") == b"ok" and int(info.get(b"cluster_slots_ok", 0)) == SLOTS
