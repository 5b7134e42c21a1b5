"""What AI.INFO tells of a model or a script."""

from __future__ import annotations

from typing import Any

import redis


def run_info(client: redis.Redis, key: str) -> dict[bytes, Any]:
    answer = client.execute_command("AI.INFO", key)
    return dict(zip(answer[::2], answer[1::2], strict=True))
