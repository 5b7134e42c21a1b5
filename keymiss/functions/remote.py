"""Functions that a program built with `keymiss.client.Gears`: made again here and handed to a builder.

The program sends a script of one call, of `build`.
"""

from __future__ import annotations

import sys
from base64 import b64decode
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from keymiss.errors import GearsError, GearsFlatError
from keymiss.functions import blobs


def build(names: dict[str, Any], python: tuple[int, int], plan: str) -> None:
    """Do what `plan` says: make a builder, add its steps, and run or register it. `names` are the script's.

    GearsFlatError where the functions cannot be made here, since they were sent by another version of Python
    or need a module that is missing; GearsError, in its words, where the builder refuses something.
    """
    here = sys.version_info[:2]
    if here != python:
        raise GearsFlatError(
            f"ERR these functions come from Python {python[0]}.{python[1]}, and this shard runs functions on "
            f"Python {here[0]}.{here[1]}: send them from that version, or send a script"
        )
    try:
        reader, default, description, steps, options = blobs.load(b64decode(plan), {}, names)
    except GearsError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise GearsFlatError(_missing(error.__cause__)) from None
        raise GearsFlatError(f"ERR {error}") from None
    builder = names["GB"](reader, default, description)
    for step, arguments in steps:
        getattr(builder, step)(*arguments)
    if "prefix" in options:
        builder.register(**options)
    else:
        builder.map(packed).run(convertToStr=False, **options)


def packed(record: Any) -> bytes:
    """A result as bytes: what the program makes the object of again."""
    data: bytes = cloudpickle.dumps(record)
    return data


def _missing(error: ModuleNotFoundError) -> str:
    return (
        f"ERR the functions need the module {error.name}, which this shard does not have: name its package "
        "among the requirements, or send it along, by cloudpickle.register_pickle_by_value"
    )
