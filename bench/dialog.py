"""Talking with a process of ours: a JSON value a line there, and one back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOP_DEADLINE_S = 10.0

Ask = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def dialog(module: str, *arguments: str) -> Iterator[Ask]:
    """A function that asks `python -m module arguments`, which is gone at the end. RuntimeError where that
    answers `{"error": ...}` or has ended."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def ask(order: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(order), file=asked, flush=True)
        line = answers.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": f"{module} ended: see above"}
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    with process:
        try:
            yield ask
        finally:
            asked.close()  # which ends it
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def answer_each(answer: Ask) -> None:
    """The process's side, until nobody asks any more."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
