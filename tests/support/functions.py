"""Small functions that tests register, as scripts for RG.PYEXECUTE."""

from __future__ import annotations

import redis


def answering_misses(prefix: str, body: str = "    override_reply('answer for ' + record['key'])\n") -> str:
    """A script that registers a coroutine with this body on `GET`s that miss below `prefix`."""
    return (
        f"async def answer(record):\n{body}"
        f"GB('KeysReader').map(answer).register(prefix='{prefix}*', commands=['get'], "
        "eventTypes=['keymiss'], mode='async_local')\n"
    )


def register(client: redis.Redis, script: str) -> None:
    assert client.execute_command("RG.PYEXECUTE", script) == b"OK"
