"""Executions over the whole cluster: mode 'async'.

Every shard runs each stage of the plan on its own records, sends what comes out to the shards where it
belongs, and says when it has sent all; a shard begins a stage when all have said so of the one before. The
shard that started the execution (the *initiator*) holds the results.

A shard that works says so every second; one that is silent for ExecutionMaxIdleTime is given up, its records
with it, and the execution ends with an error that names it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

import cloudpickle  # type: ignore[import-untyped]

from keymiss.errors import GearsError
from keymiss.functions import blobs
from keymiss.functions.context import Context
from keymiss.functions.drive import Drive
from keymiss.functions.errors import Aborted, error_text, short_text
from keymiss.functions.executions import DONE, Execution
from keymiss.functions.readers import RecordsSource, Source
from keymiss.functions.runtime import script_globals
from keymiss.functions.sessions import Session
from keymiss.functions.steps import Kind, Pipeline, stages_of
from keymiss.hashtags import slot_of

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears
    from keymiss.functions.peers import Shard
    from keymiss.functions.registrations import Registration

BEAT_S = 1.0
EARLY_S = 10.0
CHUNK_RECORDS = 500
_MAX_EARLY = 1000  # messages kept of executions that this shard has not heard of yet
_MAX_ENDED = 1000


class Part:
    """One shard's part in an execution. `execution` is the initiator's, or a shadow of it."""

    def __init__(self, gears: Gears, execution: Execution, initiator: str, shards: list[Shard]) -> None:
        self.gears = gears
        self.execution = execution
        self.initiator = initiator
        self.shards = shards
        self.nodes = [shard.node for shard in shards]
        self.stages = stages_of(execution.plan)
        self.at = -1
        self.inboxes: list[list[Any]] = [[] for _ in self.stages]
        self.sent_all: list[set[str]] = [set() for _ in self.stages]  # of the stage before, by stage
        self.heard = {node: monotonic() for node in self.nodes}
        self.ended_nodes: set[str] = set()
        self.beat: asyncio.TimerHandle | None = None

    @property
    def is_initiator(self) -> bool:
        return self.initiator == self.gears.shard.node

    # Stages

    def begin(self, source: Source) -> None:
        """The first stage. The loop's thread."""
        self._tick()
        self._run_stage(0, source)

    def go_on(self) -> None:
        """Begin the next stage if all shards have sent what belongs to it. The loop's thread."""
        following = self.at + 1
        if not self.execution.running or following >= len(self.stages):
            return
        if self.sent_all[following] >= set(self.nodes):
            self._run_stage(following, RecordsSource(tuple(self.inboxes[following])))
            self.inboxes[following] = []

    def _run_stage(self, at: int, source: Source) -> None:
        self.at = at
        stage = self.stages[at]
        outbox = _Outbox(self, at + 1, stage.shuffle)
        pipeline = Pipeline(stage.steps, outbox.put, self.execution.errors, self.gears.config.tracebacks)
        context = self.execution.context
        assert context is not None
        work = pipeline.read(source.records(self.gears.shard.execute))

        def ended(error: BaseException | None) -> None:
            if isinstance(error, Aborted):
                self.gears.shard.call_soon(self.execution.cancel)
                return
            if error is not None:
                self.execution.errors.append(error_text(error))
            outbox.close()
            if at + 1 < len(self.stages):
                self.gears.shard.call_soon(self.stage_sent, self.gears.shard.node, at + 1)
            else:
                self.gears.shard.call_soon(self._finished)

        try:
            Drive(self.gears.shard, work, context, ended).start()
        except Exception as busy:
            ended(busy)

    def stage_sent(self, node: str, stage: int) -> None:
        """A shard has sent all that belongs to `stage`."""
        self.sent_all[stage].add(node)
        self.go_on()

    def _finished(self) -> None:
        """This shard has run its last stage."""
        if self.is_initiator:
            self.shard_ended(self.gears.shard.node, [])
            return
        execution = self.execution
        self._in_pool(lambda: self._tell(self.initiator, "ended", list(execution.errors)))
        execution.end(DONE)
        self._stop()

    def shard_ended(self, node: str, errors: list[str]) -> None:
        """The initiator: a shard is done, or given up. When all are, so is the execution."""
        if node in self.ended_nodes:
            return
        self.ended_nodes.add(node)
        self.execution.errors += errors
        if node != self.gears.shard.node:
            self.execution.shards_completed += 1
            self.execution.shards_received += 1
        if self.ended_nodes >= set(self.nodes):
            self.execution.end(DONE)
            self._stop()

    # Signs of life

    def _tick(self) -> None:
        if not self.execution.running:
            self._stop()
            return
        self.beat = self.gears.shard.loop.call_later(BEAT_S, self._tick)
        me = self.gears.shard.node
        others = [node for node in self.nodes if node != me]
        self._in_pool(lambda: self._tell_all(others, "alive"))
        silent_since = monotonic() - self.gears.config.max_idle_s
        for node in others:
            if node not in self.ended_nodes and self.heard[node] < silent_since:
                self._give_up(node)

    def _give_up(self, node: str) -> None:
        text = f"shard {node} did not answer within {self.gears.config.max_idle_s:g} s"
        for stage in range(1, len(self.stages)):
            self.sent_all[stage].add(node)
        if self.is_initiator:
            self.shard_ended(node, [text])
        else:
            self.ended_nodes.add(node)
            if node == self.initiator:
                self.execution.cancel()
                return
        self.go_on()

    def _stop(self) -> None:
        if self.beat is not None:
            self.beat.cancel()
            self.beat = None

    def _in_pool(self, function: Callable[[], object]) -> None:
        def run() -> None:
            try:
                function()
            except GearsError as error:
                self.gears.shard.log(f"execution {self.execution.id}: {error}", "warning")

        self.gears.in_background(run)

    def _tell(self, node: str, name: str, *parts: Any) -> None:
        self.gears.peers.send(node, f"execution.{name}", self.execution.id, *parts)

    def _tell_all(self, nodes: list[str], name: str) -> None:
        for node in nodes:
            self._tell(node, name)


