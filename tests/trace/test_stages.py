"""Marks of functions become durations by stage, and the stages of a trace lie in each other."""

from __future__ import annotations

import pytest

from keymiss.channel import parse_reply
from keymiss.channel.stages import Stage, stages_part
from keymiss.client.tracing import read_trace
from keymiss.functions import stage_times
from keymiss.functions.stage_times import MAX_STAGES, OTHER, stage


@pytest.fixture(autouse=True)
def no_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_times, "durations", {})


def test_a_mark_is_counted_also_where_its_block_fails() -> None:
    for _ in range(3):
        with stage("one"):
            pass
    with pytest.raises(ValueError), stage("one"):
        raise ValueError
    found = stage_times.durations["one"].snapshot()
    assert found.count == 4
    assert 0 < found.sum < 1.0


def test_names_are_bounded() -> None:
    for n in range(MAX_STAGES + 10):
        with stage(f"stage {n}"):
            pass
    assert len(stage_times.durations) == MAX_STAGES + 1
    assert stage_times.durations[OTHER].snapshot().count == 10


def test_stages_travel_as_one_value() -> None:
    part = stages_part([Stage("a b", 1.0, 1.5, (("rows", 2),)), Stage("c", 1.25, 1.25)])
    assert parse_reply(part) == [[b"a b", 1_000_000, 1_500_000, b"rows", 2], [b"c", 1_250_000, 1_250_000]]


def test_stages_of_several_workers_are_put_into_one_another() -> None:
    reply = [
        *(b"request", b"s-1", b"cached", 1, b"answer", None, b"stages"),
        [
            [b"module", [[b"hook", 100, 110], [b"function", 110, 200], [b"reply", 200, 210]]],
            [b"models", [[b"pass", 130, 140, b"rows", 3]]],
            [b"functions", [[b"forward", 120, 150], [b"span", 150, 160]]],
        ],
    ]
    trace = read_trace(reply)
    assert [(one.name, one.began_us, one.took_us, one.depth) for one in trace.stages] == [
        ("hook", 0, 10, 0),
        ("function", 10, 90, 0),
        ("forward", 20, 30, 1),
        ("pass", 30, 10, 2),
        ("span", 50, 10, 1),
        ("reply", 100, 10, 0),
    ]
    assert (trace.cached, trace.answer, trace.error, trace.total_us) == (True, None, None, 110)


@pytest.mark.parametrize("reply", [None, b"OK", [], [b"request"], [b"request", 1, b"stages", 5]])
def test_what_is_no_trace_is_refused(reply: object) -> None:
    with pytest.raises(ValueError, match=r"no reply of KEYMISS\.TRACE"):
        read_trace(reply)
