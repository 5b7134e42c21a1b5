"""One shard's part in an execution over the whole cluster.

All legs of the plan run at the same time, each on the records that the one before sends it: a leg ends
when the one before has ended on all shards. The shard that started the execution (the *initiator*) holds the
results.

A shard that works says so every second; one that is silent for ExecutionMaxIdleTime is given up, its records
with it, and the execution ends with an error that names it, be it that only one of the others missed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions.drive import Drive
from keymiss.functions.errors import Aborted, error_text
from keymiss.functions.executions import DONE, Execution
from keymiss.functions.readers import Source
from keymiss.functions.shuffles import Inbox, Outbox
from keymiss.functions.steps import Emit, Kind, Waiting, legs_of
from keymiss.hashtags import SLOTS, slot_of

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears
    from keymiss.functions.peers import SlotOwner

BEAT_S = 1.0

Sent = dict[int, tuple[int, bool]]  # by leg: chunks that were sent, and whether that is all
Read = dict[int, int]  # by leg: chunks that were read


class Part:
    """One shard's part in an execution. `execution` is the initiator's, or a shadow of it."""

    def __init__(self, gears: Gears, execution: Execution, initiator: str, shards: list[SlotOwner]) -> None:
        self.gears = gears
        self.execution = execution
        self.initiator = initiator
        self.nodes = [shard.node for shard in shards]
        self.heard = {node: monotonic() for node in self.nodes}
        self.ended_nodes: set[str] = set()
        self._lost: dict[str, str] = {}  # shards that were given up, and why
        self._legs = legs_of(execution.plan)
        self._owners = _owners(tuple(shards))
        self._running = len(self._legs)
        self._beat: asyncio.TimerHandle | None = None
        shard, errors = gears.shard, execution.errors
        # The first leg reads the source, what comes out of the last is the result: neither has a box.
        self._inboxes = {
            at: Inbox(shard, self.nodes, errors, partial(self._note_read, at))
            for at in range(1, len(self._legs))
        }
        self._outboxes = {
            at: Outbox(shard, self.nodes, errors, partial(self._send, at), partial(self._keep, at))
            for at in range(1, len(self._legs))
        }

    @property
    def is_initiator(self) -> bool:
        return self.initiator == self.gears.shard.node

    @property
    def others(self) -> list[str]:
        return [node for node in self.nodes if node != self.gears.shard.node]

    # Legs

    def begin(self, source: Source) -> None:
        """Run all legs, each on what the one before sends it. The loop's thread."""
        self._tick()
        for at, leg in enumerate(self._legs):
            emit = self._result if leg.shuffle is None else self._sender(at + 1, leg.shuffle)
            if at:
                pipeline = self.execution.pipeline(leg.steps, emit, self.gears.config)
                work = self._inboxes[at].read(pipeline)
            else:
                work = self.gears.processes.read(self.execution, leg.steps, source, emit)
            self._drive(at, work)

    def _drive(self, at: int, work: Waiting) -> None:
        context = self.execution.context
        assert context is not None

        def ended(error: BaseException | None) -> None:
            if isinstance(error, Aborted):
                self.gears.shard.call_soon(self.execution.cancel)
                return
            if error is not None:
                self.execution.errors.append(error_text(error))
            if at:
                self._inboxes[at].discard()
            following = at + 1
            if following < len(self._legs):
                self._outboxes[following].close()
                self._inboxes[following].sent(
                    self.gears.shard.node, *self._outboxes[following].progress(self.gears.shard.node)
                )
                self._tell_progress()
            self.gears.shard.call_soon(self._leg_ended)

        try:
            Drive(self.gears.shard, work, context.beside(), ended).start()
        except Exception as busy:
            work.close()
            self.gears.in_background(partial(ended, busy))

    def _leg_ended(self) -> None:
        self._running -= 1
        if self._running:
            return
        if self.is_initiator:
            self.shard_ended(self.gears.shard.node, [])
            return
        told = list(self.execution.errors), dict(self._lost)
        self.execution.end(DONE)  # before the initiator's ends
        self._stop()
        self.gears.in_background(partial(self._tell_end, *told))

    def shard_ended(self, node: str, errors: list[str], lost: Mapping[str, str] = {}) -> None:
        """The initiator: a shard is done, having `lost` others, or given up.

        When all are, so is the execution.
        """
        if node in self.ended_nodes:
            return
        self.ended_nodes.add(node)
        self.execution.errors += errors
        for other, why in lost.items():
            if other not in self._lost:
                self._lost[other] = why
                self.execution.errors.append(why)
                self.gears.shard.log(f"execution {self.execution.id}: {why}", "warning")
        if node != self.gears.shard.node:
            self.execution.shards_completed += 1
            self.execution.shards_received += 1
        if self.ended_nodes >= set(self.nodes):
            self.execution.end(DONE)
            self._stop()

    # Records

    def _result(self, record: Any) -> None:
        if self.is_initiator:
            self.execution.results.append(record)

    def _sender(self, leg: int, shuffle: Kind) -> Emit:
        put, initiator, owners = self._outboxes[leg].put, self.initiator, self._owners
        if shuffle is Kind.COLLECT:
            return lambda record: put(initiator, record)
        me = self.gears.shard.node  # which takes what belongs to a slot that nobody owns
        return lambda record: put(owners[slot_of(record[0])] or me, record)

    def _send(self, leg: int, node: str, number: int, records: list[bytes]) -> bool:
        try:
            self.gears.peers.deliver(node, "execution.records", self.execution.id, leg, number, records)
        except GearsError as error:
            self.gears.shard.call_soon(self.lose, node, f"shard {node} did not answer: {error}")
            return False
        return True

    def _keep(self, leg: int, number: int, records: list[Any]) -> None:
        self._inboxes[leg].add(self.gears.shard.node, number, records, pickled=False)

    def _note_read(self, leg: int, node: str, count: int) -> None:
        if node == self.gears.shard.node:
            self._outboxes[leg].read(node, count)
        elif self.gears.shard.channel.on_loop_thread:
            self.gears.in_background(lambda: self._tell(node, "read", leg, count))
        else:
            self._tell(node, "read", leg, count)

    def take(self, node: str, leg: int, number: int, records: list[bytes]) -> None:
        """Records of another shard."""
        self._inboxes[leg].add(node, number, records)

    def read(self, node: str, leg: int, count: int) -> None:
        """Another shard has read so many chunks of this one."""
        self._outboxes[leg].read(node, count)

    def progress(self, node: str, sent: Sent, read: Read) -> None:
        """How far another shard is with what it sends to this one and gets from it, by leg."""
        for leg, (count, all_sent) in sent.items():
            self._inboxes[leg].sent(node, count, all_sent)
        for leg, count in read.items():
            self._outboxes[leg].read(node, count)

    def give_up(self, node: str) -> None:
        """Nothing more comes from a shard, and it wants nothing more."""
        for inbox in self._inboxes.values():
            inbox.give_up(node)
        for outbox in self._outboxes.values():
            outbox.give_up(node)

    def lose(self, node: str, why: str) -> None:
        """Go on without a shard that should have sent something, or taken it; without the initiator: stop."""
        if node in self.ended_nodes:
            return
        sent_all = all(outbox.progress(node)[1] for outbox in self._outboxes.values())
        has_all = all(inbox.has_all_of(node) for inbox in self._inboxes.values())
        self.give_up(node)
        if self.is_initiator:
            self.shard_ended(node, [], {node: why})
            return
        self.ended_nodes.add(node)
        if not (sent_all and has_all):  # else it is done, as far as this shard is concerned
            self._lost[node] = why
        if node == self.initiator:
            self.execution.cancel()

    # Signs of life

    def _tick(self) -> None:
        if not self.execution.running:
            self._stop()
            return
        self._beat = self.gears.shard.loop.call_later(BEAT_S, self._tick)
        self.gears.in_background(self._tell_progress)
        silent_since = monotonic() - self.gears.config.max_idle_s
        for node in self.others:
            if node not in self.ended_nodes and self.heard[node] < silent_since:
                idle_s = self.gears.config.max_idle_s
                self.lose(node, f"shard {node} did not answer within {idle_s:g} s")

    def _stop(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def _tell_progress(self) -> None:
        for node in self.others:
            if node in self.ended_nodes:
                continue
            sent = {leg: outbox.progress(node) for leg, outbox in self._outboxes.items()}
            read = {leg: inbox.progress(node) for leg, inbox in self._inboxes.items()}
            self._tell(node, "alive", sent, read)

    def tell_others(self, name: str) -> None:
        """Send all others a message that consists of its name."""
        for node in self.others:
            self.gears.in_background(partial(self._tell, node, name))

    def _tell_end(self, errors: list[str], lost: dict[str, str]) -> None:
        with suppress(GearsError):
            self.gears.peers.deliver(self.initiator, "execution.ended", self.execution.id, errors, lost)

    def _tell(self, node: str, name: str, *parts: Any) -> None:
        """One that cannot be told will be missed, which is logged."""
        with suppress(GearsError):
            self.gears.peers.send(node, f"execution.{name}", self.execution.id, *parts)


@lru_cache(maxsize=4)
def _owners(shards: tuple[SlotOwner, ...]) -> list[str]:
    """The shard that owns each slot; empty where nobody does. Not to be changed."""
    owners = [""] * SLOTS
    for shard in shards:
        for first, last in shard.slots:
            owners[first : last + 1] = [shard.node] * (last + 1 - first)
    return owners
