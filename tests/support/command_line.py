"""`keymiss` as users run it, in a folder and on ports of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keymiss_deploy.cluster import processes

from support.ports import ports
from support.server import KINDS

DEADLINE_S = 180.0
MOST_PORTS = 12  # of six servers


@dataclass(frozen=True)
class CommandLine:
    """`keymiss` in a folder of its own, with ports of its own."""

    folder: Path
    port: int
    server: str

    def __call__(self, *arguments: str | Path, status: int = 0) -> str:
        """Run `keymiss ARGUMENTS`; its output, both streams. Fails where it does not exit with `status`."""
        done = subprocess.run(
            [Path(sys.executable).with_name("keymiss"), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def up(self, *arguments: str) -> str:
        return self("up", "--port", str(self.port), "--server", self.server, *arguments)

    def status(self, exit_status: int = 0) -> dict[str, Any]:
        found = json.loads(self("status", "--json", status=exit_status))
        assert isinstance(found, dict)
        return found

    def restart(self, server: str, setting: str, value: str) -> None:
        """Start one of the servers again with another value of this setting, as if `up` had written that."""
        folder = self.folder / ".keymiss" / server
        configuration, pid_file = folder / "server.conf", folder / "server.pid"
        processes.stop([pid_file], DEADLINE_S)
        lines = re.sub(f"^{setting} .*", f"{setting} {value}", configuration.read_text(), flags=re.MULTILINE)
        configuration.write_text(lines)
        processes.start_detached([self.server, configuration], folder / "server.log", pid_file)


@contextmanager
def command_line(server_kind: str, folder: Path) -> Iterator[CommandLine]:
    """The command line, in an empty folder; what it brought up is gone afterwards."""
    keymiss = CommandLine(folder, ports.take_run(MOST_PORTS), KINDS[server_kind])
    try:
        yield keymiss
    finally:
        keymiss("down", "--delete")
        for port in range(keymiss.port, keymiss.port + MOST_PORTS):
            ports.release(port)
