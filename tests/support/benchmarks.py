"""Running `keymiss bench` as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Run:
    """What a benchmark printed, what it showed of its progress, and what it wrote."""

    printed: str
    shown: str
    result: dict[str, Any]


def run_quickly(name: str, folder: Path, *more: str) -> Run:
    """A quick run of the benchmark, with the questions of the sample corpus, which has to end well; what it
    writes goes to `folder`."""
    command = [str(Path(sys.executable).with_name("keymiss")), "bench", name, "--quick"]
    command += ["--out", str(folder), *more]
    own = {name: value for name, value in os.environ.items() if name != "KEYMISS_SHARED"}
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(done.stdout, done.stderr, json.loads((folder / f"{name}.json").read_text()))
