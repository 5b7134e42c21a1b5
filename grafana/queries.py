"""Every query that the dashboards make, with the unit its panel shows it in, read from what was built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .files import texts
from .panels import value_field

# What Grafana puts in place of variables, for running a query without it.
EVERYTHING = ".*"
VARIABLES = {"cluster": EVERYTHING, "shard": EVERYTHING, "model": EVERYTHING}

# Why these may give nothing on a healthy system that does work: by the panel's title and the query's letter.
MAY_BE_EMPTY = {
    ("Keymiss / Cluster", "Replicas' links", "A"): "there are no replicas",
    ("Keymiss / Cluster", "Replication lag", "A"): "there are no replicas",
    ("Keymiss / Cluster", "Of maxmemory", "A"): "maxmemory is not set",
    ("Keymiss / Overview", "Alerts that fire", "A"): "all is well",
    ("Keymiss / Inference", "Memory of weights", "B"): "keymiss.models-memory is not set",
}

# Metrics that no panel shows, and why.
UNUSED: dict[str, str] = {}


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel to Prometheus. `unit` is Grafana's name: s, bytes, percentunit, reqps, ..."""

    dashboard: str
    panel: str
    ref_id: str
    expr: str
    unit: str
    instant: bool  # asks for one moment, not for a line over time

    @property
    def name(self) -> str:
        return f"{self.dashboard} / {self.panel} {self.ref_id}"

    @property
    def may_be_empty(self) -> str:
        """Why it may give nothing on a healthy system; empty where it must give something."""
        return MAY_BE_EMPTY.get((self.dashboard, self.panel, self.ref_id), "")

    def runnable(self, rate_interval: str = "1m", span: str = "5m") -> str:
        """What Grafana would send with everything chosen: rates over `rate_interval`, totals over `span`."""
        return fill(self.expr, rate_interval, span)


@dataclass(frozen=True)
class ShardQuery:
    """One query of a panel to a shard, in the model of the plugin redis-datasource. `fields` are those of the
    reply that the panel shows or names; empty: all."""

    dashboard: str
    panel: str
    model: dict[str, Any]
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.dashboard} / {self.panel}"


def fill(expr: str, rate_interval: str = "1m", span: str = "5m") -> str:
    """`expr` with everything chosen in place of its variables."""
    expr = expr.replace("$__rate_interval", rate_interval).replace("$__interval", rate_interval)
    expr = expr.replace("$__range", span)
    for name, value in VARIABLES.items():
        expr = expr.replace(f"${name}", value)
    return expr


def panel_queries() -> list[PanelQuery]:
    """All queries to Prometheus, of all panels."""
    found = []
    for dashboard, panel in panels():
        for target in panel.get("targets", ()):
            if "expr" in target:
                unit = _unit(panel, target["refId"])
                instant = bool(target.get("instant"))
                title = panel["title"]
                found.append(PanelQuery(dashboard, title, target["refId"], target["expr"], unit, instant))
    return found


def variable_queries() -> list[tuple[str, str]]:
    """Each variable's name, and the series whose labels are its values."""
    found = set()
    for dashboard in _dashboards():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"]
                found.add((variable["name"], query.removeprefix("label_values(").rpartition(", ")[0]))
    return sorted(found)


def annotation_queries() -> list[tuple[str, str]]:
    """Name and expression of the marks that dashboards draw."""
    found = {
        (annotation["name"], annotation["target"]["expr"])
        for dashboard in _dashboards()
        for annotation in dashboard["annotations"].get("list", ())
        if "target" in annotation
    }
    return sorted(found)


def shard_queries() -> list[ShardQuery]:
    """All queries to shards."""
    found = []
    for dashboard, panel in panels():
        for target in panel.get("targets", ()):
            if target.get("datasource", {}).get("type") == "redis-datasource":
                found.append(ShardQuery(dashboard, panel["title"], target, _fields(panel, target)))
    return found


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each panel with the title of its dashboard; headings of rows are none."""
    for dashboard in _dashboards():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield dashboard["title"], panel


def _dashboards() -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts().values()]


def _unit(panel: dict[str, Any], ref_id: str) -> str:
    """Of one query of a panel: its own, the one of its column in a table, or else the panel's."""
    config = panel["fieldConfig"]
    column = next(
        (
            change["options"]["renameByName"].get(value_field(len(panel["targets"]), ref_id))
            for change in panel.get("transformations", ())
            if change["id"] == "organize"
        ),
        None,
    )
    for override in config.get("overrides", ()):
        matcher = override["matcher"]
        if (matcher["id"], matcher["options"]) in {("byFrameRefID", ref_id), ("byName", column)}:
            for own in override["properties"]:
                if own["id"] == "unit":
                    return str(own["value"])
    return str(config["defaults"]["unit"])


def _fields(panel: dict[str, Any], target: dict[str, Any]) -> tuple[str, ...]:
    if target.get("field"):
        return tuple(target["field"].split())
    named: dict[str, None] = {}
    for change in panel.get("transformations", ()):
        options = change["options"]
        if change["id"] == "filterFieldsByName":
            named |= dict.fromkeys(options["include"]["names"])
        if change["id"] == "organize":
            named |= dict.fromkeys([*options["renameByName"], *options["excludeByName"]])
    return tuple(named)
