"""The benchmarks run and print their tables. How fast anything is, is never asked here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from keymiss_deploy.bench import commands
from keymiss_deploy.bench.commands import bench
from keymiss_deploy.bench.report import Report
from keymiss_deploy.bench.rounds import interleave, median_ratio, percentile
from support.benchmarks import Run, run_quickly
from support.server import KINDS, available_kinds


def test_every_benchmark_can_be_quick_print_json_and_keep_what_it_measured() -> None:
    for name, command in bench.commands.items():
        assert {"quick", "as_json", "out"} <= {parameter.name for parameter in command.params}, name


@pytest.fixture(scope="module", params=[("overhead", available_kinds()[0]), ("miss", available_kinds()[-1])])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """One quick run of each benchmark, looked at by several tests, and on which server: on one only, since it
    has all cores meanwhile."""
    (name, kind), folder = request.param, tmp_path_factory.mktemp("bench")
    more = ["--dir", str(folder / "no-cluster"), "--port", "1"] if name == "miss" else []
    return run_quickly(name, folder, "--server", KINDS[kind], *more), kind


def test_every_row_is_measured_and_every_promise_is_judged(ran: tuple[Run, str]) -> None:
    run, _ = ran
    assert run.result["title"] in run.printed
    assert len(run.result["rows"]) >= 2
    for row in run.result["rows"]:
        assert list(row) == run.result["columns"]
        assert all(value > 0 for value in list(row.values())[1:])
    assert len(run.result["promises"]) == 2
    assert all(set(promise) == {"text", "measured", "holds"} for promise in run.result["promises"])


def test_a_plain_server_is_measured_in_the_same_run(ran: tuple[Run, str]) -> None:
    run, _ = ran
    baseline = [row for row in run.result["rows"] if "plain server" in row["request"]]
    assert baseline
    assert all(row["of plain"] == pytest.approx(1.0) for row in baseline)


def test_the_conditions_are_stated(ran: tuple[Run, str]) -> None:
    run, kind = ran
    conditions = run.result["conditions"]
    assert conditions["server"].startswith(kind)
    assert {"processor", "cores", "system", "clients", "rounds"} <= set(conditions)


def test_metrics_are_measured_beside_none_on_the_same_server(tmp_path: Path) -> None:
    """On one server only: it is the same code on the other."""
    run = run_quickly("metrics", tmp_path, "--server", KINDS[available_kinds()[0]])
    assert [row["request"] for row in run.result["rows"]] == ["GET that misses", "RG.TRIGGER"]
    for row in run.result["rows"]:
        assert row["of without"] == pytest.approx(row["with metrics/s"] / row["without/s"])
        assert row["lower quartile"] <= row["of without"] <= row["upper quartile"]
    assert int(run.result["conditions"]["scrapes"].split(",")[0]) >= 4  # both workers, twice
    assert len(run.result["promises"]) == 3
    assert run.result["addition_ns"] > 0
    assert run.result["scrape_cpu_s"] > 0


@pytest.mark.slow
def test_tensors_and_models_are_measured_beside_strings_and_direct_calls(tmp_path: Path) -> None:
    """On one server only: models take their time."""
    run = run_quickly("ai", tmp_path, "--server", KINDS[available_kinds()[0]])
    rows = {(row["request"], row["clients"]): row for row in run.result["rows"]}
    assert all(value > 0 for row in rows.values() for value in list(row.values())[1:])
    for plain, measured in (
        (("SET 1 KB", 50), ("TENSORSET 1 KB", 50)),
        (("GET 1 MB, pipelined", 8), ("TENSORGET 1 MB, pipelined", 8)),
        (("tiny called directly", 1), ("tiny, BATCHSIZE 64", 50)),
        (("tiny called directly", 1), ("tiny in a DAG", 1)),
        (("tiny called directly", 1), ("a script of one addition", 50)),
        (("MiniLM called directly", 1), ("MiniLM", 8)),
    ):
        assert rows[plain]["of plain"] == pytest.approx(1.0)
        ratio = rows[measured]["requests/s"] / rows[plain]["requests/s"]
        assert rows[measured]["of plain"] == pytest.approx(ratio)
    assert len(run.result["promises"]) == 5
    assert {"threads of a forward pass", "allocator of models", "MiniLM"} <= set(run.result["conditions"])


@pytest.mark.slow
def test_functions_are_measured_beside_set_and_over_one_shard_and_three(tmp_path: Path) -> None:
    """On one server only: the cluster takes its time."""
    run = run_quickly("gears", tmp_path, "--server", KINDS[available_kinds()[0]])
    rows = {(row["what"], row["clients"]): row for row in run.result["rows"]}
    assert all(row["per second"] > 0 for row in rows.values())
    for clients in (1, 50):
        assert rows["SET, plain server", clients]["of SET"] == pytest.approx(1.0)
        assert rows["RG.TRIGGER, sync", clients]["p99 ms"] >= rows["RG.TRIGGER, sync", clients]["p50 ms"] > 0
        assert rows["GET that misses, coroutine", clients]["RedisGears"] > 0
    for mode in ("async", "async_local", "sync"):
        assert rows[f"{mode} function, fired by SET", 50]["of SET"] > 0
    runs = [name for name, _ in rows if "over 2,000 keys" in name]
    assert [name.split(",")[-1].strip() for name in runs] == ["1 shard"] * 3 + ["3 shards"] * 3
    assert "17 of 17: count over 2,000 keys, 3 shards" in run.shown
    assert len(run.result["promises"]) == 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("overhead", "--out", "file/there"), "Not a directory"),
        (("qa", "--questions", "file"), "file is no SQuAD file"),
        (("client-sweep", "--backend", "paper"), "is not one of"),
        (
            ("client-sweep", "--backend", "onnx", "--precision", "bf16"),
            "onnx has no bf16, but fp32, ",
        ),
        (("gpu", "--models", "."), "torchscript/model.pt is not there"),
    ],
)
def test_what_cannot_be_measured_is_told_in_words_and_first(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "file").write_text("no JSON")
    command = [Path(sys.executable).with_name("keymiss"), "bench", *arguments, "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2)
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert "1 of" not in done.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_without_matplotlib_it_says_what_draws_the_picture(
    tmp_path: Path, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("speed", "Speed", ["request", "requests/s"], {})
    report.add("GET", 1.0)
    commands._finish(report, tmp_path, as_json)
    assert (tmp_path / "speed.png").exists()
    assert "No picture" not in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    commands._finish(report, tmp_path, as_json)
    said = capsys.readouterr()
    assert "pip install 'keymiss[bench]'" in (said.err if as_json else said.out)


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
