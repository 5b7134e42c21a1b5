"""The configuration of a cluster's Prometheus: that of grafana/prometheus, and the targets of the layout.

Written anew whenever the monitor is started, so that it follows a newer Keymiss. A file that Prometheus reads
meanwhile is the old one or the new one, whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .layout import Layout
from .monitor_layout import Monitor

CLUSTER = "keymiss"  # the label of the one that a folder holds
SHIPPED = Path(__file__).parents[1] / "grafana" / "prometheus"
HOST = "127.0.0.1"

Target = dict[str, object]


def write_configuration(layout: Layout, monitor: Monitor) -> Path:
    """Write prometheus.yml, its rules and its targets to the monitor's folder; returns the first's path."""
    folder = layout.monitor_folder
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    for name, found in targets(layout, monitor).items():
        _write(folder / "targets" / f"{name}.json", json.dumps(found, indent=2) + "\n")
    _write(folder / "rules.yml", (SHIPPED / "rules.yml").read_text())
    configuration = folder / "prometheus.yml"
    _write(configuration, _paced((SHIPPED / "prometheus.yml").read_text(), monitor.interval_s))
    return configuration


def targets(layout: Layout, monitor: Monitor) -> dict[str, list[Target]]:
    """What Prometheus reads, by file: of plain servers only what the exporter says."""
    found: dict[str, list[Target]] = {"redis": [], "functions": [], "models": []}
    for number, node in enumerate(layout.nodes):
        role = "master" if node.replica_of is None else "replica"
        of_shard = {"cluster": CLUSTER, "shard": node.name}
        server = {
            "instance": f"{HOST}:{node.port}",
            "role": role,
            "__param_target": f"redis://{HOST}:{node.port}",
        }
        found["redis"].append(_target(monitor.exporter_port, of_shard | server))
        if layout.module is None:
            continue
        found["functions"].append(_target(monitor.functions_port(number), of_shard))
        if not layout.shared_models:
            found["models"].append(_target(_models_port(layout, monitor, number), of_shard))
    if layout.module is not None and layout.shared_models:
        found["models"].append(_target(_models_port(layout, monitor, 0), {"cluster": CLUSTER}))
    return found


def metrics_settings(layout: Layout, monitor: Monitor, number: int) -> dict[str, str]:
    """The settings by which the workers of the server with this number serve what Prometheus reads."""
    return {
        "keymiss.metrics-port": str(monitor.functions_port(number)),
        "keymiss.models-metrics-port": str(_models_port(layout, monitor, number)),
    }


def _models_port(layout: Layout, monitor: Monitor, number: int) -> int:
    return monitor.models_port(number, layout.servers, layout.shared_models)


def _target(port: int, labels: dict[str, str]) -> Target:
    return {"targets": [f"{HOST}:{port}"], "labels": labels}


def _paced(configuration: str, interval_s: int) -> str:
    """The configuration, reading every `interval_s` seconds; what has not answered in most of that is given
    up, so that the next reading is on time."""
    for name, value in (
        ("scrape_interval", f"{interval_s}s"),
        ("scrape_timeout", f"{interval_s * 800}ms"),
        ("evaluation_interval", f"{interval_s}s"),
    ):
        configuration, found = re.subn(rf"(?m)^(  {name}): .*$", rf"\1: {value}", configuration)
        if found != 1:
            raise ValueError(f"{SHIPPED / 'prometheus.yml'} does not say {name} once")
    return configuration


def _write(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)
