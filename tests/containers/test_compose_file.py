"""docker-compose.yml keeps to the Compose specification, its containers to what docs/containers.md promises.

The specification's own schema comes with dclint, a linter of such files, from npm.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from containers.compose_file import COMPOSE_FILE, compose, mounts, own_services, services, shards, variables
from jsonschema import Draft7Validator
from support import node
from support.paths import REPOSITORY

SERVICES = sorted(services())
LINTER = Path(__file__).parent / "schema"


@pytest.mark.parametrize(
    "tree", [yaml.safe_load(COMPOSE_FILE.read_text()), compose()], ids=["as written", "with defaults"]
)
def test_the_file_is_what_the_specification_s_schema_takes(tree: object) -> None:
    schema = node.packages("compose-schema", LINTER) / "node_modules/dclint/schemas/compose.schema.json"
    validator = Draft7Validator(json.loads(schema.read_text()))
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(tree)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_container_has_more_rights_than_it_needs(service: str) -> None:
    described = services()[service]
    assert int(described["user"].partition(":")[0]) > 0
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert described["read_only"] is True
    assert not {"cap_add", "privileged", "devices", "pid", "ipc", "network_mode"} & described.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_bounded_and_watched(service: str) -> None:
    described = services()[service]
    assert described["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert described["healthcheck"].keys() == {"test", "interval", "timeout", "retries", "start_period"}
    assert described["logging"]["options"].keys() == {"max-size", "max-file"}
    assert described["restart"] in ("unless-stopped", "on-failure:5")


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_of_one_version(service: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+(-[a-z0-9-]+)?$", services()[service]["image"])


def test_ports_are_published_on_this_host_alone_and_a_shard_s_is_its_own() -> None:
    published = [port.split(":") for service in services().values() for port in service.get("ports", [])]
    assert published and {host for host, _, _ in published} == {"127.0.0.1"}
    for shard in shards().values():  # a redirection names the port inside
        port = shard["environment"]["KEYMISS_PORT"]
        assert shard["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_what_is_mounted_is_there() -> None:
    sources = {source for service in services() for source in mounts(service).values()}
    named = {source for source in sources if not source.startswith("./")}
    assert named == compose()["volumes"].keys()
    assert [path for path in sources - named if not (REPOSITORY / path).exists()] == []


def test_shards_share_models_and_the_worker_s_socket_but_not_their_data() -> None:
    assert len(shards()) == 3
    for name in shards():
        assert mounts(name) == {"/data": name, "/models": "models", "/run/keymiss": "run"}
    assert mounts("models") == {"/models": "models", "/run/keymiss": "run"}
    assert len({services()[name]["user"] for name in own_services()}) == 1  # the socket is for this user only


def test_services_wait_for_others_that_say_when_they_are_ready() -> None:
    for service in services().values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services()[other]
    assert services()["init"]["depends_on"].keys() == shards().keys()


def test_others_can_join_the_network_by_its_name() -> None:
    assert compose()["networks"]["keymiss"]["name"] == "keymiss"
    assert all("keymiss" in service["networks"] for service in services().values())


def test_the_init_service_names_every_shard() -> None:
    addresses = [f"{name}:{shard['environment']['KEYMISS_PORT']}" for name, shard in shards().items()]
    assert services()["init"]["command"] == ["keymiss-init", *addresses]
    assert [shard["environment"]["KEYMISS_SHARD"] for shard in shards().values()] == list(shards())


def test_every_variable_is_explained() -> None:
    page = (REPOSITORY / "docs" / "containers.md").read_text()
    assert {name for name in variables() if f"| `{name}` |" not in page} == set()
