"""Messages between the functions workers of a cluster, over the server's own bus (SEND, PEER).

A message is a pickled tuple: its name, then what belongs to it. `handle` says who serves a name; `ask` and
`answer` are questions to other shards, which end with their answers or after a while. Answers have threads of
their own, and answering asks nobody: shards that ask each other do not wait for each other.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError, KeymissError
from keymiss.functions.context import Context
from keymiss.functions.nodes import Node, Ranges, parse_nodes
from keymiss.functions.pool import Pool

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

ANSWER_S = 10.0
LOOK_S = 1.0
SERVER_WAITS = "no other shard can be asked while the server waits, as inside MULTI or a script"
NOT_CONNECTED = "it is not connected"  # as the module says it
LINE_S = 1.0  # the server makes lines ten times a second
LINE_POLL_S = 0.05
_ANSWERING_THREADS = 4


@dataclass(frozen=True, slots=True)
class SlotOwner:
    """A node that owns slots; `first_slot` and `last_slot` are the outer ones."""

    node: str
    host: str
    port: int
    slots: Ranges

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

    `nodes`, `shards`, `others`, `send`, `deliver` and `ask` wait for the server: for threads other than the
    loop's, or where a `sync` job runs.
    """

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._numbers = count(1)
        self._questions: dict[int, _Question] = {}
        self._answering = Pool(_ANSWERING_THREADS)
        self._handlers: dict[str, Callable[..., object]] = {
            "question": self._on_question,
            "answer": self._on_answer,
        }
        self._answerers: dict[str, Callable[..., Any]] = {"run_id": lambda: gears.shard.hello.run_id}

    def handle(self, name: str, handler: Callable[..., object]) -> None:
        """`handler(node, ...)` serves messages of that name, on the loop's thread."""
        self._handlers[name] = handler

    def answer(self, name: str, answerer: Callable[..., Any]) -> None:
        """`answerer(...)`, in the background, answers questions of that name by what it returns or by the
        error it raises.
        """
        self._answerers[name] = answerer

    def nodes(self) -> list[Node]:
        """All nodes, as this shard sees them now; none where there is no cluster."""
        shard = self._gears.shard
        return parse_nodes(shard.execute("CLUSTER", "NODES")) if shard.is_cluster else []

    def shards(self) -> list[SlotOwner]:
        """Those that own slots, this shard perhaps among them, be they down or not."""
        return [SlotOwner(node.id, node.host, node.port, node.slots) for node in self.nodes() if node.slots]

    def others(self) -> list[str]:
        """The ids of all other masters that are not known to be down, with slots or without."""
        return [node.id for node in self.nodes() if node.master and not node.failed and not node.myself]

    def send(self, node: str, name: str, *parts: Any) -> None:
        """Send one message. GearsError, with the reason alone, where the bus does not take it."""
        try:
            self._gears.shard.send(node, pickle.dumps((name, *parts), pickle.HIGHEST_PROTOCOL))
        except GearsError as error:
            raise GearsError(str(error).removeprefix("ERR ")) from None

    def deliver(self, node: str, name: str, *parts: Any) -> None:
        """As `send`, but wait a moment for a line that is being made, as to a node that has just joined."""
        until = monotonic() + LINE_S
        while True:
            try:
                self.send(node, name, *parts)
                return
            except GearsError as error:
                if str(error) != NOT_CONNECTED or monotonic() > until:
                    raise
            sleep(LINE_POLL_S)

    def receive(self, node: str, payload: bytes) -> None:
        """A message from another shard. One that cannot be understood is logged."""
        try:
            name, *parts = pickle.loads(payload)
            self._handlers[name](node, *parts)
        except Exception as error:
            self._gears.shard.log(f"a message of shard {node} was not understood: {error!r}", "warning")

    def ask(
        self, name: str, *parts: Any, nodes: Sequence[str] | None = None, timeout_s: float = ANSWER_S
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Ask these nodes, or all others; the answers, and the errors of those that gave none, by node.

        On the loop's thread none is asked: there the server waits, so that no answer could come.
        """
        asked = self.others() if nodes is None else nodes
        if self._gears.shard.channel.on_loop_thread:
            return {}, dict.fromkeys(asked, SERVER_WAITS)
        number, question = next(self._numbers), _Question(asked)
        self._questions[number] = question
        try:
            for node in asked:
                try:
                    self.deliver(node, "question", number, name, parts)
                except GearsError as error:
                    question.take(node, None, str(error))
            deadline = monotonic() + timeout_s
            while question.missing and (left_s := deadline - monotonic()) > 0:
                if not question.all_here.wait(min(LOOK_S, left_s)):
                    self._drop_failed(question)
        finally:
            del self._questions[number]
        late = dict.fromkeys(question.missing, f"no answer within {timeout_s:g} s")
        return question.answers, {**question.errors, **late}

    def _drop_failed(self, question: _Question) -> None:
        """Do not wait for those that the cluster has found to be down meanwhile."""
        for node in self.nodes():
            if node.failed and node.id in question.missing:
                question.take(node.id, None, "it is down")

    def ask_one(self, node: str, name: str, *parts: Any) -> Any:
        """What this node answers. GearsError, with its name, where it does not."""
        answers, errors = self.ask(name, *parts, nodes=[node])
        if errors:
            raise GearsError(f"shard {node}: {errors[node]}")
        return answers[node]

    def _on_question(self, node: str, number: int, name: str, parts: tuple[Any, ...]) -> None:
        def answer() -> None:
            value, error = None, None
            try:
                value = self._answerers[name](*parts)
            except Exception as failure:
                error = str(failure) if isinstance(failure, KeymissError) else repr(failure)
            with suppress(GearsError):  # it went away meanwhile
                self.deliver(node, "answer", number, value, error)

        self._answering.submit(answer, Context())

    def _on_answer(self, node: str, number: int, value: Any, error: str | None) -> None:
        question = self._questions.get(number)
        if question is not None:
            question.take(node, value, error)
