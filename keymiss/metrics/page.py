"""docs/metrics.md, made from the table of metrics."""

from __future__ import annotations

from collections.abc import Iterator

from keymiss.metrics.definitions import METRICS
from keymiss.metrics.metric import INFO_PREFIX, SECONDS_BOUNDS, Metric, Source
from keymiss.metrics.samples import MAX_NAMES, OTHER

_INTRODUCTION = f"""\
# Metrics

<!-- Made by `python -m keymiss.metrics > docs/metrics.md` from keymiss/metrics: edit that. -->

What Keymiss counts and measures, in two places that say the same: `INFO keymiss` of each shard, and, once a
port is given, `/metrics` of the workers for Prometheus.

    redis-cli CONFIG SET keymiss.metrics-port 9121          # the functions worker of this shard
    redis-cli CONFIG SET keymiss.models-metrics-port 9122   # the models worker of this host
    curl http://127.0.0.1:9121/metrics

Both may be changed while the server runs; 0, the default, serves nothing. A port that is taken is tried
again every few seconds, with a line in the log. `keymiss.metrics-address` says on which address
(127.0.0.1). `keymiss up --monitor` sets all of it and starts a Prometheus that scrapes it
([cluster](cluster.md)).

* The **functions worker** of a shard serves what it measures itself and what the module in the server
  counts: this it asks the shard for when it is scraped, at most once a second. While the shard does not
  answer, `keymiss_shard_scraped` is 0 and the module's metrics are missing.
* The **models worker** serves its own, for all shards that share it. Where these name several ports, the
  first counts.
* Label `shard` is `keymiss.shard-name`, else the shard's port; `model` a model's tag, else the first twelve
  digits of its digest (`script:` and these for a script); `device` as AI.* names it; `function` a
  registration's description, else its id. A worker gives at most {MAX_NAMES} functions and {MAX_NAMES}
  models names of their own; all others are `{OTHER}` together.
* Scrape with `honor_labels: true`. Counters begin anew when the process does that counts.
* Histograms of durations have the bounds {", ".join(SECONDS_BOUNDS)}.
* Both workers show their process, too: `process_resident_memory_bytes`, `process_cpu_seconds_total` and so
  on.
* In `INFO keymiss` durations are in microseconds (`_us`); a field that knows no labels is the sum over
  them. Fields of a histogram end in `_count`, `_sum_us`, `_max_us`, `_p50_us`, `_p99_us`, and `_buckets`:
  how many lasted at most so long; those of a histogram without a unit (`batch_size`) have no `_us`.
  `keymiss_function_<n>:name=..,runs=..,failures=..,waiting=..,lag_us=..` tells of one function each.
* What it costs, scraped every second: at most 1 % of throughput is promised, `keymiss bench metrics`
  measures it ([performance](performance.md#what-the-module-and-its-metrics-cost)).
"""

_TITLES: dict[Source, str] = {
    "engine": "The module, told by the functions worker",
    "functions": "The functions worker",
    "models": "The models worker",
}


def page() -> str:
    """The whole page."""
    return "\n".join((_INTRODUCTION, *(line for source in _TITLES for line in _table(source))))


def _table(source: Source) -> Iterator[str]:
    yield from (
        f"## {_TITLES[source]}",
        "",
        "| metric | kind | labels | | in INFO keymiss |",
        "|---|---|---|---|---|",
    )
    for metric in METRICS.values():
        if metric.source == source:
            labels = ", ".join(metric.labels)
            yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {_fields(metric)} |"
    yield ""


def _fields(metric: Metric) -> str:
    """Those of one label as one: the values in its name are replaced by the label."""
    shown: dict[str, None] = {}
    for field in metric.fields:
        name = field.name
        for label, value in field.labels:
            name = name.replace(value, f"<{label}>")
        end = "_count ..." if metric.kind == "histogram" else f", `{field.part}`" if field.part else ""
        shown[f"`{INFO_PREFIX}{name}`{end}" if field.part else f"`{INFO_PREFIX}{name}{end}`"] = None
    return "; ".join(shown)
