"""What goes wrong in user code, and the text in which clients have always seen it.

    Exception
     └─ GearsError       `redisgears.GearsError`, shown as `gears.error`: misuse of a name that scripts are given
         └─ FlatError    `redisgears.GearsFlatError`, raised by flat_error(): shown as its text alone

    BaseException
     └─ Aborted          raised inside user code whose execution is aborted; not an Exception, so that a user's
                         `except Exception` does not keep an aborted execution alive
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

_OWN_CODE = str(Path(__file__).resolve().parent.parent)  # the package: its frames are no business of a script's author


class GearsError(Exception):
    """A script misused one of its names, or a command it ran answered an error."""


GearsError.__module__, GearsError.__qualname__, GearsError.__name__ = "gears", "error", "error"


class FlatError(GearsError):
    """Its text is the whole error: no type, no traceback."""


class Aborted(BaseException):
    """The execution was aborted or dropped while it ran."""


def flat_text(error: BaseException) -> str:
    """How an error of a coroutine or of flat_error() is shown."""
    return str(error)


def short_text(error: BaseException) -> str:
    """Type and value, as where there is no traceback (a script that does not compile, PythonAttemptTraceback 0)."""
    return f"Error type: {type(error)}, Value: {error}"


def error_text(error: BaseException, with_traceback: bool = True) -> str:
    """The text of an error that user code raised: the list of traceback lines as Python writes a list, so on one line.

    Only frames outside this package are shown. An error without any, such as a step that takes another number of
    arguments, is shown by `short_text`.
    """
    if isinstance(error, FlatError):
        return flat_text(error)
    frames = _users_frames(error.__traceback__)
    if not with_traceback or not frames:
        return short_text(error)
    lines = ["Traceback (most recent call last):\n"]
    lines += [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames]
    lines += traceback.format_exception_only(type(error), error)
    return str(lines)


def _users_frames(start: TracebackType | None) -> list[traceback.FrameSummary]:
    frames = traceback.StackSummary.extract(traceback.walk_tb(start), lookup_lines=False)
    return [frame for frame in frames if not frame.filename.startswith(_OWN_CODE)]
