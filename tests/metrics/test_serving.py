"""/metrics over HTTP: taken ports, changes, slow readers, figures that cannot be read."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest
from support.ports import ports
from support.scraping import Scrape, scrape
from support.waiting import wait_until

from keymiss.metrics import serving
from keymiss.metrics.exposition import Exposition
from keymiss.metrics.samples import Sample, sample
from keymiss.metrics.serving import MAX_SCRAPES, MetricsServer

DEADLINE_S = 15.0
HERE = "127.0.0.1"


@pytest.fixture
def port() -> Iterator[int]:
    taken = ports.take()
    yield taken
    ports.release(taken)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def server(log: list[str]) -> Iterator[MetricsServer]:
    def text() -> Callable[[], bytes]:
        def works() -> Iterator[Sample]:
            yield sample("keymiss_models_loaded", 3)

        def breaks() -> Iterator[Sample]:
            yield sample("keymiss_models_put_out_total", 1)
            raise RuntimeError("cannot be read")

        return Exposition([breaks, works], lambda error: log.append(str(error)), dict).text

    made = MetricsServer(text, log.append)
    yield made
    made.follow(HERE, 0)


def served(port: int) -> float:
    return scrape(port).value("keymiss_models_loaded")


def test_a_figure_that_cannot_be_read_does_not_take_the_others_with_it(
    server: MetricsServer, port: int, log: list[str]
) -> None:
    server.follow(HERE, port)
    assert wait_until(lambda: served(port), DEADLINE_S, "it is served") == 3
    assert "cannot be read" in log


def test_another_port_takes_the_place_of_the_first(server: MetricsServer, port: int) -> None:
    server.follow(HERE, port)
    wait_until(lambda: served(port), DEADLINE_S, "it is served")
    other = ports.take()
    try:
        server.follow(HERE, other)
        wait_until(lambda: served(other), DEADLINE_S, "it is served elsewhere")
        with pytest.raises(OSError, match="refused"):
            served(port)
        server.follow(HERE, 0)
        wait_until(lambda: not listens(other), DEADLINE_S, "it is served nowhere")
    finally:
        ports.release(other)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HERE, port)) == 0


def test_a_port_that_is_taken_is_served_once_it_is_free(
    server: MetricsServer, port: int, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "RETRY_S", 0.05)
    with socket.create_server((HERE, port)):
        server.follow(HERE, port)
        wait_until(lambda: any("cannot be served" in line for line in log), DEADLINE_S, "it is told once")
    wait_until(lambda: served(port), DEADLINE_S, "it is served")
    assert len([line for line in log if "cannot be served" in line]) == 1


def test_an_address_that_is_none_ends_nothing(server: MetricsServer, port: int, log: list[str]) -> None:
    server.follow("no such address", port)
    wait_until(lambda: log, DEADLINE_S, "it is told")
    server.follow(HERE, port)
    wait_until(lambda: served(port), DEADLINE_S, "it is served after all")


def test_who_says_nothing_keeps_nobody_out_for_long(
    server: MetricsServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving._Handler, "timeout", 0.5)
    server.follow(HERE, port)
    wait_until(lambda: served(port), DEADLINE_S, "it is served")
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_SCRAPES):
            stack.enter_context(socket.create_connection((HERE, port)))
        refused = stack.enter_context(socket.create_connection((HERE, port)))
        refused.settimeout(DEADLINE_S)
        with contextlib.suppress(ConnectionError):
            assert refused.recv(1) == b"", "one scrape too many is closed"
        wait_until(lambda: served(port), DEADLINE_S, "the silent ones were given up")


def test_labels_of_any_characters_are_read_again() -> None:
    name = 'a "quoted" \\ name\nof two lines, ünï'
    told = Exposition([lambda: [sample("keymiss_model_weight_bytes", 7, name)]], pytest.fail, dict).text()
    assert Scrape(told.decode()).value("keymiss_model_weight_bytes", model=name) == 7
