"""Small functions that tests register, as scripts for RG.PYEXECUTE."""

from __future__ import annotations

import redis

from support.waiting import wait_until


def answering_misses(prefix: str, body: str = "    override_reply('answer for ' + record['key'])\n") -> str:
    """A script that registers a coroutine with this body on `GET`s that miss below `prefix`."""
    return (
        f"async def answer(record):\n{body}"
        f"GB('KeysReader').map(answer).register(prefix='{prefix}*', commands=['get'], "
        "eventTypes=['keymiss'], mode='async_local')\n"
    )


def register(client: redis.Redis, script: str) -> None:
    assert client.execute_command("RG.PYEXECUTE", script) == b"OK"


def wait_until_idle(client: redis.Redis, deadline_s: float) -> None:
    """No job is left; where one is, the error tells where it is: in the server, or in the worker's hands."""
    try:
        wait_until(lambda: client.info("keymiss")["keymiss_jobs_now"] == 0, deadline_s, "all jobs have ended")
    except AssertionError as error:
        told = {name: value for name, value in client.info("keymiss").items() if value}
        running = client.execute_command("RG.PYDUMPSESSIONS", "DEAD")
        raise AssertionError(f"{error}; INFO: {told}; sessions that run: {running}") from None
