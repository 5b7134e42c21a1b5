"""Messages between the functions workers of a cluster, over the server's own bus (SEND, PEER).

A message is a pickled tuple: its name, then what belongs to it. `handle` says who serves a name; `ask` and
`answer` are questions to all other shards, which end with their answers or after a while.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError, KeymissError

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

ANSWER_S = 10.0
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


class _Question:
    """What several shards have answered so far."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.missing = set(nodes)
        self.answers: dict[str, Any] = {}
        self.errors: dict[str, str] = {}
        self.all_here = threading.Event()

    def take(self, node: str, answer: Any, error: str | None) -> None:
        if error is None:
            self.answers[node] = answer
        else:
            self.errors[node] = error
        self.missing.discard(node)
        if not self.missing:
            self.all_here.set()


class Peers:
    """The other shards.

    `shards`, `others`, `send` and `ask` wait for the server: for threads other than the loop's.
    """

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._numbers = count(1)
        self._questions: dict[int, _Question] = {}
        self._shards: list[Shard] = []
        self._known_until = 0.0
        self._handlers: dict[str, Callable[..., object]] = {
            "question": self._on_question,
            "answer": self._on_answer,
        }
        self._answerers: dict[str, Callable[..., Any]] = {}

    def handle(self, name: str, handler: Callable[..., object]) -> None:
        """`handler(node, ...)` serves messages of that name, on the loop's thread."""
        self._handlers[name] = handler

    def answer(self, name: str, answerer: Callable[..., Any]) -> None:
        """`answerer(...)`, in the background, answers questions of that name by what it returns or by the
        error it raises.
        """
        self._answerers[name] = answerer

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

    def ask(
        self, name: str, *parts: Any, timeout_s: float = ANSWER_S
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Ask all other shards; the answers, and the errors of those that gave none, by node."""
        nodes = self.others()
        number, question = next(self._numbers), _Question(nodes)
        self._questions[number] = question
        try:
            for node in nodes:
                try:
                    self.send(node, "question", number, name, parts)
                except GearsError as error:
                    question.take(node, None, str(error))
            if nodes:
                question.all_here.wait(timeout_s)
        finally:
            del self._questions[number]
        late = dict.fromkeys(question.missing, f"no answer within {timeout_s:g} s")
        return question.answers, {**question.errors, **late}

    def _on_question(self, node: str, number: int, name: str, parts: tuple[Any, ...]) -> None:
        def answer() -> None:
            value, error = None, None
            try:
                value = self._answerers[name](*parts)
            except Exception as failure:
                error = str(failure) if isinstance(failure, KeymissError) else repr(failure)
            self.send(node, "answer", number, value, error)

        self._gears.in_background(answer)

    def _on_answer(self, node: str, number: int, value: Any, error: str | None) -> None:
        question = self._questions.get(number)
        if question is not None:
            question.take(node, value, error)


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
