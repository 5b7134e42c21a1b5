"""Methods made of what builds their commands: with its name, its parameters, its words, and its type.

So a command is written once, in `commands.py`, for every kind of client.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from .commands import Command
from .dag import Dag

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Queue = TypeVar("Queue")


def sending(build: Callable[P, Command[T]]) -> Callable[Concatenate[Any, P], T]:
    """A method that sends the command and waits for its result."""

    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.run(build(*args, **kwargs))

    _present(method, build.__name__, build)
    return method


def awaiting(build: Callable[P, Command[T]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """A coroutine that sends the command and waits for its result."""

    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return await self.run(build(*args, **kwargs))

    _present(method, build.__name__, build)
    return method


def queueing(build: Callable[P, Command[Any]]) -> Callable[Concatenate[Queue, P], Queue]:
    """A method that adds the command to those that `execute()` sends."""

    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.run(build(*args, **kwargs))

    _present(method, build.__name__, build)
    return method


def building(
    kind: Callable[Concatenate[Callable[[Command[list[Any]]], R], P], Dag[R]],
) -> Callable[Concatenate[Any, P], Dag[R]]:
    """A method that begins a DAG, which `run` of the client gets."""

    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return kind(self.run, *args, **kwargs)

    _present(method, "dag", Dag, skipped=1)
    return method


def _present(method: Any, name: str, build: Callable[..., Any], skipped: int = 0) -> None:
    """Give the method this name, and the words and the parameters of `build`, but for its first `skipped`."""
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = list(inspect.signature(build).parameters.values())[skipped:]
    method.__name__, method.__doc__ = name, build.__doc__
    method.__signature__ = inspect.Signature([itself, *parameters])
