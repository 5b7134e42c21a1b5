"""The benchmarks run and print their tables. How fast anything is, is never asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from keymiss_deploy.bench.rounds import interleave, median_ratio, percentile
from support.server import KINDS

TIMEOUT_S = 180.0


def _run(name: str, server_kind: str, folder: Path) -> tuple[str, dict[str, Any]]:
    program = str(Path(sys.executable).with_name("keymiss"))
    command = [program, "bench", name, "--quick", "--server", KINDS[server_kind], "--out", str(folder)]
    if name == "miss":
        command += ["--dir", str(folder / "no-cluster"), "--port", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["overhead", "miss"])
def test_every_row_is_measured_and_every_promise_is_judged(
    server_kind: str, name: str, tmp_path: Path
) -> None:
    printed, result = _run(name, server_kind, tmp_path)
    assert result["title"] in printed
    assert len(result["rows"]) >= 2
    for row in result["rows"]:
        assert list(row) == result["columns"]
        assert all(value is not None for value in row.values())
        assert all(value > 0 for value in list(row.values())[1:])
    assert len(result["promises"]) == 2
    assert all(set(promise) == {"text", "measured", "holds"} for promise in result["promises"])


def test_a_plain_server_is_measured_in_the_same_run(server_kind: str, tmp_path: Path) -> None:
    _, result = _run("overhead", server_kind, tmp_path)
    baseline = [row for row in result["rows"] if "plain server" in row["command"]]
    assert len(baseline) == 2
    assert all(row["of plain"] == pytest.approx(1.0) for row in baseline)


def test_the_conditions_are_stated(server_kind: str, tmp_path: Path) -> None:
    _, result = _run("overhead", server_kind, tmp_path)
    conditions = result["conditions"]
    assert conditions["server"].startswith(server_kind)
    assert {"processor", "cores", "system", "clients", "rounds"} <= set(conditions)


def test_each_round_measures_every_variant_and_starts_with_the_next() -> None:
    order: list[str] = []
    variants = {name: lambda name=name: order.append(name) for name in "abc"}
    samples = interleave(variants, rounds=3)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert all(len(taken) == 3 for taken in samples.values())


def test_ratios_are_taken_within_a_round() -> None:
    """The second round was slow for both: that must not show."""
    assert median_ratio([90.0, 9.0, 91.0], [100.0, 10.0, 100.0]) == pytest.approx(0.9)


@pytest.mark.parametrize(("percent", "expected"), [(50, 2.0), (99, 4.0), (1, 1.0), (75, 3.0)])
def test_a_percentile_is_one_of_the_values(percent: int, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == expected
