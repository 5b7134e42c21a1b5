"""`redis` and `redisAI` in scripts: the operators that reach out of a script, to its shard and to models.

    redis.execute(command: str, ...) -> Any     run a command in the shard; further arguments are strings,
                                                numbers and lists of them
    redis.asList(reply: Any) -> List[Any]       an array reply as a list, whose elements are replies again
    redisAI.model_execute(key: str, inputs: List[Tensor], outputs: int) -> List[Tensor]

A reply is a str (bulk strings and statuses), an int, None, or an array: then `redis.asList` opens it.
`isinstance(reply, str)` tells which; None is a NoneType there, since TorchScript takes `reply is None` for
false, whatever an Any holds. An error reply ends the script. A str of TorchScript is bytes: what the shard
answers arrives whole, whatever it holds; but what a script says to its shard has to be UTF-8, since torch
decodes it on the way to us.

They are operators of torch (torch.library), registered once in a process, and serve the script that runs on
the calling thread (`serving`). Everywhere else, as in a stored model, they raise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

import hiredis

from keymiss.backends import Array
from keymiss.backends.torch import array_of
from keymiss.errors import ScriptError

# Of redis.execute, behind the command. torch has no variadic operators, so each number is one of its own, and
# none with more than 64.
MAX_ARGUMENTS = 63

_serving = threading.local()


class Host(Protocol):
    """What a script that runs can ask for, and who ends it. The first two wait, and raise where the answer is
    an error."""

    def execute(self, argv: Sequence[bytes]) -> Any:
        """Run a command in the script's shard. A reply as parse_reply gives it, no error."""

    def model_execute(self, key: bytes, inputs: Sequence[Array], outputs: int) -> Sequence[Array]:
        """Run the model at a key of the shard."""

    def watching(self, stop: Callable[[], object]) -> AbstractContextManager[None]:
        """While this lasts, `stop` is called once nobody waits for the script any more. On any thread."""


class _NoHost:
    """Of a script that asks for nothing and goes straight to its end."""

    def execute(self, argv: Sequence[bytes]) -> Any:
        raise RuntimeError("the script reached its shard")

    def model_execute(self, key: bytes, inputs: Sequence[Array], outputs: int) -> Sequence[Array]:
        raise RuntimeError("the script reached a model")

    def watching(self, stop: Callable[[], object]) -> AbstractContextManager[None]:
        raise RuntimeError("the script is not straight")


NO_HOST: Host = _NoHost()


@contextmanager
def serving(host: Host) -> Iterator[list[Exception]]:
    """While this lasts, `host` serves the operators that this thread runs. Gives the list to which the error
    is added that ends the script: torch wraps it."""
    errors: list[Exception] = []
    _serving.now = host, errors
    try:
        yield errors
    finally:
        _serving.now = None


@contextmanager
def _served() -> Iterator[Host]:
    """The host of the script that runs on this thread; its errors are noted. A model that it runs has
    none."""
    now = getattr(_serving, "now", None)
    if now is None:
        raise RuntimeError("only a script can reach its shard")
    host, errors = now
    _serving.now = None
    try:
        yield host
    except Exception as error:
        errors.append(error)
        raise
    finally:
        _serving.now = now


@lru_cache(maxsize=1)
def namespaces(torch: Any) -> tuple[ModuleType, ModuleType]:
    """`redis` and `redisAI` as scripts see them."""

    def model_execute(key: str, inputs: Sequence[Any], outputs: int) -> list[Any]:
        with _served() as host:
            arrays = [array_of(tensor, "input", n).copy() for n, tensor in enumerate(inputs)]
            results = host.model_execute(key.encode(), arrays, outputs)
        device = inputs[0].device if inputs else "cpu"
        return [torch.from_numpy(array).to(device) for array in results]

    def execute(command: str, *arguments: object) -> object:
        with _served() as host:
            return _said(torch, host.execute([command.encode(), *_argv(arguments)]))

    def as_list(reply: object) -> list[object]:
        with _served():
            return _elements(torch, reply)

    # Never left out by the compiler because their result is not used, never run before their turn.
    acting = {"alias_analysis": "CONSERVATIVE"}
    key = "CompositeExplicitAutograd"
    redis, redis_ai = torch.library.Library("redis", "DEF"), torch.library.Library("redisAI", "DEF")
    for count in range(MAX_ARGUMENTS + 1):
        arguments = "".join(f", Any argument{n + 1}" for n in range(count))
        redis.define(f"execute.with{count}(str command{arguments}) -> Any", **acting)
        redis.impl(f"execute.with{count}", execute, key)
    redis.define("asList(Any reply) -> Any[]", **acting)
    redis.impl("asList", as_list, key)
    redis_ai.define("model_execute(str key, Tensor[] inputs, int outputs) -> Tensor[]", **acting)
    redis_ai.impl("model_execute", model_execute, key)

    seen, seen_ai = ModuleType("redis"), ModuleType("redisAI")
    # A Library takes its operators with it when it goes.
    vars(seen).update(execute=torch.ops.redis.execute, asList=torch.ops.redis.asList, _library=redis)
    vars(seen_ai).update(model_execute=torch.ops.redisAI.model_execute, _library=redis_ai)
    return seen, seen_ai


def _argv(arguments: Sequence[object]) -> Iterator[bytes]:
    for argument in arguments:
        if isinstance(argument, str):
            yield argument.encode()
        elif isinstance(argument, (int, float)):
            yield b"%d" % argument if isinstance(argument, int) else repr(argument).encode()
        elif isinstance(argument, (list, tuple)):
            yield from _argv(argument)
        else:
            raise ScriptError(
                f"redis.execute takes strings, numbers and lists of them, not a {type(argument).__name__}"
            )


def _said(torch: Any, value: Any) -> object:
    """A reply for torch, which takes bytes for a str; an array becomes a tuple, the only sequence that may
    mix types."""
    if isinstance(value, list):
        return tuple(_element(torch, item) for item in value)
    return value


def _element(torch: Any, value: Any) -> object:
    """One element of an array. A string that torch could not give back to `asList` goes as a tensor."""
    if isinstance(value, hiredis.ReplyError):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return torch.frombuffer(bytearray(value), dtype=torch.uint8)
    return _said(torch, value)


def _elements(torch: Any, reply: object) -> list[object]:
    if not isinstance(reply, (tuple, list)):
        raise ScriptError(f"redis.asList takes an array reply, not a {type(reply).__name__}")
    return [item.numpy().tobytes() if isinstance(item, torch.Tensor) else item for item in reply]
