"""PromQL as the dashboards write it: each metric is filtered by the variables whose labels it has."""

from __future__ import annotations

from keymiss.metrics import METRICS

INTERVAL = "$__rate_interval"

FIRING = 'ALERTS{alertname=~"Keymiss.+",alertstate="firing",cluster=~"$cluster|"}'  # also of no cluster

_HISTOGRAM_ENDS = ("_bucket", "_sum", "_count")


def labels_of(series: str) -> tuple[str, ...]:
    """The labels that a metric has of its own, or, redis_exporter's, by its target."""
    if series.startswith("redis_"):
        return ("shard",)
    if series == "up" or series.startswith("process_"):
        return ("instance", "job")
    return METRICS[metric_name(series)].labels


def metric_name(series: str) -> str:
    """The name in keymiss.metrics: keymiss_x_seconds of keymiss_x_seconds_bucket.

    KeyError: there is no such metric.
    """
    for end in ("", *_HISTOGRAM_ENDS):
        name = series.removesuffix(end)
        if name in METRICS:
            return name
    raise KeyError(f"no metric {series} in keymiss/metrics/definitions.py")


def series(name: str, where: str = "") -> str:
    """What of a metric the variables choose: series("keymiss_hits_total") is of $cluster and $shard."""
    labels = labels_of(name)
    matchers = ['cluster=~"$cluster"']
    matchers += [f'{label}=~"${label}"' for label in ("shard", "model") if label in labels]
    return f"{name}{{{','.join([*matchers, where] if where else matchers)}}}"


def total(name: str, *by: str, where: str = "", of: str = "sum") -> str:
    """A gauge, added up or what `of` says, for each value of the labels `by`."""
    return f"{of}{_by(by)} ({series(name, where)})"


def per_second(name: str, *by: str, where: str = "") -> str:
    """A counter's rate."""
    return f"sum{_by(by)} (rate({series(name, where)}[{INTERVAL}]))"


def grown(name: str, *by: str, where: str = "") -> str:
    """What a counter gained in the time that the dashboard shows."""
    return f"sum{_by(by)} (increase({series(name, where)}[$__range]))"


def quantile(q: float, histogram: str, *by: str, where: str = "") -> str:
    """For example quantile(0.99, "keymiss_job_duration_seconds"), in the histogram's unit; nothing where
    nothing was measured, instead of NaN."""
    return f"histogram_quantile({q}, {per_second(f'{histogram}_bucket', 'le', *by, where=where)}) >= 0"


def mean(histogram: str, *by: str, where: str = "") -> str:
    """Of what a histogram saw, in its unit."""
    return share(
        per_second(f"{histogram}_sum", *by, where=where), per_second(f"{histogram}_count", *by, where=where)
    )


def share(part: str, whole: str) -> str:
    """part / whole; nothing where the whole is 0, instead of NaN."""
    return f"{part} / ({whole} > 0)"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
