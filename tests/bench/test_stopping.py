"""A benchmark that is told to end leaves nothing running."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
from support.waiting import wait_until

DEADLINE_S = 60.0


def test_its_servers_end_with_it_however_often_it_is_told() -> None:
    code = "from keymiss.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", "overhead", "--quick"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            started = psutil.Process(running.pid)
            servers = wait_until(lambda: started.children(recursive=True), DEADLINE_S, "a server runs")

            def ended() -> bool:  # told again and again; `timeout` does so twice
                running.send_signal(signal.SIGTERM)
                return running.poll() is not None

            wait_until(ended, DEADLINE_S, "it has ended")
            assert running.returncode == 128 + signal.SIGTERM
        finally:
            running.kill()
    wait_until(lambda: not any(one.is_running() for one in servers), DEADLINE_S, "its servers are gone")
