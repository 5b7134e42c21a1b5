"""Metrics as fields of INFO: what is written is read again; and what histograms say."""

from __future__ import annotations

import random

import pytest

from keymiss.metrics import METRICS
from keymiss.metrics.histogram import REQUESTS, Histogram
from keymiss.metrics.info import fields_of, pairs, part, parts_of, read
from keymiss.metrics.samples import MAX_NAMES, OTHER, Bounded, sample

SLOW = (0.00002, 0.0004, 0.0004, 0.3, 60.0)


def histogram(*values: float) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


def test_what_one_worker_says_another_reads() -> None:
    told = pairs(
        "models",
        [
            sample("keymiss_models_loaded", 3),
            sample("keymiss_model_load_seconds_total", 1.5),
            sample("keymiss_batch_wait_seconds", histogram(*SLOW).snapshot(), "CPU"),
        ],
    )
    again = {one.metric.name: one.value for one in read("models", told, "")}
    assert again["keymiss_models_loaded"] == 3
    assert again["keymiss_model_load_seconds_total"] == 1.5
    waits = again["keymiss_batch_wait_seconds"]
    assert not isinstance(waits, float)
    assert waits.buckets == list(histogram(*SLOW).buckets)
    assert waits.sum == pytest.approx(sum(SLOW))
    assert waits.max == max(SLOW)


def test_labels_that_a_field_does_not_know_are_summed_over() -> None:
    requests = [
        sample("keymiss_model_requests_total", 2, "shard-1", "bert", "CPU"),
        sample("keymiss_model_requests_total", 3, "shard-2", "bert", "GPU:0"),
    ]
    waits = [
        sample("keymiss_batch_wait_seconds", histogram(0.1, 0.2).snapshot(), "CPU"),
        sample("keymiss_batch_wait_seconds", histogram(0.3).snapshot(), "GPU:0"),
    ]
    told = pairs("models", [*requests, *waits])
    assert told["jobs_run"] == "5"
    assert (told["batch_wait_count"], told["batch_wait_sum_us"]) == ("3", "600000")
    assert told["jobs_failed"] == "0"  # of no request none


def test_a_field_that_is_malformed_is_no_sample() -> None:
    assert list(read("models", {"models_loaded": "many", "batch_wait_buckets": "le_50us=x"}, "")) == []


def test_a_worker_that_nobody_needs_is_not_down() -> None:
    states = {"off": [], "starting": [0.0], "ready": [1.0], "paused": [0.0]}
    for state, told in states.items():
        found = read("engine", {"models_worker": f"state={state},pid=0"}, "shard-1")
        assert [one.value for one in found if one.metric.name == "keymiss_worker_up"] == told


def test_fields_are_found_among_the_lines_of_info() -> None:
    assert fields_of("# keymiss_x\r\nkeymiss_hits:3\r\nused_memory:4\r\nkeymiss_a:b:c\r\n") == {
        "hits": "3",
        "a": "b:c",
    }


@pytest.mark.parametrize("name", ["a,b=c", "line\nend", "colon:", "ünï", "x" * 500, ""])
def test_any_name_can_stand_in_a_part(name: str) -> None:
    assert parts_of(f"name={part(name)},runs=1") == {"name": part(name), "runs": "1"}


def test_quantiles_lie_within_their_bucket() -> None:
    numbers = random.Random(1)
    values = sorted(numbers.expovariate(100) for _ in range(5000))
    told = histogram(*values).snapshot()
    for q in (0.5, 0.95, 0.99):
        exact = values[int(q * len(values))]
        over = min(bound for bound in told.bounds if bound >= exact)
        under = max(bound for bound in told.bounds if bound < exact)
        assert under <= told.quantile(q) <= over
    assert told.quantile(1.0) == pytest.approx(max(values))
    assert histogram().snapshot().quantile(0.5) == 0


def test_a_quantile_of_whole_numbers_is_one() -> None:
    sizes = Histogram(REQUESTS)
    for requests, times in (1, 70), (3, 30):
        sizes.add(requests, times)
    told = pairs("models", [sample("keymiss_batch_size", sizes.snapshot(), "bert", "CPU")])
    assert (told["batch_size_p50"], told["batch_size_p99"]) == ("1", "3")


def test_a_value_belongs_to_the_first_bucket_that_holds_it() -> None:
    sizes = Histogram(REQUESTS)
    for size in (1, 2, 3, 256, 257):
        sizes.add(size)
    assert sizes.snapshot().cumulative() == [1, 2, 3, 3, 3, 3, 3, 3, 4, 5]


def test_names_beyond_the_bound_share_one() -> None:
    name_of = Bounded()
    names = [name_of(f"function {n}") for n in range(MAX_NAMES + 10)]
    assert len(set(names)) == MAX_NAMES + 1
    assert names[-1] == OTHER
    assert name_of("function 0") == "function 0"


def test_every_histogram_has_ascending_bounds() -> None:
    for metric in METRICS.values():
        if metric.kind == "histogram":
            assert list(metric.bounds.values()) == sorted(set(metric.bounds.values()))
