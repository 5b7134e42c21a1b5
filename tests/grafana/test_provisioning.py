"""Grafana finds data sources and dashboards at its start: in the containers, and beside a local cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from keymiss_deploy.cluster.layout import Layout
from keymiss_deploy.cluster.monitor_layout import Monitor
from keymiss_deploy.grafana.commands import dashboards as command
from keymiss_deploy.grafana.provisioning import COMPOSE, SCRAPE_INTERVAL_S, provisioning
from support.paths import REPOSITORY

FOLDER = REPOSITORY / "grafana" / "provisioning"


def _compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    return found


def _read(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Data sources, and providers of dashboards."""
    sources = yaml.safe_load((folder / "datasources" / "keymiss.yml").read_text())
    providers = yaml.safe_load((folder / "dashboards" / "keymiss.yml").read_text())
    assert sources["apiVersion"] == providers["apiVersion"] == 1
    return sources["datasources"], providers["providers"]


def test_the_files_are_what_the_code_makes() -> None:
    there = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in FOLDER.rglob("*.yml")}

    assert there == provisioning(COMPOSE)


def test_containers_find_prometheus_every_shard_and_the_dashboards() -> None:
    services = _compose()
    sources, providers = _read(FOLDER)
    shards = {
        name: service["environment"]["KEYMISS_PORT"] for name, service in services.items() if _is_shard(name)
    }
    volumes = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])

    assert {source["name"]: source["url"] for source in sources if source["type"] == "redis-datasource"} == {
        name: f"redis://{name}:{port}" for name, port in shards.items()
    }
    assert [source["url"] for source in sources if source["type"] == "prometheus"] == [
        "http://prometheus:9090"
    ]
    assert volumes["./grafana/provisioning"] == "/etc/grafana/provisioning"
    mounted = volumes["./grafana/dashboards"]
    folders = {provider["options"]["path"].removeprefix(f"{mounted}/") for provider in providers}
    assert folders == {path.name for path in (REPOSITORY / "grafana" / "dashboards").iterdir()}
    assert "redis-datasource" in services["grafana"]["environment"]["GF_PLUGINS_PREINSTALL"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (REPOSITORY / "grafana" / "dashboards" / home.removeprefix(f"{mounted}/")).is_file()


def _is_shard(name: str) -> bool:
    return name.startswith("shard-")


def test_rates_span_several_reads_of_prometheus() -> None:
    scraped = yaml.safe_load((REPOSITORY / "grafana" / "prometheus" / "prometheus.yml").read_text())

    assert scraped["global"]["scrape_interval"] == f"{SCRAPE_INTERVAL_S}s"


def test_a_local_grafana_is_told_of_the_cluster_and_its_prometheus(tmp_path: Path) -> None:
    cluster, target = tmp_path / "cluster", tmp_path / "provisioning"
    Layout(cluster, "redis-server", port=31001, shards=2, replicas=1, monitor=Monitor(9190, 30)).save()

    done = CliRunner().invoke(command, ["--provision", str(target), "--dir", str(cluster)])

    assert done.exit_code == 0, done.output
    sources, providers = _read(target)
    assert {source["name"]: source["url"] for source in sources} == {
        "Keymiss Prometheus": "http://127.0.0.1:9190",
        "shard-1": "redis://127.0.0.1:31001",
        "shard-2": "redis://127.0.0.1:31002",
        "shard-1-replica-1": "redis://127.0.0.1:31003",
        "shard-2-replica-1": "redis://127.0.0.1:31004",
    }
    assert sources[0]["jsonData"]["timeInterval"] == "30s"
    for provider in providers:
        assert list(Path(provider["options"]["path"]).glob("*.json"))


def test_a_folder_without_a_cluster_is_said_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--provision", str(tmp_path / "p"), "--dir", str(tmp_path)])

    assert done.exit_code == 1
    assert "no cluster in" in done.output
