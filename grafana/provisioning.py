"""What tells Grafana at its start which data sources and dashboards there are: nothing is left to click.

`grafana/provisioning` is for the containers of docker-compose.yml; `keymiss dashboards --provision` writes
the same for a Grafana beside a cluster of `keymiss up`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCRAPE_INTERVAL_S = 5  # of grafana/prometheus/prometheus.yml
REDIS_TIMEOUT_S = 10
REDIS_CONNECTIONS = 5

# Grafana's folder, and the folder of ours that it is filled from.
FOLDERS = {"Keymiss": "prometheus", "Keymiss shards": "shards"}
DATA_SOURCES, PROVIDERS = "datasources/keymiss.yml", "dashboards/keymiss.yml"


@dataclass(frozen=True)
class Sources:
    """Where Grafana finds things. `shards`: addresses by name; `prometheus`: None where there is none."""

    prometheus: str | None
    shards: Mapping[str, str]
    dashboards: str
    interval_s: int = SCRAPE_INTERVAL_S  # of Prometheus: rates are taken over four of them


COMPOSE = Sources(
    prometheus="http://prometheus:9090",
    shards={f"shard-{number}": f"redis://shard-{number}:{30000 + number}" for number in (1, 2, 3)},
    dashboards="/var/lib/keymiss/dashboards",
)


def provisioning(sources: Sources) -> dict[str, str]:
    """The files of a provisioning folder, by their names."""
    entries = [_prometheus(sources.prometheus, sources.interval_s)] if sources.prometheus else []
    entries += [_shard(name, url) for name, url in sources.shards.items()]
    providers = [_provider(title, f"{sources.dashboards}/{part}") for title, part in FOLDERS.items()]
    return {DATA_SOURCES: _file("datasources", entries), PROVIDERS: _file("providers", providers)}


def write(folder: Path, sources: Sources) -> list[Path]:
    """Write them below `folder`; gives the files that changed."""
    changed = []
    for name, text in provisioning(sources).items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def _prometheus(url: str, interval_s: int) -> str:
    return f"""\
  - name: Keymiss Prometheus
    uid: keymiss-prometheus
    type: prometheus
    access: proxy
    url: {_quoted(url)}
    isDefault: true
    editable: false
    jsonData:
      httpMethod: POST
      timeInterval: {interval_s}s
"""


def _shard(name: str, url: str) -> str:
    return f"""\
  - name: {_quoted(name)}
    uid: {_quoted(f"keymiss-{name}")}
    type: redis-datasource
    access: proxy
    url: {_quoted(url)}
    editable: false
    jsonData:
      client: standalone
      poolSize: {REDIS_CONNECTIONS}
      timeout: {REDIS_TIMEOUT_S}
"""


def _provider(title: str, path: str) -> str:
    return f"""\
  - name: {_quoted(title)}
    folder: {_quoted(title)}
    type: file
    disableDeletion: true
    allowUiUpdates: false
    options:
      path: {_quoted(path)}
"""


def _quoted(text: str) -> str:
    """A YAML scalar. Grafana puts environment variables in place of $NAME: $$ is a dollar."""
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)


def _file(key: str, entries: list[str]) -> str:
    return f"# Made by `keymiss dashboards`.\napiVersion: 1\n\n{key}:\n" + "\n".join(entries)
