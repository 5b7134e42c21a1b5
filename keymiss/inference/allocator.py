"""Start this process again with jemalloc, where the system has it.

PyTorch allocates and frees large buffers in every forward pass; with jemalloc it was 15 to 20 % faster at
128 tokens. An allocator must be there from the first instruction, hence the new start, in the same process.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

SWITCH = "KEYMISS_JEMALLOC"  # environment: 0 switches it off; set here to "on" once tried
_OPTIONS = "MALLOC_CONF"  # environment, as jemalloc reads it
_GIVE_BACK = "background_thread:true"  # what was freed, when it idles: a model's copy while it was loaded
_FOLDERS = ("/usr/lib64", "/usr/lib", "/usr/local/lib", "/lib")
_NAME = "libjemalloc.so.2"


def find_jemalloc() -> Path | None:
    """The library, where the system's package puts it."""
    multiarch = sysconfig.get_config_var("MULTIARCH")
    folders = (f"/usr/lib/{multiarch}", *_FOLDERS) if multiarch else _FOLDERS
    return next((path for folder in folders if (path := Path(folder, _NAME)).is_file()), None)


def in_use() -> bool:
    """Whether this process runs with it. Where the library cannot be preloaded the loader says so and goes
    on without."""
    try:
        return _NAME in Path("/proc/self/maps").read_text()
    except OSError:
        return False


def restart_with_jemalloc() -> None:
    """Replace this process by itself with jemalloc preloaded; returns where that is done already, or cannot
    be done. Open descriptors that are inheritable stay open."""
    if not sys.platform.startswith("linux"):
        return
    if os.environ.get(SWITCH) is not None:
        # The second time here: what this process starts itself is to run as it likes.
        if os.environ[SWITCH] == "on":
            del os.environ[SWITCH]
            os.environ.pop("LD_PRELOAD", None)
            if os.environ.get(_OPTIONS) == _GIVE_BACK:
                del os.environ[_OPTIONS]
        return
    library = find_jemalloc()
    if library is None or in_use():
        return
    preload = f"{library}:{os.environ['LD_PRELOAD']}" if os.environ.get("LD_PRELOAD") else str(library)
    try:
        told = {_OPTIONS: _GIVE_BACK, **os.environ, "LD_PRELOAD": preload, SWITCH: "on"}
        os.execve(sys.executable, sys.orig_argv, told)
    except OSError:
        return  # as well without
