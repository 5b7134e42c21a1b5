"""Fixtures: servers and clusters with the module loaded, on redis and on valkey, ended whatever happens.

    server            one that tests share; empty, with its settings as they were, at the start of each test
    fresh_server      one of the test's own, to kill and restart
    make_server       makes more: make_server(settings={...}, module=None, ...)
    replicated        (primary, replica), the test's own
    make_cluster      makes clusters: make_cluster(shards=3, replicas=1)
    cluster           three masters that tests share, empty at the start of each test
    client            a redis-py client of `server`
    as_user           makes a user of `server` and gives a client of theirs: as_user("~mine:*", "+@all")
    host_models       the setting that joins a server to the models worker which the tests share

Servers of a replicated pair or of a cluster share one models worker, as `keymiss up` has it; `server` and
those of `make_server` start their own, unless told `settings=host_models`: for a test that needs a new server
but not a new models worker, which would import torch again.

The unit that pytest-xdist hands out is a file on one kind of server; the longest go first.

`KEYMISS_SERVERS=redis` narrows the servers, `KEYMISS_SO` names the module, `KEYMISS_TEST_PORTS=25000-25999`
the ports; `KEYMISS_TEST_SETTINGS=keymiss.functions-processes=2` gives all servers a setting.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.exceptions import ResponseError
from support.cluster import Cluster
from support.models_worker import ModelsWorker
from support.order import place
from support.server import Server, available_kinds, wait_for_replica
from support.waiting import wait_until

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

LOG_LINES_SHOWN = 120

_servers: list[Server] = []  # every server of this test process, for its log
_log_starts: dict[Path, int] = {}  # how long each log was when the running test began


@pytest.fixture(scope="session", params=available_kinds())
def server_kind(request: pytest.FixtureRequest) -> str:
    """`redis` or `valkey`: every test that touches a server runs on both."""
    return str(request.param)


class _Maker:
    """Makes servers in folders of their own and ends them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind, self._folder, self._numbers = kind, folder, itertools.count()
        self._made: list[Server] = []

    def __call__(
        self, settings: dict[str, object] | None = None, start: bool = True, **options: Any
    ) -> Server:
        folder = self._folder / f"server-{next(self._numbers)}"
        server = Server(options.pop("kind", self._kind), folder, settings or {}, **options)
        self._made.append(server)
        _servers.append(server)
        return server.start() if start else server

    def close(self) -> None:
        for server in self._made:
            server.close()


