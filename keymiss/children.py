"""Ending processes that this one started."""

from __future__ import annotations

import subprocess
from typing import Any


def end(child: subprocess.Popen[Any], deadline_s: float) -> None:
    """End a child: by SIGTERM, and where it takes longer than `deadline_s` by SIGKILL."""
    child.terminate()
    try:
        child.wait(deadline_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
