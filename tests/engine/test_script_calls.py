"""What the models worker asks of the shard for a script, right or wrong: an answer, or the worker's end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import redis
from support.server import Server

Run = Callable[..., str]


@pytest.fixture
def client(shared_shard: Server) -> Iterator[redis.Redis]:
    with contextlib.closing(shared_shard.client()) as client:
        client.flushall()
        yield client


@pytest.fixture
def run(client: redis.Redis) -> Run:
    """Runs a script of the scripted models worker; what it saw, or the error that came instead."""

    def run(*lines: str) -> str:
        client.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "\n".join(lines))
        try:
            client.execute_command("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 0)
        except redis.ResponseError as error:
            return str(error)
        raise AssertionError("the scripted worker's answer is an error")

    return run


def test_a_command_is_run_and_its_reply_given(client: redis.Redis, run: Run) -> None:
    client.set("greeting", "hi")
    assert run("call", "GET", "greeting") == "SAW $2|hi|"
    assert run("call", "RPUSH", "list", "a", "b") == "SAW :2|"
    assert run("call", "LPUSH", "greeting", "a").startswith("SAW -WRONGTYPE")
    assert client.lrange("list", 0, -1) == [b"a", b"b"]


def test_it_runs_in_the_database_of_the_client(client: redis.Redis, shared_shard: Server, run: Run) -> None:
    with contextlib.closing(shared_shard.client(db=3)) as elsewhere:
        elsewhere.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "call\nSET\nhere\n1")
        with pytest.raises(redis.ResponseError, match=r"SAW \+OK"):
            elsewhere.execute_command("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 0)
        assert elsewhere.get("here") == b"1"
    assert not client.exists("here")


@pytest.mark.parametrize(
    "lines", [("call-for 0", "PING"), ("call-for 999999", "PING"), ("call-for x", "PING")]
)
def test_a_command_of_no_running_script_is_refused(run: Run, lines: tuple[str, ...]) -> None:
    assert run(*lines) == "SAW -ERR the job that this command belongs to has ended|"


def test_a_name_with_line_ends_is_told_in_one_line(run: Run) -> None:
    assert run("call", "RG.\r").startswith("SAW -ERR RG.  cannot be run by a script")


@pytest.mark.parametrize("lines", [("model-for 0 m",), ("model-for 999999 m",), ("model-for x m",)])
def test_a_model_for_no_running_script_is_refused(run: Run, lines: tuple[str, ...]) -> None:
    assert run(*lines) == "SAW -ERR the job that asks for this model has ended|"


def test_a_key_without_a_model_is_told(client: redis.Redis, run: Run) -> None:
    client.set("text", "1")
    assert run("model m") == "SAW -ERR model key is empty|"
    assert run("model text").startswith("SAW -WRONGTYPE")
    assert run("model s").startswith("SAW -WRONGTYPE")


def test_a_reply_that_does_not_fit_is_an_error(client: redis.Redis, run: Run) -> None:
    client.set("big", b"x" * (2 << 20))
    client.config_set("keymiss.max-frame-bytes", 1 << 20)
    try:
        assert run("call", "GET", "big") == "SAW -BUSY the reply does not fit the channel|"
    finally:
        client.config_set("keymiss.max-frame-bytes", 1 << 30)
    assert run("call", "STRLEN", "big") == f"SAW :{2 << 20}|"


@pytest.mark.parametrize(
    "frame",
    [
        ("CALL", "x", "1", "PING"),
        ("CALL", "1"),
        ("MODEL", "x", "1", "m"),
        ("MODEL", "1", "1"),
        ("RUN", "1", "0", "0", "m", "0"),
        ("BEGIN", "1", "0"),
        ("HOOK", "1", "id"),
    ],
    ids=lambda frame: "-".join(frame),
)
def test_a_worker_that_breaks_the_protocol_is_ended(run: Run, frame: tuple[str, ...]) -> None:
    assert "the models worker died" in run("frame", *frame)
    assert run("call", "PING") == "SAW +PONG|"


@pytest.mark.parametrize("seed", range(4))
def test_random_frames_do_no_harm(client: redis.Redis, run: Run, seed: int) -> None:
    assert run(f"frames 400 {seed}") == "SAW +sent|"
    assert client.ping() and run("call", "PING") == "SAW +PONG|"
