"""The recorded conversations of the original servers, and the cases that are known to differ.

The recordings live in the shared folder (`golden/`) with the program that replays them; its docstring
explains the format. `not_yet.txt` beside this file lists cases that do not agree yet: `<case id>  <reason>`;
`@valkey` behind the id limits that to one kind of server.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from support.paths import shared_folder

ONE_SERVER = [
    "ai_dag",
    "ai_deprecated",
    "ai_errors",
    "ai_info_config",
    "ai_model",
    "ai_modelexecute",
    "ai_script",
    "ai_tensor",
    "ai_types",
    "rg_async",
    "rg_errors",
    "rg_manage",
    "rg_miss",
    "rg_operations",
    "rg_pyexecute",
    "rg_readers",
    "rg_redisai",
    "rg_register",
    "rg_runtime",
]
CLUSTER = ["cluster_rg"]

Case = dict[str, Any]


@cache
def replay() -> ModuleType | None:
    """The recordings' own replay program as a module; None where there is no shared folder at all."""
    shared = shared_folder()
    if shared is None:
        return None
    spec = importlib.util.spec_from_file_location("golden_replay", shared / "golden" / "replay.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(files: list[str]) -> list[Case]:
    """The cases recorded in these files; raises where the folder is there but a file is not."""
    shared = shared_folder()
    if shared is None:
        return []
    return [
        json.loads(line)
        for name in files
        for line in (shared / "golden" / "cases" / f"{name}.jsonl").read_text().splitlines()
    ]


@cache
def not_yet() -> dict[str, str]:
    """Case id -> why it does not agree yet."""
    lines = (Path(__file__).parent / "not_yet.txt").read_text().splitlines()
    listed = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    unexplained = [entry[0] for entry in listed if len(entry) == 1]
    assert not unexplained, f"not_yet.txt gives no reason for {unexplained}"
    return dict(listed)
