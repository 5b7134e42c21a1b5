"""Packages that a script names: installed for its session, or an error that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from redis.exceptions import ResponseError
from support.server import Server

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import zipfile
from pathlib import Path

NAME = "zz_greeting-1.0-py3-none-any.whl"

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(Path(wheel_directory) / NAME, "w") as wheel:
        wheel.writestr("zz_greeting.py", "def greeting(): return 'hello'\\n")
        info = "zz_greeting-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: zz-greeting\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "zz_greeting.py,,\\n")
    return NAME
"""


@pytest.fixture
def package(tmp_path: Path) -> str:
    """The requirement of a package that is in no index: nothing is downloaded."""
    folder = tmp_path / "zz_greeting"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    return f"zz-greeting @ {folder.as_uri()}"


SCRIPT = """
import zz_greeting
GB('CommandReader').map(lambda x: zz_greeting.greeting()).register(trigger='greet')
"""


def test_a_requirement_is_installed_and_kept_over_a_restart(fresh_server: Server, package: str) -> None:
    with fresh_server.client() as client:
        with pytest.raises(ResponseError, match="No module named 'zz_greeting'"):
            client.execute_command("RG.PYEXECUTE", SCRIPT)
        assert client.execute_command("RG.PYEXECUTE", SCRIPT, "REQUIREMENTS", package) == b"OK"
        assert client.execute_command("RG.TRIGGER", "greet") == [b"hello"]
        assert client.execute_command("RG.PYDUMPREQS")[0][1] == package.encode()
        client.save()
    fresh_server.restart()
    with fresh_server.client() as client:
        assert client.execute_command("RG.TRIGGER", "greet") == [b"hello"]


def test_what_the_worker_has_already_is_not_installed_again(client: redis.Redis, server: Server) -> None:
    script = "import redis\nexecute('SET', 'has', redis.__name__)"
    assert client.execute_command("RG.PYEXECUTE", script, "REQUIREMENTS", "redis>=4") == b"OK"
    assert client.get("has") == b"redis"
    assert not (server.folder / "functions").exists()


def test_a_requirement_that_cannot_be_installed_is_an_error(client: redis.Redis, tmp_path: Path) -> None:
    missing = f"zz-missing @ {(tmp_path / 'nowhere').as_uri()}"
    with pytest.raises(ResponseError, match="Failed to install requirements zz-missing"):
        client.execute_command("RG.PYEXECUTE", "x = 1", "REQUIREMENTS", missing)
    assert client.ping()


def test_a_malformed_requirement_is_an_error(client: redis.Redis) -> None:
    with pytest.raises(ResponseError, match="Invalid requirement"):
        client.execute_command("RG.PYEXECUTE", "x = 1", "REQUIREMENTS", "not a requirement")
