"""Answers of the server: who waits for one, and what functions see of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar, cast

from keymiss.channel import Frame
from keymiss.errors import GearsError
from keymiss.functions import replies
from keymiss.functions.tasks import PromptFuture

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# How the server's words for these have always reached functions. Modules count arguments themselves: their
# words stay.
_RECORDED = (
    (re.compile("ERR (no command given|unknown command|unknown subcommand ')"), "No such file or directory"),
    (re.compile("ERR wrong number of arguments for '[^.']*' command"), "Invalid argument"),
)


class Answer:
    """The answer that a question waits for.

    `frame` is None until it is there; [] where the channel ended instead.
    """

    __slots__ = ("_wake", "frame")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.frame: Frame | None = None
        self._wake = wake

    def give(self, frame: Frame) -> None:
        self.frame = frame
        self._wake()


class Pending(PromptFuture[Any], Generic[T_co]):
    """An answer to be awaited: a future of the loop, whose frame `convert` makes its result of."""

    def __init__(self, loop: asyncio.AbstractEventLoop, convert: Callable[[Frame], T_co]) -> None:
        super().__init__(loop)
        self._convert: Callable[[Frame], Any] = convert

    def result(self) -> T_co:
        result: T_co = self._convert(super().result())
        return result

    def exception(self) -> BaseException | None:
        frame = super().result()
        try:
            self._convert(frame)
        except Exception as error:
            return error
        return None

    def __await__(self) -> Generator[Any, None, T_co]:
        yield from super().__await__()
        return self.result()

    def if_failed(self, tell: Callable[[GearsError], object]) -> None:
        """Call `tell` with the error, should it be one, of an answer that nobody awaits. The loop's thread
        only."""

        def look(answer: asyncio.Future[Any]) -> None:
            try:
                answer.result()
            except GearsError as error:
                tell(error)

        self.add_done_callback(look)

    def then(self, convert: Callable[[T_co], T]) -> Pending[T]:
        """Itself, converted further."""
        first = self._convert
        self._convert = lambda frame: convert(first(frame))
        return cast("Pending[T]", self)


def to_value(reply: bytes) -> Any:
    """The reply of a command as `execute` gives it. GearsError, in the recorded words, where it is one."""
    try:
        return replies.from_resp(reply)
    except GearsError as error:
        for words, recorded in _RECORDED:
            if words.match(str(error)):
                raise GearsError(recorded) from None
        raise


def to_value_or_error(reply: bytes) -> Any:
    """As `to_value`, with an error in its place."""
    try:
        return to_value(reply)
    except GearsError as error:
        return error
