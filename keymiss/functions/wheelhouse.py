"""The folder of one version of a set of requirements: its wheels, and the packages that were in them.

`wheels` and `packages` appear when they are whole, by renaming, so that a worker that dies leaves nothing
that is taken for whole. Whatever is given twice is taken once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import count
from os import getpid, utime
from pathlib import Path

from keymiss.errors import GearsError
from keymiss.functions.installing import install_wheels, make_wheels

KEPT = 32  # folders of sets, the most recently used; what is removed can be made again
_names = count()


def digest(requirements: Sequence[str]) -> str:
    """Of a set: the same in whatever order its requirements are given."""
    return sha256("\n".join(sorted(set(requirements))).encode()).hexdigest()[:32]


class Wheelhouse:
    """`root` is the folder of all of them. Errors of the disk are GearsErrors."""

    def __init__(self, root: Path, requirements: Sequence[str], version: int) -> None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.folder = root / f"{python}-{digest(requirements)}-{version}"
        self.packages = self.folder / "packages"
        self._wheels = self.folder / "wheels"
        self._requirements = requirements

    @property
    def has_packages(self) -> bool:
        return self.packages.is_dir()

    @property
    def has_wheels(self) -> bool:
        return self._wheels.is_dir()

    def wheels(self) -> dict[str, int]:
        """The names of the wheels and their sizes in bytes."""
        return {path.name: path.stat().st_size for path in sorted(self._wheels.glob("*.whl"))}

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        """A part of one wheel, or all of it."""
        with (self._wheels / Path(name).name).open("rb") as wheel:
            wheel.seek(offset)
            return wheel.read(size)

    def make(self, requirements: Sequence[str], timeout_s: float, anew: bool) -> None:
        """Get the wheels with pip. GearsError where that fails or takes too long."""
        self._fill(self._wheels, lambda folder: make_wheels(requirements, folder, timeout_s, anew))

    def take(self, wheels: Mapping[str, bytes]) -> None:
        """Wheels that another shard, or this one before a restart, has got."""

        def write(folder: Path) -> None:
            for name, data in wheels.items():
                (folder / Path(name).name).write_bytes(data)

        self._fill(self._wheels, write)

    def put(self, part: str, name: str, data: bytes) -> None:
        """Add bytes to a wheel that comes piece by piece; `part` tells who sends it from others."""
        try:
            folder = self.folder / f"{Path(part).name}.part"
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / Path(name).name).open("ab") as wheel:
                wheel.write(data)
        except OSError as error:
            raise _cannot_write(self.folder, error) from None

    def complete(self, part: str) -> None:
        """All of `part` is there."""
        folder = self.folder / f"{Path(part).name}.part"
        if folder.is_dir():
            self._fill(self._wheels, lambda unfinished: _move(folder, unfinished))

    def unpack(self, timeout_s: float) -> None:
        """Install the wheels into `packages`. GearsError as `make`."""
        wheels = [self._wheels / name for name in self.wheels()]

        def install(folder: Path) -> None:
            if wheels:
                install_wheels(self._requirements, wheels, folder, timeout_s)

        self._fill(self.packages, install)

    def forget(self) -> None:
        """Wheels that are of no use here."""
        shutil.rmtree(self._wheels, ignore_errors=True)

    def touch(self) -> None:
        """It is used now: of `root`, remove what was not for longest."""
        try:
            utime(self.folder)
            others = sorted(self.folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        except OSError:  # removed meanwhile, by a shard that has the same folder
            return
        for old in others[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _fill(self, folder: Path, fill: Callable[[Path], object]) -> None:
        unfinished = self.folder / f"{folder.name}.{getpid()}.{next(_names)}.part"
        try:
            unfinished.mkdir(parents=True)
            fill(unfinished)
            if not folder.is_dir():
                unfinished.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another worker was faster
                raise _cannot_write(folder, error) from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    for wheel in source.iterdir():
        wheel.rename(target / wheel.name)
    source.rmdir()


def _cannot_write(folder: Path, error: OSError) -> GearsError:
    return GearsError(f"Failed to install requirements: {folder} cannot be written: {error}")
