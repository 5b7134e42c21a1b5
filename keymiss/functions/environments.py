"""Environments: packages that sessions require, several versions of one beside each other in one Python.

1. An environment is a folder of packages. The scripts that require it, and the modules in it, have builtins
   of their own, whose `__import__` looks there first.
2. An environment *holds* the names that it was the last to bring and that the worker itself does not have.
   They are imported as everything is, also by scripts that did not require them: so it was in RedisGears,
   where all share one environment.
3. Other names of an environment are *contested*. Their modules are in sys.modules only while the environment
   is active, which is while something of its own is imported; what was there is put aside meanwhile, and
   other threads that import one of these names wait.
4. `_lock` guards all of it. Names of the standard library are never those of an environment.

A library in C that refuses to be loaded twice (NumPy does) can have one version in a worker.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

ENVIRONMENT = "__environment__"  # the builtin that tells which environment code is of
WAIT_S = 60.0  # for another thread's import of a contested name

_python_import = builtins.__import__
_python_import_module = importlib.import_module
_lock = threading.RLock()
_environments: list[Environment] = []  # in the order in which they came
_holders: dict[str, Environment] = {}  # of top-level names
_active: Environment | None = None
_active_thread = 0


class Environment:
    """One folder of packages. What is `removed` still serves the scripts that have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._names = _names_in(folder)
        self._modules: dict[str, ModuleType] = {}  # of contested names
        self.builtins: dict[str, Any] = {
            **vars(builtins),
            "__import__": self._import,
            ENVIRONMENT: self,
        }

    def add(self) -> None:
        """Hold what the worker does not have itself."""
        with _lock:
            if not _environments:
                _install()
            _environments.append(self)
            for name in self._names:
                if not _is_of_the_worker(name):
                    self._hold(name)

    def remove(self) -> None:
        """Let go: what this one held goes to the one that came last of those that have it."""
        with _lock:
            _environments.remove(self)
            for name in [name for name, holder in _holders.items() if holder is self]:
                self._modules.update(_take_out([name]))
                del _holders[name]
                for other in reversed(_environments):
                    if name in other._names:
                        other._hold(name)
                        break

    def _hold(self, name: str) -> None:
        held = _holders.get(name)
        if held is not None:
            held._modules.update(_take_out([name]))
        _holders[name] = self
        mine = [module for module in self._modules if _top(module) == name]
        sys.modules.update((module, self._modules.pop(module)) for module in mine)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, this thread finds the modules of this environment in sys.modules, the contested ones too.

        ImportError where another thread is importing contested names for too long.
        """
        global _active, _active_thread
        if all(_holders.get(name) is self for name in self._names):
            yield
            return
        if not _lock.acquire(timeout=WAIT_S):
            raise ImportError(f"another import of packages of sessions takes more than {WAIT_S:g} s")
        try:
            before = _active, _active_thread, builtins.__import__
            if _active is self:
                yield
                return
            contested = [name for name in self._names if _holders.get(name) is not self]
            aside = _take_out(contested)
            sys.modules.update(self._modules)
            sys.path.insert(0, self.folder)
            _active, _active_thread, builtins.__import__ = self, threading.get_ident(), _import_in_turn
            try:
                yield
            finally:
                _active, _active_thread, builtins.__import__ = before
                sys.path.remove(self.folder)
                self._modules = _take_out(contested)
                sys.modules.update(aside)
        finally:
            _lock.release()

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` of scripts that require this environment, and of its modules."""
        absolute = _absolute(name, globals, level)
        top = _top(absolute)
        if top not in self._names or _holders.get(top) is self:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = self._modules.get(absolute)
        if module is not None and _has(module, fromlist or ()):
            return module if fromlist else self._modules[top]
        with self.active():
            return _python_import(name, globals, locals, fromlist or (), level)

    def import_module(self, name: str, package: str | None) -> ModuleType:
        """`importlib.import_module`, for the same."""
        absolute = resolve_name(name, package)
        if _top(absolute) not in self._names:
            return _python_import_module(absolute)
        with self.active():
            return _python_import_module(absolute)


