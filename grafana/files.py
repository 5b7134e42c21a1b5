"""Every dashboard and the file that it is written to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .cluster import cluster
from .gears import gears
from .inference import inference
from .overview import overview
from .page import Page
from .shard import shard
from .shard_gears import shard_gears
from .shard_models import shard_models

# By the file's name; the two folders are what Grafana shows as folders, too.
PAGES: dict[str, Callable[[], Page]] = {
    "prometheus/overview.json": overview,
    "prometheus/inference.json": inference,
    "prometheus/gears.json": gears,
    "prometheus/cluster.json": cluster,
    "shards/shard.json": shard,
    "shards/gears.json": shard_gears,
    "shards/models.json": shard_models,
}


def texts() -> dict[str, str]:
    """The JSON of every dashboard by its file's name."""
    return {
        name: json.dumps(page().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, page in PAGES.items()
    }


def differing(folder: Path) -> list[str]:
    """Names of the files below `folder` that `write` would change, add or remove."""
    wanted = texts()
    there = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.json")
    }
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def write(folder: Path) -> list[Path]:
    """Write them below `folder`, where no other JSON is left; gives the files that changed."""
    wanted = texts()
    changed = [folder / name for name in differing(folder)]
    for path in changed:
        text = wanted.get(path.relative_to(folder).as_posix())
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return changed
