"""Queries to Grafana's Redis data source (the plugin redis-datasource), and panels that show them.

A query runs one command in the shard that the variable `redis` chooses. The plugin knows three ways:

    command   a command that it parses itself; of INFO, a frame with one field for each line
    gears     RG.PYSTATS, RG.DUMPREGISTRATIONS, RG.PYDUMPREQS and RG.PYEXECUTE, likewise
    cli       any other command, written as in redis-cli: its reply in one column, nested arrays flattened

Replies without a time can be streamed: the browser repeats the query and draws what it got as a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grafana_foundation_sdk.builders import common, stat, table
from grafana_foundation_sdk.builders import timeseries as graphs
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models

from .panels import NEUTRAL, begin, by_thresholds, list_legend, plain_table, properties, steps

REDIS = looks.DataSourceRef(type_val="redis-datasource", uid="${redis}")
STREAM_EVERY_MS = 2000
STREAM_POINTS = 450  # a quarter of an hour


@dataclass
class RedisQuery(Dataquery):
    """One query in the plugin's own model. `key_name` holds the function of RG.PYEXECUTE; `field`, separated
    by spaces, the fields that a stream keeps."""

    type: str
    command: str = ""
    query: str = ""
    section: str = ""
    key_name: str = ""
    field: str = ""
    streaming: bool = False
    ref_id: str = "A"

    def to_json(self) -> dict[str, object]:
        told: dict[str, object] = {
            "datasource": REDIS,
            "refId": self.ref_id,
            "type": self.type,
            "command": self.command,
            "query": self.query,
            "section": self.section,
            "keyName": self.key_name,
            "field": self.field,
        }
        if self.streaming:
            told |= {
                "streaming": True,
                "streamingDataType": "TimeSeries",
                "streamingInterval": STREAM_EVERY_MS,
                "streamingCapacity": STREAM_POINTS,
            }
        return {name: value for name, value in told.items() if value != ""}


class _Built(Builder[Dataquery]):
    """A query as the panels' builders take it."""

    def __init__(self, query: RedisQuery) -> None:
        self._query = query

    def build(self) -> Dataquery:
        return self._query


def info(section: str) -> RedisQuery:
    """INFO <section>: one row, a field for each line."""
    return RedisQuery("command", command="info", section=section)


def known(command: str) -> RedisQuery:
    """clusterInfo, clusterNodes, clientList or slowlogGet."""
    return RedisQuery("command", command=command)


def cli(command: str) -> RedisQuery:
    """Any command."""
    return RedisQuery("cli", query=command)


def rg(command: str, function: str = "") -> RedisQuery:
    """PYSTATS, DUMPREGISTRATIONS or PYDUMPREQS; or PYEXECUTE of a function."""
    return RedisQuery("gears", command=f"rg.{command.lower()}", key_name=function)


def figures(
    title: str,
    description: str,
    unit: str,
    query: RedisQuery,
    *fields: str,
    size: tuple[int, int] = (4, 4),
    names: dict[str, str] | None = None,
) -> stat.Panel:
    """Some fields of a reply, large. `names`: what to call them.

    Fields are chosen and named by transformations: a panel's own choice looks at names given by overrides.
    """
    panel = begin(stat.Panel(), title, description, unit, size, REDIS).no_value("-")
    panel.graph_mode(looks.BigValueGraphMode.NONE).color_mode(looks.BigValueColorMode.VALUE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("/.*/"))
    panel.thresholds(steps(NEUTRAL)).color_scheme(by_thresholds())
    chosen = models.DataTransformerConfig(
        id_val="filterFieldsByName", options={"include": {"names": list(fields)}}
    )
    panel.transformations([chosen, *([_renamed(names)] if names else [])])
    return panel.with_target(_Built(query))


def _renamed(names: dict[str, str], hidden: Sequence[str] = ()) -> models.DataTransformerConfig:
    options = {"excludeByName": dict.fromkeys(hidden, True), "indexByName": {}, "renameByName": names}
    return models.DataTransformerConfig(id_val="organize", options=options)


def stream(
    title: str,
    description: str,
    unit: str,
    query: RedisQuery,
    *fields: str,
    size: tuple[int, int] = (12, 8),
    names: dict[str, str] | None = None,
) -> graphs.Panel:
    """Fields of a reply as lines, from when the dashboard was opened."""
    panel = begin(graphs.Panel(), title, description, unit, size, REDIS)
    panel.line_width(1).fill_opacity(8).show_points(looks.VisibilityMode.NEVER).min(0).legend(list_legend())
    for field, name in (names or {}).items():
        panel.override_by_name(field, properties(displayName=name))
    return panel.with_target(_Built(replace(query, streaming=True, field=" ".join(fields))))


def listing(
    title: str,
    description: str,
    query: RedisQuery,
    *transformations: models.DataTransformerConfig,
    size: tuple[int, int] = (24, 8),
    units: dict[str, str] | None = None,
    names: dict[str, str] | None = None,
    hidden: Sequence[str] = (),
    unit: str = "none",
) -> table.Panel:
    """A reply as a table. `units`, `names` by field; `hidden` fields are left out."""
    panel = begin(table.Panel(), title, description, unit, size, REDIS)
    plain_table(panel, filterable=True).no_value("none")
    changes = list(transformations)
    if names or hidden:
        changes.append(_renamed(names or {}, hidden))
    panel.transformations(changes)
    for field, own_unit in (units or {}).items():
        panel.override_by_name((names or {}).get(field, field), properties(unit=own_unit))
    return panel.with_target(_Built(query))


def as_rows() -> models.DataTransformerConfig:
    """One row for each field, of a reply that has one value in each."""
    return models.DataTransformerConfig(
        id_val="reduce",
        options={"mode": "seriesToRows", "reducers": ["lastNotNull"], "includeTimeField": False},
    )


def from_json(field: str) -> models.DataTransformerConfig:
    """The members of JSON objects, one in each row, as fields in place of it."""
    return models.DataTransformerConfig(
        id_val="extractFields",
        options={"source": field, "format": "json", "replace": True, "keepTime": False},
    )
