"""Workers are started when needed, watched, and replaced whatever becomes of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.processes import runs
from support.scripted import Scripts
from support.server import Server
from support.waiting import wait_until


def test_no_worker_runs_before_it_is_needed(scripts: Scripts) -> None:
    assert scripts.info("functions_worker")["state"] == "off"
    assert scripts("raw +hi|") == b"hi"
    assert scripts.info("functions_worker") == {
        "state": "ready",
        "pid": scripts("pid"),
        "starts": 1,
        "restarts": 0,
        "uptime_seconds": 0,
    }
    assert scripts.info("models_worker")["state"] == "off"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("die", "it ended"),
        ("garbage", "a frame must start with"),
        ("endless", "a frame has too many elements"),
        ("nested", r"an element must be \$<length>"),
        ("unknown-verb", "a frame with an unknown verb"),
        ("short-frame", "a frame that is too short"),
        ("no-number", "a CALL without a number"),
    ],
)
def test_a_worker_that_dies_or_breaks_the_protocol_is_replaced(
    scripts: Scripts, script: str, why: str
) -> None:
    first = scripts("pid")
    assert "the functions worker died while it ran this" in scripts(script)
    assert scripts("pid") != first
    assert scripts.info("functions_worker")["restarts"] == 1
    wait_until(lambda: not runs(first), 10.0, "the first worker is gone")


def test_the_log_says_why_a_worker_was_replaced(shard: Server, scripts: Scripts) -> None:
    scripts("unknown-verb")
    wait_until(lambda: "it sent a frame with an unknown verb" in shard.log, 5.0, "it is logged")


def test_a_worker_that_hangs_is_killed(scripted: Callable[..., Server]) -> None:
    with contextlib.closing(scripted(keymiss__hang_timeout_ms=300).client()) as client:
        scripts = Scripts(client)
        first = scripts("pid")
        assert "it hung" in scripts("hang")
        wait_until(lambda: not runs(first), 10.0, "it is gone")
        assert scripts("raw +back|") == b"back"


def test_a_worker_that_is_stopped_is_replaced_without_being_asked(scripted: Callable[..., Server]) -> None:
    with contextlib.closing(scripted(keymiss__hang_timeout_ms=300).client()) as client:
        scripts = Scripts(client)
        first = scripts("pid")
        os.kill(first, signal.SIGSTOP)
        wait_until(lambda: not runs(first), 10.0, "it is gone")
        assert scripts("raw +back|") == b"back"


def test_a_busy_worker_that_answers_pings_is_left_alone(scripted: Callable[..., Server]) -> None:
    with contextlib.closing(scripted(keymiss__hang_timeout_ms=200).client()) as client:
        scripts = Scripts(client)
        first = scripts("pid")
        began = time.monotonic()
        assert scripts("atomic 0.9 n") == 2
        assert time.monotonic() - began > 0.8
        assert scripts("pid") == first


@pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/false"])
def test_clients_are_told_when_no_worker_can_be_started(
    make_server: Callable[..., Server], python: str
) -> None:
    with contextlib.closing(make_server(settings={"keymiss.python": python}).client()) as client:
        scripts = Scripts(client)
        assert "the functions worker cannot be started: " in scripts("raw +hi|")
        assert scripts.info("functions_last_error")
        assert client.ping()


def test_a_shared_models_worker_that_is_not_there_is_told(
    scripted: Callable[..., Server], tmp_path: Any
) -> None:
    with contextlib.closing(scripted(keymiss__models=f"unix:{tmp_path}/none.sock").client()) as client:
        client.execute_command("AI.TENSORSET", "x", "FLOAT", 1, "VALUES", 1)
        with pytest.raises(Exception, match=r"none\.sock: No such file or directory \(keymiss\.models\)"):
            client.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"blob")


def test_workers_end_with_the_server(shard: Server, scripts: Scripts) -> None:
    pid = scripts("pid")
    shard.stop()
    wait_until(lambda: not runs(pid), 5.0, "the worker has ended")


def test_workers_end_with_a_server_that_is_killed(shard: Server, scripts: Scripts) -> None:
    pid = scripts("pid")
    shard.kill()
    wait_until(lambda: not runs(pid), 5.0, "the worker has ended")


def test_a_changed_setting_reaches_the_worker(scripts: Scripts) -> None:
    assert scripts("setting job-timeout-ms") == b"30000"
    scripts.client.config_set("keymiss.job-timeout-ms", 5000)
    assert scripts("setting job-timeout-ms") == b"5000"


def test_a_worker_that_shows_metrics_is_there_without_being_needed(scripts: Scripts) -> None:
    """The port itself is the worker's affair, which the scripted one does not have."""

    def pid(role: str) -> int:
        worker = scripts.info(f"{role}_worker")
        return int(worker["pid"]) if worker["state"] == "ready" else 0

    scripts.client.config_set("keymiss.metrics-port", 9999)
    first = wait_until(lambda: pid("functions"), 10.0, "the functions worker is started")
    assert scripts.info("models_worker")["state"] == "off"
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: pid("functions") not in (0, first), 10.0, "it is started again")
    scripts.client.config_set("keymiss.models-metrics-port", 9998)
    wait_until(lambda: pid("models"), 10.0, "the models worker is started")


def test_a_server_with_a_metrics_port_starts_that_worker_with_itself(scripted: Callable[..., Server]) -> None:
    server = scripted(keymiss__metrics_port=9999, keymiss__shard_name="shard-7")
    with contextlib.closing(server.client()) as client:
        scripts = Scripts(client)
        wait_until(lambda: scripts.info("functions_worker")["state"] == "ready", 10.0, "it is ready")
        assert scripts("setting shard-name") == b"shard-7"


def test_info_shows_what_a_worker_says_of_itself(scripts: Scripts) -> None:
    def told() -> dict[str, object]:
        return scripts.client.info("keymiss_functions_worker")

    pairs = ("sessions", "3", "function_0", "name=answer,runs=17", "load_seconds", "0.5")
    assert scripts("frame", "INFO", "3", *pairs, "0", "0") == b"sent"
    shown = {
        "keymiss_sessions": 3,
        "keymiss_function_0": {"name": "answer", "runs": 17},
        "keymiss_load_seconds": 0.5,
    }
    assert told() == shown
    for malformed in (["x"], ["2", "sessions", "4"], ["-1", "sessions", "4"], ["999", "sessions", "4"]):
        assert scripts("frame", "INFO", *malformed) == b"sent"
    assert told() == shown
    odd = ("Upper", "1", "a b", "1", "long", "x" * 1025, "lines", "1\r\n# Server", "good", "1")
    assert scripts("frame", "INFO", "5", *odd, "0", "0") == b"sent"
    assert told() == {"keymiss_good": 1}
    assert "died" in scripts("die")
    assert told() == {}
    assert scripts("raw +hi|") == b"hi"
    assert told() == {}, "what the worker before it said is forgotten"
