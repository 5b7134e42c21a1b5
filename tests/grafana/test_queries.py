"""What the dashboards ask Prometheus: it parses, metrics and labels exist, and panels show it in its unit."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml
from keymiss_deploy.grafana.promql import metric_name
from keymiss_deploy.grafana.queries import (
    MAY_BE_EMPTY,
    UNUSED,
    annotation_queries,
    fill,
    panel_queries,
    panels,
    variable_queries,
)
from support import promql
from support.promql import NUMBER, Dimension

from keymiss.metrics import METRICS
from keymiss.metrics.definitions import PROCESS_METRICS

QUERIES = panel_queries()
EXPRESSIONS = [query.runnable() for query in QUERIES]
EXPRESSIONS += [fill(expr) for _, expr in (*variable_queries(), *annotation_queries())]
OF_PROMETHEUS = {"ALERTS", "up"}
TARGET_LABELS = {"cluster", "instance", "job", "shard", "role"}
EXPORTER_LABELS = {"cmd", "err"}
ALERT_LABELS = {"alertname", "alertstate", "severity", "worker", "function"}
PROMTOOL_TIMEOUT_S = 30.0

# What Grafana's units are for.
DIMENSIONS = {
    "s": Dimension(seconds=1),
    "dtdurations": Dimension(seconds=1),
    "bytes": Dimension(bytes=1),
    "binBps": Dimension(bytes=1, seconds=-1),
    "reqps": Dimension(seconds=-1),
    "cps": Dimension(seconds=-1),
    **dict.fromkeys(("short", "none", "percentunit", "bool_yes_no"), NUMBER),
}


def _unit(series: str) -> str:
    """Of the values of a series: seconds, bytes or none."""
    if series.startswith("keymiss_"):
        if series.endswith(("_bucket", "_count")):
            return ""
        return METRICS[metric_name(series)].unit
    found = re.search(r"_(bytes|seconds)(_total)?$", series)
    return found[1] if found else ""


def test_unit_of_the_panel_is_that_of_the_query() -> None:
    wrong = {
        query.name: query.unit
        for query in QUERIES
        if promql.dimension(promql_parser.parse(query.runnable()), _unit) != DIMENSIONS[query.unit]
    }

    assert wrong == {}


@pytest.mark.parametrize(
    ("expr", "unit"),
    {
        "rate(keymiss_hits_total[1m])": "reqps",
        "rate(redis_net_input_bytes_total[1m])": "binBps",
        "rate(keymiss_device_busy_seconds_total[1m])": "percentunit",
        "increase(keymiss_hits_total[1m])": "short",
        "histogram_quantile(0.5, rate(keymiss_batch_size_bucket[1m]))": "short",
        "histogram_quantile(0.5, rate(keymiss_batch_wait_seconds_bucket[1m]))": "s",
        "rate(keymiss_batch_wait_seconds_sum[1m]) / rate(keymiss_batch_wait_seconds_count[1m])": "s",
        "keymiss_tensor_bytes / (keymiss_tensors > 0)": "bytes",
    }.items(),
)
def test_unit_of_a_query_is_told_from_its_metrics(expr: str, unit: str) -> None:
    assert promql.dimension(promql_parser.parse(expr), _unit) == DIMENSIONS[unit]


def test_sums_of_unlike_things_are_found() -> None:
    with pytest.raises(promql.Unlike):
        promql.dimension(promql_parser.parse("keymiss_tensor_bytes + keymiss_tensors"), _unit)


def test_prometheus_reads_every_expression(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    asked = [{"record": f"asked:{number}", "expr": expr} for number, expr in enumerate(EXPRESSIONS)]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": asked}]}))

    done = subprocess.run(
        ["promtool", "check", "rules", str(rules)],
        capture_output=True,
        text=True,
        timeout=PROMTOOL_TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert f"{len(asked)} rules found" in done.stdout


def test_metrics_that_are_asked_for_exist() -> None:
    asked = _series()

    ours = {name for metric in METRICS.values() for name in metric.series}
    theirs = OF_PROMETHEUS | set(PROCESS_METRICS)
    assert {name for name in asked if not name.startswith("redis_")} <= ours | theirs


def test_labels_that_are_asked_for_exist() -> None:
    for expr in EXPRESSIONS:
        parsed = promql_parser.parse(expr)
        for selector in promql.selectors(parsed):
            assert {matcher.name for matcher in selector.matchers.matchers} <= _labels(selector), expr
        known = set[str]().union(*map(_labels, promql.selectors(parsed)))
        assert set(promql.labels(parsed)) <= known, expr


def _labels(selector: promql_parser.VectorSelector) -> set[str]:
    """The labels of the series that it chooses."""
    name = selector.name or ""
    if name.startswith("keymiss_"):
        return TARGET_LABELS | {"le"} | set(METRICS[metric_name(name)].labels)
    if name.startswith("redis_"):
        return TARGET_LABELS | EXPORTER_LABELS
    if name == "ALERTS":
        return TARGET_LABELS | ALERT_LABELS
    return TARGET_LABELS | {"__name__"}


def test_legends_name_labels_that_the_series_have() -> None:
    for _, panel in panels():
        for target in panel.get("targets", ()):
            if "expr" in target:
                kept = set(promql.labels(promql_parser.parse(fill(target["expr"]))))
                assert set(re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))) <= kept, target


def test_every_metric_is_on_a_dashboard_or_left_out_with_a_reason() -> None:
    shown = {metric_name(name) for name in _series() if name.startswith("keymiss_")}

    assert METRICS.keys() - shown == UNUSED.keys()
    assert all(UNUSED.values())


def test_what_may_be_empty_is_a_query() -> None:
    assert MAY_BE_EMPTY.keys() <= {(query.dashboard, query.panel, query.ref_id) for query in QUERIES}


def _series() -> set[str]:
    """The names of all series that are asked for."""
    return {
        name
        for expr in EXPRESSIONS
        for selector in promql.selectors(promql_parser.parse(expr))
        for name in ([selector.name] if selector.name else _names(selector))
    }


def _names(selector: promql_parser.VectorSelector) -> list[str]:
    """Of a selector by the names of several metrics."""
    return [
        name
        for matcher in selector.matchers.matchers
        if matcher.name == "__name__"
        for name in matcher.value.split("|")
    ]
