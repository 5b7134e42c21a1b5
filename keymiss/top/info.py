"""What a server says in INFO: its own fields, and the values of Keymiss' metrics. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..metrics.definitions import INFO_PREFIX, Source
from ..metrics.histogram import Distribution
from ..metrics.info import parts_of, read
from ..metrics.samples import Sample
from .rates import merged

_SOURCES: tuple[Source, ...] = ("engine", "functions", "models")


@dataclass(frozen=True)
class Info:
    """One reply of INFO; nothing in it where a server gave none."""

    fields: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)  # by metric

    def number(self, name: str) -> float | None:
        """A field; None where it is missing or no number."""
        return number_of(self.fields.get(name))

    def parts(self, name: str) -> dict[str, str]:
        """A field of Keymiss' of the form `a=1,b=2`; empty where it is missing."""
        return parts_of(self.fields.get(INFO_PREFIX + name, ""))

    def figure(self, metric: str, **labels: str) -> float | None:
        """A counter's or gauge's value, summed over labels that are not given; None where it is not told."""
        values = [sample.value for sample in self._samples(metric, labels)]
        numbers = [value for value in values if not isinstance(value, Distribution)]
        return sum(numbers) if numbers else None

    def histogram(self, metric: str, **labels: str) -> Distribution | None:
        """The same of a histogram."""
        values = [sample.value for sample in self._samples(metric, labels)]
        return merged(value for value in values if isinstance(value, Distribution))

    def _samples(self, metric: str, labels: Mapping[str, str]) -> list[Sample]:
        return [
            sample
            for sample in self.samples.get(metric, ())
            if labels.items() <= dict(zip(sample.metric.labels, sample.labels, strict=True)).items()
        ]


def parse_info(text: str) -> Info:
    """All sections. Lines that are no field are left out."""
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    fields = {name: value for name, colon, value in lines if colon}
    ours = {
        name.removeprefix(INFO_PREFIX): value
        for name, value in fields.items()
        if name.startswith(INFO_PREFIX)
    }
    samples: dict[str, list[Sample]] = {}
    for source in _SOURCES:
        for sample in read(source, ours, ""):
            samples.setdefault(sample.metric.name, []).append(sample)
    return Info(fields, samples)


def number_of(value: str | None) -> float | None:
    """None where it is missing or no number."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return None if value is None else kind(value)
    return None
