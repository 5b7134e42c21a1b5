"""The batch policy by itself, with a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymiss.channel import NEVER
from keymiss.inference.policy import Batch, Group, Rule, Shares, Waiting, form, next_batch, widen


def group(*rows: int, rule: Rule = Rule(), model: str = "m", arrived_s: float = 0.0) -> Group[int]:  # noqa: B008
    return Group(model, rule, [Waiting(n, r, arrived_s) for n, r in enumerate(rows)])


def jobs_of(formed: Batch[int] | float) -> tuple[int, ...]:
    assert isinstance(formed, Batch)
    return formed.jobs


def test_without_a_batch_size_each_job_runs_alone() -> None:
    assert jobs_of(form(group(1, 1, 1), 0.0)) == (0,)


def test_a_batch_takes_jobs_in_order_until_the_next_would_not_fit() -> None:
    assert jobs_of(form(group(1, 2, 2, 1, rule=Rule(4)), 0.0)) == (0, 1)


def test_a_job_larger_than_the_batch_size_runs_alone() -> None:
    assert jobs_of(form(group(5, 1, rule=Rule(2)), 0.0)) == (0,)


def test_a_batch_size_alone_makes_nobody_wait() -> None:
    assert jobs_of(form(group(1, rule=Rule(4)), 0.0)) == (0,)


def test_too_few_rows_wait_for_more() -> None:
    assert form(group(1, rule=Rule(4, 2)), 100.0) == NEVER


def test_enough_rows_run_at_once() -> None:
    assert jobs_of(form(group(1, 1, rule=Rule(4, 2)), 0.0)) == (0, 1)


def test_one_job_with_enough_rows_runs_at_once() -> None:
    assert jobs_of(form(group(2, rule=Rule(4, 2)), 0.0)) == (0,)


def test_too_few_rows_run_when_the_first_has_waited_long_enough() -> None:
    waits = group(1, rule=Rule(4, 4, 0.05), arrived_s=10.0)
    assert form(waits, 10.0) == 10.05
    assert jobs_of(form(waits, 10.05)) == (0,)


def test_a_minimum_above_the_batch_size_is_reached_by_a_full_batch() -> None:
    assert jobs_of(form(group(1, 1, rule=Rule(2, 4)), 0.0)) == (0, 1)


def test_a_batch_that_nothing_fits_into_any_more_does_not_wait() -> None:
    assert jobs_of(form(group(3, 2, rule=Rule(4, 4)), 0.0)) == (0,)


def test_an_expired_job_is_passed_over_and_not_counted() -> None:
    late = [Waiting(0, 1, 0.0, 1.0), Waiting(1, 1, 0.0), Waiting(2, 1, 0.0, 1.0)]
    formed = form(Group("m", Rule(), late), 2.0)
    assert jobs_of(formed) == (1,)
    assert form(Group("m", Rule(4, 2), late), 2.0) == NEVER


def test_the_model_that_used_least_of_the_device_runs_first() -> None:
    groups = [group(1, model="busy"), group(1, model="new", arrived_s=5.0)]
    decision = next_batch(groups, 6.0, {"busy": 2.0, "new": 1.0})
    assert decision.group is groups[1]


def test_among_equals_the_longest_waiting_runs_first() -> None:
    groups = [group(1, model="a", arrived_s=5.0), group(1, model="b", arrived_s=4.0)]
    assert next_batch(groups, 6.0, {}).group is groups[1]


def test_a_batch_that_waits_does_not_hold_up_another_model() -> None:
    groups = [group(1, rule=Rule(4, 4, 1.0), model="waits"), group(1, model="runs")]
    assert next_batch(groups, 0.5, {}).group is groups[1]
    assert next_batch(groups[:1], 0.5, {}).wake_s == 1.0


def test_a_model_that_was_idle_has_saved_nothing_up() -> None:
    shares = Shares()
    shares.join("busy")
    shares.charge("busy", 10.0)
    shares.join("new")
    assert shares.used_s["new"] == shares.used_s["busy"]


def test_a_batch_is_no_larger_than_is_worth_it_but_as_large_as_was_asked_for() -> None:
    assert jobs_of(form(group(1, 1, 1, 1, rule=Rule(4)), 0.0, most=2)) == (0, 1)
    assert jobs_of(form(group(1, 1, 1, 1, rule=Rule(4, 3)), 0.0, most=2)) == (0, 1, 2)


waitings = st.lists(
    st.tuples(st.integers(0, 9), st.floats(0, 10), st.floats(0, 20) | st.just(NEVER)), max_size=30
).map(lambda jobs: [Waiting(n, rows, arrived, end) for n, (rows, arrived, end) in enumerate(jobs)])
rules = st.builds(Rule, st.integers(0, 12), st.integers(0, 12), st.floats(0, 5))


@given(waitings, rules, st.floats(0, 20))
def test_a_batch_is_a_prefix_of_the_unexpired_jobs_and_fits(
    waiting: list[Waiting[int]], rule: Rule, now_s: float
) -> None:
    formed = form(Group("m", rule, waiting), now_s)
    if isinstance(formed, float):
        assert formed > now_s
        return
    alive = [one for one in waiting if one.deadline_s > now_s]
    taken = alive[: len(formed.jobs)]
    assert formed.jobs == tuple(one.job for one in taken)
    assert set(formed.jobs) <= {one.job for one in waiting[: formed.taken]}
    assert len(taken) == 1 or sum(one.rows for one in taken) <= rule.batchsize


@given(waitings, rules)
def test_every_job_is_run_once_or_expires(waiting: list[Waiting[int]], rule: Rule) -> None:
    """With a timeout, no job is left behind: time goes on to when the policy says, until nothing waits."""
    rule = rule._replace(minbatchtimeout_s=max(rule.minbatchtimeout_s, 0.01))
    now_s, left, ran = 20.0, list(waiting), list[int]()
    while left:
        decision = next_batch([Group("m", rule, left)], now_s, {})
        if decision.batch is not None:
            ran += decision.batch.jobs
            left = left[decision.batch.taken :]
        elif decision.wake_s == NEVER:
            assert all(one.deadline_s <= now_s for one in left)
            break
        else:
            now_s = max(decision.wake_s, now_s)
    assert sorted(ran) == [one.job for one in waiting if one.deadline_s > 20.0]


@pytest.mark.parametrize(("tokens", "joins"), [(90, True), (89, False)])
def test_a_twentieth_of_a_pass_may_be_filling(tokens: int, joins: bool) -> None:
    longer, shorter = (Group("m", Rule(8), [Waiting(n, 1, 0.0)], n, "family") for n in (100, tokens))
    for first, other in ((longer, shorter), (shorter, longer)):
        more = widen(first, Batch((first.tokens,), 1, 1, 0.0), [other], 0.0, 8)
        assert [batch.jobs for _, batch in more] == [(other.tokens,)] * joins


families = st.lists(
    st.tuples(st.integers(1, 300), st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1)),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one[0],
)


@given(families, st.integers(1, 20))
def test_lengths_are_joined_in_order_up_to_the_size_and_with_little_filling(
    lengths: list[tuple[int, list[tuple[int, bool]]]], most: int
) -> None:
    groups = []
    for tokens, jobs in lengths:
        waiting = [
            Waiting((tokens, n), rows, 0.0, NEVER if alive else 1.0) for n, (rows, alive) in enumerate(jobs)
        ]
        groups.append(Group("m", Rule(20), waiting, tokens, "family"))
    first = form(groups[0], 2.0, most)
    if isinstance(first, float):
        return
    parts = [(groups[0], first), *widen(groups[0], first, groups[1:], 2.0, most)]
    for one, batch in parts:
        alive = [waiting for waiting in one.waiting if waiting.deadline_s > 2.0]
        assert batch.jobs == tuple(waiting.job for waiting in alive[: len(batch.jobs)])
        assert set(batch.jobs) <= {waiting.job for waiting in one.waiting[: batch.taken]}
        assert batch.rows == sum(waiting.rows for waiting in alive[: len(batch.jobs)])
    if len(parts) > 1 and any(batch.jobs for _, batch in parts[1:]):
        rows = sum(batch.rows for _, batch in parts)
        longest = max(one.tokens for one, batch in parts if batch.jobs)
        real = sum(batch.rows * one.tokens for one, batch in parts)
        assert rows <= most
        assert 20 * real >= 19 * rows * longest
