"""Rows of figures between two readings, by example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from keymiss.client import Address
from keymiss.metrics.definitions import METRICS
from keymiss.top.figures import compare
from keymiss.top.info import Info, parse_info
from keymiss.top.reading import Model, Reading, Server

FIRST, SECOND = Address(port=30001), Address(port=30002)
BOUNDS = METRICS["keymiss_job_duration_seconds"].bounds
RUNNING = {"run_id": "a" * 40}


def server(
    address: Address = FIRST, at: float = 0.0, models: Sequence[Model] = (), **fields: object
) -> Server:
    text = "".join(f"{name}:{value}\n" for name, value in {**RUNNING, **fields}.items())
    return Server(address, f"shard-{address.port}", "master", 8192, at, "up", "", parse_info(text), models)


def reading(*servers: Server) -> Reading:
    return {one.address: one for one in servers}


def down(address: Address) -> Server:
    return Server(address, "shard-2", "master", 0, 2.0, "down", "refused", Info())


def latency(kind: str, counts: Mapping[str, int]) -> dict[str, object]:
    """The fields of a histogram with so many up to each bound, the others 0."""
    below, told = 0, []
    for bound in BOUNDS:
        below += counts.get(bound, 0)
        told.append(f"le_{bound}={below}")
    name = f"keymiss_{kind}_latency"
    facts = {"count": below, "sum_us": 0, "max_us": 10_000_000, "buckets": ",".join(told)}
    return {f"{name}_{fact}": value for fact, value in facts.items()}


def model(key: str, tag: str = "", **counts: float) -> Model:
    return Model(key, tag, "TORCH", "CPU", counts)


def test_rates_are_what_was_counted_by_the_time_it_took() -> None:
    before = server(at=10.0, keymiss_misses=100, keymiss_misses_overridden=90, keymiss_hits=1000)
    now = server(at=12.0, keymiss_misses=110, keymiss_misses_overridden=98, keymiss_hits=1030)
    (row,) = compare(reading(before), reading(now)).shards
    assert row["seconds"] == 2.0
    assert row["misses_per_second"] == 5.0
    assert row["answers_per_second"] == 4.0
    assert row["hits_per_second"] == 15.0
    assert row["hit_rate"] == 0.75


def test_totals_add_the_shards_up_and_take_quantiles_of_all_misses() -> None:
    before = reading(
        server(FIRST, keymiss_misses=0, keymiss_hits=0, used_memory=1, **latency("miss", {})),
        server(SECOND, keymiss_misses=0, keymiss_hits=0, used_memory=2, **latency("miss", {})),
    )
    now = reading(
        server(FIRST, 1.0, keymiss_misses=99, keymiss_hits=0, used_memory=10, **latency("miss", {"1ms": 99})),
        server(SECOND, 1.0, keymiss_misses=1, keymiss_hits=100, used_memory=20, **latency("miss", {"1s": 1})),
    )
    figures = compare(before, now)
    assert figures.totals["misses_per_second"] == 100.0
    assert figures.totals["hit_rate"] == 0.5
    assert figures.totals["memory_bytes"] == 30
    assert figures.totals["servers_up"] == figures.totals["servers"] == 2
    p50, p99 = (figures.totals[f"miss_{q}_seconds"] for q in ("p50", "p99"))
    assert isinstance(p50, float)
    assert isinstance(p99, float)
    assert 0.0005 < p50 < p99 <= 0.001
    assert figures.shards[1]["miss_p50_seconds"] == pytest.approx(0.75)


def test_errors_are_told_by_kind_and_together() -> None:
    before = server(keymiss_errors_busy=1, keymiss_errors_timeout=1)
    now = server(at=2.0, keymiss_errors_busy=5, keymiss_errors_timeout=1)
    (row,) = compare(reading(before), reading(now)).shards
    assert row["errors"] == 6
    assert row["errors_per_second"] == 2.0
    assert row["busy_errors_per_second"] == 2.0
    assert row["timeout_errors_per_second"] == 0.0
    assert row["model_errors"] is None


def test_a_first_reading_has_gauges_and_no_rates() -> None:
    (row,) = compare({}, reading(server(keymiss_misses=7, keymiss_misses_waiting=3, used_memory=9))).shards
    assert row["misses_per_second"] is None
    assert row["waiting"] == 3
    assert row["memory_bytes"] == 9


def test_a_server_that_started_anew_has_no_rates_until_it_is_read_again() -> None:
    before = server(keymiss_misses=1000)
    now = server(at=2.0, keymiss_misses=5, run_id="b" * 40)
    (row,) = compare(reading(before), reading(now)).shards
    assert row["misses_per_second"] is None


def test_a_server_that_is_down_is_told_of_and_the_others_are_added_up() -> None:
    before = reading(server(FIRST, keymiss_misses=0), down(SECOND))
    figures = compare(before, reading(server(FIRST, 1.0, keymiss_misses=4), down(SECOND)))
    assert not figures.complete
    assert [row["state"] for row in figures.shards] == ["up", "down"]
    assert figures.shards[1]["misses_per_second"] is None
    assert figures.totals["misses_per_second"] == 4.0
    assert figures.totals["servers_up"] == 1
    assert {row["shard"] for row in figures.workers} == {"shard-30001"}


def test_a_server_without_keymiss_has_its_own_figures() -> None:
    figures = compare(reading(server(used_memory=1)), reading(server(at=1.0, used_memory=2)))
    assert figures.complete
    assert figures.shards[0]["memory_bytes"] == 2
    assert figures.shards[0]["answers_per_second"] is None
    assert figures.models == figures.inference == figures.functions == []


def test_a_models_worker_that_shards_share_is_counted_once() -> None:
    def shard(address: Address, at: float, tokens: int) -> Server:
        worker = "state=ready,pid=77,starts=1,restarts=0,uptime_seconds=5"
        fields: dict[str, Any] = {"tokens_run": tokens, "tokens_padded": tokens // 4, "bytes_resident": 4096}
        fields |= {"jobs_run": tokens // 10, "batches_run": tokens // 50, "queue_depth": 2, "channels": 2}
        ours = {f"keymiss_{name}": value for name, value in fields.items()}
        return server(address, at, keymiss_models_worker=worker, **ours)

    before = reading(shard(FIRST, 0.0, 0), shard(SECOND, 0.0, 0))
    figures = compare(before, reading(shard(FIRST, 2.0, 800), shard(SECOND, 2.0, 800)))
    (row,) = figures.inference
    assert row["tokens_per_second"] == 400.0
    assert row["padding_share"] == pytest.approx(0.2)
    assert row["mean_batch_size"] == pytest.approx(5.0)
    assert row["resident_bytes"] == 4096
    assert row["shards"] == 2
    assert figures.totals["tokens_per_second"] == 400.0
    assert [row["state"] for row in figures.workers if row["worker"] == "models"] == ["ready", "ready"]


def test_a_model_is_one_row_of_all_shards_that_have_it() -> None:
    def shard(address: Address, at: float, key: str, calls: int) -> Server:
        counts = {"calls": calls, "samples": 4 * calls, "errors": 1, "duration": 2000 * calls}
        return server(address, at, [model(key, **counts), model(f"other{key}", tag="tagged", calls=1)])

    before = reading(shard(FIRST, 0.0, "bert{a}", 10), shard(SECOND, 0.0, "bert{b}", 10))
    figures = compare(before, reading(shard(FIRST, 1.0, "bert{a}", 20), shard(SECOND, 1.0, "bert{b}", 40)))
    bert, tagged = figures.models
    assert (bert["model"], bert["shards"], bert["device"]) == ("bert", 2, "CPU")
    assert bert["batches_per_second"] == 40.0
    assert bert["mean_batch_size"] == 4.0
    assert bert["batch_seconds"] == pytest.approx(0.002)
    assert bert["errors_per_second"] == 0.0
    assert bert["errors"] == 2
    assert (tagged["model"], tagged["samples_per_second"]) == ("tagged", None)


def test_functions_are_told_by_name_whichever_number_they_have() -> None:
    before = server(
        keymiss_function_0="name=gone,runs=5,failures=0,lag_us=0",
        keymiss_function_1="name=answer,runs=10,failures=1,waiting=0,lag_us=0",
    )
    now = server(at=2.0, keymiss_function_0="name=answer,runs=30,failures=2,waiting=3,lag_us=1500000")
    other = server(SECOND, 2.0, keymiss_function_0="name=answer,runs=1,failures=0,waiting=1,lag_us=10")
    (row,) = compare(reading(before), reading(now, other)).functions
    assert (row["function"], row["shards"], row["runs"], row["failures"]) == ("answer", 2, 31, 2)
    assert row["runs_per_second"] == 10.0
    assert row["failures_per_second"] == 0.5
    assert row["waiting"] == 4
    assert row["lag_seconds"] == 1.5
