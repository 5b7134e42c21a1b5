"""Columns, their order, and how figures are written."""

from __future__ import annotations

import json

import pytest

from keymiss.client import Address
from keymiss.top import units
from keymiss.top.figures import Figures, Row, compare
from keymiss.top.info import parse_info
from keymiss.top.plain import as_json, as_text
from keymiss.top.reading import Model, Server
from keymiss.top.tables import SHARDS, TABLES, TOTALS, ordered
from keymiss.top.units import written


def figures_of(name: str = "shard-1", state: str = "ready") -> Figures:
    """With a row in every table."""
    text = (
        f"run_id:a\nredis_version:7.2.0\nkeymiss_models_worker:state={state},pid=1\n"
        "keymiss_function_0:name=answer,runs=1,failures=0,lag_us=0\n"
    )
    models = [Model("m{a}", "", "TORCH", "CPU", {})]
    server = Server(Address(), name, "master", 16384, 0.0, "up", "", parse_info(text), models)
    return compare({}, {server.address: server})


def test_every_column_is_a_figure_of_its_rows() -> None:
    figures = figures_of()
    for table in TABLES:
        (row, *_) = table.of(figures)
        assert {column.figure for column in table.columns} <= row.keys()
        assert set(table.key) <= row.keys()
    assert {column.figure for column in TOTALS} <= figures.totals.keys()


def test_every_column_says_what_it_means() -> None:
    for table in TABLES:
        for column in table.columns:
            assert column.help.rstrip("]")[-1:] not in ("", ":"), f"{table.title}: {column.title}"


def test_rows_are_sorted_by_any_figure_with_those_that_have_none_last() -> None:
    rows: list[Row] = [{"n": 1, "w": "b"}, {"n": None, "w": "a"}, {"n": 3, "w": ""}, {"n": 2, "w": "c"}]
    assert [row["n"] for row in ordered(rows, "n", reverse=False)] == [3, 2, 1, None]
    assert [row["n"] for row in ordered(rows, "n", reverse=True)] == [1, 2, 3, None]
    assert [row["w"] for row in ordered(rows, "w", reverse=False)] == ["a", "b", "c", ""]
    assert [row["w"] for row in ordered(rows, "w", reverse=True)] == ["c", "b", "a", ""]
    assert ordered(rows, None, reverse=True) == rows


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (units.rate(0), "0"),
        (units.rate(0.254), "0.25"),
        (units.rate(12.34), "12.3"),
        (units.rate(1234.5), "1,234"),
        (units.rate(123_456), "123 k"),
        (units.count(99_999), "99,999"),
        (units.count(1_234_567), "1.23 M"),
        (units.percent(0.961), "96.1 %"),
        (units.seconds(0.00084), "840 us"),
        (units.seconds(0.00123), "1.23 ms"),
        (units.seconds(0.99999), "1.00 s"),
        (units.seconds(12.0), "12.0 s"),
        (units.seconds(0), "0"),
        (units.size(512), "512 B"),
        (units.size(1 << 30), "1.00 GB"),
        (units.size(999.9 * 1024), "0.98 MB"),
        (units.age(42.9), "42s"),
        (units.age(3 * 60 + 5), "3m05s"),
        (units.age(5 * 3600 + 7 * 60), "5h07m"),
        (units.age(12 * 86400 + 3 * 3600), "12d03h"),
        (written(None, units.rate), "-"),
        (written("", None), "-"),
        (written("two\x1b[31m\nlines", None), "two [31m lines"),
    ],
)
def test_figures_are_written_in_few_characters(cell: str, text: str) -> None:
    assert cell == text


def test_text_has_a_line_for_each_row_and_no_column_without_figures() -> None:
    text = as_text(figures_of())
    assert text.startswith("redis 7.2.0, 1 of 1 servers up\n")
    heading, row = text.partition("Shards\n")[2].splitlines()[:2]
    assert heading.split() == ["shard", "state", "role", "slots", "address"]
    assert row.split() == ["shard-1", "up", "master", "16,384", "127.0.0.1:30001"]
    assert "Errors" not in text, "a table without figures"


def test_json_has_all_tables_and_whether_all_is_there() -> None:
    told = json.loads(as_json(figures_of()))
    assert told["complete"] is True
    assert told["totals"]["servers_up"] == 1
    assert {name for name, rows in told.items() if isinstance(rows, list)} == {
        *("shards", "workers", "models", "inference", "functions")
    }
    assert {column.figure for column in SHARDS.columns} <= told["shards"][0].keys()
