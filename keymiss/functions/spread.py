"""Executions over the whole cluster: mode 'async'.

The shard that starts an execution (the *initiator*) sends its plan to all others, and each takes its part in
it (parts.py).
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions import blobs
from keymiss.functions.context import Context
from keymiss.functions.executions import DONE, Execution
from keymiss.functions.parts import BEAT_S, Part
from keymiss.functions.peers import SlotOwner
from keymiss.functions.readers import RecordsSource, Source
from keymiss.functions.runtime import script_globals
from keymiss.functions.sessions import Session
from keymiss.functions.steps import Kind

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears
    from keymiss.functions.registrations import Registration

EARLY_S = 10.0
_MAX_EARLY = 1000  # messages kept of executions that this shard has not heard of yet
_MAX_ENDED = 1000
ON_REPLICA = "ERR this shard is a replica: run it on its master, or with mode='async_local'"


class Spread:
    """The executions that this shard takes part in."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._early: list[tuple[float, str, str, tuple[Any, ...]]] = []
        self._loading: set[str] = set()  # executions whose functions are being loaded
        gears.peers.answer("execution.shown", self._shown)
        gears.peers.handle("execution.start", self._on_start)
        gears.peers.handle("execution.cancel", self._on_cancel)
        gears.peers.handle("execution.drop", self._on_drop)
        for kind in ("records", "read", "ended", "alive"):
            gears.peers.handle(f"execution.{kind}", partial(self._on, kind))

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
        """Run an execution on all shards that own slots; `everywhere`: each reads the source, else only this
        one does. A master without slots may start one too: it holds the results.
        """
        execution.waiters.insert(0, self._initiated_ended)
        initiate = partial(self._initiate, execution, source, everywhere)
        self._gears.in_background(initiate, execution.context)

    def _initiate(self, execution: Execution, source: Source, everywhere: bool) -> None:
        """In the background."""
        context, me = execution.context, self._gears.shard.node
        assert context is not None
        session = context.session
        mine, remote = source, source if everywhere else RecordsSource(())
        try:
            if self._gears.shard.is_replica:
                raise GearsError(ON_REPLICA)
            shards = self._gears.peers.shards()
            if me not in {shard.node for shard in shards}:
                shards.append(SlotOwner(me, "", 0, ()))
                mine = RecordsSource(()) if everywhere else source
            blob = blobs.dump((execution.plan, remote), script_globals(), session.globals)
        except GearsError as error:
            execution.errors.append(str(error))
            execution.end(DONE)
            return
        part = Part(self._gears, execution, me, shards)
        told = execution.id, session.name, session.requirements, shards, blob
        unreachable = []
        for node in part.others:
            try:
                self._gears.peers.deliver(node, "execution.start", *told)
            except GearsError as error:
                unreachable.append((node, f"shard {node} did not answer: {error}"))
        self._gears.shard.call_soon(self._begin, part, mine, unreachable)

    def _begin(self, part: Part, source: Source, unreachable: list[tuple[str, str]]) -> None:
        self._join(part)
        for node, text in unreachable:
            part.lose(node, text)
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
            part.tell_others(name)
            if name == "drop":
                self._parts.pop(execution_id, None)

    def of_others(self) -> list[Execution]:
        """The executions that other shards started, as this one sees them."""
        return [part.execution for part in list(self._parts.values()) if not part.is_initiator]

    def forget(self, execution_id: str) -> None:
        """Forget what this shard has of an execution that has ended; the loop's thread."""
        part = self._parts.get(execution_id)
        if part is not None and not part.execution.running:
            del self._parts[execution_id]

    def execution(self, execution_id: str) -> Execution | None:
        """As this shard sees it, whichever started it; None where it takes no part, or has forgotten it."""
        part = self._parts.get(execution_id)
        return None if part is None else part.execution

    def shown_by_others(self, execution_id: str) -> list[Any]:
        """What RG.GETEXECUTION tells of an execution on the other shards. In the pool."""
        part = self._parts.get(execution_id)
        nodes = [] if part is None else part.others
        answers, _ = self._gears.peers.ask("execution.shown", execution_id, nodes=nodes)
        return [answer for answer in answers.values() if answer is not None]

    def _shown(self, execution_id: str) -> list[Any] | None:
        execution = self.execution(execution_id)
        return None if execution is None else execution.shown(self._gears.shard.node)

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
        shards: list[SlotOwner],
        blob: bytes,
    ) -> None:
        host = Session(self._gears, session, requirements=requirements)
        context = Context(session=host, async_allowed=True)

        def load() -> None:
            try:
                host.prepare()
                plan, source = blobs.load(blob, script_globals(), host.globals)
            except GearsError as error:
                for peer in others:
                    with suppress(GearsError):  # that one is gone
                        self._gears.peers.deliver(peer, "execution.ended", name, [str(error)])
                return
            finally:
                self._loading.discard(name)
            execution = Execution(name, plan, context=context)
            context.execution = execution
            self._gears.shard.call_soon(self._begin, Part(self._gears, execution, node, shards), source, [])

        others = [shard.node for shard in shards if shard.node != self._gears.shard.node]
        self._loading.add(name)
        self._show_loading(name, others)
        self._gears.in_background(load, context)

    def _show_loading(self, name: str, others: list[str]) -> None:
        """Loading may install requirements, and the others are not to give this shard up meanwhile."""
        if name not in self._loading:
            return

        def show() -> None:
            for node in others:
                with suppress(GearsError):
                    self._gears.peers.send(node, "execution.alive", name, {}, {})

        self._gears.in_background(show)
        self._gears.shard.loop.call_later(BEAT_S, self._show_loading, name, others)

    def _join(self, part: Part) -> None:
        """This shard takes part from now on; messages that came too early are for it now."""
        self._add(part)
        early, self._early = self._early, []
        for message in early:
            _, kind, node, parts = message
            if parts[0] == part.execution.id:
                self._on(kind, node, *parts)
            else:
                self._early.append(message)

    def _on(self, kind: str, node: str, *parts: Any) -> None:
        """A message about the execution whose id comes first; kept for a while where that is unknown."""
        part = self._parts.get(parts[0])
        if part is None:
            now = monotonic()
            self._early = [early for early in self._early[-_MAX_EARLY:] if self._is_kept(early, now)]
            self._early.append((now, kind, node, parts))
            return
        part.heard[node] = monotonic()
        if kind == "records":
            part.take(node, *parts[1:])
        elif kind == "read":
            part.read(node, *parts[1:])
        elif kind == "alive":
            part.progress(node, *parts[1:])
        elif kind == "ended":
            part.give_up(node)
            if part.is_initiator:
                part.shard_ended(node, *parts[1:])

    def _is_kept(self, early: tuple[float, str, str, tuple[Any, ...]], now: float) -> bool:
        came, _, _, parts = early
        return came > now - EARLY_S or parts[0] in self._loading

    def _on_cancel(self, node: str, name: str) -> None:
        part = self._parts.get(name)
        if part is not None:
            part.execution.cancel()

    def _on_drop(self, node: str, name: str) -> None:
        part = self._parts.pop(name, None)
        if part is not None:
            part.execution.cancel()