@pytest.fixture
def make_server(server_kind: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers that are this test's own: make_server(settings={"appendonly": "yes"})."""
    with contextlib.closing(_Maker(server_kind, tmp_path)) as maker:
        yield maker


class _Shared:
    """What tests share, one for each kind of server, whichever order the kinds come in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._makers: dict[str, _Maker] = {}
        self._made: dict[tuple[str, str], Any] = {}

    def maker(self, kind: str) -> _Maker:
        """Makes servers that live until the last test."""
        if kind not in self._makers:
            self._makers[kind] = _Maker(kind, self._folder / kind)
        return self._makers[kind]

    def get(self, name: str, kind: str, make: Callable[[], Any]) -> Any:
        """`make()`, once."""
        if (name, kind) not in self._made:
            self._made[name, kind] = make()
        return self._made[name, kind]

    def close(self) -> None:
        for maker in self._makers.values():
            maker.close()


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Shared]:
    with contextlib.closing(_Shared(tmp_path_factory.mktemp("shared"))) as shared:
        yield shared


@pytest.fixture(scope="session")
def make_shared_server(server_kind: str, _shared: _Shared) -> Callable[..., Server]:
    """Makes servers that live until the last test."""
    return _shared.maker(server_kind)


@pytest.fixture(scope="session")
def _models_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelsWorker]:
    with contextlib.closing(ModelsWorker(tmp_path_factory.mktemp("models"))) as worker:
        yield worker


@pytest.fixture
def host_models(_models_worker: ModelsWorker) -> dict[str, object]:
    """Settings of a server that shares one models worker with all others told so."""
    _models_worker.ensure()
    return {"keymiss.models": f"unix:{_models_worker.socket}"}


@pytest.fixture
def fresh_server(make_server: Callable[..., Server]) -> Server:
    """A server of the test's own."""
    return make_server()


@pytest.fixture
def replicated(make_server: Callable[..., Server], host_models: dict[str, object]) -> tuple[Server, Server]:
    """A primary and its replica, in sync."""
    primary = make_server(settings=host_models)
    replica = make_server(settings={**host_models, "replicaof": f"127.0.0.1 {primary.port}"})
    wait_for_replica(primary, replica)
    return primary, replica


@pytest.fixture
def make_cluster(
    make_server: Callable[..., Server], host_models: dict[str, object]
) -> Callable[..., Cluster]:
    """Makes clusters that are this test's own: make_cluster(shards=3, replicas=1)."""
    return lambda shards=3, replicas=0, **settings: Cluster(
        make_server, shards, replicas, {**host_models, **settings}
    )


class _Lender:
    """Lends a server to one test after the other: empty, without registrations, its settings as at first."""

    def __init__(self, make: Callable[..., Server], settings: dict[str, object] | None = None) -> None:
        self._make, self._settings = make, settings
        self._first_settings: dict[str, str] = {}
        self._start()

    def _start(self) -> None:
        self.server = self._make(settings=self._settings)
        self._client = self.server.client(decode_responses=True)  # kept, but it connects anew for each test
        with contextlib.closing(self._client) as client:
            self._first_settings = _settings(client)

    def lend(self) -> Server:
        if not self._is_usable():
            self._client.close()
            self.server.close()
            self._start()
        with contextlib.closing(self._client) as client:
            now = _settings(client)
            for name, value in self._first_settings.items():
                if now.get(name) != value:
                    client.config_set(name, value)
            clean(client)
        return self.server

    def _is_usable(self) -> bool:
        """False where a test brought the server down, left it hanging or had packages installed: the next one
        gets a new one."""
        try:
            return bool(self._client.ping()) and self._client.execute_command("RG.PYDUMPREQS") == []
        except redis.RedisError:
            return False


def _settings(client: redis.Redis) -> dict[str, str]:
    return {str(name): str(value) for name, value in client.config_get("keymiss.*").items()}


def clean(client: redis.Redis) -> None:
    """No key, no registration, no counters."""
    for entry in client.execute_command("RG.DUMPREGISTRATIONS"):
        with contextlib.suppress(ResponseError):  # gone meanwhile: another shard of the cluster removed it
            client.execute_command("RG.UNREGISTER", entry[1])
    client.flushall()
    client.config_resetstat()


def _has_no_registration(client: redis.Redis) -> bool:
    return bool(client.execute_command("RG.DUMPREGISTRATIONS") == [])


@pytest.fixture(scope="session")
def _server_lender(server_kind: str, _shared: _Shared) -> _Lender:
    lender: _Lender = _shared.get("server", server_kind, lambda: _Lender(_shared.maker(server_kind)))
    return lender


@pytest.fixture
def server(_server_lender: _Lender) -> Iterator[Server]:
    """A server that tests share, as good as new. A test that brings it down fails."""
    lent = _server_lender.lend()
    yield lent
    assert lent.alive, "the test brought the shared server down"


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """A client of `server`; replies are bytes."""
    with contextlib.closing(server.client()) as connected:
        yield connected


@pytest.fixture
def as_user(server: Server, client: redis.Redis) -> Iterator[Callable[..., redis.Redis]]:
    """Makes the user `someone` of `server` with these rules, and gives a client of theirs."""
    with contextlib.ExitStack() as stack:

        def make(*rules: str) -> redis.Redis:
            client.execute_command("ACL", "SETUSER", "someone", "reset", "on", "nopass", *rules)
            return stack.enter_context(contextlib.closing(server.client(username="someone", password="any")))

        yield make
    client.execute_command("ACL", "DELUSER", "someone")


@pytest.fixture
def cluster(server_kind: str, _shared: _Shared, host_models: dict[str, object]) -> Iterator[Cluster]:
    """Three masters that tests share, empty, without registrations. A test that brings one down fails."""
    make = _shared.maker(server_kind)
    shared: Cluster = _shared.get("cluster", server_kind, lambda: Cluster(make, settings=host_models))
    for master in shared.masters:
        with contextlib.closing(master.client()) as connected:
            clean(connected)
    for master in shared.masters:
        with contextlib.closing(master.client()) as connected:
            wait_until(partial(_has_no_registration, connected), 10.0, "no shard has a registration")
    yield shared
    assert all(master.alive for master in shared.masters), "the test brought a shared shard down"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then others with a slow test."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: place(item.path, item.path in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """With --dist loadscope, a unit of work is a file on one kind of server, in the order collected."""
    from support.scheduling import FileAndServerScheduling

    if config.getvalue("dist") != "loadscope":
        return None
    return FileAndServerScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    _log_starts.update({s.log_path: s.log_path.stat().st_size for s in _servers if s.log_path.exists()})
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its servers logged meanwhile; a skipped one fails where all must run."""
    report = yield
    if report.skipped and os.environ.get("KEYMISS_NO_SKIPS") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"  # KEYMISS_NO_SKIPS: what a test needs is there, or the run is not whole
    if report.failed:
        for server in _servers:
            if not server.log_path.exists():
                continue
            with server.log_path.open("rb") as log:
                log.seek(_log_starts.get(server.log_path, 0))
                lines = log.read().decode(errors="replace").splitlines()
            if lines:
                title = f"log of {server.kind} on port {server.port}"
                report.sections.append((title, "\n".join(lines[-LOG_LINES_SHOWN:])))
    return report
