"""Scripts: what RG.PYEXECUTE is given, from its arguments to its reply.

A script is read in the pool with globals of its own. Its one `run` is started, and its registrations are
added, when it has ended without an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions import replies
from keymiss.functions.builder import Run
from keymiss.functions.context import Context, current
from keymiss.functions.errors import Aborted, error_text, short_text
from keymiss.functions.executions import Execution
from keymiss.functions.job import FunctionJob
from keymiss.functions.registering import Registering
from keymiss.functions.sessions import Session

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

_NAME = re.compile(r"[A-Za-z0-9_-]*")
DEPLOYING_S = 30.0
_WITH_VALUE = ("ID", "DESCRIPTION", "REPLACE_WITH")
_WORDS = ("UNBLOCKING", "UPGRADE", "FORCE_REINSTALL_REQUIREMENTS", "REQUIREMENTS", *_WITH_VALUE)


@dataclass(slots=True)
class Options:
    """The arguments of RG.PYEXECUTE behind the script."""

    blocking: bool = True
    name: str = ""
    description: str | None = None
    upgrade: bool = False
    replaced: str = ""
    requirements: tuple[str, ...] = ()
    anew: bool = False  # install the requirements again

    @classmethod
    def parse(cls, arguments: list[str]) -> Options:
        """GearsError, in the recorded words, on anything unknown or missing."""
        options = cls()
        rest = iter(arguments)
        for argument in rest:
            word = argument.upper()
            if word == "UNBLOCKING":
                options.blocking = False
            elif word == "UPGRADE":
                options.upgrade = True
            elif word == "FORCE_REINSTALL_REQUIREMENTS":
                options.anew = True
            elif word == "REQUIREMENTS":
                options.requirements = _requirements(rest)
            elif word in _WITH_VALUE:
                value = next(rest, None)
                if value is None:
                    raise GearsError(f"{word} is missing")
                options._set(word, value)
            else:
                raise GearsError(f"Unknown arguments were given: {argument}")
        return options

    def _set(self, word: str, value: str) -> None:
        if word == "DESCRIPTION":
            self.description = value
            return
        if not _NAME.fullmatch(value):
            raise GearsError(f"{word} must be compose of: ['A'-'Z' | 'a'-'z' | '0' - '9' | '-' | '_']")
        if word == "ID":
            self.name = value
        else:
            self.replaced = value


class Script:
    """A script that is being executed: takes its runs and registrations, and answers its client. In a thread
    of the pool.
    """

    def __init__(self, gears: Gears, job: FunctionJob, source: str, options: Options) -> None:
        self._gears = gears
        self._job = job
        self._source = source
        self._options = options
        self._run: Run | None = None
        self._registering: list[tuple[str, Registering]] = []
        self._context = Context(job, session=self)
        name = options.name or _made_up(gears, source)
        self._session = Session(
            gears, name, options.description, options.requirements, deployment=gears.executions.next_id()
        )
        self._replaced = self._replaced_session()

    def _replaced_session(self) -> Session | None:
        """The session whose registrations this script's take the place of.

        GearsError where its ID cannot be used.
        """
        sessions, options = self._gears.sessions, self._options
        named = sessions.get(options.name) if options.name else None
        if options.replaced:
            old = sessions.get(options.replaced)
            if old is None:
                raise GearsError(f"Can not replace with {options.replaced}, session does not exists.")
            if named is not None:
                raise GearsError(
                    f"Can not replace an existing session {options.name} with {options.replaced}"
                )
            return old
        if named is not None and not options.upgrade:
            raise GearsError(f"Session {options.name} already exists, add UPGRADE to replace it")
        return named

    # What the builder hands over

    @property
    def background(self) -> Session:
        """Coroutines and time events that the script starts run on when it has ended: as functions of its
        session.
        """
        return self._session

    def execute(self, *argv: Any) -> Any:
        return self._gears.shard.execute(*argv)

    def run(self, run: Run) -> Any:
        if current.get() is not self._context:  # in a coroutine that the script has started
            return self._session.run(run)
        if self._run is not None:
            raise GearsError("Can not run more then 1 executions in a single script")
        self._run = run
        return run

    def register(self, registering: Registering) -> str:
        if current.get() is not self._context:
            return self._session.register(registering)
        others = [other for _, other in self._registering]
        self._gears.deployer.check(self._replaced or self._session, registering, others)
        name = self._gears.executions.next_id()
        self._registering.append((name, registering))
        return name

    # From the source to the reply

    def start(self) -> None:
        """Read the script in the pool. BusyError where too much waits for it."""
        self._gears.shard.in_pool(self._read, self._context)

    def _read(self) -> None:
        with self._gears.requirements.claimed(self._options.requirements):
            self._execute()

    def _execute(self) -> None:
        options = self._options
        try:
            self._session.use(self._gears.requirements.provide_everywhere(options.requirements, options.anew))
            code = compile(self._source, "<string>", "exec")
        except Exception as error:
            self._job.done(replies.error(str(error) if isinstance(error, GearsError) else short_text(error)))
            return
        try:
            exec(code, self._session.globals)
            self._finish()
        except Aborted:
            raise
        except BaseException as error:
            self._job.done(replies.error(error_text(error, self._gears.config.tracebacks)))

    def _finish(self) -> None:
        current.get().session = self._session
        if self._registering:
            self._deploy()
        if self._run is not None:
            self._start_run(self._run)
        else:
            self._job.done(replies.OK)

    def _deploy(self) -> None:
        """Put what the script registers in the place of what the session has now: another script may have
        upgraded it meanwhile.
        """
        deploying = self._gears.sessions.deploying
        if not deploying.acquire(timeout=DEPLOYING_S):
            raise GearsError("ERR another script is being deployed for too long: try again")
        try:
            old = self._replaced_session()
            replaced = list(old.registrations.values()) if old is not None else []
            self._gears.deployer.apply(self._session, self._registering, replaced)
        finally:
            deploying.release()

    def _start_run(self, run: Run) -> None:
        executions, waits = self._gears.executions, self._options.blocking and not self._registering

        def answer(execution: Execution) -> None:
            executions.drop(execution)
            self._job.done(execution.reply())

        context = Context(self._job if waits else None, session=self._session, async_allowed=True)
        then = answer if waits else None
        execution = executions.start(run.plan, run.source, run.mode, context, then=then)
        if self._registering:
            self._job.done(replies.OK)
        elif not waits:
            self._job.done(replies.bulk(execution.id.encode()))


def _requirements(names: Iterator[str]) -> tuple[str, ...]:
    """All that follows: a word of ours among them was meant to be one. In small letters it is a package."""
    requirements = tuple(names)
    for word in requirements:
        if word in _WORDS:
            raise GearsError(f"{word} must stand before REQUIREMENTS, which takes all that follows it")
    return requirements


def _made_up(gears: Gears, source: str) -> str:
    """A name for a session that was given none: other for each execution of the same script."""
    return sha1(f"{gears.executions.next_id()} {source}".encode("utf-8", "replace")).hexdigest()
