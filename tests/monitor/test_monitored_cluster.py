"""A cluster with Prometheus beside it, under load and while it breaks: every query of every panel gives what
its panel shows, every alert fires for its fault and clears once that is mended."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import yaml
from keymiss_deploy.grafana.queries import PanelQuery, annotation_queries, panel_queries, variable_queries
from monitor import traffic
from monitor.deployment import SERVERS, Monitored, monitored_cluster
from monitor.faults import FIRST, LAST, Case
from monitor.prometheus import EVERYTHING
from support.paths import REPOSITORY
from support.waiting import wait_until

from keymiss.metrics.definitions import ENGINE_STAGES, FUNCTION_STAGES

pytestmark = pytest.mark.slow

STAGES = (*ENGINE_STAGES, *FUNCTION_STAGES)
RULES = yaml.safe_load((REPOSITORY / "grafana" / "prometheus" / "rules.yml").read_text())
EXPRESSIONS = {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
ROUNDS = 2
DEADLINE_S = 60.0
MOST_PASSES = 64

# What a figure of a panel may be, by the panel's unit.
PLAUSIBLE: dict[str, Callable[[float], bool]] = {
    "percentunit": lambda value: 0 <= value <= 1,
    "bool_yes_no": lambda value: value in (0, 1),
    "s": lambda value: 0 <= value < 3600,
    "dtdurations": lambda value: 0 <= value < 3600,
    "bytes": lambda value: 0 <= value < 2**40,
    "binBps": lambda value: 0 <= value < 2**40,
    "reqps": lambda value: 0 <= value < 1e6,
    "cps": lambda value: 0 <= value < 1e7,
    "short": lambda value: 0 <= value < 1e7,
    "none": lambda value: -1 <= value < 1e7,
}
BESIDE_EACH_OTHER = {"Devices at work"}  # by several passes at once: more than all of the time

SELECTOR = re.compile(r"\b(?:keymiss_\w+|redis_\w+|up)\b(?:\{[^}]*\})?")

# What of the load has to be counted.
SEEN = (
    *("keymiss_hits_total", "keymiss_misses_total", "keymiss_answers_total"),
    *("keymiss_single_flight_savings_total", "keymiss_rg_commands_total", "keymiss_peer_messages_total"),
    'keymiss_errors_total{kind="function"}',
    'keymiss_errors_total{kind="model"}',
    'keymiss_jobs_total{kind="miss",outcome="done"}',
    'keymiss_job_duration_seconds_count{kind="miss"}',
    *(f'keymiss_stage_duration_seconds_count{{stage="{stage}"}}' for stage in STAGES),
    'keymiss_events_total{outcome="fired"}',
    'keymiss_executions_total{outcome="done"}',
    'keymiss_executions_total{outcome="failed"}',
    'keymiss_function_runs_total{function="hold",outcome="success"}',
    'keymiss_function_runs_total{function="fail",outcome="failure"}',
    'keymiss_runs_total{outcome="done"}',
    'keymiss_runs_total{outcome="failed"}',
    *("keymiss_model_requests_total", "keymiss_model_errors_total", "keymiss_model_loads_total"),
    *("keymiss_batches_total", "keymiss_batch_size_count", "keymiss_tokens_total"),
    *("keymiss_forward_duration_seconds_count", "keymiss_device_busy_seconds_total"),
)


@pytest.fixture(scope="module")
def monitored(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """Under load long enough that Prometheus knows rates of everything."""
    with monitored_cluster(server_kind, tmp_path_factory.mktemp("monitored")) as cluster:
        traffic.register(cluster)
        for number in range(ROUNDS):
            traffic.send(cluster, number)
            cluster.prometheus.wait_for_scrape(EVERYTHING)
        yield cluster


@pytest.fixture(scope="module")
def first_faults(monitored: Monitored) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        for case in FIRST:
            stack.enter_context(case.fault(monitored))
        yield stack


@pytest.fixture(scope="module")
def last_faults(monitored: Monitored, first_faults: ExitStack) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        for fault in dict.fromkeys(case.fault for case in LAST):
            stack.enter_context(fault(monitored))
        yield stack


@pytest.fixture(scope="module")
def mended(monitored: Monitored, first_faults: ExitStack, last_faults: ExitStack) -> None:
    """All is as it was, and what was counted meanwhile is long ago."""
    last_faults.close()
    first_faults.close()
    monitored.prometheus.wait_for_scrape(EVERYTHING)
    monitored.prometheus.forget(
        '{__name__=~"keymiss_(errors|misses|worker_restarts|jobs).*"}', "keymiss_job_duration_seconds_bucket"
    )


def test_every_query_of_every_panel_gives_figures_that_its_unit_allows(monitored: Monitored) -> None:
    wrong = [
        f"{query.name}: {query.expr}: {complaint}"
        for query in panel_queries()
        if (complaint := _complaint(monitored, query))
    ]
    assert not wrong, "\n".join(wrong)


def _complaint(monitored: Monitored, query: PanelQuery) -> str:
    """What is wrong with the query's answer."""
    found = [series.value for series in monitored.prometheus.query(query.runnable())]
    figures = [value for value in found if not math.isnan(value)]
    if not figures:
        return "" if query.may_be_empty else "no data"
    plausible = PLAUSIBLE[query.unit]
    if query.panel in BESIDE_EACH_OTHER:
        figures = [value / MOST_PASSES for value in figures]
    return "" if all(map(plausible, figures)) else f"{figures} in {query.unit}"


