"""/metrics over HTTP, on a port that may change while the worker runs.

1. All of it is in threads of its own. The worker's loop only says what is wanted (`follow`).
2. One thread accepts, one more serves each scrape: at most MAX_SCRAPES at a time, of which each read and
   write takes TIMEOUT_S at most. Who comes meanwhile finds the connection closed.
3. A port that is taken is tried again every few seconds. Nothing that goes wrong here ends the worker.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler

if TYPE_CHECKING:
    from prometheus_client.exposition import ThreadingWSGIServer

DEFAULT_ADDRESS = "127.0.0.1"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RETRY_S = 3.0
TURN_S = 0.25  # until a change is noticed
TIMEOUT_S = 10.0
MAX_SCRAPES = 4


class Place(NamedTuple):
    """Where to serve; port 0: nowhere."""

    address: str = DEFAULT_ADDRESS
    port: int = 0


class MetricsServer:
    """`make` makes what gives the text that is served, when it is first needed: prometheus_client is imported
    then only. `log` is told what somebody should know; it is called on other threads."""

    def __init__(self, make: Callable[[], Callable[[], bytes]], log: Callable[[str], object]) -> None:
        self._make, self._log = make, log
        self._text: Callable[[], bytes] | None = None
        self._wanted = Place()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._listening: socket.socket | None = None

    def follow(self, address: str, port: int) -> None:
        """Serve there from now on. Returns at once."""
        wanted = Place(address, port)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._changed.set()
        if self._thread is None:
            os.register_at_fork(after_in_child=self._forget)
            self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            self._thread.start()

    def _forget(self) -> None:
        """In a child that a function forked: the port is the worker's, also when it has ended."""
        if self._listening is not None:
            self._listening.close()

    # The accepting thread

    def _run(self) -> None:
        complained: Place | None = None
        while True:
            self._changed.clear()
            place = self._wanted
            if not place.port:
                self._changed.wait()
                continue
            try:
                self._serve(place)
                complained = None
            except Exception as error:  # a taken port, an address that is none, no memory for a thread
                if place != complained:
                    self._log(f"metrics cannot be served on {place.address}:{place.port}, yet: {error}")
                complained = place
                self._changed.wait(RETRY_S)

    def _serve(self, place: Place) -> None:
        """Until something else is wanted. OSError where it cannot be."""
        if self._text is None:
            self._text = self._make()
        with _server(place, self._app) as server:
            self._listening = server.socket
            self._log(f"metrics are served on http://{place.address}:{place.port}/metrics")
            server.timeout = TURN_S
            try:
                while self._wanted == place:
                    server.handle_request()
            finally:
                self._listening = None

    def _app(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI."""
        if environ["PATH_INFO"] not in ("/", "/metrics"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics\n"]
        assert self._text is not None
        told = self._text()
        start("200 OK", [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(told)))])
        return [told]


def _server(place: Place, app: Any) -> ThreadingWSGIServer:
    """One that listens, with its bounds."""
    from prometheus_client.exposition import ThreadingWSGIServer

    family, *_, address = socket.getaddrinfo(place.address, place.port, type=socket.SOCK_STREAM)[0]

    class Bounded(ThreadingWSGIServer):
        address_family = family
        slots = threading.Semaphore(MAX_SCRAPES)

        def server_bind(self) -> None:
            """Without asking the name service for this host's name, which may take long."""
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_name, self.server_port = place.address, place.port
            self.setup_environ()

        def process_request(self, request: Any, client_address: Any) -> None:
            if not self.slots.acquire(blocking=False):
                self.shutdown_request(request)
                return
            try:
                super().process_request(request, client_address)
            except BaseException:  # no thread could be started
                self.slots.release()
                raise

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                self.slots.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The scraper has gone, or is too slow."""

    server = Bounded((str(address[0]), place.port), _Handler)
    server.set_app(app)
    return server


class _Handler(WSGIRequestHandler):
    """One scrape. What it writes does not go on for ever, nor does what it reads."""

    timeout = TIMEOUT_S  # of each read and write

    def log_message(self, format: str, *arguments: Any) -> None:
        """Scrapes are not worth a line."""

    def address_string(self) -> str:
        return str(self.client_address[0])
