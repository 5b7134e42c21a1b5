"""Rates and quantiles between two readings, by example."""

from __future__ import annotations

import pytest

from keymiss.metrics.histogram import Distribution
from keymiss.top.rates import growth, increase, merged, quantile, ratio, total


def durations(*buckets: int, most: float = 8.0) -> Distribution:
    """Of buckets up to 1, 2 and 4 s, and beyond."""
    return Distribution((1.0, 2.0, 4.0), buckets, float(sum(buckets)), most)


@pytest.mark.parametrize(
    ("before", "after", "grown"), [(2, 5, 3), (5, 5, 0), (5, 2, 2), (None, 5, None), (5, None, None)]
)
def test_a_counter_grows_and_one_that_began_anew_counts_from_zero(
    before: float | None, after: float | None, grown: float | None
) -> None:
    assert increase(before, after) == grown


def test_only_what_was_added_to_a_histogram_counts() -> None:
    added = growth(durations(100, 0, 0, 0), durations(100, 10, 0, 0))
    assert added is not None
    assert added.count == 10
    assert quantile(added, 0.5) == pytest.approx(1.5)


def test_a_histogram_that_began_anew_counts_whole() -> None:
    after = durations(0, 3, 0, 0)
    assert growth(durations(5, 5, 5, 5), after) is after
    assert growth(None, after) is None
    assert growth(after, None) is None


def test_quantiles_of_shards_are_of_all_their_misses_together() -> None:
    fast, slow = durations(99, 0, 0, 0), durations(0, 0, 99, 0)
    together = merged([fast, None, slow])
    assert together is not None
    assert together.count == 198
    assert quantile(together, 0.99) == pytest.approx(4.0, abs=0.1)
    assert quantile(together, 0.5) == pytest.approx(1.0)
    assert merged([None]) is None


def test_without_a_miss_there_is_no_quantile() -> None:
    assert quantile(durations(0, 0, 0, 0), 0.99) is None
    assert quantile(None, 0.99) is None


def test_sums_and_ratios_leave_out_what_is_not_known() -> None:
    assert total([1, None, 2]) == 3
    assert total([None]) is None
    assert ratio(1, 4) == 0.25
    assert ratio(0, 4) == 0
    assert ratio(None, 4) is None
    assert ratio(4, None) is None
    assert ratio(4, 0) is None
