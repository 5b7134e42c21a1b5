"""The names that scripts and functions see.

They are globals of every script (`script_globals`), and stand in the modules `redisgears` and
`redisAI`, which `install_modules` makes importable. Texts of errors are the recorded ones of
RedisGears 1.2.
"""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType, TracebackType
from typing import Any

from keymiss.channel import Tensor
from keymiss.errors import BusyError, GearsError, GearsFlatError
from keymiss.functions import context, redisai, replies
from keymiss.functions.answers import Pending
from keymiss.functions.builder import GearsBuilder, createKeysOnlyReader, shardReaderCallback
from keymiss.functions.context import Context, call_next
from keymiss.functions.futures import (
    createFuture,
    gearsFuture,
    runCoroutine,
    setFutureException,
    setFutureResults,
)
from keymiss.functions.moving import explained
from keymiss.functions.stage_times import stage

LOG_LEVELS = ("debug", "verbose", "notice", "warning")
SETTINGS_PREFIX = "keymiss."


def execute(*argv: Any) -> Any:
    """Run a command in this shard. Its reply as Python (see replies.py); GearsError where it is an error."""
    shard = context.shard()
    try:
        return shard.execute(*_checked(argv)) if argv else []
    except GearsError as error:
        raise explained(shard, error, argv) from None


def _checked(argv: tuple[Any, ...]) -> tuple[Any, ...]:
    if not argv or not isinstance(argv[0], str):
        raise GearsError("the given command must be a string")
    for argument in argv:
        if isinstance(argument, Tensor):
            raise GearsError("a tensor cannot be an argument of a command: redisAI.setTensorInKey stores it")
    return argv


def executeAsync(*argv: Any) -> Pending[Any]:
    """As `execute`, to be awaited: other coroutines run until the reply is there."""
    return context.shard().execute_async(*_checked(argv))


class atomic:
    """`with atomic():` the server serves nobody else until the block ends.

    Not to be nested, nothing awaited inside.
    """

    def __enter__(self) -> None:
        context.shard().begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            context.shard().end()
        except GearsError:
            if error is None:  # else what the block raised tells more
                raise


def isInAtomicBlock() -> bool:
    """Nobody else is served: not any more where keymiss.sync-timeout-ms has ended the block."""
    return context.shard().atomic


def isAsyncAllow() -> bool:
    """A step may return a coroutine or a gearsFuture: not in MULTI, nor while a script is being read."""
    return context.current.get().async_allowed


def hashtag() -> str:
    """A hash tag whose keys belong to this shard."""
    return context.shard().hash_tag()


def log(*arguments: Any, level: str = "notice") -> None:
    """log(message, level='notice'): a line in the server's log.

    The old order, log(level, message), is understood.
    """
    if not arguments:
        raise GearsError("log function must get a log message as input")
    if len(arguments) == 2 and arguments[0] in LOG_LEVELS and arguments[1] not in LOG_LEVELS:
        level, message = arguments
    else:
        message, level = arguments[0], arguments[1] if len(arguments) > 1 else level
    if not isinstance(message, str):
        raise GearsError("Log message must be a string")
    if level not in LOG_LEVELS:
        raise GearsError(f"Log level should be one of the following : {','.join(LOG_LEVELS)}")
    shard = context.shard()
    if shard.allowance.take_line(message):
        shard.log(message, level)


def configGet(*arguments: Any) -> str | None:
    """What RG.CONFIGSET gave a key of the user's own, or a setting `keymiss.*`; None where there is none."""
    if len(arguments) != 1:
        raise GearsError("get_config function must get a single key input")
    if not isinstance(arguments[0], str):
        raise GearsError("get_config key must be a string")
    shard, key = context.shard(), arguments[0]
    if key.startswith(SETTINGS_PREFIX):
        return shard.hello.settings.get(key.removeprefix(SETTINGS_PREFIX))
    return shard.config.get(key)


def gearsConfigGet(key: str, default: Any = None) -> Any:
    value = configGet(key)
    return default if value is None else value


def override_reply(*arguments: Any) -> None:
    """Answer the command that fired this function by the argument.

    Once; '+text' is a status, '-text' an error.
    """
    if len(arguments) != 1:
        raise GearsError("Override reply must get a single argument")
    context.override_reply(replies.to_resp(arguments[0]))


