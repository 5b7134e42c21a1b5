"""Keymiss: models and Python functions inside Redis and Valkey, run when a key is missing.

The server side is `keymiss.so` (see `module_path`); `keymiss.functions` and `keymiss.inference` are the
workers it starts.
"""

from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["__version__", "module_path"]

__version__: str


def __getattr__(name: str) -> Any:
    """`__version__` is looked up when it is first asked for:

    finding it takes longer than the rest of a worker's start.
    """
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _version()


@cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("keymiss")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"


def module_path() -> Path:
    """The path of keymiss.so, for `redis-server --loadmodule`.

    FileNotFoundError where the package was built without it.
    """
    for folder in __path__:  # an editable installation has two: the sources and what was built
        module = Path(folder) / "keymiss.so"
        if module.is_file():
            return module.resolve()
    raise FileNotFoundError("keymiss.so is not in the installed package: install it with `pip install .`")
