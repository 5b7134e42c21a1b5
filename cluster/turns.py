"""`up` and `down` take turns: two at the same time would start servers twice, and know one of each only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from keymiss.client import STATE_FILE

LOCK_FILE = "cluster.lock"


@contextmanager
def turn(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other command changes the cluster in `folder`, which is made if need be; others wait for
    this one."""
    path = folder / LOCK_FILE
    ours = False  # the folder: made by us, or by the `up` of a cluster
    while True:
        ours = ours or not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("w")
        except FileNotFoundError:  # another command has removed the folder in this moment
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another `keymiss up` or `keymiss down` of this cluster")
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):  # else it was removed meanwhile, by `down --delete`
                ours = ours or (folder / STATE_FILE).exists()
                try:
                    yield
                finally:
                    _tidy(path, ours)
                return


def _tidy(path: Path, with_folder: bool) -> None:
    """Where no cluster was made, or none is any more, nothing is left of the turn."""
    if not (path.parent / STATE_FILE).exists():
        path.unlink(missing_ok=True)
        if with_folder:
            with suppress(OSError):  # something else is in it
                path.parent.rmdir()


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
