"""Where the monitor of a cluster and what it reads listen: ports from one on, all on 127.0.0.1."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Monitor:
    """Prometheus on `port`, then the exporter, the shared models worker, and each server's functions worker;
    behind those each server's own models worker, where they have their own."""

    port: int = 9090
    interval_s: int = 5  # how often Prometheus reads, and looks at its rules

    @property
    def exporter_port(self) -> int:
        return self.port + 1

    def functions_port(self, server: int) -> int:
        """Of the functions worker of the server with this number, counted from 0."""
        return self.port + 3 + server

    def models_port(self, server: int, servers: int, shared: bool) -> int:
        """Of the models worker that this server, one of `servers`, uses."""
        return self.port + 2 if shared else self.port + 3 + servers + server

    def last_port(self, servers: int, shared: bool) -> int:
        """The last that is taken."""
        return max(self.functions_port(servers - 1), self.models_port(servers - 1, servers, shared))
