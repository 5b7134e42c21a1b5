"""The servers that are installed, and whether the module works in the one that would be used."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keymiss

from ..client.where import read_state
from .check import Check, Finding, Group, Place, fail, ok, warn
from .trial import Trial, try_module

PROGRAMS = ("redis-server", "valkey-server")  # the first that is installed is used where none was named
LEAST = {"redis": (7, 0), "valkey": (8, 0)}
VERSION_DEADLINE_S = 10.0
INSTALL = "apt-get install redis-server"
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)(\.\d+)?")


@dataclass(frozen=True)
class Program:
    """A server program; `kind` is empty where it does not say a version that is understood."""

    path: str
    kind: str
    version: tuple[int, int]
    said: str

    @property
    def is_new_enough(self) -> bool:
        return bool(self.kind) and self.version >= LEAST[self.kind]


@dataclass(frozen=True)
class Installed:
    """`used` is the program that would be started, which `found` holds too; `module` is keymiss.so."""

    asked: str | None
    found: tuple[Program, ...]
    used: Program | None
    module: Path | None
    trial: Trial | None  # None where there is nothing to try


def read_installed(place: Place) -> Installed:
    asked = place.server or _server_of_cluster(place.folder)
    paths = dict.fromkeys(filter(None, map(shutil.which, (asked, *PROGRAMS) if asked else PROGRAMS)))
    found = tuple(map(_program, paths))
    wanted = shutil.which(asked) if asked else next(iter(paths), None)
    used = next((program for program in found if program.path == wanted), None)
    try:
        module: Path | None = keymiss.module_path()
    except FileNotFoundError:
        module = None
    trial = try_module(used.path, module) if used is not None and module is not None else None
    return Installed(asked, found, used, module, trial)


def servers(installed: Installed) -> Iterator[Finding]:
    if installed.asked and installed.used is None:
        yield fail(f"there is no program {installed.asked}", f"{INSTALL}   # or name another with --server")
    elif not installed.found:
        yield fail("neither redis-server nor valkey-server is installed", INSTALL)
    for program in installed.found:
        used = program is installed.used
        said = f"{program.said}, {program.path}" + (" (would be used)" if used else "")
        if program.is_new_enough:
            yield ok(said)
            continue
        wanted = "Keymiss needs Redis 7.0 or Valkey 8.0, or newer"
        finding = (fail if used else warn)(
            f"{said}: {wanted}", f"{INSTALL}   # or name another with --server"
        )
        yield finding


def client(installed: Installed) -> Iterator[Finding]:
    found = [name for name in ("redis-cli", "valkey-cli") if shutil.which(name)]
    if found:
        yield ok(", ".join(found))
    else:
        yield warn("neither redis-cli nor valkey-cli is installed", "apt-get install redis-tools")


def module(installed: Installed) -> Iterator[Finding]:
    """keymiss.so is there, and the server loads it."""
    path, trial = installed.module, installed.trial
    if path is None:
        yield fail("the package was built without keymiss.so", "pip install .   # needs a C compiler")
    elif not path.stat().st_mode & 0o111:
        yield fail(f"{path} may not be executed: servers refuse it", f"chmod +x {path}")
    elif trial is None:
        yield warn(f"{path}: there is no server to try it in", INSTALL)
    elif trial.error:
        yield fail(f"{path} was not loaded: {trial.error}", "pip install --force-reinstall --no-deps .")
    elif trial.module_version != number_of(keymiss.__version__):
        yield fail(
            f"{path} is of version {trial.module_version}, the package of {number_of(keymiss.__version__)}",
            "pip install --force-reinstall --no-deps .",
        )
    else:
        yield ok(f"{path}, version {keymiss.__version__}")


def functions_worker(installed: Installed) -> Iterator[Finding]:
    """A function runs in a server with the module: the workers' Python has the package."""
    trial = installed.trial
    if trial is None or trial.error:
        return
    if trial.worker_error:
        yield fail(f"no function runs: {trial.worker_error}", "pip install --force-reinstall .")
    else:
        yield ok(f"a function ran {trial.function_s:.1f} s after the server was asked for the first")


def number_of(version: str) -> int:
    """A version as MODULE LIST shows it: 0.1.0 is 100. 0 where it is none."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        return 0
    major, minor, patch = map(int, match.groups())
    return 10_000 * major + 100 * minor + patch


def _program(path: str) -> Program:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Program(path, "", (0, 0), f"cannot be run: {error}")
    match = _VERSION.search(done.stdout)
    if match is None:
        return Program(path, "", (0, 0), "no redis-server or valkey-server by what it says of its version")
    kind, major, minor, patch = match.groups()
    version = (int(major), int(minor))
    return Program(path, kind.lower(), version, f"{kind} {major}.{minor}{patch or ''}")


def _server_of_cluster(folder: Path) -> str | None:
    """The program of the cluster in `folder`; a file that cannot be read is told of by another check."""
    try:
        state = read_state(folder)
    except ValueError:
        return None
    server = state.get("server") if isinstance(state, dict) else None
    return server if isinstance(server, str) else None


GROUP = Group(
    "servers",
    read_installed,
    (
        Check("server", servers),
        Check("redis-cli", client),
        Check("module", module),
        Check("functions worker", functions_worker),
    ),
)
