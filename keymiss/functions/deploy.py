"""Deployment: registrations are added, replaced and removed, on this shard and on the others.

1. What a script registers is added when the script has ended, all or nothing.
2. An upgrade gives each new registration the id of one that it replaces, where there is one of its reader:
   the server replaces a registration of the same id in one step, so a miss finds the old or the new function,
   never both or none.
3. The server keeps the registration's blob. It comes back by `restore` after a start, a failover or a full
   resync, and by replication; the functions of one session share their globals again.
4. Restoring imports what the functions import, so it is done in threads, in order; jobs that come meanwhile
   are kept. One that takes too long is left to its thread, and the others go on. A `sync` registration is
   restored at once, since the server waits for its jobs.
5. Every change is noted in the ledger, by which shards that missed it find out (`agreement.py`). In a cluster
   a registration that is removed leaves its blob behind for that, which nothing fires.
6. Changes of this shard's registrations are made one after the other (`_changes`). The lock is not held while
   another shard is asked. What the server brings of the same registrations meanwhile waits until a change is
   made, or undone: a replica that other shards take for a master is told of one by them and by its master,
   and refuses it from them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from keymiss.errors import BusyError, GearsError, KeymissError
from keymiss.functions import blobs
from keymiss.functions.context import Context
from keymiss.functions.deployed import Change, Deployed
from keymiss.functions.drive import Drive
from keymiss.functions.errors import error_text
from keymiss.functions.pool import Pool, shielded
from keymiss.functions.registering import Registering, TriggerArguments
from keymiss.functions.registrations import Registration
from keymiss.functions.runtime import script_globals
from keymiss.functions.sessions import Session
from keymiss.functions.steps import Kind, Pipeline, Step

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

RESTORE_S = 30.0  # a large library takes a few seconds to import
_LOADERS = 8


class Deployer:
    """Adds and removes registrations. `apply`, `add`, `remove`, `pause` and `adopt` block: for threads of the
    pool.
    """

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._changing = threading.Lock()
        self._in_change: frozenset[str] = frozenset()  # the ids of what a change is about
        # Invariant 6: the ids that wait, and what for. The loop's thread.
        self._after_change: deque[tuple[str, Callable[[], None]]] = deque()
        self._wanted: dict[str, bytes] = {}  # the blobs of those that are being restored. The loop's thread
        self._to_restore: deque[tuple[Deployed, bytes]] = deque()
        self._loading: bytes | None = None  # the blob of the one that the others wait for
        self._loaders = Pool(_LOADERS)

    # From scripts and functions

    def check(self, session: Session, registering: Registering, others: Sequence[Registering] = ()) -> None:
        """GearsError where the registration cannot stand beside those that are there.

        `others` are of the same script.
        """
        arguments = registering.arguments
        if not isinstance(arguments, TriggerArguments):
            return
        for other in others:
            if isinstance(other.arguments, TriggerArguments) and other.arguments.trigger == arguments.trigger:
                raise GearsError("trigger already registered in this session")
        existing = self._gears.registrations.with_trigger(arguments.trigger)
        if existing is not None and existing.session.name != session.name:
            raise GearsError("trigger already registered")

    def add(self, session: Session, registering: Registering) -> str:
        """Add one registration to a session that lives."""
        self.check(session, registering)
        if isinstance(registering.arguments, TriggerArguments) and self._gears.registrations.with_trigger(
            registering.arguments.trigger
        ):
            raise GearsError("trigger already registered")
        name = self._gears.executions.next_id()
        self.apply(session, [(name, registering)], [])
        return name

    def apply(
        self, session: Session, new: Sequence[tuple[str, Registering]], replaced: Sequence[Registration]
    ) -> None:
        """Put `new` in place of `replaced`, here and on every other shard.

        GearsError, and nothing changed, where it fails.
        """
        pairs = _paired(new, replaced)
        kept = {name for name, _ in pairs}
        changed = self._next_change()
        added = [_described(name, changed, session, registering).blob() for name, registering in pairs]
        removed = [Deployed(old.id, changed, gone=True).blob() for old in replaced if old.id not in kept]
        with self._changes([*kept, *(old.id for old in replaced)]):
            self._put(
                [
                    Registration(self._gears, name, session, registering, blob)
                    for (name, registering), blob in zip(pairs, added, strict=True)
                ]
            )
            for blob in removed:
                self._drop(blob)
        self._tell_others([*added, *removed])

    def remove(self, registration: Registration, stop_runs: bool = False) -> None:
        """Take a registration away, here and on every other shard, and stop those of its runs that have not
        ended where that is wanted.
        """
        blob = Deployed(registration.id, self._next_change(), gone=True).blob()
        with self._changes([registration.id]):
            self._drop(blob, stop_runs)
        self._tell_others([blob], stop_runs)

    def pause(self, registration: Registration, paused: bool) -> None:
        """Stop or go on firing a registration, here and on every other shard. GearsError where it is gone."""
        deployed = Deployed.read(registration.blob)
        blob = replace(deployed, paused=paused, changed=self._next_change()).blob()
        with self._changes([registration.id]):
            if self._gears.registrations.get(registration.id) is not registration:
                raise GearsError("the registration was removed or replaced meanwhile")
            self._repause(registration, paused, blob)
        self._tell_others([blob])

    def _next_change(self) -> Change:
        return self._gears.ledger.next_change(self._gears.shard.node)

    def _tell_others(self, changes: Sequence[bytes], stop_runs: bool = False) -> None:
        if self._gears.shard.channel.on_loop_thread:  # while the server waits no answer could come
            self._gears.in_background(lambda: self._gears.peers.ask("deploy", changes, stop_runs))
            return
        _, errors = self._gears.peers.ask("deploy", changes, stop_runs)
        # One that is a replica by now has them from its master.
        failed = {node: error for node, error in errors.items() if not str(error).startswith("READONLY")}
        if failed:
            failures = "; ".join(f"shard {node}: {error}" for node, error in failed.items())
            raise GearsError(
                f"ERR this shard is done, but not all others: {failures}. They follow when they can"
            )

    # From other shards

    def adopt(self, changes: Sequence[bytes], stop_runs: bool = False) -> None:
        """What another shard changed, as far as it is news here; `stop_runs`: those of what is gone.

        GearsError, and nothing added, where that fails.
        """
        news = [(deployed, blob) for blob in changes if not self._knows(deployed := Deployed.read(blob))]
        loaded = [
            (deployed, blob, self._loaded(deployed, blob))
            for deployed, blob in news
            if not deployed.gone and self._to_pause(deployed) is None
        ]
        for deployed, _ in news:
            self._skip_to(deployed.name)
        # Another shard may have told the same, or newer, meanwhile.
        with self._changes(deployed.name for deployed, _ in news):
            self._put([registration for deployed, _, registration in loaded if not self._knows(deployed)])
            for deployed, blob in news:
                if self._knows(deployed):
                    continue
                registration = self._to_pause(deployed)
                if deployed.gone:
                    self._drop(blob, stop_runs)
                elif registration is not None:
                    self._repause(registration, deployed.paused, blob)

    def _knows(self, deployed: Deployed) -> bool:
        return self._gears.ledger.knows(deployed.name, deployed.changed)

    def _to_pause(self, deployed: Deployed) -> Registration | None:
        """The registration that this change only pauses, or lets go on."""
        registration = self._gears.registrations.get(deployed.name)
        if registration is None or not Deployed.read(registration.blob).differs_by_pause(deployed):
            return None
        return registration

    def blobs(self, names: Sequence[str]) -> list[bytes]:
        """Those of these registrations that this shard has, in their order; then those that are gone."""
        asked = set(names)
        present = [
            registration.blob for registration in self._gears.registrations if registration.id in asked
        ]
        gone = [blob for name in names if (blob := self._gears.ledger.gone(name)) is not None]
        return present + gone

    # On this shard

    @contextmanager
    def _changes(self, names: Iterable[str]) -> Iterator[None]:
        """Change these registrations. See invariant 6. What was begun is not interrupted."""
        with shielded(), self._changing:
            self._in_change = frozenset(names)
            try:
                yield
            finally:
                self._in_change = frozenset()
                self._gears.shard.call_soon(self._go_on_after_change)

    def _waits_for_change(self, name: str, go_on: Callable[[], None]) -> bool:
        """Whether `go_on` will be called after a change of this registration, in its turn."""
        waits = name in self._in_change or any(name == other for other, _ in self._after_change)
        if waits:
            self._after_change.append((name, go_on))
        return waits

    def _go_on_after_change(self) -> None:
        waiting, self._after_change = self._after_change, deque()
        for name, go_on in waiting:  # now: what the server brings next must not come before them
            try:
                go_on()
            except Exception as error:  # costs no other
                self._not_restored(name, error)

    def _put(self, new: Sequence[Registration]) -> None:
        """Add registrations, or none of them; one of an id that exists takes its place."""
        registrations = self._gears.registrations
        done: list[tuple[Registration, Registration | None]] = []
        try:
            for registration in new:
                done.append((registration, registrations.get(registration.id)))
                registrations.add(registration)
                self._hook(registration)
        except BaseException:
            for registration, old in reversed(done):
                if old is not None:
                    registrations.add(old)
                    self._hook(old)
                else:
                    registrations.remove(registration.id)
                    if registration is not done[-1][0]:
                        self._gears.shard.unhook(registration.id)
            raise
        for registration in new:
            self._note(Deployed.read(registration.blob))
            self.registered(registration)

    def _hook(self, registration: Registration) -> None:
        watch = registration.arguments.watch()
        letters = {"f": watch.single_flight, "v": watch.read_value, "p": registration.paused}
        self._gears.shard.hook(
            registration.id,
            registration.blob,
            kind=watch.kind,
            mode=registration.mode,
            flags="".join(letter for letter, on in letters.items() if on),
            prefix=watch.prefix.encode(),
            events=watch.events,
            types=watch.types,
            commands=watch.commands,
        )

    def _repause(self, registration: Registration, paused: bool, blob: bytes) -> None:
        before = registration.paused, registration.blob
        registration.paused, registration.blob = paused, blob
        try:
            self._hook(registration)
        except GearsError:
            registration.paused, registration.blob = before
            raise
        self._note(Deployed.read(blob))
        self._read_streams(registration)

    def _drop(self, blob: bytes, stop_runs: bool = False) -> None:
        """Remove a registration; `blob` is what is left of it."""
        gone = Deployed.read(blob)
        shard = self._gears.shard
        if shard.is_cluster:
            shard.hook(gone.name, blob, kind="gone", mode="async")
            for name in self._note(gone):
                shard.unhook(name)
        else:
            shard.unhook(gone.name)
            self._gears.ledger.forget(gone.name)  # data of before may bring it back
        removed = self._gears.registrations.remove(gone.name)
        if stop_runs and removed is not None:
            removed.cancel_running()

    def _note(self, deployed: Deployed) -> list[str]:
        blob = deployed.blob() if deployed.gone else None
        return self._gears.ledger.note(deployed.name, deployed.changed, blob)

    def read_streams(self) -> None:
        """Streams may have come to this shard: read what is in them."""
        for registration in self._gears.registrations:
            self._read_streams(registration)

    def _read_streams(self, registration: Registration) -> None:
        """Not on a replica: `restore` is called again when it becomes a master."""
        if registration.stream is not None and not self._gears.shard.is_replica:
            registration.stream.start()

    def registered(self, registration: Registration) -> None:
        """It is there: read its streams, call its `onRegistered` (in the pool, or as the coroutine it is)."""
        self._read_streams(registration)
        if registration.on_registered is None:
            return
        errors: list[str] = []
        calls = Pipeline([Step(Kind.MAP, lambda function: function())], lambda _: None, errors)

        def ended(error: BaseException | None) -> None:
            if error is not None:
                errors.append(error_text(error))
            for text in errors:
                self._gears.shard.log(f"onRegistered of {registration.id} failed: {text}", "warning")

        context = Context(session=registration.session, async_allowed=True)
        try:
            Drive(self._gears.shard, calls.feed(registration.on_registered), context, ended).start()
        except BusyError as error:
            ended(error)

    # From the server

    def restore(self, name: str, blob: bytes) -> None:
        """REGISTRATION: one that the server has; again, where it was replaced, and where this shard becomes a
        master.
        """
        if self._waits_for_change(name, partial(self.restore, name, blob)):
            self._gears.registrations.expect(name)  # where the change is undone, it is not there
            return
        known = self._gears.registrations.get(name)
        if known is not None and known.blob == blob:
            self._want_no_more(name)
            self._read_streams(known)
            return
        try:
            deployed = Deployed.read(blob)
        except GearsError as error:
            self._want_no_more(name)
            self._not_restored(name, error)
            return
        self._skip_to(name)
        if deployed.gone:
            self._gears.registrations.remove(name)
            self._note(deployed)
            self._want_no_more(name)
            return
        self._wanted[name] = blob
        if deployed.mode == "sync":
            self._load(deployed, blob)
            return
        self._gears.registrations.expect(name)
        self._to_restore.append((deployed, blob))
        if self._loading is None:
            self._restore_next()

    def forget(self, name: str) -> None:
        """UNREGISTRATION: one that the server has no more."""
        if self._waits_for_change(name, partial(self.forget, name)):
            return
        self._gears.registrations.remove(name)
        self._gears.ledger.forget(name)
        self._want_no_more(name)

    def _want_no_more(self, name: str) -> None:
        """It is there, or will not come."""
        self._wanted.pop(name, None)
        self._gears.shard.call_soon(self._arrived, name)

    def _arrived(self, name: str) -> None:
        if name not in self._wanted:  # it is not being restored again
            self._gears.registrations.arrived(name)

    def _not_restored(self, name: str, error: BaseException) -> None:
        text = str(error) if isinstance(error, KeymissError) else repr(error)
        self._gears.shard.log(f"registration {name} cannot be restored: {text}", "warning")

    def _restore_next(self) -> None:
        self._loading = None
        if self._to_restore:
            deployed, self._loading = self._to_restore.popleft()
            self._gears.shard.loop.call_later(RESTORE_S, self._leave_behind, deployed.name, self._loading)
            self._loaders.submit(partial(self._load, deployed, self._loading), Context())

    def _leave_behind(self, name: str, blob: bytes) -> None:
        """What it imports may never come to an end: it is taken up where it does."""
        if self._loading is blob:
            self._gears.shard.log(
                f"registration {name} is not restored after {RESTORE_S:g} s: others go on", "warning"
            )
            self._gears.registrations.wait_no_more(name)
            self._restore_next()

    def _load(self, deployed: Deployed, blob: bytes) -> None:
        """What is imported for it may raise anything; others wait for their turn."""
        registration = None
        try:
            registration = self._loaded(deployed, blob)
        except BaseException as error:
            self._not_restored(deployed.name, error)
        finally:
            self._gears.shard.on_loop(self._take_up, deployed, blob, registration)

    def _take_up(self, deployed: Deployed, blob: bytes, registration: Registration | None) -> None:
        """It is loaded, or cannot be; the server may have removed or replaced it meanwhile.

        The loop's thread.
        """
        if self._waits_for_change(deployed.name, partial(self._take_up, deployed, blob, registration)):
            return
        try:
            if self._wanted.get(deployed.name) is blob:
                self._want_no_more(deployed.name)
                if registration is not None and not self._knows(deployed):
                    self._gears.registrations.add(registration)
                    self._note(deployed)
                    self.registered(registration)
        finally:
            if self._loading is blob:
                self._restore_next()

    def _loaded(self, deployed: Deployed, blob: bytes) -> Registration:
        """Its functions. Those of one deployment share a session, so their globals."""
        session = self._gears.sessions.of(
            deployed.session, deployed.description, deployed.requirements, deployed.deployment
        )
        session.prepare()
        registering = blobs.load(deployed.functions, script_globals(), session.globals)
        registration = Registration(self._gears, deployed.name, session, registering, blob)
        registration.paused = deployed.paused
        return registration

    def _skip_to(self, name: str) -> None:
        """An id that this shard gave is not given again, though it learns of it from others."""
        node, _, number = name.rpartition("-")
        if node == self._gears.shard.node and number.isdigit():
            self._gears.executions.skip_to(int(number))


def _described(name: str, changed: Change, session: Session, registering: Registering) -> Deployed:
    return Deployed(
        name,
        changed,
        session=session.name,
        description=session.description,
        requirements=session.requirements,
        deployment=session.deployment,
        mode=registering.mode,
        functions=blobs.dump(registering, script_globals(), session.globals),
    )


def _paired(
    new: Sequence[tuple[str, Registering]], replaced: Sequence[Registration]
) -> list[tuple[str, Registering]]:
    """Give each new registration the id of one that it replaces: of the same arguments first, then of the
    same reader.
    """
    free = list(replaced)
    names: dict[int, str] = {}
    for same in (_same_arguments, _same_reader):
        for at, (_, registering) in enumerate(new):
            old = next((old for old in free if at not in names and same(old, registering)), None)
            if old is not None:
                free.remove(old)
                names[at] = old.id
    return [(names.get(at, name), registering) for at, (name, registering) in enumerate(new)]


def _same_arguments(old: Registration, new: Registering) -> bool:
    return old.arguments == new.arguments


def _same_reader(old: Registration, new: Registering) -> bool:
    return old.arguments.watch().kind == new.arguments.watch().kind
