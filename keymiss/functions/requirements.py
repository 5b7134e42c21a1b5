"""Requirements of sessions: Python packages that a script names, installed where the worker lacks them.

Each set of requirements has a directory of its own below the data directory, `functions/<hash>`, filled by
pip. What the worker's environment satisfies already is not installed again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from hashlib import sha256
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from keymiss.errors import GearsError
from keymiss.functions import gearsclient

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears


class Requirements:
    """The requirements that were provided in this worker.

    `provide` is for threads of the pool: it may take long.
    """

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._lock = threading.Lock()
        self._provided: set[tuple[str, ...]] = set()

    def provide(self, requirements: tuple[str, ...]) -> None:
        """Make these importable. GearsError, with pip's last words, where that fails or takes too long."""
        if not requirements:
            return
        with self._lock:
            if requirements in self._provided:
                return
            missing = [requirement for requirement in requirements if not _satisfied(requirement)]
            if missing:
                target = self._folder(requirements)
                if not target.is_dir():
                    self._install(missing, target)
                sys.path.append(str(target))
                invalidate_caches()
            self._provided.add(requirements)

    def provided(self) -> list[str]:
        """All that were provided, in no order."""
        return sorted({requirement for requirements in self._provided for requirement in requirements})

    def _folder(self, requirements: tuple[str, ...]) -> Path:
        name = sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:16]
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return Path(self._gears.shard.hello.dir) / "functions" / f"{python}-{name}"

    def _install(self, requirements: list[str], target: Path) -> None:
        unfinished = target.with_name(target.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        timeout_s = self._gears.config.install_s
        try:
            done = subprocess.run(
                [*pip, "--target", str(unfinished), "--", *requirements],
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
            if done.returncode != 0:
                words = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
                raise GearsError(f"Failed to install requirements {' '.join(requirements)}: {words}")
            unfinished.rename(target)
        except subprocess.TimeoutExpired:
            raise GearsError(
                f"Failed to install requirements {' '.join(requirements)}: pip took more than {timeout_s:g} s"
            ) from None
        except OSError as error:
            raise GearsError(f"Failed to install requirements into {target}: {error}") from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _satisfied(requirement: str) -> bool:
    if gearsclient.provides(requirement):
        return True
    try:
        wanted = Requirement(requirement)
        return wanted.url is None and wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False
    except InvalidRequirement as error:
        raise GearsError(f"Invalid requirement {requirement!r}: {error}") from None
