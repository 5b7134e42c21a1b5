"""The engine's fuzzers, each for a bounded time: channel parser, argument parsers, whatever else reads bytes.

`KEYMISS_FUZZ_SECONDS` makes them run longer. What they learnt stays in the build folder, where the next
run starts.
"""

from __future__ import annotations

import os
import subprocess

import pytest
from support import sanitized
from support.paths import REPOSITORY

SECONDS = int(os.environ.get("KEYMISS_FUZZ_SECONDS", "6"))
MEMORY_MB = 2048

FRAMES = REPOSITORY / "tests" / "frames"  # recorded: what the channel's fuzzer starts from
SOURCES = sorted((REPOSITORY / "engine" / "tests").glob("fuzz_*.c"))


@pytest.mark.slow
@pytest.mark.skipif(sanitized.clang() is None, reason="clang is not installed")
@pytest.mark.parametrize("name", [source.stem for source in SOURCES])
def test_fuzzer_finds_nothing(name: str) -> None:
    folder = sanitized.build()
    corpus = folder / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={SECONDS}",
        "-timeout=10",
        f"-rss_limit_mb={MEMORY_MB}",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        [
            folder / "engine" / "tests" / name,
            *options,
            f"-artifact_prefix={corpus.parent}/{name}-",
            corpus,
            FRAMES,
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS + 120.0,
        check=False,
        env={**os.environ, **sanitized.TEST_OPTIONS},
    )
    assert done.returncode == 0, done.stderr[-8000:]
