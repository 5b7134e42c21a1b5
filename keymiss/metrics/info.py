"""Metrics as fields of INFO keymiss: written by the workers, read again by whoever shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import ceil

from keymiss.metrics.definitions import of
from keymiss.metrics.histogram import Distribution
from keymiss.metrics.metric import INFO_PREFIX, Field, Metric, Source
from keymiss.metrics.samples import Sample

_NOT_IN_A_PART = re.compile(r"[^!-~]|[,=:]")  # what would end a part of a field `a=1,b=2`, or its line
MAX_PART = 64  # characters of a name in one


# Writing


def pairs(source: Source, samples: Iterable[Sample]) -> dict[str, str]:
    """The fields that show what this source measured, by name without the prefix."""
    fields = {
        metric.name: [field for field in metric.fields if metric.source_of(field) == source]
        for metric in of(source)
    }
    found: dict[Field, tuple[Metric, float | Distribution]] = {
        field: (metric, 0)
        for metric in of(source)
        for field in fields[metric.name]
        if not field.labels and metric.kind != "histogram"  # the sum over no labels
    }
    for metric, labels, value in samples:
        named = set(zip(metric.labels, labels, strict=True))
        for field in fields.get(metric.name, ()):
            if named.issuperset(field.labels):
                before = found.get(field)
                found[field] = metric, value if before is None else before[1] + value  # type: ignore[operator]
    told: dict[str, str] = {}
    for field, (metric, total) in found.items():
        if isinstance(total, Distribution):
            told.update(_distribution(field.name, metric, total))
        else:
            told[field.name] = _number(field.name, total)
    return told


def part(text: str) -> str:
    """A text as it may stand in a field of the form `a=1,b=2`."""
    return _NOT_IN_A_PART.sub("_", text)[:MAX_PART]


def _number(name: str, value: float) -> str:
    return f"{value * 1e6:.0f}" if name.endswith("_us") else f"{value:.15g}"


def _distribution(name: str, metric: Metric, told: Distribution) -> Iterator[tuple[str, str]]:
    us = "_us" if metric.unit == "seconds" else ""
    p50, p99 = told.quantile(0.5), told.quantile(0.99)
    if not us:  # whole numbers
        p50, p99 = ceil(p50), ceil(p99)
    facts = {"sum": told.sum, "max": told.max, "p50": p50, "p99": p99}
    yield f"{name}_count", str(told.count)
    for fact, value in facts.items():
        yield f"{name}_{fact}{us}", _number(us, value)
    at_most = zip(metric.bounds, told.cumulative(), strict=False)  # all but those beyond the last bound
    yield f"{name}_buckets", ",".join(f"le_{bound}={count}" for bound, count in at_most)


# Reading


def fields_of(text: str) -> dict[str, str]:
    """The fields of INFO keymiss, by name without the prefix."""
    lines = (line.partition(":") for line in text.splitlines() if line.startswith(INFO_PREFIX))
    return {name.removeprefix(INFO_PREFIX): value for name, _, value in lines}


def parts_of(value: str) -> dict[str, str]:
    """A field of the form `a=1,b=2`."""
    pieces = (piece.partition("=") for piece in value.split(","))
    return {name: said for name, equals, said in pieces if equals}


def read(source: Source, fields: Mapping[str, str], shard: str) -> Iterator[Sample]:
    """What these fields tell of what this source measured. A label that they do not tell is empty."""
    for metric in of(source):
        for field in metric.fields:
            if metric.source_of(field) != source:
                continue
            value = (
                _read_distribution(metric, field, fields)
                if metric.kind == "histogram"
                else _read_number(field, fields)
            )
            if value is not None:
                told = {"shard": shard, **dict(field.labels)}
                yield Sample(metric, tuple(told.get(label, "") for label in metric.labels), value)


def _read_number(field: Field, fields: Mapping[str, str]) -> float | None:
    said = fields.get(field.name)
    if said is not None and field.part:
        said = parts_of(said).get(field.part)
    if said is None:
        return None
    if field.part == "state":
        return None if said == "off" else float(said == "ready")  # one that nobody needs is not down
    try:
        return float(said) / (1e6 if field.name.endswith("_us") else 1)
    except ValueError:
        return None


def _read_distribution(metric: Metric, field: Field, fields: Mapping[str, str]) -> Distribution | None:
    us = "_us" if metric.unit == "seconds" else ""
    scale = 1e6 if us else 1
    try:
        said = parts_of(fields[f"{field.name}_buckets"])
        at_most = [int(said[f"le_{bound}"]) for bound in metric.bounds]
        at_most.append(max(int(fields[f"{field.name}_count"]), at_most[-1]))
        buckets = [after - before for before, after in zip([0, *at_most], at_most, strict=False)]
        total, most = (float(fields[f"{field.name}_{fact}{us}"]) / scale for fact in ("sum", "max"))
    except (KeyError, ValueError):
        return None
    return Distribution(tuple(metric.bounds.values()), buckets, total, most)
