"""What a real models worker serves: it agrees with what was run."""

from __future__ import annotations

import contextlib
import re

import pytest
import redis
from metrics.conftest import served
from redis.exceptions import ResponseError
from support import torch_models
from support.cluster import Cluster
from support.scraping import scrape
from support.waiting import wait_until

DEADLINE_S = 20.0
SCRIPT = "def twice(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0] * 2\n"


def test_runs_are_counted_by_model_device_and_shard(client: redis.Redis, models_port: int) -> None:
    store = ("AI.MODELSTORE", "m", "TORCH", "CPU", "TAG", "sums", "BLOB", torch_models.sum_and_product())
    client.execute_command(*store)
    client.execute_command("AI.TENSORSET", "x", "FLOAT", 2, "VALUES", 1, 2)
    client.execute_command("AI.TENSORSET", "wrong", "FLOAT", 3, "VALUES", 1, 2, 3)
    run = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "x")
    for _ in range(3):
        client.execute_command(*run, "x", "OUTPUTS", 2, "sum", "product")
    with pytest.raises(ResponseError):
        client.execute_command(*run, "wrong", "OUTPUTS", 2, "sum", "product")
    shard = str(client.connection_pool.connection_kwargs["port"])
    wait_until(
        lambda: (
            scrape(models_port).value("keymiss_model_requests_total", model="sums", device="CPU", shard=shard)
            == 4
        ),
        DEADLINE_S,
        "all four are counted",
    )
    told = scrape(models_port)
    here = {"model": "sums", "device": "CPU"}
    assert told.value("keymiss_model_errors_total", **here) == 1
    assert told.value("keymiss_batches_total", **here) == 4
    assert told.value("keymiss_batch_size_sum", **here) == 4
    assert told.value("keymiss_forward_duration_seconds_count", **here) == 4
    assert told.value("keymiss_forward_duration_seconds_sum", **here) > 0
    assert told.value("keymiss_batch_wait_seconds_count", device="CPU") >= 4
    assert told.value("keymiss_device_busy_seconds_total", device="CPU") > 0
    assert told.value("keymiss_models_loaded") >= 1
    assert told.value("keymiss_model_loads_total") >= 1


def test_a_tag_that_is_no_text_does_not_spoil_the_page(client: redis.Redis, models_port: int) -> None:
    store = ("AI.MODELSTORE", "m", "TORCH", "CPU", "TAG", b'\x00\xff\r\n"\\', "BLOB", torch_models.doubler())
    client.execute_command(*store)
    torch_models.set_tensor(client, "x", 1.0)
    torch_models.execute(client, "m", "x", "y")
    name = '\x00\\udcff\r\n"\\'
    counted = scrape(models_port).value("keymiss_model_requests_total", model=name)
    assert counted == 1


def test_a_model_without_a_tag_is_known_by_its_digest(client: redis.Redis, models_port: int) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0)
    torch_models.execute(client, "m", "x", "y")
    info = client.execute_command("AI.MODELGET", "m", "META")
    told = scrape(models_port)
    labels = {one.labels["model"] for one in told.samples("keymiss_model_requests_total")}
    assert any(re.fullmatch("[0-9a-f]{12}", label) for label in labels), (labels, info)


def test_scripts_are_counted_as_models_are(client: redis.Redis, models_port: int) -> None:
    client.execute_command("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "twice", "SOURCE", SCRIPT)
    torch_models.set_tensor(client, "x", 1.0)
    client.execute_command("AI.SCRIPTEXECUTE", "s", "twice", "INPUTS", 1, "x", "OUTPUTS", 1, "y")

    def counted() -> bool:
        samples = scrape(models_port).samples("keymiss_model_requests_total")
        return any(one.labels["model"].startswith("script:") and one.value for one in samples)

    wait_until(counted, DEADLINE_S, "the script's run is counted")


def test_shards_that_share_a_worker_are_told_apart(cluster: Cluster) -> None:
    first, second = cluster.masters[:2]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(one.client())) for one in (first, second)]
        for client, shard in zip(clients, cluster.shards, strict=False):  # so both have joined the worker
            run_doubler(client, shard.hash_tag, 1)
        port = stack.enter_context(served(clients[0], "keymiss.models-metrics-port"))
        before = requests(port)
        for runs, client in enumerate(clients, start=1):
            run_doubler(client, cluster.shards[runs - 1].hash_tag, runs)
        wanted = {str(first.port): 1.0, str(second.port): 2.0}

        def counted() -> bool:
            now = requests(port)
            return {shard: now.get(shard, 0) - before.get(shard, 0) for shard in wanted} == wanted

        wait_until(counted, DEADLINE_S, "each shard's requests are counted")
        assert scrape(port).value("keymiss_inference_channels") >= 2


def requests(port: int) -> dict[str, float]:
    """By shard."""
    told: dict[str, float] = {}
    for one in scrape(port).samples("keymiss_model_requests_total"):
        told[one.labels["shard"]] = told.get(one.labels["shard"], 0) + one.value
    return told


def run_doubler(client: redis.Redis, tag: str, times: int) -> None:
    torch_models.store(client, f"m{{{tag}}}", torch_models.doubler())
    torch_models.set_tensor(client, f"x{{{tag}}}", 1.0)
    for _ in range(times):
        torch_models.execute(client, f"m{{{tag}}}", f"x{{{tag}}}", f"y{{{tag}}}")
