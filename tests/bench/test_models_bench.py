"""The benchmarks of models in memory run, and what they promise of memory holds even when they are quick."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from keymiss_deploy.bench.many_models import MODELS, Way, run_trace, trace
from support.server import KINDS, available_kinds

TIMEOUT_S = 180.0


def _run(name: str) -> dict[str, Any]:
    """What it measured, on one kind of server only: models take their time."""
    command = [str(Path(sys.executable).with_name("keymiss")), "bench", name, "--quick", "--json"]
    command += ["--server", KINDS[available_kinds()[0]]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_two_shards_take_the_model_memory_of_one() -> None:
    result = _run("memory")
    shared, own = result["rows"][:2], result["rows"][2:]
    assert [row["shards with the model"] for row in result["rows"]] == ["1", "2"] * 2
    for first, both in (shared, own):
        assert first["model memory MB"] > 40.0  # which the model has
        assert both["model memory MB"] < 1.5 * first["model memory MB"]
        assert both["in the servers MB"] < 2.0
    assert result["model_memory_ratio"] == shared[1]["of 1 shard"] < 1.15


@pytest.mark.slow
def test_a_model_that_is_there_is_stored_without_its_bytes() -> None:
    rows = {row["stored"]: row for row in _run("load")["rows"]}
    assert len(rows) == 5
    assert all(row["first answer ms"] >= row["stored ms"] >= 0 for row in rows.values())
    new = rows["for the first time"]["stored ms"]
    assert rows["another key, by digest"]["stored ms"] < new / 3
    assert rows["on another shard, by digest"]["stored ms"] < new / 3


@pytest.mark.slow
def test_many_models_are_served_from_less_memory_than_they_need() -> None:
    result = _run("many-models")
    rows = {(row["way"], row["of saturation"]): row for row in result["rows"]}
    assert len(rows) == 6
    for load in (0.1, 0.5):
        resident, limited = rows["all in memory", load], rows["room for 4", load]
        assert 0 < limited["weights MB"] <= resident["weights MB"] * 0.34
        assert limited["answered/s"] > 0 and limited["p99 ms"] >= limited["p50 ms"] > 0
    put_out, back = (
        int(word) for word in result["conditions"]["put out, brought back"].split() if word.isdigit()
    )
    assert put_out >= MODELS - 4 and put_out >= back > 0


def test_a_trace_is_heavy_tailed_and_as_fast_as_told() -> None:
    requests = trace(rate=1000.0, seconds=20.0)
    assert 19_000 < len(requests) < 21_000
    assert all(a.due_s <= b.due_s for a, b in pairwise(requests))
    asked = Counter(request.model for request in requests)
    assert sum(count for _, count in asked.most_common(4)) > 0.7 * len(requests)
    assert asked[11] < 0.002 * len(requests)
    assert requests == trace(rate=1000.0, seconds=20.0)


def test_latency_counts_from_when_a_request_was_due() -> None:
    def fails(model: int) -> None:
        raise ConnectionError(model)

    requests = trace(rate=200.0, seconds=0.2)
    asked: list[int] = []
    sample = run_trace(requests, Way(asked.append, lambda: 7, lambda: 9))
    assert sorted(asked) == sorted(request.model for request in requests)
    assert len(sample.latencies_ms) == len(requests) == sample.answered and min(sample.latencies_ms) >= 0
    assert sample.took_s >= requests[-1].due_s
    assert set(sample.weights_bytes) == {7} and set(sample.resident_bytes) == {9}
    with pytest.raises(ConnectionError):
        run_trace(requests, Way(fails, lambda: 0, lambda: 0))
