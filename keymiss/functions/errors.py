"""The text in which clients have always seen errors of user code, and how an execution is stopped."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType

from keymiss.errors import GearsFlatError

# The package: its frames are no business of a script's author.
OWN_CODE = str(Path(__file__).resolve().parent.parent)

_SHOWN_TIMES = 3


class Aborted(BaseException):
    """Raised inside user code whose execution is aborted.

    Not an Exception, so that no `except Exception` keeps it alive.
    """


def flat_text(error: BaseException) -> str:
    """How an error of a coroutine or of flat_error() is shown."""
    return str(error)


def short_text(error: BaseException) -> str:
    """Type and value, as where there is no traceback (a script that does not compile, PythonAttemptTraceback
    0).
    """
    return f"Error type: {type(error)}, Value: {error}"


def error_text(error: BaseException, with_traceback: bool = True) -> str:
    """The text of an error that user code raised: its traceback as Python writes a list of lines.

    Only frames outside this package are shown. Where the call itself failed (a step that takes another number
    of arguments), so that no frame of it was entered, `short_text` is given.
    """
    if isinstance(error, GearsFlatError):
        return flat_text(error)
    entered = error.__traceback__ is not None and error.__traceback__.tb_next is not None
    if not with_traceback or not entered:
        return short_text(error)
    frames = _users_frames(error.__traceback__)
    lines = ["Traceback (most recent call last):\n"]
    lines += _shortened(
        f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames
    )
    lines += traceback.format_exception_only(type(error), error)
    return str(lines)


def _shortened(lines: Iterable[str]) -> Iterator[str]:
    """As Python shows a function that called itself: a line that comes again and again three times."""
    for line, same in groupby(lines):
        times = len(list(same))
        yield from [line] * min(times, _SHOWN_TIMES)
        if times > _SHOWN_TIMES:
            more = times - _SHOWN_TIMES
            yield f"  [Previous line repeated {more} more time{'s' * (more > 1)}]\n"


def _users_frames(start: TracebackType | None) -> list[traceback.FrameSummary]:
    frames = traceback.StackSummary.extract(traceback.walk_tb(start), lookup_lines=False)
    return [frame for frame in frames if not frame.filename.startswith(OWN_CODE)]