class _Outbox:
    """Where the records of a stage go. Belongs to the thread that runs the stage."""

    def __init__(self, part: Part, stage: int, shuffle: Kind | None) -> None:
        self._part = part
        self._stage = stage
        self._shuffle = shuffle
        self._me = part.gears.shard.node
        self._waiting: dict[str, list[bytes]] = {}

    def put(self, record: Any) -> None:
        part = self._part
        if self._shuffle is None:
            if part.is_initiator:
                part.execution.results.append(record)
            return
        node = part.initiator if self._shuffle is Kind.COLLECT else self._owner(record[0])
        if node == self._me:
            part.inboxes[self._stage].append(record)
            return
        try:
            waiting = self._waiting.setdefault(node, [])
            waiting.append(cloudpickle.dumps(record))
        except Exception as error:
            part.execution.errors.append(short_text(error))
            return
        if len(waiting) >= CHUNK_RECORDS:
            self._flush(node)

    def close(self) -> None:
        """All is sent: tell every other shard."""
        for node in list(self._waiting):
            self._flush(node)
        if self._shuffle is None:
            return
        for node in self._part.nodes:
            if node != self._me:
                self._tell(node, "sent", self._stage)

    def _owner(self, key: str) -> str:
        slot = slot_of(key)
        for shard in self._part.shards:
            if any(first <= slot <= last for first, last in shard.slots):
                return shard.node
        return self._me  # a slot that nobody owns

    def _flush(self, node: str) -> None:
        records = self._waiting.pop(node, [])
        if records:
            self._tell(node, "records", self._stage, records)

    def _tell(self, node: str, name: str, *parts: Any) -> None:
        try:
            self._part._tell(node, name, *parts)
        except GearsError as error:
            self._part.execution.errors.append(f"shard {node}: {error}")


