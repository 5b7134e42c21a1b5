"""Packages that tests make: wheels and projects that are in no index."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
_BACKEND = """
import shutil, time
from pathlib import Path

here = Path(__file__).parent

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with (here / "builds").open("a") as builds:
        builds.write("built\\n")
    time.sleep(float((here / "seconds").read_text()))
    (wheel,) = here.glob("*.whl")
    shutil.copy(wheel, wheel_directory)
    return wheel.name
"""


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str], requires: str = "") -> Path:
    """A wheel of Python files; `requires` is another requirement of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if requires:
        metadata += f"Requires-Dist: {requires}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for at, source in files.items():
            wheel.writestr(at, source)
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "".join(f"{at},,\n" for at in files))
    return path


def make_project(folder: Path, name: str, files: Mapping[str, str], seconds: float = 0.0) -> str:
    """The requirement of a project that takes so long to build, and writes a line to `builds` each time."""
    make_wheel(folder, name, "1.0", files)
    (folder / "pyproject.toml").write_text(_PROJECT)
    (folder / "backend.py").write_text(_BACKEND)
    (folder / "seconds").write_text(str(seconds))
    return f"{name} @ {folder.as_uri()}"
