"""redisai 1.3.0 from PyPI, with the redis that it pins, in an environment of its own: its whole API."""

from __future__ import annotations

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

DRIVER = Path(__file__).with_name("every_method.py")
# redisai 1.3.0 imports pkg_resources, and copies arrays by a call that numpy 2.3 no longer has.
REQUIREMENTS = ["redisai==1.3.0", "numpy<2.3", "setuptools<81"]

MODELS = {
    "TORCH": torch_models.sum_and_product,
    "ONNX": small_models.onnx_linear,
    "TF": graph_defs.product,
    "TFLITE": tflite_models.sum_and_product,
}

Told = dict[str, Any]


@pytest.fixture(scope="module")
def drive(
    make_shared_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Told]:
    """Drives every method by that client, on an empty server; what it told."""
    server = make_shared_server()
    folder = tmp_path_factory.mktemp("models")
    for backend, blob in MODELS.items():
        (folder / backend).write_bytes(blob())
    told: dict[str, Told] = {}

    def driven(client: str) -> Told:
        if client not in told:
            ours = client == "keymiss"
            python = Path(sys.executable) if ours else environments.environment("redisai", REQUIREMENTS)
            with server.client() as connected:
                connected.flushall()
            told[client] = json.loads(environments.run(python, DRIVER, client, server.port, folder))
        return told[client]

    return driven


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
