"""Clients of RedisAI from PyPI, in an environment of their own: the whole API of redisai 1.3.0 with the redis
that it pins, and SmartRedis."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clients import environments
from inference import small_models
from support import graph_defs, tflite_models, torch_models
from support.server import Server

HERE = Path(__file__).parent

MODELS: dict[str, Callable[[], bytes]] = {
    "TORCH": torch_models.sum_and_product,
    "ONNX": small_models.onnx_linear,
    "TF": graph_defs.product,
    "TFLITE": tflite_models.sum_and_product,
}

Told = dict[str, Any]


@pytest.fixture(scope="module")
def _told(server_kind: str) -> dict[str, Told]:
    """What each client told on this kind of server."""
    return {}


@pytest.fixture
def drive(server: Server, _told: dict[str, Told], tmp_path: Path) -> Callable[[str], Told]:
    """Drives every method by that client, the first time on an empty server; what it told."""

    def driven(client: str) -> Told:
        if client not in _told:
            for backend, blob in MODELS.items():
                (tmp_path / backend).write_bytes(blob())
            with contextlib.closing(server.client()) as connected:
                connected.flushall()
            python = Path(sys.executable) if client == "keymiss" else environments.of_redisai()
            said = environments.run(python, HERE / "every_method.py", client, server.port, tmp_path)
            _told[client] = json.loads(said)
        return _told[client]

    return driven


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="SmartRedis has no wheels for this Python")
def test_smartredis_runs_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "TORCH").write_bytes(torch_models.sum_and_product())
    driver = HERE / "every_call_of_smartredis.py"
    assert environments.run(environments.of_redisai(), driver, server.port, tmp_path) == "whole\n"


def test_every_public_method_of_it_is_driven(drive: Callable[[str], Told]) -> None:
    told = drive("redisai")
    assert told["not driven"] == []
    assert len(told["results"]) > 100


def test_what_has_to_fail_fails_and_nothing_else(drive: Callable[[str], Told]) -> None:
    results = drive("redisai")["results"]
    errors = {name for name, given in results.items() if isinstance(given, str) and given.startswith("error")}
    assert errors == {
        "infoget of none",
        "loadbackend of none",
        "modeldel of none",
        "modelexecute of none",
        "modelexecute, one output too few",
        "modelget of none",
        "modelstore of no model",
        "no such entry point",
        "scriptstore, no such function",
        "tensorget of none",
        "tensorset of nothing",
        "what it did not",
    }


def test_it_computes(drive: Callable[[str], Told]) -> None:
    results = drive("redisai")["results"]
    values = {
        name: given["array"]
        for name, given in results.items()
        if isinstance(given, dict) and "array" in given
    }
    assert values["the sum"] == [5, 7, 9]
    assert values["the product"] == [4, 10, 18]
    assert values["it multiplied"] == [2.5, 5, 7.5]
    assert values["what it persisted"] == [2, 3, 4]
    assert results["a DAG"][:2] == ["OK", "OK"]
    assert results["a DAG"][2]["array"] == [2, 3, 4]
    assert results["a DAG with a script"][1]["array"] == [3, 6, 9]
    assert values["what ONNX gave"] == [[3, 1.25], [3, 1.25]]
    assert values["what TF gave"] == [[1, 1], [1, 1]]
    assert values["what TFLITE gave"] == [[2, 2], [2, 2]]


def test_its_other_modes_work(drive: Callable[[str], Told]) -> None:
    results = drive("redisai")["results"]
    assert results["raw tensorset"] == "OK"
    assert results["raw tensorget"][:2] == ["dtype", "INT8"]
    assert results["printed when debugging"].startswith("AI.TENSORSET t INT8 1 BLOB")


def test_our_client_gives_the_same(drive: Callable[[str], Told]) -> None:
    theirs, ours = drive("redisai")["results"], drive("keymiss")["results"]
    assert ours == {name: given for name, given in theirs.items() if name in ours}
    assert len(ours) > 100
