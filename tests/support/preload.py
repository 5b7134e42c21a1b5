"""Servers for which the system is other than it is: C that is loaded before the system's own functions."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

_TOLD = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

static volatile const long long *told; /* what the test says now */

__attribute__((constructor)) static void listen_to_test(void) {
    told = mmap(NULL, sizeof *told, PROT_READ, MAP_SHARED, open(getenv("KEYMISS_TEST_TOLD"), O_RDONLY), 0);
}
"""


class Preloaded:
    """In the `environment` of a server, and of what it starts, the functions of `source` come first. To them
    `*told` is what the test `tell`s, 0 at first."""

    def __init__(self, folder: Path, source: str) -> None:
        self._told = folder / "told"
        self.tell(0)
        code, library = folder / "preloaded.c", folder / "preloaded.so"
        code.write_text(_TOLD + source)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, code], check=True, timeout=60)
        self.environment = {
            "LD_PRELOAD": " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)])),
            "KEYMISS_TEST_TOLD": str(self._told),
        }

    def tell(self, value: int) -> None:
        """From now on. In place: servers have the file mapped."""
        with os.fdopen(os.open(self._told, os.O_CREAT | os.O_WRONLY), "wb") as file:
            file.write(struct.pack("q", value))
