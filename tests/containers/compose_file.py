"""docker-compose.yml as Compose understands it: merged, and with variables at their defaults."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml
from support.paths import REPOSITORY

COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
IMAGE = REPOSITORY / "cluster" / "image"
CONTAINERFILE = IMAGE / "Containerfile"

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+):-(?P<default>[^}]*)\}")

Tree = dict[str, Any]


@cache
def compose() -> Tree:
    found = _with_defaults(yaml.safe_load(COMPOSE_FILE.read_text()))
    assert isinstance(found, dict)
    return found


def services() -> Tree:
    found = compose()["services"]
    assert isinstance(found, dict)
    return found


def shards() -> Tree:
    """The services that are shards, by name."""
    return {
        name: service
        for name, service in services().items()
        if service.get("command", [""])[0] == "keymiss-shard"
    }


def own_services() -> list[str]:
    """The names of those that run the image of this repository."""
    return [name for name, service in services().items() if "build" in service]


def mounts(service: str) -> dict[str, str]:
    """What is mounted, by the path inside: a named volume, or ./ and a path of this repository."""
    found = {}
    for mount in services()[service].get("volumes", []):
        source, target, *_ = mount.split(":")
        found[target] = source
    return found


def shard_settings() -> dict[str, str]:
    """shard.conf's settings by name; a later line replaces an earlier one."""
    lines = (line.partition(" ") for line in (IMAGE / "shard.conf").read_text().splitlines())
    return {name: value.strip() for name, _, value in lines if name and not name.startswith("#")}


def variables() -> set[str]:
    """The names that docker-compose.yml takes from the environment."""
    return {found["name"] for found in _VARIABLE.finditer(COMPOSE_FILE.read_text())}


def listening() -> dict[str, set[int]]:
    """The ports at which each service can be reached."""
    settings = shard_settings()
    found = {name: {int(shard["environment"]["KEYMISS_PORT"])} for name, shard in shards().items()}
    for ports in found.values():
        ports.add(int(settings["keymiss.metrics-port"]))
    found["models"] = {int(settings["keymiss.models-metrics-port"])}
    for name, service in services().items():
        for url in re.findall(r"http://127\.0\.0\.1:(\d+)/", " ".join(service["healthcheck"]["test"])):
            found.setdefault(name, set()).add(int(url))
    return found


def _with_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_defaults(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_defaults(inner) for inner in value]
    return _VARIABLE.sub(lambda found: found["default"], value) if isinstance(value, str) else value