@contextmanager
def active(environment: Environment | None) -> Iterator[None]:
    """`environment.active()`; nothing where there is none."""
    if environment is None:
        yield
    else:
        with environment.active():
            yield


def _names_in(folder: Path) -> frozenset[str]:
    """The top-level names that can be imported from a folder."""
    names = set()
    for entry in folder.iterdir():
        name, _, ending = entry.name.partition(".")
        if name.isidentifier() and ((entry.is_dir() and not ending) or ending.endswith(("py", "so", "pyd"))):
            names.add(name)
    return frozenset(names - {"__pycache__", "bin"} - set(sys.stdlib_module_names))


def _is_of_the_worker(name: str) -> bool:
    return name not in _holders and (name in sys.modules or PathFinder.find_spec(name, sys.path) is not None)


def _environment_of(name: str) -> Environment | None:
    """Where this thread finds a top-level name now; None: where Python does."""
    if _active is not None and _active_thread == threading.get_ident() and name in _active._names:
        return _active
    return _holders.get(name)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _take_out(names: Iterable[str]) -> dict[str, ModuleType]:
    """Out of sys.modules, with everything below these names."""
    wanted = set(names)
    found = [name for name in list(sys.modules) if _top(name) in wanted]
    return {name: sys.modules.pop(name) for name in found}


def _absolute(name: str, globals: Mapping[str, Any] | None, level: int) -> str:
    package = (globals or {}).get("__package__")
    return resolve_name("." * level + name, package) if level and package else name


def _has(module: ModuleType, names: Sequence[str]) -> bool:
    """It is there, whole, with these names in it."""
    if getattr(module.__spec__, "_initializing", False):
        return False
    return all(name != "*" and hasattr(module, name) for name in names)


def _import_in_turn(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """The `__import__` of everybody else while an environment is active."""
    now = _active
    others = now is not None and _active_thread != threading.get_ident()
    if now is not None and others and _top(_absolute(name, globals, level)) in now._names:
        if not _lock.acquire(timeout=WAIT_S):
            raise ImportError(f"another import of {name} takes more than {WAIT_S:g} s")
        _lock.release()
    return _python_import(name, globals, locals, fromlist or (), level)


def _import_module(name: str, package: str | None = None) -> ModuleType:
    environment = sys._getframe(1).f_builtins.get(ENVIRONMENT)
    if environment is None:
        return _python_import_module(name, package)
    return environment.import_module(name, package)  # type: ignore[no-any-return]


class _Finder:
    """Finds modules where their names' environment has them, and gives them its builtins."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        environment = _environment_of(_top(name))
        if environment is None:
            return None
        spec = PathFinder.find_spec(name, [environment.folder, *sys.path] if path is None else path, target)
        if spec is not None:
            _give_builtins(spec, environment.builtins)
        return spec


class _Distributions(DistributionFinder):
    """What `importlib.metadata` tells of packages that the worker does not have itself."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        if context is not None and "path" in vars(context):
            return []
        path = [environment.folder for environment in reversed(_environments)]
        name = None if context is None else context.name
        return MetadataPathFinder.find_distributions(DistributionFinder.Context(name=name, path=path))

    def find_spec(self, *_: Any) -> None:
        return None


def _give_builtins(spec: ModuleSpec, its_builtins: dict[str, Any]) -> None:
    loader: Any = spec.loader
    execute: Callable[[ModuleType], None] | None = getattr(loader, "exec_module", None)
    if execute is None or isinstance(loader, ExtensionFileLoader):
        return

    def exec_module(module: ModuleType) -> None:
        vars(module)["__builtins__"] = its_builtins
        execute(module)

    loader.exec_module = exec_module


def _install() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
        sys.meta_path.append(_distributions)
        importlib.import_module = _import_module


_finder: Any = _Finder()
_distributions: Any = _Distributions()
