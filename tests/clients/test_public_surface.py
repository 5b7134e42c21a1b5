"""What keymiss.client exports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import keymiss.client


def test_public_names_exist_and_are_sorted() -> None:
    names = keymiss.client.__all__
    assert all(hasattr(keymiss.client, name) for name in names)
    assert sorted(names) == sorted(set(names))
    with pytest.raises(AttributeError, match="nosuch"):
        keymiss.client.nosuch  # noqa: B018


def test_numpy_is_imported_when_a_client_is_asked_for() -> None:
    """The command line, which asks for none, starts without it."""
    script = (
        "import sys, keymiss.client\n"
        "print('numpy' in sys.modules)\n"
        "keymiss.client.AI\n"
        "print('numpy' in sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "True"]


PROGRAM = """
import redis, redis.asyncio
from keymiss.client import AI, AsyncAI, Gears
from keymiss.client import AsyncAi  # wrong
shape: list[int] = AI(redis.Redis()).tensorget("x", meta_only=True)["shape"]
loaded: bytes = AI(redis.Redis()).modelget("m", meta_only=True)["blob"]  # wrong
errors: list[str] = Gears(redis.Redis()).builder().count().run().errors
AI(redis.Redis()).modelexecute("m", inputs="x")  # wrong
async def value() -> float:
    return float((await AsyncAI(redis.asyncio.Redis()).tensorget("x"))[0])
"""


def test_a_type_checker_finds_what_is_wrong_in_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    check = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(program)]
    shown = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    found = [int(line) for line in re.findall(r"^program\.py:(\d+): error: ", shown, re.MULTILINE)]
    wrong = [n for n, line in enumerate(PROGRAM.splitlines(), start=1) if "# wrong" in line]
    assert found == wrong, shown
