"""What records go through: order, limits, errors and coroutines, without a server."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymiss.functions.drive import run_inline
from keymiss.functions.errors import Aborted
from keymiss.functions.readers import PythonSource
from keymiss.functions.steps import Kind, Pipeline, Plan, Step, Waiting, legs_of


def run(steps: Iterable[Step], records: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """Run the steps inline."""
    results: list[Any] = []
    errors: list[str] = []
    run_inline(Pipeline(steps, results.append, errors).read(iter(records)))
    return results, errors


def run_with_coroutines(steps: Iterable[Step], records: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """Run the steps and await what they return to be awaited."""
    results: list[Any] = []
    errors: list[str] = []

    async def drive(work: Waiting) -> None:
        step = lambda: work.send(None)  # noqa: E731
        while True:
            try:
                waiting = step()
            except StopIteration:
                return
            try:
                value = await waiting
            except Exception as failure:
                step = lambda failure=failure: work.throw(failure)  # noqa: E731
            else:
                step = lambda value=value: work.send(value)  # noqa: E731

    asyncio.run(drive(Pipeline(steps, results.append, errors).read(iter(records))))
    return results, errors


def test_flatmap_passes_a_list_from_its_end() -> None:
    assert run([Step(Kind.FLATMAP, lambda n: [n, n * 10])], [1, 2]) == ([10, 1, 20, 2], [])


def test_only_lists_are_flattened() -> None:
    assert run([Step(Kind.FLATMAP, lambda n: (n, n))], [1]) == ([(1, 1)], [])


@given(st.lists(st.integers()), st.integers(0, 6), st.integers(0, 6))
def test_limit_is_a_slice(records: list[int], length: int, offset: int) -> None:
    assert run([Step(Kind.LIMIT, length=length, offset=offset)], records) == (
        records[offset : offset + length],
        [],
    )


def test_limit_stops_the_reading_where_nothing_before_it_gathers() -> None:
    read = []
    run([Step(Kind.FOREACH, read.append), Step(Kind.LIMIT, length=2)], range(1000))
    assert read == [0, 1]


@given(st.lists(st.integers(), min_size=1))
def test_accumulate_folds_from_none(records: list[int]) -> None:
    assert run([Step(Kind.ACCUMULATE, lambda held, n: (held or 0) + n)], records) == ([sum(records)], [])


def test_accumulate_of_nothing_is_nothing() -> None:
    assert run([Step(Kind.ACCUMULATE, lambda held, n: 1)], []) == ([], [])


def test_keys_are_text_and_groups_keep_their_records_in_order() -> None:
    steps = [Step(Kind.EXTRACT, lambda n: n % 2), Step(Kind.GROUP, lambda key, records: records)]
    assert run(steps, [1, 2, 3]) == ([{"key": "1", "value": [1, 3]}, {"key": "0", "value": [2]}], [])


def test_an_error_of_a_function_ends_the_reading_and_what_was_gathered_before_it_goes_on() -> None:
    def one_over(n: int) -> int:
        return 10 // n

    steps = [Step(Kind.MAP, one_over), Step(Kind.ACCUMULATE, lambda held, n: (held or 0) + n)]
    results, errors = run(steps, [5, 2, 0, 1])
    assert results == [7]
    assert len(errors) == 1 and "ZeroDivisionError" in errors[0]


def test_an_accumulator_that_fails_loses_what_it_held() -> None:
    results, errors = run([Step(Kind.ACCUMULATE, lambda held, n: 1 / (n - 1))], [0, 1, 2])
    assert results == [] and len(errors) == 1


def test_an_error_of_a_coroutine_costs_only_its_record() -> None:
    async def picky(n: int) -> int:
        await asyncio.sleep(0)
        if n == 1:
            raise ValueError("not one")
        return n

    assert run_with_coroutines([Step(Kind.MAP, picky)], range(3)) == ([0, 2], ["not one"])


def test_coroutines_may_stand_in_every_step_but_extractors_and_batch_reducers() -> None:
    async def passed(n: Any) -> bool:
        await asyncio.sleep(0)
        return n != 2

    async def total(held: int | None, n: int) -> int:
        await asyncio.sleep(0)
        return (held or 0) + n

    assert run_with_coroutines([Step(Kind.FILTER, passed), Step(Kind.ACCUMULATE, total)], range(5)) == (
        [8],
        [],
    )
    assert run_with_coroutines([Step(Kind.EXTRACT, passed)], [1]) == (
        [],
        ["coroutine are not allow on extractor"],
    )


def test_a_coroutine_where_nothing_may_be_awaited_is_an_error_and_never_runs() -> None:
    ran = []

    async def never(n: int) -> None:
        ran.append(n)

    results, errors = run([Step(Kind.MAP, never)], [1, 2])
    assert (results, ran) == ([], [])
    assert errors == ["Error type: <class 'gears.error'>, Value: Creating async record is not allowed"]


def test_exit_and_interrupts_of_user_code_are_errors_like_others() -> None:
    def leave(n: int) -> None:
        raise SystemExit(3)

    results, errors = run([Step(Kind.MAP, leave)], [1])
    assert results == [] and "SystemExit" in errors[0]


def test_a_function_that_cannot_be_called_is_told_by_its_error_alone() -> None:
    """As a step, and as a reader: none of its lines was reached."""

    def wants(a: int, b: int, c: int) -> None:
        raise AssertionError

    refusals = run([Step(Kind.MAP, wants)], [1])[1] + run([], PythonSource(wants).records(print))[1]
    missing = f"Error type: <class 'TypeError'>, Value: {wants.__qualname__}() missing"
    assert refusals == [
        f"{missing} 2 required positional arguments: 'b' and 'c'",
        f"{missing} 3 required positional arguments: 'a', 'b', and 'c'",
    ]


def test_an_error_of_a_reader_tells_its_lines() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    records, (error,) = run([], PythonSource(fails).records(print))
    assert records == [1] and "in fails" in error and "ValueError: no more" in error


def test_a_function_that_calls_itself_without_end_is_told_as_python_does() -> None:
    def again(n: int) -> int:
        return again(n)

    _, (error,) = run([Step(Kind.MAP, again)], [1])
    told = ast.literal_eval(error)
    assert len(told) == 6, "a heading, three times the line, how often it was repeated, and the error"
    assert re.fullmatch(r"  \[Previous line repeated \d+ more times\]\n", told[4])
    assert told[5].startswith("RecursionError")


def test_an_abort_is_not_swallowed() -> None:
    def aborted(n: int) -> None:
        raise Aborted

    with pytest.raises(Aborted):
        run([Step(Kind.MAP, aborted)], [1])


def test_a_plan_is_cut_where_records_change_shards() -> None:
    plan: Plan = (Step(Kind.MAP, str), Step(Kind.COLLECT), Step(Kind.LIMIT, length=1), Step(Kind.COLLECT))
    assert [(len(leg.steps), leg.shuffle) for leg in legs_of(plan)] == [
        (1, Kind.COLLECT),
        (1, Kind.COLLECT),
        (0, None),
    ]
