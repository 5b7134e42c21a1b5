"""What a server's INFO says, by example."""

from __future__ import annotations

import pytest

from keymiss.metrics.definitions import METRICS
from keymiss.top.info import Info, number_of, parse_info

BOUNDS = METRICS["keymiss_job_duration_seconds"].bounds

TEXT = """# Server\r
run_id:abc\r
redis_version:7.0.15\r
used_memory:1024\r
\r
# keymiss_workers\r
keymiss_functions_worker:state=ready,pid=12,starts=2,restarts=1,uptime_seconds=7\r
keymiss_functions_last_error:it ended, status=1: so it was\r
keymiss_models_worker:state=off,pid=0,starts=0,restarts=0,uptime_seconds=0\r
# keymiss_jobs\r
keymiss_errors_busy:3\r
keymiss_errors_model:4\r
keymiss_device_busy_us:1500000\r
"""


def test_counters_are_read_by_the_names_of_their_metrics() -> None:
    info = parse_info(TEXT)
    assert info.figure("keymiss_errors_total", kind="busy") == 3
    assert info.figure("keymiss_errors_total") == 7
    assert info.figure("keymiss_worker_restarts_total") == 1
    assert info.figure("keymiss_worker_uptime_seconds", worker="functions") == 7


def test_what_a_server_does_not_tell_is_not_known() -> None:
    info = parse_info(TEXT)
    assert info.figure("keymiss_hits_total") is None
    assert info.figure("keymiss_errors_total", kind="timeout") is None
    assert info.histogram("keymiss_job_duration_seconds", kind="miss") is None
    assert Info().figure("keymiss_misses_total") is None
    assert Info().parts("functions_worker") == {}


def test_durations_are_seconds() -> None:
    assert parse_info(TEXT).figure("keymiss_device_busy_seconds_total") == 1.5


def test_words_are_kept_as_they_are() -> None:
    info = parse_info(TEXT)
    assert info.fields["run_id"] == "abc"
    assert info.number("used_memory") == 1024
    assert info.parts("functions_worker")["state"] == "ready"
    assert info.fields["keymiss_functions_last_error"] == "it ended, status=1: so it was"


def test_a_histogram_has_as_many_as_its_buckets_and_those_beyond_them() -> None:
    buckets = ",".join(f"le_{bound}={n + 1}" for n, bound in enumerate(BOUNDS))
    text = (
        f"keymiss_miss_latency_count:20\nkeymiss_miss_latency_sum_us:5000000\nkeymiss_miss_latency_max_us:20000000\n"
        f"keymiss_miss_latency_buckets:{buckets}\n"
    )
    told = parse_info(text).histogram("keymiss_job_duration_seconds", kind="miss")
    assert told is not None
    assert told.count == 20
    assert told.buckets == [1] * len(BOUNDS) + [20 - len(BOUNDS)]
    assert told.max == 20.0


@pytest.mark.parametrize("value", [None, "", "ready", "1.2.3"])
def test_what_is_no_number_is_none(value: str | None) -> None:
    assert number_of(value) is None


@pytest.mark.parametrize(
    "text", ["", "\r\n", "no field", "# only a heading", ":", "keymiss_misses:\n", "a:b:c"]
)
def test_any_text_is_survived(text: str) -> None:
    assert parse_info(text).figure("keymiss_misses_total") is None
