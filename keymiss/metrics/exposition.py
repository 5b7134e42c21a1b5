"""What is read from the sources, as Prometheus' text format 0.0.4, when somebody asks for it.

Written by hand: prometheus_client, which checks and escapes every name of every line anew, takes ten
milliseconds for some hundred series, of a worker that answers tens of misses in that time. What is before
the value is the same in each scrape, and kept. Its figures of the process are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from keymiss.metrics.definitions import METRICS
from keymiss.metrics.histogram import Distribution
from keymiss.metrics.metric import Metric
from keymiss.metrics.samples import Sample, Source

_KEPT_SERIES = 4096
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Exposition:
    """What the sources measure, and figures of this process with `labels`. A source that fails leaves out
    what it measures, and `failed` is told why."""

    def __init__(
        self,
        sources: Sequence[Source],
        failed: Callable[[Exception], object],
        labels: Callable[[], Mapping[str, str]],
    ) -> None:
        self._sources, self._failed = sources, failed
        self._process = CollectorRegistry(auto_describe=False)
        self._process.register(_ProcessFigures(labels))

    def text(self) -> bytes:
        """Every metric that has a value, in the table's order. Every thread."""
        by_metric: dict[str, list[Sample]] = {}
        for source in self._sources:
            try:
                for one in source():
                    by_metric.setdefault(one.metric.name, []).append(one)
            except Exception as error:  # one figure less: the worker and the other figures are well
                self._failed(error)
        lines: list[str] = []
        for name, metric in METRICS.items():
            if name in by_metric:
                lines += _family(metric, by_metric[name])
        return "".join(lines).encode() + generate_latest(self._process)


class _ProcessFigures(Collector):
    """process_* of this process."""

    def __init__(self, labels: Callable[[], Mapping[str, str]]) -> None:
        self._process, self._labels = ProcessCollector(registry=None), labels

    def collect(self) -> Iterable[Family]:
        families = list(self._process.collect())
        for family in families:
            family.samples = [
                sample._replace(labels={**sample.labels, **self._labels()}) for sample in family.samples
            ]
        return families


def _family(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
    for _, labels, value in samples:
        if isinstance(value, Distribution):
            heads = _histogram_heads(metric.name, labels)
            at_most = value.cumulative()
            for head, told in zip(heads, (*at_most, value.sum, at_most[-1]), strict=True):
                yield f"{head}{told!r}\n"
        else:
            yield f"{_head(metric.name, labels)}{value!r}\n"


@lru_cache(maxsize=_KEPT_SERIES)
def _head(metric: str, labels: tuple[str, ...]) -> str:
    """The line of a counter or gauge, up to its value."""
    return _series(metric, zip(METRICS[metric].labels, labels, strict=True))


@lru_cache(maxsize=_KEPT_SERIES)
def _histogram_heads(metric: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the buckets, the sum and the count of a histogram."""
    named = list(zip(METRICS[metric].labels, labels, strict=True))
    bounds = [*map(repr, METRICS[metric].bounds.values()), "+Inf"]
    buckets = [_series(f"{metric}_bucket", [*named, ("le", bound)]) for bound in bounds]
    return (*buckets, _series(f"{metric}_sum", named), _series(f"{metric}_count", named))


def _series(name: str, labels: Iterable[tuple[str, str]]) -> str:
    said = ",".join(f'{label}="{_shown(value)}"' for label, value in labels)
    return f"{name}{{{said}}} " if said else f"{name} "


def _shown(value: str) -> str:
    """A label's value between quotes. Users choose names: what is no Unicode stands as `\\udcff`."""
    return value.encode("utf-8", "backslashreplace").decode().translate(_ESCAPED)
