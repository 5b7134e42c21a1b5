"""Sequences of different lengths run together, and each gets what it would have got alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from inference.shard import Ran, Shard, StoredModel, floats
from support.waiting import wait_until

from keymiss.backends import Array, Model
from keymiss.channel import Tensor
from keymiss.inference.forward import run_together
from keymiss.inference.padding import Axes

Make = Callable[..., StoredModel]
OK = b"+OK\r\n"
OUTPUTS = 4
FIRST, LATER = [1, 2, 3], [4, 5, 6, 7]  # two lengths: what the outputs follow is known then


def _inputs(*rows: Sequence[int]) -> list[Tensor]:
    shape = len(rows), len(rows[0])
    ids = Tensor.from_values("INT64", shape, [token for row in rows for token in row])
    return [ids, Tensor.from_values("INT64", shape, [1] * (shape[0] * shape[1]))]


def _expected(*rows: Sequence[int]) -> list[list[float]]:
    """Without the last output, which tells how many ran together."""
    return [
        [float(sum(row[: n + 1])) for row in rows for n in range(len(row))],
        [float(sum(row)) for row in rows],
        [float(a + b) for row in rows for a in row for b in row],
    ]


def _right(ran: Ran, *rows: Sequence[int]) -> bool:
    shapes = [output.shape for output in ran.outputs[:-1]]
    n, tokens = len(rows), len(rows[0])
    return shapes == [(n, tokens), (n, 1), (n, 1, tokens, tokens)] and [
        output.values for output in ran.outputs[:-1]
    ] == _expected(*rows)


def _together(ran: Ran) -> float:
    (rows,) = set(ran.outputs[-1].values)
    assert isinstance(rows, float)
    return rows


@pytest.fixture
def tokens(shard: Shard, model: Make) -> StoredModel:
    """A model whose outputs are known."""
    stored = model("Tokens", batchsize=8)
    for row in (FIRST, LATER):
        assert _right(shard.run(stored, _inputs(row), OUTPUTS), row)
    return stored


def _start_while_busy(shard: Shard, model: Make, jobs: Sequence[Callable[[], int]]) -> list[Ran]:
    """Their outcomes, which came while the device was busy."""
    busy = shard.start(model("Steps"), [floats(1, values=[50_000])])
    started = [job() for job in jobs]
    assert shard.finish(busy).reply == OK
    return [shard.finish(job) for job in started]


def _ask(shard: Shard, model: Make, stored: StoredModel, rows: Sequence[Sequence[int]]) -> list[float]:
    """How many ran together with each of these sequences, all of which came out right."""
    ran = _start_while_busy(
        shard, model, [lambda row=row: shard.start(stored, _inputs(row), OUTPUTS) for row in rows]
    )
    assert all(_right(one, row) for one, row in zip(ran, rows, strict=True))
    return [_together(one) for one in ran]


def test_sequences_of_other_lengths_are_joined_and_cut(
    shard: Shard, model: Make, tokens: StoredModel
) -> None:
    rows = [list(range(n, n + length)) for n, length in enumerate((20, 20, 19, 21, 20))]
    # Again where the device was free before all had come: what sends them may have lost its core.
    wait_until(lambda: max(_ask(shard, model, tokens, rows)) > 2, 30.0, "more than two run together")


def test_a_twentieth_of_a_batch_may_be_filling(shard: Shard, model: Make, tokens: StoredModel) -> None:
    def ask(*lengths: int) -> list[float]:
        return _ask(shard, model, tokens, [[1] * length for length in lengths])

    wait_until(lambda: ask(90, 100) == [2.0, 2.0], 30.0, "both run together")
    assert ask(89, 100) == [1.0, 1.0]


def test_models_without_a_mask_run_with_their_likes_only(shard: Shard, model: Make) -> None:
    rows = StoredModel(model("Rows").path, batchsize=8)
    for columns in (2, 3):
        shard.run(rows, [floats(1, columns, values=range(columns))], 2)
    ran = _start_while_busy(
        shard,
        model,
        [lambda n=n: shard.start(rows, [floats(1, n, values=[1] * n)], 2) for n in (20, 20, 21)],
    )
    assert [one.outputs[0].values for one in ran] == [[20.0], [20.0], [21.0]]
    assert ran[2].outputs[1].values == [1.0]


class Widths(Model):
    """Gives its sequences back, and keeps how wide they were."""

    inputs, outputs = ("input_ids", "attention_mask"), ("",)
    weight_bytes = mapped_bytes = 0
    length_step = 8

    def __init__(self) -> None:
        self.seen: list[int] = []

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        self.seen.append(tensors[0].shape[1])
        return [tensors[0] * tensors[1]]


def test_a_model_for_which_new_lengths_cost_runs_few() -> None:
    model = Widths()
    for length in (30, 9, 10, 13, 3):
        row = list(range(1, length + 1))
        ((output,),) = run_together(model, [_inputs(row)])
        assert output.values == row
    assert model.seen == [30, 9, 16, 16, 8]
    rows = [[7] * 11, [8] * 5]
    assert [output.values for (output,) in run_together(model, [_inputs(row) for row in rows])] == rows
    assert model.seen[-1] == 16


class Shaped(Widths):
    """Gives what `of` makes of its sequences."""

    def __init__(self, of: Callable[[Array], Array]) -> None:
        super().__init__()
        self.of = of

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        return [self.of(array) for array in super().run(tensors)]


@pytest.mark.parametrize(
    "of",
    [
        lambda x: x[:, 1:] + x[:, :-1],
        lambda x: np.repeat(x, 2, axis=1),
        lambda x: x[:, ::2],  # as long for 3 tokens as for 4
        lambda x: x[:, 0] if x.shape[1] < 5 else x,
    ],
    ids=["gaps", "twice", "halves", "not always"],
)
def test_outputs_that_follow_the_tokens_in_another_way_are_never_of_filling(
    of: Callable[[Array], Array],
) -> None:
    model = Shaped(of)
    for length in (3, 4):
        run_together(model, [_inputs(range(length))])
    rows = [range(1, 6), range(1, 12)]
    for requests in (rows, [*rows, *rows], rows[:1]):
        ran = run_together(model, [_inputs(row) for row in requests])
        expected = [of(np.array([row])) for row in requests]
        assert [output.shape for (output,) in ran] == [one.shape for one in expected]
        assert [output.values for (output,) in ran] == [one.flatten().tolist() for one in expected]


def test_the_samples_may_be_left_out_of_an_output() -> None:
    model = Shaped(lambda x: x[0])
    for length in (3, 40, 9):
        ((output,),) = run_together(model, [_inputs(range(length))])
        assert output.values == list(range(length))
    assert model.seen == [3, 40, 16]


class TestAxes:
    """Which dimensions follow the tokens, learnt from passes."""

    def test_one_length_is_not_enough(self) -> None:
        axes = Axes()
        for _ in range(2):
            axes.learn(8, 1, [np.zeros((1, 8))])
            assert not axes.known

    def test_a_dimension_that_happened_to_be_as_long_is_not_cut(self) -> None:
        axes = Axes()
        axes.learn(8, 1, [np.zeros((1, 8, 8)), np.zeros(1)])
        axes.learn(5, 1, [np.zeros((1, 5, 8)), np.zeros(1)])
        assert axes.known
        assert axes.cut(0, np.zeros((1, 9, 8)), 7).shape == (1, 7, 8)
        assert axes.cut(1, np.zeros(1), 7).shape == (1,)

    def test_lengths_are_rounded_up_but_never_beyond_what_the_model_has_taken(self) -> None:
        axes = Axes()
        for tokens, width in ((5, 5), (21, 21)):
            assert axes.width(tokens, 8) == width
            axes.learn(tokens, 1, [np.zeros((1, tokens))])
        assert [axes.width(tokens, 8) for tokens in (3, 8, 9, 17, 22)] == [8, 8, 16, 21, 22]
        assert axes.width(3, 1) == 3

    def test_the_samples_are_never_taken_for_tokens(self) -> None:
        axes = Axes()
        for tokens in (2, 3):
            axes.learn(tokens, tokens, [np.zeros((tokens, tokens))])
        assert axes.cut(0, np.zeros((9, 9)), 7).shape == (9, 7)
