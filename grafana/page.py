"""A dashboard as all of this project are: its variables, its links, and panels in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import table

from .panels import PROMETHEUS
from .promql import FIRING

PROMETHEUS_TAG, REDIS_TAG = "keymiss", "keymiss-shards"
ALL = ".*"  # also what has no such label, as where Prometheus was given no name of the cluster

PanelBuilder = Builder[models.Panel]
_SHARDS = '{__name__=~"keymiss_worker_up|redis_up"'


@dataclass(frozen=True)
class Row:
    """Panels under a heading. `repeat`: a variable, for each of whose values the row is shown once."""

    title: str
    panels: Sequence[PanelBuilder]
    repeat: str = ""


@dataclass(frozen=True)
class Page:
    """One dashboard. `uid` is part of its address and stays the same for ever."""

    uid: str
    title: str
    description: str
    variables: Sequence[Builder[models.VariableModel]]
    rows: Sequence[Row]
    tag: str = PROMETHEUS_TAG
    refresh: str = "10s"
    annotations: Sequence[Builder[models.AnnotationQuery]] = field(default_factory=tuple)

    def build(self) -> models.Dashboard:
        """Places the panels, row under row, and numbers them."""
        page = builders.Dashboard(self.title).uid(self.uid).description(self.description).tags([self.tag])
        page.editable().timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR)
        page.time("now-1h", "now").refresh(self.refresh)
        page.links([_link("Keymiss", PROMETHEUS_TAG), _link("Shards", REDIS_TAG, dropdown=True)])
        page.variables(list(self.variables)).annotations(list(self.annotations))
        for row in self.rows:
            if row.title:
                heading = builders.Row(row.title)
                page.with_row(heading.repeat(row.repeat) if row.repeat else heading)
            for panel in row.panels:
                page.with_panel(panel)
        return _tidied(page.build())


def _tidied(built: models.Dashboard) -> models.Dashboard:
    """Numbers the panels; leaves out what the SDK fills in that Grafana's schema does not know."""
    for number, part in enumerate(built.panels or [], start=1):
        part.id_val = number
        if isinstance(part, models.Panel) and isinstance(part.options, table.Options):
            part.options.footer = None
    for variable in built.templating.list_val or [] if built.templating else []:
        variable.auto = variable.auto_min = variable.auto_count = None
    return built


def _link(title: str, tag: str, dropdown: bool = False) -> builders.DashboardLink:
    """To all dashboards with a tag, with the variables and the time that are chosen."""
    link = builders.DashboardLink(title).type(models.DashboardLinkType.DASHBOARDS).tags([tag])
    return (
        link.as_dropdown(dropdown)
        .include_vars(True)
        .keep_time(True)
        .icon("external link")
        .tooltip("")
        .url("")
    )


def prometheus_variables(*more: str) -> list[Builder[models.VariableModel]]:
    """The data source, cluster and shard, and `more` of: model."""
    source = builders.DatasourceVariable("prometheus").label("Prometheus").type("prometheus")
    cluster = _labels("cluster", "Cluster", f"{_SHARDS}}}", "Of which cluster, as Prometheus names it.")
    shard = _many(
        _labels("shard", "Shard", f'{_SHARDS},cluster=~"$cluster"}}', "Of which shards and replicas.")
    )
    known = {
        "model": lambda: _many(
            _labels(
                "model",
                "Model",
                'keymiss_model_weight_bytes{cluster=~"$cluster"}',
                "A model's tag, or else the beginning of its digest.",
            )
        )
    }
    return [source, cluster, shard, *(known[name]() for name in more)]


def _labels(name: str, label: str, of: str, description: str) -> builders.QueryVariable:
    """A variable whose values are those of the label `name` of the series `of`."""
    query = f"label_values({of}, {name})"
    variable = builders.QueryVariable(name).label(label).description(description).datasource(PROMETHEUS)
    variable.query({"qryType": 1, "query": query, "refId": f"variable-{name}"})
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(
        models.VariableSort.NATURAL_ASC
    )


def _many(variable: builders.QueryVariable) -> builders.QueryVariable:
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(ALL).current(everything)


def prometheus_annotations() -> list[Builder[models.AnnotationQuery]]:
    """Marks in all graphs: alerts that fire, workers that had to be started again."""
    return [
        _annotation("Alerts", FIRING, "red", "{{alertname}} {{shard}}"),
        _annotation(
            "Worker restarts",
            'increase(keymiss_worker_restarts_total{cluster=~"$cluster",shard=~"$shard"}[$__interval]) > 0',
            "orange",
            "{{worker}} worker of {{shard}} started again",
        ),
    ]


def _annotation(name: str, expr: str, color: str, title: str) -> builders.AnnotationQuery:
    annotation = builders.AnnotationQuery().name(name).datasource(PROMETHEUS).enable(True).hide(False)
    target = prometheus.Dataquery().expr(expr).legend_format(title).ref_id("Anno").range()
    return annotation.icon_color(color).target(target)


def shard_variable() -> Builder[models.VariableModel]:
    """Of the dashboards that read one shard: which Redis data source."""
    return builders.DatasourceVariable("redis").label("Shard").type("redis-datasource")
