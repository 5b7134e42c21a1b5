"""How panels of this project look: each kind is made in one place, with title, description and unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, statetimeline, table
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import timeseries as graphs
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

WIDTH = 24  # of a dashboard, in Grafana's units
GOOD, WARN, BAD, NEUTRAL = "green", "orange", "red", "blue"

Step = tuple[float, str]
_P = TypeVar("_P", bound="_Panel")


class _Panel(Protocol):
    """What the builders of all kinds of panels share."""

    def title(self: _P, title: str) -> _P: ...
    def description(self: _P, description: str) -> _P: ...
    def unit(self: _P, unit: str) -> _P: ...
    def span(self: _P, w: int) -> _P: ...
    def height(self: _P, h: int) -> _P: ...
    def datasource(self: _P, datasource: looks.DataSourceRef) -> _P: ...
    def with_target(self: _P, target: Builder[Dataquery]) -> _P: ...
    def no_value(self: _P, no_value: str) -> _P: ...


@dataclass(frozen=True)
class Query:
    """One query of a panel to Prometheus. `unit` where it is not the panel's."""

    expr: str
    legend: str = ""
    unit: str = ""


PROMETHEUS = looks.DataSourceRef(type_val="prometheus", uid="${prometheus}")


def begin(
    panel: _P, title: str, description: str, unit: str, size: tuple[int, int], source: looks.DataSourceRef
) -> _P:
    """What every panel has. `size` is width and height in Grafana's units."""
    width, height = size
    return (
        panel.title(title).description(description).unit(unit).span(width).height(height).datasource(source)
    )


def ref_id(number: int) -> str:
    """A, B, C, ... as Grafana names the queries of a panel."""
    return chr(ord("A") + number)


def value_field(queries: int, ref: str) -> str:
    """What Grafana calls the values of one of so many queries in a table."""
    return f"Value #{ref}" if queries > 1 else "Value"


def _targets(
    panel: _P,
    queries: Sequence[Query],
    instant: bool = False,
    form: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> _P:
    for number, query in enumerate(queries):
        target = (
            prometheus.Dataquery()
            .datasource(PROMETHEUS)
            .expr(query.expr)
            .ref_id(ref_id(number))
            .format(form)
            .legend_format(query.legend or "__auto")
        )
        panel.with_target(target.instant() if instant else target.range())
    return panel


def steps(first: str, *rest: Step) -> builders.ThresholdsConfig:
    """Colours by value: steps(GOOD, (0.25, WARN), (1, BAD))."""
    at = [models.Threshold(value=None, color=first)]
    at += [models.Threshold(value=value, color=color) for value, color in rest]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(at)


def by_thresholds() -> builders.FieldColor:
    """A panel's colour follows its thresholds."""
    return builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)


def properties(**values: object) -> list[models.DynamicConfigValue]:
    """Of an override."""
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in values.items()]


def list_legend() -> common.VizLegendOptions:
    """Names in a line below."""
    legend = common.VizLegendOptions().show_legend(True).placement(looks.LegendPlacement.BOTTOM)
    return legend.display_mode(looks.LegendDisplayMode.LIST).calcs([])


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    size: tuple[int, int] = (8, 8),
    stacked: bool = False,
    limits: Sequence[Step] = (),
    maximum: float | None = None,
    colors: dict[str, str] | None = None,
) -> graphs.Panel:
    """Lines over time. `limits` are drawn as dashed lines; `colors` of single series by their legend."""
    panel = begin(graphs.Panel(), title, description, unit, size, PROMETHEUS)
    panel.line_width(1).fill_opacity(30 if stacked else 8).show_points(looks.VisibilityMode.NEVER)
    panel.min(0)
    if unit == "short":
        panel.axis_soft_max(1)  # a line at 0 lies at the bottom
    if maximum is not None:
        panel.max(maximum)
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if limits:
        panel.thresholds(steps("transparent", *limits))
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
        )
    panel.legend(list_legend())
    panel.tooltip(
        common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)
    )
    for number, query in enumerate(queries):
        if query.unit:
            panel.override_by_query(ref_id(number), properties(unit=query.unit))
    for name, color in (colors or {}).items():
        panel.override_by_name(name, properties(color={"mode": "fixed", "fixedColor": color}))
    return _targets(panel, queries)


