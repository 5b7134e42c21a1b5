"""All metrics of the table are served by real workers, and INFO keymiss says the same."""

from __future__ import annotations

import pytest
import redis
from prometheus_client.samples import Sample
from support import torch_models
from support.functions import answering_misses, register
from support.scraping import Scrape, scrape
from support.waiting import wait_until

from keymiss.metrics import METRICS
from keymiss.metrics.definitions import PROCESS_METRICS, of
from keymiss.metrics.histogram import Distribution
from keymiss.metrics.info import fields_of, read
from keymiss.metrics.metric import Source

DEADLINE_S = 20.0
MARKED = """\
    from keymiss.runtime import stage
    for name in ('tokenise', 'forward', 'span'):
        with stage(name):
            pass
    override_reply('answer')
"""
# What changes by itself while nothing is done.
RESTLESS = {"keymiss_worker_uptime_seconds", "keymiss_functions_memory_bytes"}
# What reading them does.
RESTLESS |= {"keymiss_device_busy_seconds_total"}


def do_a_bit_of_all(client: redis.Redis) -> None:
    register(client, answering_misses("miss:", MARKED))
    assert client.get("miss:1") == b"answer"
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0)
    torch_models.execute(client, "m", "x", "y")


def test_every_metric_of_the_table_is_served(
    client: redis.Redis, functions_port: int, models_port: int
) -> None:
    do_a_bit_of_all(client)
    wait_until(
        lambda: scrape(functions_port).value("keymiss_misses_total") >= 1, DEADLINE_S, "the miss is told"
    )
    told = {
        "engine": scrape(functions_port),
        "functions": scrape(functions_port),
        "models": scrape(models_port),
    }
    for metric in METRICS.values():
        family = told[metric.source].families.get(metric.name)
        assert family is not None, metric.name
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample
            assert sample.name in metric.series
        assert family.samples, metric.name
    for series in PROCESS_METRICS:
        for worker in ("functions", "models"):
            assert told[worker].value(series) > 0


def test_info_and_metrics_agree(client: redis.Redis, functions_port: int, models_port: int) -> None:
    do_a_bit_of_all(client)
    ports: dict[Source, int] = {
        "engine": functions_port,
        "functions": functions_port,
        "models": models_port,
    }

    differences: list[str] = []

    def agree() -> bool:
        scrapes = {port: scrape(port) for port in (functions_port, models_port)}
        fields = fields_of(client.execute_command("INFO keymiss").decode())  # so redis-py leaves it as it is
        differences[:] = (
            line for source, port in ports.items() for line in differ(source, fields, scrapes[port])
        )
        return not differences

    try:
        wait_until(agree, DEADLINE_S, "they agree")  # each tells what may be a second old
    except AssertionError:
        pytest.fail("\n".join(differences))


def differ(source: Source, fields: dict[str, str], told: Scrape) -> list[str]:
    found = []
    shown = {(one.metric.name, one.labels): one.value for one in read(source, fields, "")}
    expected = {
        (metric.name, field)
        for metric in of(source)
        for field in metric.fields
        if metric.source_of(field) == source
    }
    if len(shown) != len(expected):
        found.append(f"INFO shows {len(shown)} of {len(expected)} fields of {source}")
    for (name, labels), value in shown.items():
        if name in RESTLESS:
            continue
        named = dict(zip(METRICS[name].labels, labels, strict=True))
        wanted = {label: said for label, said in named.items() if said}
        count, series = (value.count, f"{name}_count") if isinstance(value, Distribution) else (value, name)
        served = sum(one.value for one in told.samples(series) if has(one, wanted))
        if abs(served - count) > 1e-5:  # INFO tells microseconds
            found.append(f"{series}{wanted}: {count} in INFO, {served} served")
    return found


def has(one: Sample, labels: dict[str, str]) -> bool:
    return labels.items() <= one.labels.items()
