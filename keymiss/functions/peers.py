"""Messages between the functions workers of a cluster, over the server's own bus (SEND, PEER).

A message is a pickled tuple: its name, then what belongs to it. `handle` says who serves a name. A question has a number;
its answer, or the deadline, ends it.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions.context import Context

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

DEPLOY_S = 10.0
_SHARDS_KNOWN_S = 1.0


@dataclass(frozen=True, slots=True)
class Shard:
    """A master of the cluster that owns slots; `first_slot` and `last_slot` are the outer ones."""

    node: str
    host: str
    port: int
    slots: tuple[tuple[int, int], ...]

    @property
    def first_slot(self) -> int:
        return self.slots[0][0]

    @property
    def last_slot(self) -> int:
        return self.slots[-1][1]


class _Answers:
    """What several shards answer to one question."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.missing = set(nodes)
        self.errors: list[str] = []
        self.all_here = threading.Event()

    def take(self, node: str, error: str | None) -> None:
        self.missing.discard(node)
        if error is not None:
            self.errors.append(f"shard {node}: {error}")
        if not self.missing:
            self.all_here.set()


class Peers:
    """The other shards. `shards`, `send` and `deploy` wait for the server: for threads of the pool."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._numbers = count(1)
        self._questions: dict[int, _Answers] = {}
        self._shards: list[Shard] = []
        self._known_until = 0.0
        self._handlers: dict[str, Callable[..., None]] = {"deploy": self._on_deploy, "deployed": self._on_deployed}

    def handle(self, name: str, handler: Callable[..., None]) -> None:
        """`handler(node, ...)` serves messages of that name, on the loop's thread."""
        self._handlers[name] = handler

    def shards(self) -> list[Shard]:
        """All masters that own slots and are not known to be down, this shard among them."""
        if monotonic() > self._known_until:
            self._shards = _parse_nodes(self._gears.shard.execute("CLUSTER", "NODES"))
            self._known_until = monotonic() + _SHARDS_KNOWN_S
        return self._shards

    def others(self) -> list[str]:
        """The node ids of all but this shard; none where there is no cluster."""
        shard = self._gears.shard
        return [peer.node for peer in self.shards() if peer.node != shard.node] if shard.is_cluster else []

    def send(self, node: str, name: str, *parts: Any) -> None:
        """Send one message. GearsError where the bus does not take it."""
        self._gears.shard.send(node, pickle.dumps((name, *parts), pickle.HIGHEST_PROTOCOL))

    def receive(self, node: str, payload: bytes) -> None:
        """A message from another shard. One that cannot be understood is logged."""
        try:
            name, *parts = pickle.loads(payload)
            self._handlers[name](node, *parts)
        except Exception as error:
            self._gears.shard.log(f"a message of shard {node} was not understood: {error!r}", "warning")

    # Registrations

    def deploy(self, blobs: Sequence[bytes], removed: Sequence[str]) -> None:
        """Have every other shard add and remove registrations. GearsError that names those that did not."""
        nodes = self.others()
        if not nodes:
            return
        number, answers = next(self._numbers), _Answers(nodes)
        self._questions[number] = answers
        try:
            for node in nodes:
                try:
                    self.send(node, "deploy", number, list(blobs), list(removed))
                except GearsError as error:
                    answers.take(node, str(error))
            if not answers.all_here.wait(DEPLOY_S):
                answers.errors += [f"shard {node}: no answer within {DEPLOY_S:g} s" for node in answers.missing]
        finally:
            del self._questions[number]
        if answers.errors:
            raise GearsError(f"ERR this shard is done, but not all: {'; '.join(answers.errors)}. Try again")

    def _on_deploy(self, node: str, number: int, blobs: list[bytes], removed: list[str]) -> None:
        def deploy() -> None:
            error = None
            try:
                for blob in blobs:
                    self._gears.deployer.install(blob)
                for name in removed:
                    self._gears.deployer.uninstall(name)
            except Exception as failure:
                error = str(failure)
            self.send(node, "deployed", number, error)

        self._gears.shard.in_pool(deploy, Context())

    def _on_deployed(self, node: str, number: int, error: str | None) -> None:
        answers = self._questions.get(number)
        if answers is not None:
            answers.take(node, error)


def _parse_nodes(text: str) -> list[Shard]:
    """CLUSTER NODES: one line a node, `<id> <ip:port@bus[,host]> <flags> <master> ... <slots>...`."""
    shards = []
    for line in text.splitlines():
        node, address, flags, *rest = line.split()
        words = flags.split(",")
        slots = tuple(_slots(part) for part in rest[5:] if not part.startswith("["))
        if "master" in words and "fail" not in words and slots:
            host, _, port = address.partition("@")[0].rpartition(":")
            shards.append(Shard(node, host, int(port), tuple(sorted(slots))))
    return shards


def _slots(part: str) -> tuple[int, int]:
    first, _, last = part.partition("-")
    return int(first), int(last or first)
