"""Functions as bytes: what is saved in the server with a registration, and sent to other shards with a plan.

cloudpickle, with two things kept apart. The globals of a script are not copied into each function but named,
so that the functions of one session share them again on the other side; and the names that scripts are given
(`execute`, `GB`...) are taken from the worker that loads the blob.
"""

from __future__ import annotations

import builtins
import io
import pickle
from collections.abc import Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from keymiss.errors import GearsError
from keymiss.functions.environments import ENVIRONMENT, Environment, active

_GLOBALS = "globals"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, names: Mapping[str, Any], script_globals: dict[str, Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._names = {id(value): name for name, value in names.items() if _by_name(value)}
        self._globals = {"__name__": "__main__"}
        # Where cloudpickle keeps the dict that stands for the globals of functions it has met.
        self.globals_ref[id(script_globals)] = self._globals

    def persistent_id(self, value: Any) -> Any:
        return _GLOBALS if value is self._globals else self._names.get(id(value))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, names: Mapping[str, Any], script_globals: dict[str, Any]) -> None:
        super().__init__(file)
        self._names = names
        self._globals = script_globals
        self._builtins = script_globals.get("__builtins__", builtins)

    def find_class(self, module: str, name: str) -> Any:
        # cloudpickle's own gives functions Python's builtins: those of a session import what it requires.
        if (module, name) == ("cloudpickle.cloudpickle", "_make_function"):
            return self._make_function
        return super().find_class(module, name)

    def _make_function(
        self,
        code: CodeType,
        its_globals: dict[str, Any],
        name: str,
        defaults: tuple[Any, ...] | None,
        closure: tuple[CellType, ...] | None,
    ) -> FunctionType:
        its_globals["__builtins__"] = self._builtins
        return FunctionType(code, its_globals, name, defaults, closure)

    def persistent_load(self, name: Any) -> Any:
        if name == _GLOBALS:
            return self._globals
        try:
            return self._names[name]
        except KeyError:
            raise pickle.UnpicklingError(f"this version of Keymiss does not know the name {name!r}") from None


def dump(value: Any, names: Mapping[str, Any], script_globals: dict[str, Any]) -> bytes:
    """Functions, and what they refer to, as bytes. GearsError where something in them cannot be."""
    file = io.BytesIO()
    try:
        with active(environment_of(script_globals)):
            _Pickler(file, names, script_globals).dump(value)
    except Exception as error:
        raise GearsError(f"Error occured when serialized a python callback, error={error}") from error
    return file.getvalue()


def load(blob: bytes, names: Mapping[str, Any], script_globals: dict[str, Any]) -> Any:
    """What `dump` was given.

    GearsError where it cannot be made again here, such as for a module that is missing or ends the process.
    """
    its_builtins = script_globals.get("__builtins__", builtins)
    try:
        with active(environment_of(script_globals)):
            return _Unpickler(io.BytesIO(blob), names, script_globals).load()
    except (Exception, SystemExit) as error:
        raise GearsError(f"a function could not be loaded: {type(error).__name__}: {error}") from error
    finally:
        script_globals["__builtins__"] = its_builtins  # cloudpickle has put Python's own there


def environment_of(script_globals: dict[str, Any]) -> Environment | None:
    its_builtins = script_globals.get("__builtins__")
    return its_builtins.get(ENVIRONMENT) if isinstance(its_builtins, dict) else None


def _by_name(value: Any) -> bool:
    """Constants are copied: their identity says nothing."""
    return not isinstance(value, (str, bytes, int, float, bool, type(None)))
