"""The module `gearsclient`, as functions import it: it loads what gearsclient's GearsRemoteBuilder sends.

That client sends the steps of its builder as a pickle of classes of its own, and asks for itself to be
installed from GitHub. Here those classes stand ready, so nothing is installed: neither the redis nor the
cloudpickle that it pins, which run on no Python of today.
"""

from __future__ import annotations

import re
import sys
from typing import Any, ClassVar

from keymiss.functions.builder import GearsBuilder
from keymiss.functions.runtime import atomic, execute, gearsConfigGet, hashtag, log

__all__ = ["GearsPipe", "atomic", "execute", "gearsConfigGet", "hashtag", "log"]

NAMES = ("gearsclient", "gearsclient.redisgears_builder")  # of the modules that its pickles name
_REQUIREMENT = re.compile(r"gearsclient\b|git\+https://github\.com/RedisGears/redisgears-py\b")

# Each step: the method of the builder, and which attributes of the step are its arguments.
_STEPS: dict[str, tuple[str, ...]] = {
    "Accumulate": ("accumulate", "accumulator"),
    "Aggregate": ("aggregate", "zero", "seqOp", "combOp"),
    "AggregateBy": ("aggregateby", "extractor", "zero", "seqOp", "combOp"),
    "Avg": ("avg", "callback"),
    "Count": ("count",),
    "CountBy": ("countby", "callback"),
    "Distinct": ("distinct",),
    "Filter": ("filter", "callback"),
    "FlatMap": ("flatmap", "callback"),
    "Foreach": ("foreach", "callback"),
    "Limit": ("limit", "count", "offset"),
    "LocalGroupBy": ("localgroupby", "extractor", "reducer"),
    "Map": ("map", "callback"),
    "Register": ("register", "prefix", "convertToStr", "collect"),
    "Repartition": ("repartition", "extractor"),
    "Run": ("run", "arg", "convertToStr", "collect"),
    "Sort": ("sort", "reverse"),
}


class _Step:
    """One call of the builder. Its attributes, and those options that `kargs` holds, are the arguments."""

    method: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]

    def add_to(self, builder: GearsBuilder) -> None:
        given = vars(self)
        arguments = [given[name] for name in self.parameters]
        getattr(builder, self.method)(*arguments, **given.get("kargs", {}))


def _step_class(method: str, *parameters: str) -> type[_Step]:
    return type("Step", (_Step,), {"method": method, "parameters": parameters})


globals().update({f"GearsRemote{step}Step": _step_class(*called) for step, called in _STEPS.items()})


class GearsPipe:
    """All that one GearsRemoteBuilder was told: the reader and the steps, `run` or `register` the last."""

    reader: str
    defaultArg: Any
    steps: list[_Step]

    def createAndRun(self, builder: type[GearsBuilder]) -> None:
        """Say it all to a builder of the script. GearsError, in its words, where that refuses."""
        told = builder(self.reader, self.defaultArg)
        for step in self.steps:
            step.add_to(told)


def provides(requirement: str) -> bool:
    """Whether this module is what the requirement asks for, so that nothing needs to be installed."""
    return _REQUIREMENT.match(requirement) is not None


def install() -> None:
    """Make `import gearsclient` work in this process."""
    for name in NAMES:
        sys.modules[name] = sys.modules[__name__]
