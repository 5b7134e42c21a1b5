"""Where things are: the repository, the shared data beside it, and the module under test."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@cache
def shared_folder() -> Path | None:
    """Recordings and data sets: `KEYMISS_SHARED`, else `shared` beside the repository; None if absent."""
    told = os.environ.get("KEYMISS_SHARED")
    folder = Path(told) if told else REPOSITORY.parent / "shared"
    if told and not folder.is_dir():
        raise FileNotFoundError(f"KEYMISS_SHARED names {folder}, which is no folder")
    return folder if folder.is_dir() else None


def _installed_module() -> Path | None:
    package = importlib.util.find_spec("keymiss")
    for folder in (package.submodule_search_locations or []) if package else []:
        candidate = Path(folder) / "keymiss.so"
        if candidate.is_file():
            return candidate
    return None


@cache
def module_path() -> Path:
    """The `keymiss.so` under test: `KEYMISS_SO`, else the installed package's, else the development build's.

    Raises FileNotFoundError when there is none.
    """
    told = os.environ.get("KEYMISS_SO")
    if told:
        path = Path(told).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"KEYMISS_SO names {path}, which is no file")
        return path
    development = REPOSITORY / "build" / "dev" / "keymiss.so"
    path = _installed_module() or development
    if not path.is_file():
        raise FileNotFoundError(
            f"no keymiss.so: run `pip install .`, or build {development}, or set KEYMISS_SO"
        )
    return path


def worker_pythonpath() -> str:
    """PYTHONPATH for servers: the repository added, where `keymiss` is not installed in this interpreter."""
    inherited = os.environ.get("PYTHONPATH", "")
    if _installed_module() is not None:
        return inherited
    return os.pathsep.join(filter(None, [str(REPOSITORY), inherited]))
