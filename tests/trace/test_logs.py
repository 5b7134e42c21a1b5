"""What the module and its workers log: one line for each thing, with the id of its request."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from support.functions import answering_misses, register
from support.server import Server
from support.waiting import wait_until

from keymiss.client.tracing import COMMAND, read_trace

TELLING = "    log('asked for ' + record['key'])\n    override_reply('-ERR it is broken')\n"


class Log:
    """Keymiss's lines in a server's log, from now on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._start = len(server.log)

    @property
    def lines(self) -> list[str]:
        return re.findall(r"<keymiss> (.*)", self._server.log[self._start :])

    def line(self, *words: str) -> str:
        """The first line that holds all of these."""

        def find() -> str | None:
            return next((line for line in self.lines if all(word in line for word in words)), None)

        found: str = wait_until(find, 10.0, f"a line with {words}")  # type: ignore[assignment]
        return found

    def entry(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line(*words))
        return found


@pytest.fixture
def log(server: Server, client: redis.Redis) -> Log:
    register(client, answering_misses("q:", TELLING))
    return Log(server)


def test_one_request_has_one_id_in_the_lines_of_all(client: redis.Redis, log: Log) -> None:
    client.config_set("keymiss.log-format", "json")
    client.config_set("keymiss.shard-name", "mine")
    request = read_trace(client.execute_command(COMMAND, "q:1")).request
    assert re.fullmatch(r"mine-[0-9a-f]{6}-\d+", request)
    said = log.entry("asked for q:1")
    failed = log.entry("job-error", "q:1")
    assert said["request"] == failed["request"] == request
    assert (said["worker"], said["message"], said["level"]) == ("functions", "asked for q:1", "notice")
    assert (failed["worker"], failed["error"], failed["kind"]) == ("module", "ERR it is broken", "MISS")
    assert {entry["shard"] for entry in (said, failed)} == {"mine"}
    assert failed["us"] > 0


def test_text_is_a_sentence_or_an_event_and_what_belongs_to_it(client: redis.Redis, log: Log) -> None:
    request = read_trace(client.execute_command(COMMAND, "q:a b")).request
    said = log.line("asked for q:a b")
    assert said == f"functions worker: asked for q:a b request={request}"
    failed = log.line("job-error")
    assert failed.startswith(f"job-error request={request} kind=MISS role=functions us=")
    assert failed.endswith(' key="q:a b"')


def test_what_is_slow_is_told_and_the_rest_at_debug_level_only(client: redis.Redis, log: Log) -> None:
    register(client, answering_misses("s:", "    override_reply('here')\n"))
    client.config_set("loglevel", "debug")
    client.config_set("keymiss.slow-ms", 0)
    client.get("s:1")
    client.config_set("keymiss.log-level", "debug")
    client.get("s:2")
    assert "key=s:2" in log.line("job-done", "s:2")
    assert not any("s:1" in line for line in log.lines)
    client.config_set("keymiss.log-level", "notice")
    client.config_set("keymiss.slow-ms", 1)
    register(client, answering_misses("w:", "    await asyncio.sleep(0.01)\n    override_reply('late')\n"))
    client.get("w:1")
    assert "kind=MISS" in log.line("job-slow", "key=w:1")


def test_errors_that_come_in_masses_are_told_of_in_part(client: redis.Redis, log: Log) -> None:
    with client.pipeline(transaction=False) as pipe:
        for n in range(300):
            pipe.get(f"q:many:{n}")
        replies = pipe.execute(raise_on_error=False)
    assert all(isinstance(reply, ResponseError) for reply in replies)
    told = [line for line in log.lines if line.startswith("job-error")]
    assert 1 <= len(told) < 100

    def tells_the_rest() -> bool:
        with contextlib.suppress(ResponseError):
            client.get("q:another")
        return any("left_out=" in line for line in log.lines if "q:another" in line)

    wait_until(tells_the_rest, 10.0, "a later line tells how many were left out")


def test_a_function_that_raises_is_told_with_its_registration(client: redis.Redis, log: Log) -> None:
    register(client, answering_misses("r:", "    raise ValueError('one\\ntwo')\n"))
    client.config_set("keymiss.log-format", "json")
    assert client.get("r:1") is None
    entry = log.entry("function-failed")
    assert "one two" in entry["message"]
    assert entry["registration"]
    assert entry["request"]


def test_workers_that_start_and_end_are_told(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"keymiss.log-format": "json", "keymiss.shard-name": "s"})
    log = Log(server)
    with contextlib.closing(server.client()) as client:
        assert client.execute_command("RG.DUMPREGISTRATIONS") == []
    ready = log.entry("worker-ready")
    assert (ready["role"], ready["worker"], ready["shard"]) == ("functions", "module", "s")
    with contextlib.closing(server.client()) as client, pytest.raises(ResponseError, match="died"):
        client.execute_command("RG.PYEXECUTE", "import os; os.kill(os.getpid(), 9)")
    ended = log.entry("worker-ended")
    assert (ended["pid"], ended["role"]) == (ready["pid"], "functions")
    failed = log.entry("job-failed")
    assert failed["request"].startswith("s-")
    assert (failed["level"], failed["kind"]) == ("warning", "COMMAND")
