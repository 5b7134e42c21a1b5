"""Which of the waiting sequences run together, by the lengths that they run at."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from keymiss.backends import Array, Model
from keymiss.channel import NEVER, Tensor
from keymiss.inference.line import Line
from keymiss.inference.padding import axes_of
from keymiss.inference.policy import Rule
from keymiss.inference.request import Request


class Sequences(Model):
    """Runs at multiples of 16 tokens; a Line never runs it."""

    inputs, outputs = ("input_ids", "attention_mask"), ("",)
    weight_bytes = mapped_bytes = 0
    length_step = 16

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        raise NotImplementedError


@pytest.fixture
def model() -> Model:
    """What its outputs follow is known, and it has taken 256 tokens."""
    model = Sequences()
    _learn(model, 256, 7)
    return model


def _learn(model: Model, *lengths: int) -> None:
    for tokens in lengths:
        axes_of(model).learn(tokens, 1, [np.zeros((1, tokens))])


def _request(model: Model, tokens: int, rows: int = 1) -> Request:
    row = Tensor.from_values("INT64", (rows, tokens), [1] * (rows * tokens))
    return Request(model, "model", Rule(8), [row, row], NEVER, lambda _: None, lambda: False)


def _chosen(line: Line) -> Sequence[Request]:
    choice, _ = line.choose(time.monotonic())
    return choice.requests if choice is not None else ()


def test_lengths_that_run_as_one_run_together_in_the_order_in_which_they_came(model: Model) -> None:
    line, requests = Line(), [_request(model, tokens) for tokens in (49, 64, 50, 63)]
    for request in requests:
        line.add(request, time.monotonic())
    assert list(_chosen(line)) == requests


def test_a_length_that_runs_wider_joins_only_where_little_is_filled_up(model: Model) -> None:
    line, first = Line(), _request(model, 200, rows=6)
    near, far = _request(model, 190), _request(model, 100)
    for request in (first, far, near):
        line.add(request, time.monotonic())
    assert list(_chosen(line)) == [first, near]


def test_sequences_that_came_before_and_after_the_outputs_were_known_are_joined() -> None:
    model, line = Sequences(), Line()
    _learn(model, 256)
    before, after = _request(model, 64), _request(model, 60)
    line.add(before, time.monotonic())
    _learn(model, 7)
    line.add(after, time.monotonic())
    assert list(_chosen(line)) == [before, after]


@pytest.mark.parametrize("late", [False, True])
def test_what_is_cancelled_does_not_run(late: bool) -> None:
    """Also where the outputs became known while it waited."""
    model, line = Sequences(), Line()
    _learn(model, 256)
    if not late:
        _learn(model, 7)
    gone, stays = _request(model, 50), _request(model, 52)
    line.add(gone, time.monotonic())
    line.add(stays, time.monotonic())
    if late:
        _learn(model, 7)
    line.remove(gone)
    line.remove(gone)  # it is not there any more
    assert len(line) == 1
    assert list(_chosen(line)) == [stays]
