"""The errors of Keymiss, all of them.

KeymissError
 ├─ ChannelError     the channel ended, or what came over it is not a frame
 ├─ DeadlineError    the time that was given for something is over
 ├─ BusyError        a bounded queue is full: try again later
 ├─ TensorError      a dtype, a shape and data that do not fit together
 ├─ BackendError     a model, or the tensors given to it, are at fault: one line, fit for a client
 │   ├─ BackendMissing   the backend's library is not installed: the text names the command that installs it
 │   ├─ ModelError       a forward pass failed
 │   └─ ScriptError      a script, or what a client asks of it, is at fault: its text is the whole reply
 ├─ FunctionError    a function that cannot be sent, or a result of one that cannot be read
 └─ GearsError       what functions see as `redisgears.GearsError` (its repr is `gears.error`)
     └─ GearsFlatError   raised by `flat_error()`: reported by its text alone, without a traceback
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BackendMissing",
    "BusyError",
    "ChannelError",
    "DeadlineError",
    "FunctionError",
    "GearsError",
    "GearsFlatError",
    "KeymissError",
    "ModelError",
    "ScriptError",
    "TensorError",
]


class KeymissError(Exception):
    """Whatever Keymiss raises of its own."""


class ChannelError(KeymissError):
    """The channel to the server has ended, or a frame is malformed."""


class DeadlineError(KeymissError):
    """The deadline passed before the work was done."""


class BusyError(KeymissError):
    """A bounded queue is full."""


class TensorError(KeymissError, ValueError):
    """A dtype, a shape and data that do not make a tensor."""


class FunctionError(KeymissError, ValueError):
    """A function, or the result of one, cannot travel between a program and a shard."""


class BackendError(KeymissError):
    """A model or its tensors are at fault; the text is one line for the client."""

    @property
    def reply(self) -> str:
        """What the client is told, code first."""
        return f"ERR {self}"


class BackendMissing(BackendError):
    """The backend or its library is not there."""


class ModelError(BackendError):
    """A forward pass failed."""


class ScriptError(BackendError):
    """A script is at fault. Its errors have always been sent without a code, so the text is the reply."""

    @property
    def reply(self) -> str:
        return str(self)


class GearsError(KeymissError):
    """What a function sees when a command it executes is answered by an error."""


class GearsFlatError(GearsError):
    """An error of a function that is reported as its text alone."""


# Scripts compare and print these names: tracebacks have always ended in `gears.error: ...`.
GearsError.__module__, GearsError.__name__, GearsError.__qualname__ = "gears", "error", "error"
GearsFlatError.__module__, GearsFlatError.__name__, GearsFlatError.__qualname__ = (
    "gears",
    "flat_error",
    "flat_error",
)
