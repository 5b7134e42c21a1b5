"""The table of all metrics: it keeps to Prometheus' conventions, and the page says what it says."""

from __future__ import annotations

import re
from itertools import chain

import pytest
from support.paths import REPOSITORY

from keymiss.metrics import METRICS, Metric
from keymiss.metrics.page import page

NAME = re.compile(r"keymiss_[a-z][a-z0-9_]*")


def test_the_page_is_made_from_the_table() -> None:
    written = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert written == page(), "python -m keymiss.metrics > docs/metrics.md"


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
def test_a_name_tells_kind_and_unit(metric: Metric) -> None:
    assert NAME.fullmatch(metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    stem = metric.name.removesuffix("_total")
    units = [unit for unit in ("seconds", "bytes") if stem.endswith(f"_{unit}")]
    assert units == ([metric.unit] if metric.unit else [])
    assert metric.help.endswith(".")


def test_no_two_metrics_are_shown_by_the_same_field() -> None:
    shown = [
        (metric.source_of(field), field.name, field.part)
        for metric in METRICS.values()
        for field in metric.fields
    ]
    assert len(shown) == len(set(shown))


def test_the_labels_of_a_field_are_those_of_its_metric() -> None:
    for metric in METRICS.values():
        named = chain.from_iterable(field.labels for field in metric.fields)
        assert {label for label, _ in named} <= set(metric.labels), metric.name
