"""Scripts as AI.SCRIPTSTORE takes them, and commands to store and run them."""

from __future__ import annotations

from typing import Any

import redis


def source(function: str, *body: str) -> str:
    """An entry point of that name with these lines as its body; an input is `tensors[0]`."""
    lines = "".join(f"    {line}\n" for line in body)
    return f"def {function}(tensors: List[Tensor], keys: List[str], args: List[str]):\n{lines}"


def store(client: redis.Redis, key: str, function: str, *body: str) -> None:
    """Store a script with one entry point."""
    text = source(function, *body)
    words = ("AI.SCRIPTSTORE", key, "CPU", "ENTRY_POINTS", 1, function, "SOURCE", text)
    assert client.execute_command(*words) == b"OK"


def execute(client: redis.Redis, words: str) -> Any:
    """AI.SCRIPTEXECUTE with these words, which blanks separate."""
    return client.execute_command("AI.SCRIPTEXECUTE", *words.split())
