"""Installing requirements with pip: what is missing, as wheels, and wheels into a folder.

Wheels are made first and kept, so that other shards, and this one after a restart, need no network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from keymiss.errors import GearsError
from keymiss.functions import gearsclient

_SHOWN_CHARS = 600
_SHOWN_LINES = 5  # of what a program printed that pip had started
_FAILED, _END = "did not run successfully.", "[end of output]"
_PRINTED = re.compile(r"\[\d+ lines? of output\]$")
_PLACE = re.compile(r"((git|hg|svn|bzr)\+)?[a-z]+://")  # where a package lies, which pip alone understands
# What packages need that do not say so: the last redgrease takes any redis, and works with 3 only.
_BESIDE = {"redgrease": ("redis<4",)}
_PIP = (sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "--retries", "1")


def missing(requirements: Sequence[str]) -> list[str]:
    """Those that the worker's own environment does not satisfy, and what goes with them.

    GearsError where one is malformed.
    """
    wanted = [text for text in requirements if not gearsclient.provides(text)]
    places = [text for text in wanted if _PLACE.match(text)]
    parsed = [_parsed(text) for text in wanted if text not in places]
    parsed += [_parsed(text) for one in parsed for text in _BESIDE.get(one.name, ())]
    return places + [str(one) for one in parsed if not _satisfied(one, set())]


def make_wheels(requirements: Sequence[str], folder: Path, timeout_s: float, anew: bool = False) -> None:
    """Put the wheels of these requirements, and of what they need and the worker lacks, into a folder.

    `anew`: not from what pip has cached. GearsError, with pip's words, where it fails or takes too long.
    """
    deadline = monotonic() + timeout_s
    cache = ("--no-cache-dir",) if anew else ()
    report = _pip(
        ["install", *cache, "--dry-run", "--report", "-", "--", *requirements], requirements, deadline
    )
    pinned = []
    for item in json.loads(report)["install"]:
        wheel = _wheel_on_disk(item)
        if wheel is not None:
            shutil.copy(wheel, folder)
        else:
            pinned.append(_pinned(item))
    if pinned:
        options = ("--no-deps", "--wheel-dir", str(folder))
        _pip(["wheel", *cache, *options, "--", *pinned], requirements, deadline)


def install_wheels(
    requirements: Sequence[str], wheels: Sequence[Path], folder: Path, timeout_s: float
) -> None:
    """Unpack wheels into a folder; no network. GearsError as `make_wheels`."""
    names = [str(wheel) for wheel in wheels]
    options = ("--no-index", "--no-deps", "--no-compile", "--target", str(folder))
    _pip(["install", *options, "--", *names], requirements, monotonic() + timeout_s)


def _wheel_on_disk(item: dict[str, Any]) -> Path | None:
    """What pip would only copy."""
    url = urlsplit(item["download_info"]["url"])
    return Path(unquote(url.path)) if url.scheme == "file" and url.path.endswith(".whl") else None


def _pinned(item: dict[str, Any]) -> str:
    """One item of pip's report, as a requirement of exactly it."""
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    if not item["is_direct"]:
        return f"{name}=={version}"
    info = item["download_info"]
    vcs = info.get("vcs_info")
    url = f"{vcs['vcs']}+{info['url']}@{vcs['commit_id']}" if vcs else info["url"]
    below = info.get("subdirectory")
    return f"{name} @ {url}#subdirectory={below}" if below else f"{name} @ {url}"


def _pip(arguments: list[str], requirements: Sequence[str], deadline: float) -> str:
    """Run pip in a process group of its own, which is ended with all that it started when time is up."""
    failed = f"Failed to install requirements {' '.join(requirements)}"
    started = monotonic()
    process = subprocess.Popen(
        [*_PIP, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=max(0.0, deadline - started))
    except subprocess.TimeoutExpired:
        raise GearsError(f"{failed}: pip took too long (PythonInstallReqMaxIdleTime)") from None
    finally:
        if process.returncode is None:  # out of time, or the script was aborted
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        raise GearsError(f"{failed}: {_words(errors)}")
    return output


def _words(errors: str) -> str:
    """What pip says went wrong, in one line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "; ".join([*_of_program(lines), *told] or lines[-1:] or ["pip failed"])[:_SHOWN_CHARS]


def _of_program(lines: Sequence[str]) -> list[str]:
    """Where pip shows what a program of its own printed: which one failed, and the end of that."""
    if _END not in lines:
        return []
    end = lines.index(_END)
    start = max((n for n, line in enumerate(lines[:end]) if _PRINTED.search(line)), default=0)
    failed = [line.partition(" ")[2] for line in lines[:start] if line.endswith(_FAILED)]
    return [*failed, *lines[start + 1 : end][-_SHOWN_LINES:]]


def _parsed(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise GearsError(f"Invalid requirement {text!r}: {' '.join(str(error).split())}") from None


def _satisfied(wanted: Requirement, seen: set[str]) -> bool:
    """The worker's own environment has it, and what its extras need."""
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    found = _installed(wanted.name)
    if found is None or wanted.url is not None:
        return False
    if not wanted.specifier.contains(found.version, prereleases=True):
        return False
    needs = [Requirement(text) for text in found.requires or ()] if wanted.extras else []
    return all(
        str(need) in seen or _satisfied(_without_marker(need), seen | {str(need)})
        for need in needs
        if need.marker is not None and any(need.marker.evaluate({"extra": extra}) for extra in wanted.extras)
    )


def _without_marker(requirement: Requirement) -> Requirement:
    requirement.marker = None  # it named the extra, and has been looked at
    return requirement


def _installed(name: str) -> Distribution | None:
    """Of the worker's own environment, not of those that sessions require."""
    return next(iter(distributions(name=name, path=sys.path)), None)
