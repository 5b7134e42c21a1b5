"""What Prometheus and Grafana are told in the containers is what the other services are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from containers.compose_file import IMAGE, compose, listening, mounts, services, shards
from keymiss_deploy.cluster.layout import Layout
from keymiss_deploy.cluster.monitor_files import targets
from keymiss_deploy.cluster.monitor_layout import Monitor
from support.paths import REPOSITORY

TARGETS = {path.stem: json.loads(path.read_text()) for path in (IMAGE / "targets").iterdir()}


def seen_by(service: str, inside: str) -> Path:
    """The file of this repository that the service has at the path `inside`."""
    found = [
        REPOSITORY / source / Path(inside).relative_to(target)
        for target, source in mounts(service).items()
        if source.startswith("./") and Path(inside).is_relative_to(target)
    ]
    assert len(found) == 1, f"{service} has {len(found)} mounts for {inside}"
    return found[0]


def reached(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return int(port) in listening().get(host, set())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_targets_are_services_at_ports_where_they_listen(name: str) -> None:
    for group in TARGETS[name]:
        assert all(reached(address) for address in group["targets"])
        server = group["labels"].get("__param_target")
        assert server is None or reached(server.removeprefix("redis://"))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_targets_have_the_labels_of_a_cluster_of_keymiss_up(name: str, tmp_path: Path) -> None:
    layout = Layout(folder=tmp_path, server="redis-server", module="keymiss.so")
    expected = targets(layout, Monitor())[name]
    assert [group["labels"].keys() for group in TARGETS[name]] == [
        _labels(group).keys() for group in expected
    ]
    here, there = ([_labels(group).get("shard") for group in groups] for groups in (TARGETS[name], expected))
    assert here == there


def _labels(group: dict[str, Any]) -> dict[str, str]:
    labels = group["labels"]
    assert isinstance(labels, dict)
    return labels


def test_prometheus_finds_every_file_that_its_configuration_names() -> None:
    told = next(word for word in services()["prometheus"]["command"] if word.startswith("--config.file="))
    inside = Path(told.partition("=")[2])
    configuration = yaml.safe_load(seen_by("prometheus", str(inside)).read_text())
    files = list(configuration["rule_files"])
    for job in configuration["scrape_configs"]:
        for discovery in job["file_sd_configs"]:
            files += discovery["files"]
    assert {Path(file).stem for file in files} == {"rules", *TARGETS}
    assert [file for file in files if not seen_by("prometheus", str(inside.parent / file)).is_file()] == []


def test_the_exporter_s_address_is_told_with_each_request() -> None:
    assert "--redis.addr=" in services()["exporter"]["command"]


def test_grafana_s_data_sources_are_services() -> None:
    folder = seen_by("grafana", "/etc/grafana/provisioning/datasources")
    sources = [
        source for file in folder.iterdir() for source in yaml.safe_load(file.read_text())["datasources"]
    ]
    assert {urlsplit(source["url"]).hostname for source in sources} == {"prometheus", *shards()}
    assert [source["name"] for source in sources if not reached(urlsplit(source["url"]).netloc)] == []
    plugins = services()["grafana"]["environment"]["GF_PLUGINS_PREINSTALL"]
    assert {source["type"] for source in sources} - {"prometheus"} == {plugins.partition("@")[0]}


def test_grafana_s_dashboards_are_where_it_looks_for_them() -> None:
    folder = seen_by("grafana", "/etc/grafana/provisioning/dashboards")
    for file in folder.iterdir():
        for provider in yaml.safe_load(file.read_text())["providers"]:
            assert list(seen_by("grafana", provider["options"]["path"]).glob("*.json")), provider["name"]


def test_addresses_in_the_network_are_of_its_subnet() -> None:
    subnet = compose()["networks"]["keymiss"]["ipam"]["config"][0]["subnet"]
    addresses = [shard["networks"]["keymiss"]["ipv4_address"] for shard in shards().values()]
    assert len(set(addresses)) == 3
    assert {f"{address.rpartition('.')[0]}.0/24" for address in addresses} == {subnet}
