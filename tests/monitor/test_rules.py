"""The alert rules as they are shipped: valid, complete, and firing at their thresholds, after their times."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import REPOSITORY

FOLDER = REPOSITORY / "grafana" / "prometheus"
ALERTS = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
TIMEOUT_S = 60.0
SHARD = {"cluster": "keymiss", "shard": "shard-1"}
FUNCTIONS = {**SHARD, "job": "keymiss-functions", "instance": "a:1"}
MODELS = {"cluster": "keymiss", "job": "keymiss-models", "instance": "a:2"}
SERVER = {**SHARD, "job": "redis", "instance": "a:3", "role": "master"}
REPLICA = {**SERVER, "master_host": "a", "master_port": "4"}


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_about_and_where_its_runbook_is(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    page, _, section = alert["annotations"]["runbook"].partition("#")
    assert section == alert["alert"].lower()
    headings = [line.lstrip("# ") for line in (REPOSITORY / page).read_text().splitlines() if line[:1] == "#"]
    assert section in [heading.lower() for heading in headings], f"{page} has no section {alert['alert']}"
    assert all(alert["annotations"][name] for name in ("summary", "description"))


def series(name: str, labels: dict[str, str], values: str) -> dict[str, str]:
    """One of promtool's: a value a minute, in its notation (`0+5x10`: 0, 5, 10 ... 50)."""
    shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{shown}}}", "values": values}


def errors(values: str, kind: str = "function") -> dict[str, str]:
    return series("keymiss_errors_total", {**FUNCTIONS, "kind": kind}, values)


def jobs(values: str) -> dict[str, str]:
    return series("keymiss_jobs_total", {**FUNCTIONS, "kind": "miss", "outcome": "done"}, values)


def durations(upper: str, values: str) -> dict[str, str]:
    return series("keymiss_job_duration_seconds_bucket", {**FUNCTIONS, "kind": "miss", "le": upper}, values)


def restarts(values: str) -> dict[str, str]:
    return series("keymiss_worker_restarts_total", {**FUNCTIONS, "worker": "models"}, values)


# Of each alert (and why): what Prometheus reads each minute, at the threshold, above it from minute 10 on,
# no more from minute 30 on (what is counted: a few times); when it fires; when it does not.
HISTORIES: dict[str, tuple[list[dict[str, str]], list[int], list[int]]] = {
    "KeymissShardDown": ([series("redis_up", SERVER, "1x9 0x19 1x30")], [12, 29], [9, 31]),
    "KeymissShardDown, as the exporter is": ([series("up", SERVER, "1x9 0x19 1x30")], [12, 29], [9, 31]),
    "KeymissSlotsUncovered": (
        [series("redis_cluster_slots_ok", SERVER, "16384x9 10922x19 16384x30")],
        [12, 29],
        [9, 31],
    ),
    "KeymissReplicationBroken": (
        [series("redis_master_link_up", REPLICA, "1x9 0x19 1x30")],
        [12, 29],
        [9, 31],
    ),
    "KeymissMemoryHigh": (
        [
            series("redis_memory_max_bytes", SERVER, "100x60"),
            series("redis_memory_used_bytes", SERVER, "90x9 91x19 90x30"),
        ],
        [16, 29],
        [9, 13, 31],
    ),
    "KeymissFunctionsWorkerDown": (
        [series("up", FUNCTIONS, "1x9 0x19 1x30"), series("redis_up", SERVER, "1x60")],
        [12, 29],
        [9, 31],
    ),
    "KeymissModelsWorkerDown": (
        [series("keymiss_worker_up", {**FUNCTIONS, "worker": "models"}, "1x9 0x19 1x30")],
        [12, 29],
        [9, 31],
    ),
    "KeymissWorkerRestarting": ([restarts("0x9 1 2 3x40")], [13, 18], [9, 11, 24]),
    "KeymissModelsMemoryHigh": (
        [
            series("keymiss_models_memory_limit_bytes", MODELS, "100x60"),
            series("keymiss_models_resident_bytes", MODELS, "90x9 91x19 90x30"),
        ],
        [16, 29],
        [9, 13, 31],
    ),
    "KeymissModelsMemoryHigh, for what comes and goes": (
        [series("keymiss_models_brought_back_total", MODELS, "0+1x9 12+3x19 69x30")],
        [22, 29],
        [9, 13, 42],
    ),
    "KeymissTargetDown": ([series("up", FUNCTIONS, "1x9 0x19 1x30")], [16, 29], [9, 13, 31]),
    "KeymissErrorsHigh": ([jobs("0+100x60"), errors("0+5x9 51+6x19 170+1x30")], [18, 29], [9, 11, 36]),
    "KeymissQueueFull": ([errors("0x9 1x50", "busy")], [11, 14], [9, 16]),
    "KeymissTimeouts": ([errors("0x9 6x50", "timeout")], [11, 14], [9, 16]),
    "KeymissLatencyHigh": (
        [
            durations("0.5", "0+100x60"),
            durations("1", "0+100x60"),
            durations("2.5", "0+100x9 902+102x19 2940+100x30"),
            durations("+Inf", "0+100x9 902+102x19 2940+100x30"),
        ],
        [20, 29],
        [9, 13, 36],
    ),
    "KeymissRegistrationLag": (
        [series("keymiss_registration_lag_seconds", {**FUNCTIONS, "function": "f"}, "60x9 61x19 0x30")],
        [12, 29],
        [9, 31],
    ),
}


def test_every_alert_fires_above_its_threshold_for_its_time_and_not_before_or_after(tmp_path: Path) -> None:
    assert {name.partition(",")[0] for name in HISTORIES} == {alert["alert"] for alert in ALERTS}
    cases = []
    for name, (inputs, fires, silent) in HISTORIES.items():
        alert = name.partition(",")[0]
        expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
        expected = [(minute, 1) for minute in fires] + [(minute, 0) for minute in silent]
        checks = [
            {"expr": expression, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": value}]}
            for minute, value in expected
        ]
        cases.append({"name": name, "interval": "1m", "input_series": inputs, "promql_expr_test": checks})
    history = tmp_path / "history.yml"
    rules = [str(FOLDER / "rules.yml")]
    history.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "30s", "tests": cases}))
    promtool("test", "rules", history)
