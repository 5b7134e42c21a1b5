"""The best span of a paragraph, against trying all of them."""

from __future__ import annotations

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymiss.qa import Pieces, Window, answer_of, best_span

logits = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=80)


@given(logits, st.integers(0, 5), st.integers(1, 45))
def test_no_valid_span_scores_higher(pairs: list[tuple[int, int]], first: int, longest: int) -> None:
    starts, ends = [99.0] * first, [99.0] * first  # what stands before the paragraph is not looked at
    starts += [float(start) for start, _ in pairs]
    ends += [float(end) for _, end in pairs]
    i, j, score = best_span([*starts, 99.0], [*ends, 99.0], first, len(pairs), longest)
    assert first <= i <= j < first + len(pairs)
    assert j - i < longest
    assert score == starts[i] + ends[j]
    places = range(first, first + len(pairs))
    assert score == max(starts[a] + ends[b] for a in places for b in places if a <= b < a + longest)


@given(logits, st.integers(1, 45))
def test_of_several_best_spans_the_first_is_taken(pairs: list[tuple[int, int]], longest: int) -> None:
    starts, ends = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    i, j, score = best_span(starts, ends, 0, len(pairs), longest)
    places = range(len(pairs))
    alike = [(b, a) for a in places for b in places if a <= b < a + longest and starts[a] + ends[b] == score]
    assert (j, i) == min(alike)


def test_a_model_that_gives_no_numbers_sees_no_answer() -> None:
    nothing = [nan] * 6
    assert not answer_of(TEXT, PIECES, [(window(0, 2), nothing, nothing)]).margin > 0


def test_a_paragraph_without_pieces_has_no_span() -> None:
    with pytest.raises(ValueError, match="no span"):
        best_span([1.0], [1.0], 0, 0)


TEXT = "one two three four"
PIECES = Pieces([1, 2, 3, 4], [0, 4, 8, 14], [3, 7, 13, 18])


def window(first_piece: int, count: int) -> Window:
    return Window([101, 9, 102, *range(count), 102], 3, first_piece, count)


def logits_with(peak: int, length: int, height: float, null: float) -> list[float]:
    return [null if n == 0 else height if n == peak else 0.0 for n in range(length)]


def test_the_answer_is_the_exact_substring() -> None:
    starts, ends = logits_with(4, 8, 5.0, 0.0), logits_with(5, 8, 5.0, 0.0)
    found = answer_of(TEXT, PIECES, [(window(0, 4), starts, ends)])
    assert (found.text, found.start, found.end) == ("two three", 4, 13)
    assert (found.score, found.margin) == (10.0, 10.0)


def test_the_best_of_several_windows_wins() -> None:
    low = logits_with(3, 6, 1.0, 0.0)
    high = logits_with(4, 6, 3.0, 0.0)
    found = answer_of(TEXT, PIECES, [(window(0, 2), low, low), (window(2, 2), high, high)])
    assert found.text == "four"


def test_no_answer_has_a_margin_below_zero_only_if_every_window_says_so() -> None:
    sure, unsure = logits_with(3, 6, 1.0, 9.0), logits_with(3, 6, 1.0, 0.0)
    assert answer_of(TEXT, PIECES, [(window(0, 2), sure, sure)]).margin == 2.0 - 18.0
    both = [(window(0, 2), sure, sure), (window(2, 2), unsure, unsure)]
    assert answer_of(TEXT, PIECES, both).margin == 2.0
