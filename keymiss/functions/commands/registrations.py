"""Commands on registrations and their sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions import replies
from keymiss.functions.commands.arguments import as_str
from keymiss.functions.commands.nested import nested
from keymiss.functions.job import FunctionJob
from keymiss.functions.registrations import Numbers, Registration
from keymiss.functions.sessions import Session

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

NOT_REGISTERED = "execution is not registered"


def trigger(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.TRIGGER name [argument ...] and RG.TRIGGERONKEY name key [argument ...]: the results of the
    function.
    """
    name = as_str(arguments[0])
    registration = gears.registrations.with_trigger(name)
    if registration is None:
        raise GearsError("ERR subcommand not found")
    registration.trigger(job, arguments)
    return None


def dump(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.DUMPREGISTRATIONS: every registration with its numbers, arguments and session."""
    return nested([_with_session(registration) for registration in gears.registrations])


def unregister(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.UNREGISTER id [abortpending]: take it away, and stop what runs of it, on all shards."""
    registration = gears.registrations.get(as_str(arguments[0]))
    if registration is None:
        raise GearsError(NOT_REGISTERED)
    gears.deployer.remove(registration, arguments[1:] != [] and arguments[1].lower().startswith(b"abort"))
    return replies.OK


def pause(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.PAUSEREGISTRATIONS id: do not fire it any more."""
    return _pause(gears, arguments[0], True)


def unpause(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.UNPAUSEREGISTRATIONS id"""
    return _pause(gears, arguments[0], False)


def _pause(gears: Gears, argument: bytes, paused: bool) -> bytes:
    name = as_str(argument)
    registration = gears.registrations.get(name)
    if registration is None:
        raise GearsError(f"Execution {name} does not exists on shard {gears.shard.node}")
    if registration.stream is None:
        raise GearsError(f"Reader {registration.reader} does not support pause")
    gears.deployer.pause(registration, paused)
    return replies.OK


def clear_numbers(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.CLEARREGISTRATIONSSTATS"""
    for registration in gears.registrations:
        registration.numbers = Numbers(gears.executions.ended)
    return replies.OK


def dump_sessions(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.PYDUMPSESSIONS [VERBOSE] [DEAD] [SESSIONS name ...]; DEAD: those that are gone but still run."""
    verbose, dead, names = False, False, None
    rest = list(map(as_str, arguments))
    while rest:
        word = rest.pop(0)
        if word.upper() == "VERBOSE":
            verbose = True
        elif word.upper() == "DEAD":
            dead = True
        elif word.upper() == "SESSIONS":
            names, rest = rest, []
        else:
            raise GearsError(f"Unknown option {word}")
    sessions: list[Session] = gears.sessions.dead() if dead else list(gears.sessions)
    if names is None:
        return nested([_session(session, verbose, dead) for session in sessions])
    entries: list[Any] = []
    for name in names:
        found: list[Any] = [_session(one, verbose, dead) for one in sessions if one.name == name]
        entries += found or [f"Session {name} does not exists"]
    return nested(entries)


def dump_requirements(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.PYDUMPREQS: the requirements of sessions on this shard, with the wheels of each one's set."""
    return nested(list(gears.requirements.shown()))


def _with_session(registration: Registration) -> list[Any]:
    return [
        *registration.shown(),
        "PD",
        registration.session.described(),
        "ExecutionThreadPool",
        "DefaultPool",
    ]


def _session(session: Session, verbose: bool, dead: bool) -> list[Any]:
    registrations: list[Any] = list(session.registrations)
    if verbose:
        registrations = [
            [*registration.shown(), "ExecutionThreadPool", "DefaultPool"]
            for registration in session.registrations.values()
        ]
    return [
        *("ID", session.name, "sessionDescription", session.description),
        *("refCount", len(session.registrations), "linked", "primary", "dead", "true" if dead else "false"),
        *("requirementInstallationNeeded", 0, "requirements", list(session.requirements)),
        *("registrations", registrations),
    ]
