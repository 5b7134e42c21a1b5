"""The modules `ai` and `rg`: RedisAI's loadmodule line, the names in MODULE LIST, RedisAI's part of INFO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from inference import small_models
from support import torch_models
from support.server import Server
from support.waiting import wait_until

NAMES = {"keymiss": 100, "ai": 10207, "rg": 10213}


@contextlib.contextmanager
def _client(server: Server) -> Iterator[redis.Redis]:
    with contextlib.closing(server.client(decode_responses=True)) as client:
        yield client


def _modules(client: redis.Redis) -> dict[str, int]:
    rows = client.execute_command("MODULE LIST")
    return {row["name"]: row["ver"] for row in rows}


def _loaded_with(make_server: Callable[..., Server], *lines: str, **settings: Any) -> Server:
    """A server, not started, whose configuration loads the module once for each of `lines`, its arguments."""
    server = make_server(start=False)
    all_lines = "\nloadmodule ".join(f"{server.module} {line}" for line in lines)
    server.settings = {"loadmodule": all_lines, "enable-module-command": "yes", **settings}
    return server


def test_clients_find_a_module_of_the_name_that_they_look_for(server: Server) -> None:
    with _client(server) as client:
        assert _modules(client) == NAMES


def test_info_of_the_old_name_alone_has_all_its_sections(server: Server) -> None:
    with _client(server) as client:
        told = client.info("ai")
        assert told["ai_RedisAI_version"] == "1.2.7"
        assert told["ai_threads_per_queue"] == 1
        assert told["ai_model_execution_timeout"] == 5000
        assert told["ai_self_used_cpu_user"] + told["ai_self_used_cpu_sys"] > 0
        assert "keymiss_workers" not in told


def test_info_says_what_the_models_worker_has_loaded_and_used(server: Server) -> None:
    blob = torch_models.doubler()
    with _client(server) as client:
        client.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob)
        client.execute_command("AI.TENSORSET", "x", "FLOAT", 1, "VALUES", 1)
        client.execute_command("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        told = wait_until(
            lambda: (info := client.info("ai")).get("ai_TORCH_version") and info,
            10.0,
            "INFO tells the version of torch",
        )
        assert str(told["ai_TORCH_version"]).startswith("2.")
        wait_until(
            lambda: client.info("ai")["ai_queue_CPU_bthread_n1_used_cpu_total"] > 0,
            10.0,
            "the CPU's queue has used time",
        )


def test_ai_info_tells_the_version_of_a_backend_that_is_loaded(server: Server) -> None:
    with _client(server) as client:
        words = "AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", small_models.onnx_linear()
        assert client.execute_command(*words) == "OK"
        wait_until(
            lambda: "ONNX version" in client.execute_command("AI.INFO"), 10.0, "AI.INFO tells ONNX's version"
        )


def test_an_old_line_of_the_configuration_loads_the_module(make_server: Callable[..., Server]) -> None:
    server = _loaded_with(
        make_server,
        "THREADS_PER_QUEUE 4 intra_op_parallelism 2 MODEL_EXECUTION_TIMEOUT 7000 MODEL_CHUNK_SIZE 1048576 "
        "BACKENDSPATH /opt/backends TORCH redisai_torch/redisai_torch.so",
    ).start()
    with _client(server) as client:
        assert client.config_get("keymiss.*").items() >= {
            ("keymiss.models-threads", "2"),
            ("keymiss.job-timeout-ms", "7000"),
            ("keymiss.model-chunk-size", "1048576"),
        }
        assert client.execute_command("AI.CONFIG", "GET", "BACKENDSPATH") == "/opt/backends"
        told = client.info("ai")
        assert (told["ai_threads_per_queue"], told["ai_intra_op_parallelism"]) == (4, 2)
        assert told["ai_model_execution_timeout"] == 7000
    assert "TORCH redisai_torch/redisai_torch.so has no effect" in server.log


def test_what_the_configuration_says_itself_goes_before_an_old_argument(
    make_server: Callable[..., Server],
) -> None:
    server = _loaded_with(make_server, "INTRA_OP_PARALLELISM 2", **{"keymiss.models-threads": 3}).start()
    with _client(server) as client:
        assert client.config_get("keymiss.models-threads") == {"keymiss.models-threads": "3"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("argument", "the argument argument has no value"),
        ("NO_SUCH 1", "the argument NO_SUCH is not known"),
        ("THREADS_PER_QUEUE 0", "the argument THREADS_PER_QUEUE must be a number from 1 to"),
        ("MODEL_EXECUTION_TIMEOUT soon", "the argument MODEL_EXECUTION_TIMEOUT must be a number"),
    ],
)
def test_an_argument_that_makes_no_sense_keeps_the_server_from_starting(
    make_server: Callable[..., Server], arguments: str, line: str
) -> None:
    server = _loaded_with(make_server, arguments)
    with pytest.raises(AssertionError, match="ended while starting"):
        server.start()
    assert line in server.log


def test_a_rewritten_configuration_starts_the_same_server_again(make_server: Callable[..., Server]) -> None:
    server = _loaded_with(make_server, "THREADS_PER_QUEUE 4").start()
    with _client(server) as client:
        client.config_rewrite()
    path = server.folder / "server.conf"
    lines = [line for line in path.read_text().splitlines() if line.startswith("loadmodule")]
    assert len(lines) == len(NAMES)
    for order in (lines, lines[::-1]):
        arguments = [line.partition(".so")[2].strip() for line in order]
        again = _loaded_with(make_server, *arguments).start()
        with _client(again) as client:
            assert _modules(client) == NAMES
            assert client.info("ai")["ai_threads_per_queue"] == 4
            assert client.execute_command("AI.TENSORSET", "t", "FLOAT", 1) == "OK"
        again.close()


def test_unloading_a_name_leaves_the_commands_and_it_can_come_back(
    make_server: Callable[..., Server],
) -> None:
    server = _loaded_with(make_server, "").start()
    with _client(server) as client:
        with pytest.raises(redis.ResponseError, match="data types"):
            client.execute_command("MODULE", "UNLOAD", "keymiss")
        for name in ("rg", "ai"):
            client.execute_command("MODULE", "UNLOAD", name)
        assert client.info("ai") == {}
        assert client.execute_command("AI.TENSORSET", "t", "FLOAT", 1) == "OK"
        assert client.execute_command("RG.DUMPREGISTRATIONS") == []
        for _ in ("ai", "rg"):
            client.execute_command("MODULE", "LOAD", str(server.module))
        assert _modules(client) == NAMES
        with pytest.raises(redis.ResponseError, match="Error loading the extension"):
            client.execute_command("MODULE", "LOAD", str(server.module))
        assert client.info("ai")["ai_RedisAI_version"] == "1.2.7"


def test_a_server_without_module_load_serves_all_but_the_names(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"rename-command": 'MODULE ""'})
    with _client(server) as client:
        assert client.execute_command("AI.TENSORSET", "t", "FLOAT", 1) == "OK"
        assert client.info("ai") == {}
    for name in ("ai", "rg"):
        assert f"do not show the module {name}: this server refused MODULE LOAD" in server.log