class Spread:
    """The executions that this shard takes part in."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._early: list[tuple[float, str, str, tuple[Any, ...]]] = []
        gears.peers.answer("execution.shown", self._shown)
        for name in ("start", "records", "sent", "ended", "alive", "cancel", "drop"):
            gears.peers.handle(f"execution.{name}", getattr(self, f"_on_{name}"))

    def needed(self, registration: Registration) -> bool:
        """An execution of this registration concerns other shards: a command runs on all, an event where it
        moves records.
        """
        if not self._gears.shard.is_cluster:
            return False
        return registration.reader == "CommandReader" or any(
            step.kind is Kind.REPARTITION or (step.kind is Kind.COLLECT and at + 1 < len(registration.plan))
            for at, step in enumerate(registration.plan)
        )

    def start(self, execution: Execution, source: Source, everywhere: bool = True) -> None:
        """Run an execution on all shards; `everywhere`: each reads the source, else only this one does."""
        context = execution.context
        assert context is not None
        session = context.session
        names = script_globals()

        def begin() -> None:
            try:
                shards = self._gears.peers.shards()
                remote = source if everywhere else RecordsSource(())
                blob = blobs.dump((execution.plan, remote), names, session.globals)
            except GearsError as error:
                execution.errors.append(str(error))
                execution.end(DONE)
                return
            part = Part(self._gears, execution, self._gears.shard.node, shards)
            unreachable = []
            for node in part.nodes:
                if node != part.initiator:
                    try:
                        self._gears.peers.send(
                            node,
                            "execution.start",
                            execution.id,
                            session.name,
                            session.requirements,
                            shards,
                            blob,
                        )
                    except GearsError as error:
                        unreachable.append((node, f"shard {node}: {error}"))
            self._gears.shard.call_soon(self._begin, part, source, unreachable)

        execution.waiters.insert(0, self._initiated_ended)
        self._gears.in_background(begin, context)

    def _begin(self, part: Part, source: Source, unreachable: list[tuple[str, str]]) -> None:
        self._join(part)
        for node, text in unreachable:
            for sent in part.sent_all[1:]:
                sent.add(node)
            part.shard_ended(node, [text])
        part.begin(source)

    def _initiated_ended(self, execution: Execution) -> None:
        if execution.status != DONE:
            self._gears.shard.call_soon(self._tell_all, execution.id, "cancel")

    def drop(self, execution_id: str) -> None:
        """Forget an execution on the other shards too. Any thread."""
        if execution_id in self._parts:
            self._gears.shard.call_soon(self._tell_all, execution_id, "drop")

    def _tell_all(self, execution_id: str, name: str) -> None:
        part = self._parts.get(execution_id)
        if part is not None and part.is_initiator:
            others = [node for node in part.nodes if node != part.initiator]
            part._in_pool(lambda: part._tell_all(others, name))
            if name == "drop":
                self._parts.pop(execution_id, None)

    def shown_by_others(self, execution_id: str) -> list[Any]:
        """What RG.GETEXECUTION tells of an execution on the other shards. In the pool."""
        answers, _ = self._gears.peers.ask("execution.shown", execution_id)
        return [answer for answer in answers.values() if answer is not None]

    def _shown(self, execution_id: str) -> list[Any] | None:
        part = self._parts.get(execution_id)
        return None if part is None else part.execution.shown(self._gears.shard.node)

    def _add(self, part: Part) -> None:
        self._parts[part.execution.id] = part
        for old in list(self._parts.values()):
            if len(self._parts) <= _MAX_ENDED:
                break
            if not old.execution.running:
                self._parts.pop(old.execution.id, None)

    # Messages

    def _on_start(
        self,
        node: str,
        name: str,
        session: str,
        requirements: tuple[str, ...],
        shards: list[Shard],
        blob: bytes,
    ) -> None:
        host = Session(self._gears, session, requirements=requirements)
        context = Context(session=host, async_allowed=True)

        def load() -> None:
            try:
                self._gears.requirements.provide(requirements)
                plan, source = blobs.load(blob, script_globals(), host.globals)
            except GearsError as error:
                self._gears.peers.send(node, "execution.ended", name, [str(error)])
                return
            execution = Execution(name, plan, context=context)
            context.execution = execution
            self._gears.shard.call_soon(self._begin, Part(self._gears, execution, node, shards), source, [])

        self._gears.in_background(load, context)

    def _join(self, part: Part) -> None:
        """This shard takes part from now on; messages that came too early are for it now."""
        self._add(part)
        early, self._early = self._early, []
        for _, node, kind, parts in early:
            self._on(node, kind, parts)

    def _on(self, node: str, kind: str, parts: tuple[Any, ...]) -> None:
        """A message about an execution; kept for a while where this shard has not joined it yet."""
        part = self._parts.get(parts[0])
        if part is None:
            now = monotonic()
            self._early = [early for early in self._early[-_MAX_EARLY:] if early[0] > now - EARLY_S]
            self._early.append((now, node, kind, parts))
            return
        part.heard[node] = monotonic()
        if kind == "records":
            _, stage, records = parts
            for record in records:
                part.inboxes[stage].append(cloudpickle.loads(record))
        elif kind == "sent":
            part.stage_sent(node, parts[1])
        elif kind == "ended":
            part.shard_ended(node, parts[1])
            for stage in range(1, len(part.stages)):
                part.stage_sent(node, stage)

    def _on_records(self, node: str, *parts: Any) -> None:
        self._on(node, "records", parts)

    def _on_sent(self, node: str, *parts: Any) -> None:
        self._on(node, "sent", parts)

    def _on_ended(self, node: str, *parts: Any) -> None:
        self._on(node, "ended", parts)

    def _on_alive(self, node: str, name: str) -> None:
        part = self._parts.get(name)
        if part is not None:
            part.heard[node] = monotonic()

    def _on_cancel(self, node: str, name: str) -> None:
        part = self._parts.get(name)
        if part is not None:
            part.execution.cancel()

    def _on_drop(self, node: str, name: str) -> None:
        part = self._parts.pop(name, None)
        if part is not None:
            part.execution.cancel()
