"""What a check is, and running them all.

A group reads what its checks need once (`prepare`), and each check judges that: a small function that
yields what it found, or nothing where it does not apply. Whatever breaks in one is a failure that is shown,
not raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

DEFECT = "where that says not enough, report it with what `keymiss doctor --json` prints"


class Outcome(str, Enum):
    """How well it is."""

    OK = "ok"
    WARN = "warn"  # works, but not as well as it could, or not for long
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """What a check found, and the command that mends it; none where nothing is to be done."""

    outcome: Outcome
    found: str
    mend: str = ""


def ok(found: str) -> Finding:
    return Finding(Outcome.OK, found)


def warn(found: str, mend: str) -> Finding:
    return Finding(Outcome.WARN, found, mend)


def fail(found: str, mend: str) -> Finding:
    return Finding(Outcome.FAIL, found, mend)


@dataclass(frozen=True)
class Place:
    """What is examined: the cluster in `folder`, or the one of the server on `port`; and the server program
    that would be used, where one was named."""

    folder: Path
    port: int | None = None
    server: str | None = None


@dataclass(frozen=True)
class Check(Generic[T]):
    """`look` judges what the group has read. It waits for nothing without a deadline."""

    name: str
    look: Callable[[T], Iterable[Finding]]


@dataclass(frozen=True)
class Group(Generic[T]):
    """Checks of one thing. `prepare` gives None where there is no such thing here."""

    title: str
    prepare: Callable[[Place], T | None]
    checks: Sequence[Check[T]]


@dataclass(frozen=True)
class Result:
    """A finding, and whose it is."""

    group: str
    check: str
    finding: Finding


def examine(groups: Iterable[Group[T]], place: Place) -> Iterator[Result]:
    """Run all checks, one after the other, and give what each finds as soon as it has."""
    for group in groups:
        try:
            read = group.prepare(place)
        except Exception as error:  # on a broken system anything may happen, and it is to be told
            yield Result(group.title, group.title, _broken(error))
            continue
        if read is None:
            continue
        for check in group.checks:
            for finding in _look(check, read):
                yield Result(group.title, check.name, finding)


def _look(check: Check[T], read: T) -> Iterator[Finding]:
    try:
        yield from check.look(read)
    except Exception as error:
        yield _broken(error)


def _broken(error: Exception) -> Finding:
    return fail(f"could not be looked at: {type(error).__name__}: {error}", DEFECT)
