"""Requests that run together, over one and over two channels: BATCHSIZE, MINBATCHSIZE, MINBATCHTIMEOUT."""

from __future__ import annotations

from collections.abc import Callable

from inference.shard import Shard, StoredModel, floats

Make = Callable[..., StoredModel]
OK = b"+OK\r\n"
A = floats(1, 2, values=[1, 2])
B = floats(1, 2, values=[3, 4])


def test_two_requests_run_as_one_batch_and_get_their_own_rows(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2)
    first, second = shard.start(rows, [A], 2), shard.start(rows, [B], 2)
    a, b = shard.finish(first), shard.finish(second)
    assert [a.outputs[0].values, b.outputs[0].values] == [[3.0], [7.0]]
    assert [a.outputs[1].values, b.outputs[1].values] == [[2.0], [2.0]]


def test_a_batch_counts_as_one_call_and_its_time_once(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=3, minbatchsize=3)
    first, second = shard.start(rows, [A], 2), shard.start(rows, [floats(2, 2, values=[0] * 4)], 2)
    a, b = shard.finish(first), shard.finish(second)
    assert (a.counters, b.counters) == ((1, 1, 0), (0, 2, 0))
    assert a.duration_us > 0 == b.duration_us


def test_one_request_waits_for_another(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2)
    first = shard.start(rows, [A], 2)
    assert shard.silent_for(0.2, "DONE", first)
    shard.run(rows, [B], 2)
    assert shard.finish(first).reply == OK


def test_one_request_runs_alone_when_the_timeout_has_passed(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=4, minbatchsize=4, minbatchtimeout_ms=50)
    assert shard.run(rows, [A], 2).outputs[1].values == [1.0]


def test_requests_of_other_shapes_are_not_joined(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2, minbatchtimeout_ms=50)
    jobs = [shard.start(rows, [A], 2), shard.start(rows, [floats(1, 3, values=[1, 2, 3])], 2)]
    assert [shard.finish(job).outputs[1].values for job in jobs] == [[1.0], [1.0]]


def test_an_error_of_a_batch_is_everybodys(shard: Shard, model: Make) -> None:
    positive = model("Positive", batchsize=2, minbatchsize=2)
    jobs = [shard.start(positive, [floats(1, 1, values=[value])]) for value in (5, -1)]
    for job in jobs:
        ran = shard.finish(job)
        assert ran.reply == b"-ERR the model failed: ValueError: x is positive\r\n"
        assert ran.counters == (1, 0, 1)


def test_a_model_that_loses_the_rows_cannot_be_batched(shard: Shard, model: Make) -> None:
    total = model("Sum", batchsize=2, minbatchsize=2)
    jobs = [shard.start(total, [A]), shard.start(total, [B])]
    for job in jobs:
        assert shard.finish(job).reply == b"-ERR Model did not generate the expected batch size\r\n"


def test_a_batch_that_waits_holds_up_no_other_model(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2)
    first = shard.start(rows, [A], 2)
    assert shard.run(model("Linear"), [floats(1, 3, values=[1, 2, 3])]).reply == OK
    shard.run(rows, [B], 2)
    assert shard.finish(first).reply == OK


def test_requests_that_came_while_the_device_was_busy_are_joined(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=4)
    shard.load(rows)
    busy = shard.start(model("Steps"), [floats(1, values=[50_000])])
    jobs = [shard.start(rows, [A], 2), shard.start(rows, [B], 2)]
    assert shard.finish(busy).reply == OK
    assert [shard.finish(job).outputs[1].values for job in jobs] == [[2.0], [2.0]]


def test_without_a_batch_size_nothing_is_joined(shard: Shard, model: Make) -> None:
    rows = model("Rows")
    busy = shard.start(model("Steps"), [floats(1, values=[50_000])])
    jobs = [shard.start(rows, [A], 2), shard.start(rows, [B], 2)]
    assert shard.finish(busy).reply == OK
    assert [shard.finish(job).outputs[1].values for job in jobs] == [[1.0], [1.0]]


def test_a_model_deleted_while_a_request_waits_still_answers_it(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2, minbatchtimeout_ms=100)
    first = shard.start(rows, [A], 2)
    shard.send("UNLOAD", rows.digest)
    assert shard.finish(first).reply == OK


def test_a_model_stored_anew_starts_a_new_batch(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2, minbatchtimeout_ms=100)
    first = shard.start(rows, [A], 2)
    shard.load(rows)
    second = shard.start(rows, [B], 2)
    assert [shard.finish(job).outputs[1].values for job in (first, second)] == [[1.0], [1.0]]


def test_a_cancelled_request_does_not_fill_a_batch(shard: Shard, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2)
    gone = shard.start(rows, [A], 2)
    shard.send("CANCEL", gone)
    second = shard.start(rows, [A], 2)
    assert shard.silent_for(0.1, "DONE", second)
    assert shard.run(rows, [B], 2).outputs[1].values == [2.0]
    assert shard.finish(second).reply == OK


def test_a_scalar_runs_alone_whatever_the_batch_options_say(shard: Shard, model: Make) -> None:
    total = model("Sum", batchsize=4, minbatchsize=4)
    scalar = floats(values=[3])
    assert shard.run(total, [scalar]).outputs == [scalar]
