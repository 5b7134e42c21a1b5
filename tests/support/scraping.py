"""What /metrics says, as Prometheus' own client reads it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

TIMEOUT_S = 10.0


class Scrape:
    """One answer. Families are known by the names in keymiss.metrics: those of counters end in `_total`."""

    def __init__(self, text: str) -> None:
        self.families: dict[str, Metric] = {}
        for family in text_string_to_metric_families(text):
            self.families[f"{family.name}_total" if family.type == "counter" else family.name] = family

    def samples(self, series: str) -> Iterator[Sample]:
        """Those of one series: of a histogram's, `<name>_count`, `_sum` or `_bucket`."""
        for family in self.families.values():
            yield from (sample for sample in family.samples if sample.name == series)

    def value(self, series: str, **labels: str) -> float:
        """Of all samples with these labels together. An error where there is none."""
        found = [one.value for one in self.samples(series) if labels.items() <= one.labels.items()]
        assert found, f"no sample of {series} with {labels}: {[one.labels for one in self.samples(series)]}"
        return sum(found)


def scrape(port: int) -> Scrape:
    """What is served on this port now. OSError where nothing is."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as answer:
        return Scrape(answer.read().decode())
