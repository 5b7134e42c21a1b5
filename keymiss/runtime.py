"""What functions may call where they run, for functions that are written elsewhere: what a script finds as
global names, a program that sends its functions by `keymiss.client.Gears` imports from here.

    from keymiss.runtime import execute, hashtag

    gears.builder("KeysReader").map(lambda record: execute("HGET", record["key"], "name"))

The names and what they do are those of scripts (docs/redisgears.md). All raise RuntimeError where no function
is running: in the program itself.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

__all__ = [
    "atomic",
    "call_next",
    "configGet",
    "execute",
    "executeAsync",
    "flat_error",
    "gearsConfigGet",
    "gearsFuture",
    "get_command",
    "hashtag",
    "isAsyncAllow",
    "isInAtomicBlock",
    "log",
    "override_reply",
    "stage",
]


def _on_the_shard(name: str) -> Any:
    module = sys.modules.get("redisgears")
    if module is None:
        raise RuntimeError(f"{name} is for functions: it works where a shard runs them")
    return getattr(module, name)


def execute(command: str, *arguments: Any) -> Any:
    """Run a command in the shard: its reply, strings as str. Raises what `redisgears.GearsError` is there."""
    return _on_the_shard("execute")(command, *arguments)


def executeAsync(command: str, *arguments: Any) -> Any:
    """As `execute`, to be awaited: other coroutines run until the reply is there."""
    return _on_the_shard("executeAsync")(command, *arguments)


class atomic:
    """`with atomic():` the server serves nobody else until the block ends."""

    def __enter__(self) -> None:
        self._block = _on_the_shard("atomic")()
        self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._block.__exit__(kind, error, at)


class stage:
    """`with stage("tokenise"):` times its block, for keymiss_stage_duration_seconds and `keymiss trace`."""

    def __init__(self, name: str) -> None:
        self._block = _on_the_shard("stage")(name)

    def __enter__(self) -> None:
        self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._block.__exit__(kind, error, at)


def isInAtomicBlock() -> bool:
    """Whether this is inside `with atomic():`."""
    return bool(_on_the_shard("isInAtomicBlock")())


def isAsyncAllow() -> bool:
    """Whether a step may return a coroutine or a `gearsFuture` here."""
    return bool(_on_the_shard("isAsyncAllow")())


def gearsFuture() -> Any:
    """What a step returns to be answered later, by `continueRun(value)` or `continueFailed(text)`."""
    return _on_the_shard("gearsFuture")()


def hashtag() -> str:
    """A hash tag whose keys belong to this shard."""
    return str(_on_the_shard("hashtag")())


def log(message: str, level: str = "notice") -> None:
    """A line in the server's log; the level is debug, verbose, notice or warning."""
    _on_the_shard("log")(message, level)


def configGet(key: str) -> str | None:
    """What RG.CONFIGSET gave a key, or a setting `keymiss.*`; None where there is none."""
    value: str | None = _on_the_shard("configGet")(key)
    return value


def gearsConfigGet(key: str, default: Any = None) -> Any:
    """As `configGet`, with a default."""
    return _on_the_shard("gearsConfigGet")(key, default)


def override_reply(reply: Any) -> None:
    """Answer the command that fired this function by `reply`; "+text" is a status, "-text" an error."""
    _on_the_shard("override_reply")(reply)


def get_command() -> list[str | bytearray]:
    """The command that fired this function, as its client sent it."""
    command: list[str | bytearray] = _on_the_shard("get_command")()
    return command


def call_next(*arguments: Any) -> Any:
    """Run the command that this function has taken over, with these arguments."""
    return _on_the_shard("call_next")(*arguments)


def flat_error(message: str) -> None:
    """Fail with a text that is reported as it is, without a traceback."""
    _on_the_shard("flat_error")(message)
