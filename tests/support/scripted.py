"""Talking to a server whose functions worker is tests/engine/scripted_worker.py."""

from __future__ import annotations

from typing import Any

import redis


class Scripts:
    """Runs scripts on a server, and gives back replies; errors as their text."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def __call__(self, script: str | bytes, *arguments: str | bytes) -> Any:
        try:
            return self.client.execute_command("RG.PYEXECUTE", script, *arguments)
        except redis.ResponseError as error:
            return f"{type(error).__name__}: {error}"

    def info(self, field: str) -> Any:
        return self.client.info("keymiss")[f"keymiss_{field}"]
