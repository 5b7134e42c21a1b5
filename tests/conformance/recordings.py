"""The recorded conversations of the original servers, and the cases that are known to differ.

The recordings live in the shared folder (`golden/`) with the program that replays them; its docstring
explains the format. `not_yet.txt` beside this file lists cases that do not agree yet: `<case id>  <reason>`;
`@valkey` behind the id limits that to one kind of server.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from support.paths import shared_folder

# What the commands that exist can be held against; the rest of the folder belongs to commands still to come.
FILES = [
    "ai_tensor",
    "ai_model",
    "ai_modelexecute",
    "ai_info_config",
    "rg_miss",
    "rg_register",
    "rg_pyexecute",
]

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


def cases() -> Iterator[tuple[str, Case]]:
    """(file, case) of every recorded case in `FILES`; raises where the folder is there but a file is not."""
    shared = shared_folder()
    if shared is None:
        return
    for name in FILES:
        for line in (shared / "golden" / "cases" / f"{name}.jsonl").read_text().splitlines():
            yield name, json.loads(line)


@cache
def not_yet() -> dict[str, str]:
    """Case id -> why it does not agree yet."""
    lines = (Path(__file__).parent / "not_yet.txt").read_text().splitlines()
    listed = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    unexplained = [entry[0] for entry in listed if len(entry) == 1]
    assert not unexplained, f"not_yet.txt gives no reason for {unexplained}"
    return dict(listed)
