"""The engine built with AddressSanitizer and UndefinedBehaviorSanitizer: module, unit tests and fuzzers."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from support.paths import REPOSITORY

FOLDER = REPOSITORY / "build" / "sanitized"
BUILD_TIMEOUT_S = 300.0
SANITIZERS = "address,undefined"

TEST_OPTIONS = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}


def clang() -> str | None:
    """The compiler that brings libFuzzer; None where it is not installed."""
    return shutil.which("clang")


@cache
def build() -> Path:
    """Configure and build (what changed) with clang; returns the build folder. Processes take turns."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = ["-DKEYMISS_TESTS=ON", f"-DKEYMISS_SANITIZE={SANITIZERS}", f"-DCMAKE_C_COMPILER={clang()}"]
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (
            ["cmake", "-S", str(REPOSITORY), "-B", str(FOLDER), "-G", "Ninja", *options],
            ["cmake", "--build", str(FOLDER)],
        ):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
            )
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return FOLDER


def _runtime() -> Path:
    """The sanitizers' shared runtime, which a server that loads the sanitized module must load first."""
    name = "libclang_rt.asan-x86_64.so"
    found = subprocess.run(
        [clang() or "clang", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    path = Path(found.stdout.strip())
    assert path.is_file(), f"{name} is not installed (Debian: libclang-rt-14-dev)"
    return path


def wanted() -> bool:
    """Whether the servers of this test run load the sanitized module (`KEYMISS_SANITIZED=1`)."""
    return os.environ.get("KEYMISS_SANITIZED") == "1"


def server_environment() -> dict[str, str]:
    """For a server that loads the sanitized module. Leaks are not looked for: it ends with much in hand."""
    # The server tries to allocate what a damaged payload says, and takes no for an answer.
    options = "detect_leaks=0:verify_asan_link_order=0:allocator_may_return_null=1"
    return {**TEST_OPTIONS, "ASAN_OPTIONS": options, "LD_PRELOAD": str(_runtime())}


def worker_python(folder: Path) -> Path:
    """An interpreter for such a server's workers, without the sanitizers: they are not what is looked at."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return script
