"""Packages that a script names: installed for its session, kept and shipped as wheels, or an error that says
why not.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from sysconfig import get_platform

import pytest
import redis
from redis.exceptions import ResponseError
from support.cluster import Cluster
from support.server import Server
from support.waiting import wait_until
from support.wheels import make_project, make_wheel

GREETING = {"zz_greeting.py": "def greeting(): return 'hello'\n"}
GREETING_WHEEL = b"zz_greeting-1.0-py3-none-any.whl"
GREET = """
import zz_greeting
GB('CommandReader').map(lambda x: zz_greeting.greeting()).register(trigger='greet')
"""
TELLS_VERSION = """
import zz_versions
def at_call(x):
    import zz_versions.number
    from zz_versions import number as again
    return [zz_versions.VERSION, zz_versions.number.NUMBER, again.told()]
GB('CommandReader').flatmap(at_call).register(trigger='%s')
"""


@pytest.fixture(scope="module")
def installs(make_shared_server: Callable[..., Server]) -> Server:
    """A server where packages are installed, which tests of other files shall not see."""
    return make_shared_server()


def versions(folder: Path, number: int) -> str:
    """The requirement of a package with a module that imports another of its own when it is called."""
    told = "def told():\n    from zz_versions import VERSION\n    return 'told ' + VERSION\n"
    files = {
        "zz_versions/__init__.py": f"VERSION = 'v{number}'\n",
        "zz_versions/number.py": f"NUMBER = 'n{number}'\n{told}",
    }
    return f"zz-versions @ {make_wheel(folder, 'zz_versions', f'{number}.0', files).as_uri()}"


def of_version(number: int) -> list[str]:
    return [f"n{number}", f"told v{number}", f"v{number}"]


def triggered(client: redis.Redis, name: str) -> list[str]:
    return sorted(result.decode() for result in client.execute_command("RG.TRIGGER", name))


def shown(client: redis.Redis) -> dict[str, dict[str, object]]:
    """What RG.PYDUMPREQS tells, by the requirement."""
    entries = client.execute_command("RG.PYDUMPREQS")
    pairs = [{name.decode(): value for name, value in zip(e[::2], e[1::2], strict=True)} for e in entries]
    return {entry["Name"].decode(): entry for entry in pairs}


def test_wheels_are_kept_by_the_server_over_a_restart(fresh_server: Server, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "zz_greeting", "1.0", GREETING)
    package = f"zz-greeting @ {wheel.as_uri()}"
    entry = {
        **{"GearReqVersion": 1, "Name": package.encode(), "IsDownloaded": b"yes", "IsInstalled": b"yes"},
        "CompiledOs": get_platform().encode(),
    }
    with fresh_server.client() as client:
        with pytest.raises(ResponseError, match="No module named 'zz_greeting'"):
            client.execute_command("RG.PYEXECUTE", GREET)
        assert client.execute_command("RG.PYEXECUTE", GREET, "REQUIREMENTS", package) == b"OK"
        assert triggered(client, "greet") == ["hello"]
        assert shown(client) == {package: {**entry, "Wheels": [GREETING_WHEEL]}}
        client.save()
    wheel.unlink()
    shutil.rmtree(fresh_server.folder / "functions")
    fresh_server.restart()
    with fresh_server.client() as client:
        assert triggered(client, "greet") == ["hello"]
        assert shown(client) == {package: {**entry, "Wheels": [GREETING_WHEEL]}}


def test_sessions_of_one_worker_have_each_its_version(installs: Server, tmp_path: Path) -> None:
    one, two = versions(tmp_path, 1), versions(tmp_path, 2)
    with installs.client() as client:
        client.execute_command("RG.PYEXECUTE", TELLS_VERSION % "one", "ID", "one", "REQUIREMENTS", one)
        assert triggered(client, "one") == of_version(1)
        client.execute_command("RG.PYEXECUTE", TELLS_VERSION % "two", "ID", "two", "REQUIREMENTS", two)
        for _ in range(2):
            assert (triggered(client, "one"), triggered(client, "two")) == (of_version(1), of_version(2))
        # Who requires none has what came last, as where all share one environment.
        client.execute_command("RG.PYEXECUTE", TELLS_VERSION % "any")
        assert triggered(client, "any") == of_version(2)
        killed = installs.worker_pid("functions")
        os.kill(killed, signal.SIGKILL)
        installs.wait_for_worker("functions", other_than=killed)
        assert (triggered(client, "one"), triggered(client, "two")) == (of_version(1), of_version(2))

        upgrade = ("ID", "two", "UPGRADE", "REQUIREMENTS", one)
        client.execute_command("RG.PYEXECUTE", TELLS_VERSION % "two", *upgrade)
        assert triggered(client, "two") == of_version(1)
        wait_until(lambda: two not in shown(client), 10.0, "what no session has any more is forgotten")
        assert one in shown(client)


def test_requirements_can_be_installed_again(installs: Server, tmp_path: Path) -> None:
    package = versions(tmp_path, 3)
    deploy = ["RG.PYEXECUTE", TELLS_VERSION % "again", "ID", "again", "UPGRADE"]
    with installs.client() as client:
        client.execute_command(*deploy, "REQUIREMENTS", package)
        changed = {
            "zz_versions/__init__.py": "VERSION = 'newer'\n",
            "zz_versions/number.py": "NUMBER = told = str\n",
        }
        wheel = make_wheel(tmp_path, "zz_versions", "3.0", changed)
        client.execute_command(*deploy, "REQUIREMENTS", package)
        assert triggered(client, "again") == of_version(3)
        client.execute_command(*deploy, "FORCE_REINSTALL_REQUIREMENTS", "REQUIREMENTS", package)
        assert "newer" in triggered(client, "again")
        assert shown(client)[package]["GearReqVersion"] == 2
        wheel.unlink()
        with pytest.raises(ResponseError, match="Failed to install requirements zz-versions"):
            client.execute_command(*deploy, "FORCE_REINSTALL_REQUIREMENTS", "REQUIREMENTS", package)
        assert "newer" in triggered(client, "again"), "the session is whole"


def test_a_package_of_an_index_beside_the_workers_own(installs: Server) -> None:
    """pytest brings a newer iniconfig, so the worker has one too."""
    script = "import iniconfig\nexecute('SET', 'imported', iniconfig.__file__)"
    with installs.client() as client:
        assert client.execute_command("RG.PYEXECUTE", script, "REQUIREMENTS", "iniconfig==1.1.1") == b"OK"
        assert str(installs.folder) in client.get("imported").decode()
        assert shown(client)["iniconfig==1.1.1"]["Wheels"] == [b"iniconfig-1.1.1-py2.py3-none-any.whl"]
        assert client.execute_command("RG.PYEXECUTE", script) == b"OK"
        assert str(installs.folder) not in client.get("imported").decode()


def test_an_installation_that_takes_too_long_is_ended(installs: Server, tmp_path: Path) -> None:
    endless = make_project(tmp_path / "zz_endless", "zz_endless", {"zz_endless.py": ""}, seconds=600)
    with installs.client() as client:
        client.execute_command("RG.CONFIGSET", "PythonInstallReqMaxIdleTime", 1000)
        with pytest.raises(ResponseError, match="pip took too long"):
            client.execute_command("RG.PYEXECUTE", "x = 1", "REQUIREMENTS", endless)
        client.execute_command("RG.CONFIGSET", "PythonInstallReqMaxIdleTime", 30000)
    pips = [one for one in installs.descendants() if "pip" in one.cmdline()]
    assert pips == []


def test_a_promoted_replica_has_the_wheels(replicated: tuple[Server, Server], tmp_path: Path) -> None:
    primary, replica = replicated
    wheel = make_wheel(tmp_path, "zz_greeting", "1.0", GREETING)
    with primary.client() as client, replica.client() as other:
        client.execute_command("RG.PYEXECUTE", GREET, "REQUIREMENTS", f"zz-greeting @ {wheel.as_uri()}")
        wheel.unlink()
        client.wait(1, 5000)
        primary.kill()
        other.replicaof("NO", "ONE")
        wait_until(lambda: triggered(other, "greet") == ["hello"], 20.0, "the new primary answers")


def test_shards_are_sent_the_wheels(cluster: Cluster, tmp_path: Path) -> None:
    project = tmp_path / "zz_greeting"
    package = make_project(project, "zz_greeting", GREETING | {"zz_more.py": "# more\n" * 100_000})
    with cluster.masters[0].client() as client, cluster.masters[1].client() as other:
        client.execute_command("RG.PYEXECUTE", GREET, "REQUIREMENTS", package)
        assert triggered(other, "greet") == ["hello"] * 3
        script = "import zz_greeting\nGB('ShardsIDReader').map(lambda x: zz_greeting.greeting()).run()"
        assert other.execute_command("RG.PYEXECUTE", script, "REQUIREMENTS", package) == [[b"hello"] * 3, []]
    for master in cluster.masters:
        with master.client() as own:
            assert shown(own)[package]["Wheels"] == [GREETING_WHEEL]
    assert (project / "builds").read_text() == "built\n" * 2, "one shard asked what it is, then for the wheel"


def test_what_the_worker_has_already_is_not_installed_again(client: redis.Redis, server: Server) -> None:
    script = "import redis\nexecute('SET', 'has', redis.__name__)"
    assert client.execute_command("RG.PYEXECUTE", script, "REQUIREMENTS", "redis>=4") == b"OK"
    assert client.get("has") == b"redis"
    assert not (server.folder / "functions").exists()


def test_what_cannot_be_installed_is_an_error(client: redis.Redis, tmp_path: Path) -> None:
    missing = f"zz-missing @ {(tmp_path / 'nowhere').as_uri()}"
    refused = {
        missing: "Failed to install requirements zz-missing.*(nowhere|No such file)",
        f"git+{(tmp_path / 'nowhere').as_uri()}": "git clone.*did not run successfully.*; fatal: .*nowhere",
        "not a requirement": "Invalid requirement 'not a requirement'",
        "": "Invalid requirement ''",
        "--index-url": "Invalid requirement",
    }
    for requirement, words in refused.items():
        with pytest.raises(ResponseError, match=words):
            client.execute_command("RG.PYEXECUTE", "execute('SET', 'ran', 1)", "REQUIREMENTS", requirement)
    assert client.get("ran") is None
