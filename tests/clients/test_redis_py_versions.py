"""keymiss.client with the redis-py that people have: each in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients import environments
from support import torch_models
from support.cluster import Cluster
from support.server import Server

DRIVER = Path(__file__).with_name("every_form.py")
# The oldest that is supported, and the last ones of 6 and 7. The newest runs the other tests.
VERSIONS = ["5.0.8", "6.4.0", "7.4.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_form_of_the_client_works(
    version: str, server: Server, cluster: Cluster, tmp_path: Path
) -> None:
    python = environments.environment(f"redis-{version}", [f"redis=={version}"], over_ours=True)
    model = tmp_path / "model.pt"
    model.write_bytes(torch_models.sum_and_product())
    tags = [f"{{{shard.hash_tag}}}" for shard in cluster.shards]
    ran = environments.run(python, DRIVER, server.port, cluster.masters[0].port, model, *tags)
    assert ran.strip() == version