@pytest.mark.parametrize("metric", SEEN)
def test_what_was_done_is_seen(metric: str, monitored: Monitored) -> None:
    (grown,) = monitored.prometheus.query(f"sum(increase({metric}[5m]))")
    assert grown.value > 0


def test_every_variable_has_values_and_every_mark_can_be_asked_for(monitored: Monitored) -> None:
    for name, series in variable_queries():
        values = {
            one.labels.get(name) for one in monitored.prometheus.query(series.replace("$cluster", ".*"))
        }
        assert values - {None}, f"no series {series} has a label {name}"
    for _, expression in annotation_queries():
        for name in ("cluster", "shard"):
            expression = expression.replace(f"${name}", ".*")
        monitored.prometheus.query(expression.replace("$__interval", "1m"))


@pytest.mark.parametrize("alert", EXPRESSIONS)
def test_what_an_alert_looks_at_is_there(alert: str, monitored: Monitored) -> None:
    selectors = SELECTOR.findall(EXPRESSIONS[alert])
    assert selectors
    assert all(monitored.prometheus.query(selector) for selector in selectors)


def test_no_alert_fires_before_something_is_broken(monitored: Monitored) -> None:
    wait_until(lambda: not monitored.prometheus.active(), DEADLINE_S, "no alert is there")


@pytest.mark.parametrize("case", FIRST, ids=lambda case: case.alert)
def test_an_alert_fires_when_its_fault_is_there(
    case: Case, monitored: Monitored, first_faults: ExitStack
) -> None:
    _wait_until_it_fires(case, monitored)


@pytest.mark.parametrize("case", LAST, ids=lambda case: case.alert)
def test_an_alert_of_the_whole_fires_as_well(
    case: Case, monitored: Monitored, last_faults: ExitStack
) -> None:
    _wait_until_it_fires(case, monitored)


@pytest.mark.parametrize("case", FIRST + LAST, ids=lambda case: case.alert)
def test_it_clears_once_that_is_mended(case: Case, monitored: Monitored, mended: None) -> None:
    wait_until(
        lambda: not monitored.prometheus.firing(case.alert, {}),
        DEADLINE_S,
        f"{case.alert} does not fire any more",
    )


def test_without_a_monitor_no_worker_serves_metrics(monitored: Monitored, mended: None) -> None:
    monitored.keymiss("up", "--no-monitor")
    for shard in SERVERS:
        with closing(monitored.client(shard, decode_responses=True)) as client:
            assert set(client.config_get("keymiss.*metrics-port").values()) == {"0"}


def test_every_alert_has_its_fault() -> None:
    assert {case.alert for case in FIRST + LAST} == set(EXPRESSIONS)


def _wait_until_it_fires(case: Case, monitored: Monitored) -> None:
    wait_until(
        lambda: monitored.prometheus.firing(case.alert, case.labels),
        DEADLINE_S,
        f"{case.alert} fires for {case.labels}",
    )
