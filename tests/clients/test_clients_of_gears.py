"""Clients of RedisGears from PyPI, each in an environment of its own with the redis that it pins."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import redis
from clients import environments
from support.cluster import Cluster
from support.server import Server
from support.wheels import make_wheel

COLOUR = re.compile("\x1b\\[[0-9;]*m")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

HERE = Path(__file__).parent
GEARSCLIENT = HERE / "every_call_of_gearsclient.py"
REDGREASE = HERE / "every_call_of_redgrease.py"


def test_gearsclient_runs_whole(server: Server, client: redis.Redis) -> None:
    client.mset({f"n:{n}": n for n in range(1, 7)})
    python = environments.of_gearsclient()
    assert environments.run(python, GEARSCLIENT, server.port, "any") == "whole\n"


def test_gearsclient_runs_whole_on_a_shard_of_a_cluster(cluster: Cluster) -> None:
    one = cluster.shards[1]
    with contextlib.closing(redis.RedisCluster(host="127.0.0.1", port=one.master.port)) as client:
        for n in range(1, 7):
            client.set(f"n:{n}", n)
    python = environments.of_gearsclient()
    assert environments.run(python, GEARSCLIENT, one.master.port, one.hash_tag) == "whole\n"


def test_redgrease_runs_whole(
    server_kind: str, make_server: Callable[..., Server], make_cluster: Callable[..., Cluster]
) -> None:
    """It is installed on the shards: what it sends asks for it. One kind is a single server, the other a
    cluster: it takes a while.
    """
    if server_kind == "redis":
        port = make_server().port
        client: redis.Redis | redis.RedisCluster = redis.Redis(port=port)
    else:
        port = make_cluster().masters[1].port
        client = redis.RedisCluster(host="127.0.0.1", port=port)
    with contextlib.closing(client):
        for n in range(1, 7):
            client.set(f"n:{n}", n)
    assert environments.run(environments.of_redgrease(), REDGREASE, port) == "whole\n"


def _gears_cli(server: Server, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    python = environments.of_gears_cli()
    address = ("--host", "127.0.0.1", "--port", server.port)
    return environments.ask(python, python.with_name("gears-cli"), command, *address, *arguments)


@pytest.fixture
def gears_cli(server: Server) -> Cli:
    """Runs a command of gears-cli on the server."""
    return partial(_gears_cli, server)


def test_gears_cli_runs_scripts(gears_cli: Cli, client: redis.Redis, tmp_path: Path) -> None:
    client.mset({"n:1": 1, "n:2": 2})
    script, required = tmp_path / "script.py", tmp_path / "requirements.txt"
    required.write_text("cloudpickle\npackaging\n")
    script.write_text("GB().map(lambda r: 1 // (int(r['value']) - 1)).run('n:*')")
    assert "ZeroDivisionError" in gears_cli("run", script, "--requirements", required).stdout
    script.write_text("GB().map(lambda r: r['key']).sort().run('n:*')")
    done = gears_cli("run", script)
    assert COLOUR.sub("", done.stdout).split() == ["Results", "-------", "1)", "n:1", "2)", "n:2"]
    script.write_text("GB('CommandReader').map(lambda words: 'told').register(trigger='tell')")
    registered = gears_cli("run", script, "ID", "of-cli", "DESCRIPTION", "words")
    assert registered.stdout == "OK\n"
    assert client.execute_command("RG.TRIGGER", "tell") == [b"told"]
    again = gears_cli("run", script, "ID", "of-cli")
    assert again.returncode == 1
    assert "Session of-cli already exists, add UPGRADE to replace it" in again.stderr + again.stdout
    assert gears_cli("run", script, "ID", "of-cli", "UPGRADE").stdout == "OK\n"


def test_gears_cli_runs_scripts_as_a_user_with_a_password(
    gears_cli: Cli, server: Server, client: redis.Redis, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("GB('ShardsIDReader').count().run()")
    client.execute_command("ACL", "SETUSER", "ours", "reset", "on", ">secret", "~*", "+@all")
    try:
        done = gears_cli("run", script, "--user", "ours", "--password", "secret")
        assert COLOUR.sub("", done.stdout).split() == ["Results", "-------", "1)", '"1"']
        refused = gears_cli("run", script, "--user", "ours", "--password", "other")
        assert refused.returncode == 1
    finally:
        client.execute_command("ACL", "DELUSER", "ours")


def test_gears_cli_carries_requirements_to_another_server(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """From one that could install it to one that cannot: its wheel is gone."""
    wheel = make_wheel(tmp_path, "zz_carried", "1.0", {"zz_carried.py": "WORD = 'carried'\n"})
    package = f"zz-carried @ {wheel.as_uri()}"
    (tmp_path / "requirements.txt").write_text(package + "\n")
    one, other = make_server(), make_server()
    installed = _gears_cli(one, "install-requirements", "--requirements-file", tmp_path / "requirements.txt")
    assert COLOUR.sub("", installed.stdout) == "Done\n"
    wheel.unlink()
    folder = tmp_path / "exported"
    folder.mkdir()
    exported = _gears_cli(one, "export-requirements", "--requirement", package, "--save-directory", folder)
    assert exported.returncode == 0, exported.stdout + exported.stderr
    (file,) = folder.iterdir()
    imported = _gears_cli(other, "import-requirements", "--bulk-size", 1, file)
    assert "imported successfully" in imported.stdout, imported.stdout + imported.stderr
    script = "import zz_carried\nGB('ShardsIDReader').map(lambda x: zz_carried.WORD).run()"
    with contextlib.closing(other.client()) as there:
        ran = there.execute_command("RG.PYEXECUTE", script, "REQUIREMENTS", package)
        assert ran == [[b"carried"], []]


def test_what_is_no_exported_requirement_is_refused(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="there is no requirement nothing"):
        client.execute_command("RG.PYEXPORTREQ", "nothing")
    with pytest.raises(redis.ResponseError, match=r"this is nothing that RG\.PYEXPORTREQ gave"):
        client.execute_command("RG.PYIMPORTREQ", "no such", "file")
