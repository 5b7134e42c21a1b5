"""The order in which the files of tests are handed out."""

from __future__ import annotations

from pathlib import Path

# These take longest, and come first so that no process is left with it at the end.
LONGEST_FIRST = (
    "accuracy/test_accuracy.py",
    "conformance/test_recordings.py",
    "models/test_export.py",
    "models/test_train_and_score.py",
    "engine/test_sanitized_server.py",
    "engine/test_fuzzers.py",
    "operations/test_operations.py",
    "monitor/test_monitored_cluster.py",
    "cluster/test_deployment.py",
    "cluster/test_up_and_down.py",
    "docs/test_readme.py",
    "gears/test_cluster.py",
    "gears/test_requirements.py",
    "chaos/test_scripts_and_dags.py",
)


def place(path: Path, slow: bool) -> int:
    """Where the tests of a file come: the longest files first, then others with a slow test."""
    name = "/".join(path.parts[-2:])
    if name in LONGEST_FIRST:
        return LONGEST_FIRST.index(name)
    return len(LONGEST_FIRST) + (not slow)
