"""Sessions: what the functions of one script share on a shard.

A session has a name (its ID, or one made up), its globals, its requirements, and registrations. It lives as
long as one of its registrations, or as one of its executions.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from keymiss.functions.builder import Run
from keymiss.functions.context import Context
from keymiss.functions.environments import Environment
from keymiss.functions.executions import Execution
from keymiss.functions.futures import createFuture, setFutureResults
from keymiss.functions.profiles import Profile
from keymiss.functions.registering import Registering
from keymiss.functions.runtime import script_globals

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears
    from keymiss.functions.registrations import Registration


class Session:
    """One session on this shard.

    As the host of a running function it starts executions and adds registrations at once.
    """

    def __init__(
        self,
        gears: Gears,
        name: str,
        description: str | None = None,
        requirements: tuple[str, ...] = (),
        deployment: str = "",
    ) -> None:
        self._gears = gears
        self.name = name
        self.deployment = deployment  # which of the scripts that were deployed under this name it is of
        self.description = description
        self.requirements = requirements
        self.globals: dict[str, Any] = script_globals()
        self.registrations: dict[str, Registration] = {}
        self.profile = Profile()

    def prepare(self) -> None:
        """Have its requirements installed on this shard. GearsError where they cannot be."""
        self.use(self._gears.requirements.provide(self.requirements))

    def use(self, environment: Environment | None) -> None:
        """Its scripts and functions import from this environment."""
        if environment is not None:
            self.globals["__builtins__"] = environment.builtins

    @property
    def profiling(self) -> Profile | None:
        """Where the times of its functions are added up, if they are to be."""
        return self.profile if self._gears.config.profiles else None

    @property
    def background(self) -> Session:
        """Who takes the runs of what a function starts and does not wait for."""
        return self

    def execute(self, *argv: Any) -> Any:
        """Run one command in the shard."""
        return self._gears.shard.execute(*argv)

    def run(self, run: Run) -> Any:
        """Start an execution now. An awaitable of [results, errors], on the loop's thread and off it."""
        future = createFuture()

        def ended(execution: Execution) -> None:
            self._gears.executions.drop(execution)
            setFutureResults(future, [execution.results, execution.errors])

        child = Context(None, session=self, async_allowed=True)
        self._gears.executions.start(run.plan, run.source, run.mode, child, then=ended)
        return future

    def register(self, registering: Registering) -> str:
        """Add a registration to this session, on every shard."""
        return self._gears.deployer.add(self, registering)

    def described(self) -> str:
        """The session as RG.DUMPREGISTRATIONS shows it (PD)."""
        ids = ", ".join(f"'{name}'" for name in self.registrations)
        requirements = ", ".join(f"{{'name':{name!r}}}" for name in self.requirements)
        description = "null" if self.description is None else self.description
        return (
            f"{{'sessionName':'{self.name}', 'sessionDescription':'{description}', "
            f"'refCount': {len(self.registrations)}, 'linkedTo': primary, 'dead': false, "
            f"'isInstallationNeeded':0, 'registrationsList':[{ids}], 'depsList':[{requirements}]}}"
        )


class Sessions:
    """The sessions that have registrations, by name."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._by_name: dict[str, Session] = {}
        self._by_deployment: WeakValueDictionary[tuple[str, str], Session] = WeakValueDictionary()
        # Those that are gone, by their id(): who runs them keeps them until the last run has ended.
        self._leaving: WeakValueDictionary[int, Registration] = WeakValueDictionary()
        self._making = threading.Lock()
        self.deploying = threading.Lock()  # held by a script that replaces a session, until it has

    def __iter__(self) -> Any:
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> Session | None:
        return self._by_name.get(name)

    def of(
        self, name: str, description: str | None, requirements: tuple[str, ...], deployment: str
    ) -> Session:
        """The session of a deployment that comes from the server or another shard, made where it is new."""
        with self._making:  # whoever restores and whoever adopts: one session, so that globals are shared
            session = self._by_deployment.get((name, deployment))
            if session is None:
                session = Session(self._gears, name, description, requirements, deployment)
                self._by_deployment[name, deployment] = session
            return session

    def keep(self, session: Session) -> None:
        """This session now owns its name: it has registrations."""
        self._by_name[session.name] = session
        self._gears.requirements.note_use(session.requirements)
        self._by_deployment[session.name, session.deployment] = session

    def release(self, registration: Registration) -> None:
        """A registration is gone: so is its session, where it was the last one."""
        session = registration.session
        if registration.running:
            self._leaving[id(registration)] = registration
        if not session.registrations and self._by_name.get(session.name) is session:
            del self._by_name[session.name]
            self._gears.requirements.sweep_soon()

    def dead(self) -> list[Session]:
        """Those that are gone, but whose registrations have runs that have not ended."""
        left = [one for reference in self._leaving.valuerefs() if (one := reference()) is not None]
        running = [one.session for one in left if one.running and not one.session.registrations]
        return list({id(session): session for session in running}.values())
