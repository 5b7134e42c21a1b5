"""Deployment: registrations are added, replaced and removed, on this shard and on the others.

1. What a script registers is added when the script has ended, all or nothing.
2. An upgrade gives each new registration the id of one that it replaces, where there is one of its reader:
   the server replaces a registration of the same id in one step, so a miss finds the old or the new function,
   never both or none.
3. The server keeps the registration's blob. It comes back by `restore` after a start, a failover or a full
   resync, and by replication; the functions of one session share their globals again.
4. Restoring imports what the functions import, so it is done in the pool, in order; jobs that come meanwhile
   are kept. A `sync` registration is restored at once, since the server waits for its jobs.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions import blobs
from keymiss.functions.context import Context
from keymiss.functions.drive import Drive
from keymiss.functions.errors import error_text
from keymiss.functions.registering import Registering, TriggerArguments
from keymiss.functions.registrations import Registration
from keymiss.functions.runtime import script_globals
from keymiss.functions.sessions import Session
from keymiss.functions.steps import Kind, Pipeline, Step

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Deployed:
    """A registration as it travels: what is needed to restore it, readable without loading its functions."""

    version: int
    name: str
    session: str
    description: str | None
    requirements: tuple[str, ...]
    deployment: str
    mode: str
    paused: bool
    functions: bytes  # blobs.dump of the Registering


class Deployer:
    """Adds and removes registrations. `apply`, `add` and `remove` block: for threads of the pool."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._to_restore: deque[Callable[[], None]] = deque()
        self._restoring = False

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
        removed = [old.id for old in replaced if old.id not in kept]
        blobs_ = [self._blob(self._deployed(name, session, registering)) for name, registering in pairs]
        self._put(
            [
                Registration(self._gears, name, session, registering, blob)
                for (name, registering), blob in zip(pairs, blobs_, strict=True)
            ]
        )
        for name in removed:
            self._drop(name)
        self._tell_others("deploy", blobs_, removed)

    def remove(self, registration: Registration) -> None:
        """Take a registration away, here and on every other shard."""
        self._drop(registration.id)
        self._tell_others("deploy", [], [registration.id])

    def pause(self, registration: Registration, paused: bool) -> None:
        """Stop or go on firing a registration, here and on every other shard."""
        self.on_pause(registration.id, paused)
        self._tell_others("pause", registration.id, paused)

    def _tell_others(self, question: str, *parts: Any) -> None:
        _, errors = self._gears.peers.ask(question, *parts)
        if errors:
            failures = "; ".join(f"shard {node}: {error}" for node, error in errors.items())
            raise GearsError(f"ERR this shard is done, but not all others: {failures}. Try again")

    # From other shards

    def on_deploy(self, new: list[bytes], removed: list[str]) -> None:
        """Another shard deploys: load the functions and tell this shard's server. GearsError."""
        self._put([self._loaded(self._read(blob), blob) for blob in new])
        for name in removed:
            self._drop(name)

    def on_pause(self, name: str, paused: bool) -> None:
        """Stop or go on firing a registration, on this shard."""
        registration = self._gears.registrations.get(name)
        if registration is None:
            raise GearsError(f"Execution {name} does not exists on shard {self._gears.shard.node}")
        registration.blob = self._blob(replace(self._read(registration.blob), paused=paused))
        self._hook(registration, paused)
        registration.paused = paused
        if registration.stream is not None and not paused:
            registration.stream.start()

    # On this shard

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
            self.registered(registration)

    def _hook(self, registration: Registration, paused: bool = False) -> None:
        watch = registration.arguments.watch()
        letters = {"f": watch.single_flight, "v": watch.read_value, "p": paused}
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

    def _drop(self, name: str) -> None:
        if self._gears.registrations.remove(name) is not None:
            self._gears.shard.unhook(name)

    def registered(self, registration: Registration) -> None:
        """It is there: read its streams, call its `onRegistered` (in the pool, or as the coroutine it is)."""
        if registration.stream is not None:
            registration.stream.start()
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
        Drive(self._gears.shard, calls.feed(registration.on_registered), context, ended).start()

    # From the server

    def restore(self, name: str, blob: bytes) -> None:
        """REGISTRATION: one that the server has; again, with another blob, where it was replaced."""
        known = self._gears.registrations.get(name)
        if known is not None and known.blob == blob:
            return
        try:
            deployed = self._read(blob)
        except GearsError as error:
            self._gears.shard.log(f"registration {name} cannot be restored: {error}", "warning")
            return
        self._gears.executions.skip_to(_number(name))
        if deployed.mode == "sync":
            self._load(deployed, blob)
            return
        self._gears.registrations.expect(name)
        self._to_restore.append(lambda: self._load(deployed, blob))
        if not self._restoring:
            self._restoring = True
            self._gears.in_background(self._restore_next)

    def forget(self, name: str) -> None:
        """UNREGISTRATION: one that the server has no more."""
        self._gears.registrations.remove(name)

    def _restore_next(self) -> None:
        while self._to_restore:
            self._to_restore.popleft()()
        self._gears.shard.call_soon(self._restored)

    def _restored(self) -> None:
        self._restoring = bool(self._to_restore)
        if self._restoring:
            self._gears.in_background(self._restore_next)

    def _load(self, deployed: Deployed, blob: bytes) -> None:
        try:
            registration = self._loaded(deployed, blob)
            self._gears.registrations.add(registration)
            self.registered(registration)
        except GearsError as error:
            self._gears.shard.log(f"registration {deployed.name} cannot be restored: {error}", "warning")
        finally:
            self._gears.shard.call_soon(self._gears.registrations.arrived, deployed.name)

    def _loaded(self, deployed: Deployed, blob: bytes) -> Registration:
        """Its functions. Those of one deployment share a session, so their globals."""
        session = self._gears.sessions.of(
            deployed.session, deployed.description, deployed.requirements, deployed.deployment
        )
        self._gears.requirements.provide(deployed.requirements)
        registering = blobs.load(deployed.functions, script_globals(), session.globals)
        registration = Registration(self._gears, deployed.name, session, registering, blob)
        registration.paused = deployed.paused
        return registration

    # Bytes

    @staticmethod
    def _deployed(name: str, session: Session, registering: Registering) -> Deployed:
        functions = blobs.dump(registering, script_globals(), session.globals)
        return Deployed(
            _VERSION,
            name,
            session.name,
            session.description,
            session.requirements,
            session.deployment,
            registering.mode,
            False,
            functions,
        )

    @staticmethod
    def _blob(deployed: Deployed) -> bytes:
        return pickle.dumps(tuple(getattr(deployed, field) for field in Deployed.__slots__))

    @staticmethod
    def _read(blob: bytes) -> Deployed:
        try:
            fields: tuple[Any, ...] = pickle.loads(blob)
            if fields[0] != _VERSION:
                raise GearsError(f"it was saved by another version of Keymiss (format {fields[0]})")
            return Deployed(*fields)
        except (pickle.UnpicklingError, TypeError, IndexError, EOFError, AttributeError) as error:
            raise GearsError(f"its blob is damaged: {error}") from None


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


def _number(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
