"""The Python, the package and the libraries beside it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from .check import Check, Finding, Group, Place, fail, ok, warn

PACKAGE = "keymiss"
BACKENDS = ("torch", "onnx", "openvino", "tf", "tflite")  # extras, each the library of a backend
DEFAULT_BACKEND = "torch"


@dataclass(frozen=True)
class Installation:
    """The package's own metadata, which say what it needs."""

    version: str
    python: SpecifierSet
    requirements: tuple[Requirement, ...]
    extras: dict[str, tuple[Requirement, ...]]


def read_installation(_place: Place) -> Installation:
    """importlib.metadata.PackageNotFoundError where the package was not installed."""
    told = metadata.metadata(PACKAGE)
    wanted = [Requirement(line) for line in metadata.requires(PACKAGE) or []]
    return Installation(
        version=told["Version"],
        python=SpecifierSet(told["Requires-Python"] or ""),
        requirements=tuple(one for one in wanted if _applies(one, "")),
        extras={
            extra: tuple(one for one in wanted if not _applies(one, "") and _applies(one, extra))
            for extra in told.get_all("Provides-Extra") or []
        },
    )


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def python(installation: Installation) -> Iterator[Finding]:
    version = platform.python_version()
    if Version(version) in installation.python:
        yield ok(f"{version}, {sys.executable}")
    else:
        wanted = f"Keymiss needs {installation.python}"
        yield fail(f"{version}: {wanted}", "PYTHON=/usr/bin/python3.11 ./bootstrap.sh")


def packages(installation: Installation) -> Iterator[Finding]:
    wrong = list(_unmet(installation.requirements))
    for requirement, said in wrong:
        yield fail(said, _install(requirement))
    if not wrong:
        yield ok(f"{PACKAGE} {installation.version}, and {len(installation.requirements)} that it needs")


def backends(installation: Installation) -> Iterator[Finding]:
    """What models run by. One is enough."""
    there = [extra for extra in BACKENDS if _is_there(installation.extras.get(extra, ()))]
    if there:
        yield ok(", ".join(map(partial(_with_versions, installation), there)))
    else:
        yield warn("no backend's library is there: no model can run", _extra(DEFAULT_BACKEND))


def ranges(installation: Installation) -> Iterator[Finding]:
    """What is there of extras, in the versions that were tested."""
    for extra, requirements in installation.extras.items():
        for requirement, said in _unmet(_of_others(requirements)):
            if _version_of(requirement) is not None:
                yield warn(f"{said} (extra {extra})", _install(requirement))


def _with_versions(installation: Installation, extra: str) -> str:
    return ", ".join(f"{one.name} {_version_of(one)}" for one in installation.extras[extra])


def _is_there(requirements: Iterable[Requirement]) -> bool:
    found = [_version_of(requirement) for requirement in requirements]
    return bool(found) and None not in found


def _of_others(requirements: Iterable[Requirement]) -> Iterator[Requirement]:
    """Without those that name extras of this package itself."""
    return (requirement for requirement in requirements if requirement.name != PACKAGE)


def _unmet(requirements: Iterable[Requirement]) -> Iterator[tuple[Requirement, str]]:
    for requirement in requirements:
        version = _version_of(requirement)
        if version is None:
            yield requirement, f"{requirement.name} is not installed"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield requirement, f"{requirement.name} {version}: needed is {requirement.specifier}"


def _version_of(requirement: Requirement) -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _install(requirement: Requirement) -> str:
    return f"{sys.executable} -m pip install '{requirement.name}{requirement.specifier}'"


def _extra(name: str) -> str:
    return f"{sys.executable} -m pip install '{PACKAGE}[{name}]'"


GROUP = Group(
    "installation",
    read_installation,
    (
        Check("python", python),
        Check("packages", packages),
        Check("backends", backends),
        Check("tested versions", ranges),
    ),
)