def number(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    thresholds: builders.ThresholdsConfig | None = None,
    size: tuple[int, int] = (4, 4),
    empty: str = "-",
    mappings: Sequence[models.ValueMapping] = (),
    sparkline: bool = True,
) -> stat.Panel:
    """The figure of this moment, large, over a line of how it was."""
    panel = begin(stat.Panel(), title, description, unit, size, PROMETHEUS).no_value(empty)
    panel.graph_mode(looks.BigValueGraphMode.AREA if sparkline else looks.BigValueGraphMode.NONE)
    panel.color_mode(looks.BigValueColorMode.VALUE if sparkline else looks.BigValueColorMode.BACKGROUND)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    panel.thresholds(thresholds or steps(NEUTRAL)).color_scheme(by_thresholds())
    if mappings:
        panel.mappings(list(mappings))
    return _targets(panel, queries)


def bars(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    size: tuple[int, int] = (8, 8),
    thresholds: builders.ThresholdsConfig | None = None,
    maximum: float | None = None,
) -> bargauge.Panel:
    """Figures of this moment side by side, one bar for each series."""
    panel = begin(bargauge.Panel(), title, description, unit, size, PROMETHEUS)
    panel.orientation(looks.VizOrientation.HORIZONTAL).display_mode(looks.BarGaugeDisplayMode.BASIC).min(0)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    panel.thresholds(thresholds or steps(NEUTRAL)).color_scheme(by_thresholds())
    if maximum is not None:
        panel.max(maximum)
    return _targets(panel, queries, instant=True)


def distribution(
    title: str, description: str, unit: str, query: Query, size: tuple[int, int] = (12, 8)
) -> heatmap.Panel:
    """A histogram over time: how often which bucket was hit. `unit` is of the buckets' bounds."""
    panel = begin(heatmap.Panel(), title, description, "cps", size, PROMETHEUS).calculate(False)
    panel.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(looks.AxisPlacement.LEFT)).cell_gap(1)
    panel.color(
        heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(32).exponent(0.5)
    )
    panel.tooltip(heatmap.HeatmapTooltip().mode(looks.TooltipDisplayMode.SINGLE).y_histogram(False))
    panel.show_legend()
    return _targets(panel, [query], form=PromQueryFormat.HEATMAP)


def states(
    title: str,
    description: str,
    *queries: Query,
    mappings: Sequence[models.ValueMapping],
    size: tuple[int, int] = (12, 8),
) -> statetimeline.Panel:
    """When something was in which state. The states are numbers; `mappings` name and colour them."""
    panel = begin(statetimeline.Panel(), title, description, "none", size, PROMETHEUS)
    panel.mappings(list(mappings)).merge_values(True).show_value(looks.VisibilityMode.NEVER).row_height(0.8)
    panel.line_width(0).fill_opacity(80).thresholds(steps("text"))
    panel.legend(list_legend())
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.SINGLE).sort(looks.SortOrder.NONE))
    return _targets(panel, queries)


def named(**states: str) -> list[models.ValueMapping]:
    """Names and colours of whole numbers from 0 on: named(down=BAD, up=GOOD)."""
    options = {
        str(value): models.ValueMappingResult(text=name, color=color, index=value)
        for value, (name, color) in enumerate(states.items())
    }
    return [models.ValueMap(options=options)]


def plain_table(panel: table.Panel, filterable: bool) -> table.Panel:
    """Narrow rows below headings."""
    panel.show_header(True).cell_height(looks.TableCellHeight.SM)
    return panel.filterable(filterable).cell_options(looks.TableAutoCellOptions())


@dataclass(frozen=True)
class Column:
    """A column of a table: what its query gives for each row. `limits` colour the cells."""

    title: str
    expr: str
    unit: str
    limits: tuple[Step, ...] = ()


def rows(
    title: str,
    description: str,
    by: dict[str, str],
    *columns: Column,
    size: tuple[int, int] = (24, 8),
    sort_by: str = "",
) -> table.Panel:
    """A table of this moment with one row for each value of the labels `by` (label: heading)."""
    panel = begin(table.Panel(), title, description, "short", size, PROMETHEUS).no_value("none")
    plain_table(panel, filterable=False)
    headings = {
        value_field(len(columns), ref_id(number)): column.title for number, column in enumerate(columns)
    }
    wanted = [*by, *headings]
    panel.transformations(
        [
            models.DataTransformerConfig(id_val="merge", options={}),
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: place for place, name in enumerate(wanted)},
                    "renameByName": {**by, **headings},
                },
            ),
        ]
    )
    for column in columns:
        own: dict[str, object] = {"unit": column.unit}
        if column.limits:
            own["custom.cellOptions"] = {"type": "color-text"}
            own["thresholds"] = steps("text", *column.limits).build()
        panel.override_by_name(column.title, properties(**own))
    if sort_by:
        panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(True)])
    queries = [Query(column.expr) for column in columns]
    return _targets(panel, queries, instant=True, form=PromQueryFormat.TABLE)
