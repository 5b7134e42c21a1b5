"""What dashboards ask of the servers is what prometheus-redis-exporter tells of them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial

import promql_parser
import pytest
import redis
from keymiss_deploy.grafana.queries import panel_queries
from support import promql
from support.cluster import SLOTS
from support.ports import ports
from support.processes import die_with_parent
from support.server import Server, wait_for_replica
from support.waiting import wait_until

EXPORTER = "prometheus-redis-exporter"
DEADLINE_S = 15.0


@pytest.fixture
def exporter() -> Iterator[str]:
    """Its address."""
    program = shutil.which(EXPORTER)
    if program is None:
        pytest.skip(f"{EXPORTER} is not installed")
    port = ports.take()
    command = [program, "-redis.addr", "", "-web.listen-address", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(partial(_answers, address), DEADLINE_S, f"{EXPORTER} answers")
        yield address
    finally:
        process.kill()
        process.wait()
        ports.release(port)


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(_get(f"{address}/health"))
    return False


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        return str(answer.read().decode())


def _names(text: str) -> set[str]:
    """Of the series in what an exporter tells."""
    return {
        line.partition(" ")[0].partition("{")[0] for line in text.splitlines() if not line.startswith("#")
    }


def test_every_metric_of_servers_exists(exporter: str, make_server: Callable[..., Server]) -> None:
    shard = make_server(settings={"cluster-enabled": "yes"}, module=None)
    primary = make_server(module=None)
    replica = make_server(module=None, settings={"replicaof": f"127.0.0.1 {primary.port}"})
    wait_for_replica(primary, replica)
    with shard.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    with primary.client() as client:
        client.set("key", "value")
        with pytest.raises(redis.ResponseError):
            client.incr("key")

    told = set[str]().union(
        *(
            _names(_get(f"{exporter}/scrape?target=redis://127.0.0.1:{server.port}"))
            for server in (shard, primary, replica)
        )
    )

    assert _asked() <= told


def _asked() -> set[str]:
    return {
        selector.name
        for query in panel_queries()
        for selector in promql.selectors(promql_parser.parse(query.runnable()))
        if selector.name.startswith("redis_")
    }
