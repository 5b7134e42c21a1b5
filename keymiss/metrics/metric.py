"""What a metric is: its name, kind, meaning, unit and labels, who measures it, its fields of INFO keymiss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Source: TypeAlias = Literal["engine", "functions", "models"]
Unit: TypeAlias = Literal["", "seconds", "bytes"]

INFO_PREFIX = "keymiss_"  # of every field of INFO keymiss; left out in this table

# Upper bounds of the buckets of all histograms in seconds, and how INFO keymiss writes them.
SECONDS_BOUNDS: dict[str, float] = {
    **{"50us": 50e-6, "100us": 100e-6, "250us": 250e-6, "500us": 500e-6},
    **{"1ms": 1e-3, "2.5ms": 2.5e-3, "5ms": 5e-3, "10ms": 10e-3, "25ms": 25e-3, "50ms": 50e-3},
    **{"100ms": 0.1, "250ms": 0.25, "500ms": 0.5, "1s": 1.0, "2.5s": 2.5, "10s": 10.0},
}
BATCH_BOUNDS: dict[str, float] = {str(2**power): float(2**power) for power in range(9)}  # requests


@dataclass(frozen=True, slots=True)
class Field:
    """A field of INFO keymiss that shows a metric, or, of a histogram, the beginning of its fields' names
    (`_count`, `_sum_us`, `_max_us`, `_p50_us`, `_p99_us`, `_buckets`; without `_us` where it has no unit).

    `labels` says of which label values it is, without the shard's: INFO is of one shard anyway. Labels of the
    metric that are left out are summed over. `part`: within a field of the form `a=1,b=2`, which of them."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    part: str = ""
    source: Source | None = None  # where it is not the metric's


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `fields` is empty where INFO keymiss does not show it."""

    name: str
    kind: Kind
    help: str
    source: Source
    labels: tuple[str, ...] = ("shard",)
    unit: Unit = ""
    fields: tuple[Field, ...] = ()

    @property
    def bounds(self) -> dict[str, float]:
        """Of a histogram's buckets, by how INFO writes them; without the last, which has no bound."""
        return SECONDS_BOUNDS if self.unit == "seconds" else BATCH_BOUNDS

    @property
    def series(self) -> tuple[str, ...]:
        """The names that queries use."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)

    def source_of(self, field: Field) -> Source:
        return field.source or self.source
