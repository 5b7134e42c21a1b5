"""Servers for which the system is other than it is: C that is loaded before the system's own functions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def preloading(folder: Path, source: str) -> dict[str, str]:
    """The environment of a server, and of what it starts, in which the functions of `source` come first."""
    code, library = folder / "preloaded.c", folder / "preloaded.so"
    code.write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, code], check=True, timeout=60)
    return {"LD_PRELOAD": " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))}
