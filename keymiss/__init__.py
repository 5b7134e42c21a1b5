"""Keymiss: models and Python functions inside Redis and Valkey, run when a key is missing.

The server side is `keymiss.so` (see `module_path`); `keymiss.functions` and `keymiss.inference` are the workers it starts.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["__version__", "module_path"]

try:
    __version__ = version("keymiss")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"


def module_path() -> Path:
    """The path of keymiss.so, for `redis-server --loadmodule`. FileNotFoundError where the package was built without it."""
    for folder in __path__:  # an editable installation has two: the sources and what was built
        module = Path(folder) / "keymiss.so"
        if module.is_file():
            return module.resolve()
    raise FileNotFoundError("keymiss.so is not in the installed package: install it with `pip install .`")
