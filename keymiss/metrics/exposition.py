"""Metrics as prometheus_client shows them: read from their sources when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from keymiss.metrics.definitions import METRICS
from keymiss.metrics.histogram import Distribution
from keymiss.metrics.metric import Metric
from keymiss.metrics.samples import Sample, Source

_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class Exposition(Collector):
    """What the sources measure. One that fails leaves out what it measures, and `failed` is told why."""

    def __init__(self, sources: Sequence[Source], failed: Callable[[Exception], object]) -> None:
        self._sources, self._failed = sources, failed

    def collect(self) -> Iterator[Family]:
        """Every metric that has a value, in the table's order."""
        by_metric: dict[str, list[Sample]] = {}
        for source in self._sources:
            try:
                for one in source():
                    by_metric.setdefault(one.metric.name, []).append(one)
            except Exception as error:  # one figure less: the worker and the other figures are well
                self._failed(error)
        for name, metric in METRICS.items():
            if name in by_metric:
                yield _family(metric, by_metric[name])


class ProcessFigures(Collector):
    """process_* of this process, with labels that tell whose it is."""

    def __init__(self, labels: Callable[[], Mapping[str, str]]) -> None:
        self._process, self._labels = ProcessCollector(registry=None), labels

    def collect(self) -> Iterable[Family]:
        families = list(self._process.collect())
        for family in families:
            family.samples = [
                sample._replace(labels={**sample.labels, **self._labels()}) for sample in family.samples
            ]
        return families


def registry_of(*collectors: Collector) -> CollectorRegistry:
    """What /metrics is made of. Nothing is collected now."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return registry


def _family(metric: Metric, samples: Iterable[Sample]) -> Any:
    family: Any = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
    for _, labels, value in samples:
        if isinstance(value, Distribution):
            family.add_metric(labels, _buckets(value), value.sum)
        else:
            family.add_metric(labels, value)
    return family


def _buckets(value: Distribution) -> list[tuple[str, float]]:
    bounds = map(repr, map(float, value.bounds))
    return list(zip([*bounds, "+Inf"], map(float, value.cumulative()), strict=True))