def get_command() -> list[str | bytearray]:
    """The command that fired this function, as its client sent it."""
    return [replies.text(argument) for argument in context.command()]


def flat_error(*arguments: Any) -> None:
    """Fail with a text that is reported as it is."""
    if len(arguments) != 1:
        raise GearsError("not enough arguments for time flat error")
    raise GearsFlatError(str(arguments[0]))


def registerTE(*arguments: Any) -> None:
    """registerTE(seconds, callback): call `callback` every so many seconds, as long as this worker lives."""
    if len(arguments) < 2:
        raise GearsError("not enough arguments for time event")
    seconds, callback = arguments[:2]
    if not isinstance(seconds, int):
        raise GearsError("time argument must be a long")
    if not isinstance(callback, FunctionType):
        raise GearsError("callback must be a function")
    shard = context.shard()
    background = context.current.get().background()

    def call() -> None:
        try:
            callback()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            shard.log(f"a time event failed: {error!r}", "warning")
        finally:
            fire_later()

    def fire() -> None:
        try:
            shard.in_pool(call, background)
        except BusyError:
            fire_later()

    def fire_later() -> None:
        shard.call_soon(shard.loop.call_later, max(0, seconds), fire)

    fire_later()


def setGearsSession(session: Any) -> None:
    """Let the thread that calls take part in `session` (see getGearsSession)."""
    context.current.set(Context(session=session))


def getGearsSession() -> Any:
    """The session of the function that runs: what a thread that it starts hands to setGearsSession."""
    return context.current.get().session


def registerGearsThread() -> None:
    """Nothing to do: every thread may call every name. Kept for scripts that call it."""


_NAMES: dict[str, Any] = {
    "GB": GearsBuilder,
    "GearsBuilder": GearsBuilder,
    "GearsConfigGet": gearsConfigGet,
    "ConfigGet": configGet,
    "Log": log,
    "asyncio": asyncio,
    "atomic": atomic,
    "call_next": call_next,
    "configGet": configGet,
    "copy": copy,
    "createFuture": createFuture,
    "createKeysOnlyReader": createKeysOnlyReader,
    "execute": execute,
    "executeAsync": executeAsync,
    "flat_error": flat_error,
    "gearsConfigGet": gearsConfigGet,
    "gearsFuture": gearsFuture,
    "get_command": get_command,
    "getCommand": get_command,
    "getGearsSession": getGearsSession,
    "hashtag": hashtag,
    "isAsyncAllow": isAsyncAllow,
    "isInAtomicBlock": isInAtomicBlock,
    "log": log,
    "override_reply": override_reply,
    "callNext": call_next,
    "registerTE": registerTE,
    "runCoroutine": runCoroutine,
    "setFutureException": setFutureException,
    "setFutureResults": setFutureResults,
    "setGearsSession": setGearsSession,
    "shardReaderCallback": shardReaderCallback,
    "stage": stage,
}

_REDISGEARS: dict[str, Any] = {
    **_NAMES,
    "GearsError": GearsError,
    "GearsFlatError": GearsFlatError,
    "atomicCtx": atomic,
    "config_get": configGet,
    "database": context.database,
    "executeCommand": execute,
    "flatError": flat_error,
    "gearsCtx": GearsBuilder,
    "gearsFutureCtx": gearsFuture,
    "getMyHashTag": hashtag,
    "overrideReply": override_reply,
    "registerGearsThread": registerGearsThread,
    "registerTimeEvent": registerTE,
}


def install_modules() -> None:
    """Make `import redisgears` and `import redisAI` work in this process, and `from __main__ import GB`."""
    module = ModuleType("redisgears", "What functions may import of the shard that runs them.")
    vars(module).update(_REDISGEARS, redisgears=module, rg=module)
    sys.modules["redisgears"] = module
    sys.modules["redisAI"] = redisai
    vars(sys.modules["__main__"]).update(_NAMES)


def script_globals(extra: dict[str, Callable[..., Any]] | None = None) -> dict[str, Any]:
    """The globals that a script starts with: a new dict, so that scripts do not see each other's."""
    module = sys.modules["redisgears"]
    loop = context.shard().loop
    return {
        "__name__": "__main__",
        **_NAMES,
        "redisgears": module,
        "rg": module,
        "loop": loop,
        **(extra or {}),
    }
