"""`keymiss top` in a real terminal, as users run it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing
from pathlib import Path

from support.processes import die_with_parent
from support.server import Server

PROGRAM = Path(sys.executable).with_name("keymiss")
DEADLINE_S = 60.0
IN, OUT = b"\x1b[?1049h", b"\x1b[?1049l"  # of the screen that full-screen programs have to themselves
SHOW_CURSOR = b"\x1b[?25h"
SEQUENCES = re.compile(rb"\x1b(\[[0-9;?<>=]*[ -/]*[@-~]|[=>]|\][^\x07]*\x07|P.*?\x1b\\)")


class Terminal:
    """A terminal of 80 x 24 with `keymiss top` in it."""

    def __init__(self, *arguments: str) -> None:
        self._screen, inside = pty.openpty()
        self.resize(80, 24)
        self.settings = termios.tcgetattr(inside)
        self._inside = inside  # open, so that its settings can be looked at afterwards
        self.process = subprocess.Popen(
            [PROGRAM, "top", *arguments],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**os.environ, "TERM": "xterm-256color"},
            preexec_fn=die_with_parent,
        )
        self.written = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: bytes) -> int:
        """How much had been written before."""
        os.write(self._screen, keys)
        return len(self.written)

    def wait_for(self, text: str, since: int = 0) -> None:
        """Until it writes this text."""
        end = time.monotonic() + DEADLINE_S
        while text.encode() not in SEQUENCES.sub(b"", self.written[since:]):
            assert time.monotonic() < end, f"{text!r} was not written: {self.written[-4000:]!r}"
            assert self._read() or self.process.poll() is None, f"it ended: {self.written[-4000:]!r}"

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        end = time.monotonic() + DEADLINE_S
        while self._read() or self.process.poll() is None:
            assert time.monotonic() < end, "it did not end"
        return self.process.wait()

    def settings_now(self) -> list[object]:
        return termios.tcgetattr(self._inside)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._screen)
        os.close(self._inside)

    def _read(self) -> bool:
        """What it writes within a moment."""
        if not select.select([self._screen], [], [], 0.05)[0]:
            return False
        self.written += os.read(self._screen, 65536)
        return True


def test_keys_work_and_quitting_leaves_the_terminal_as_it_was(server: Server) -> None:
    with closing(Terminal("--port", str(server.port), "--interval", "0.5")) as terminal:
        terminal.wait_for("1 of 1 up")
        terminal.wait_for("answers/s")
        assert IN in terminal.written
        assert terminal.settings_now() != terminal.settings, "keys come one by one, and are not shown"
        terminal.wait_for("off until it is needed", since=terminal.press(b"3?"))
        since = terminal.press(b"\x1b")
        terminal.wait_for("4 Models", since)  # which the help covered; a key sooner would be Alt with it
        terminal.resize(132, 40)
        terminal.process.send_signal(signal.SIGWINCH)
        since = terminal.press(b"+")
        terminal.wait_for("every 1 s", since)
        terminal.press(b"q")
        assert terminal.wait() == 0
        assert restored(terminal)


def test_a_signal_to_end_leaves_the_terminal_as_it_was(server: Server) -> None:
    with closing(Terminal("--port", str(server.port))) as terminal:
        terminal.wait_for("1 of 1 up")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert restored(terminal)


def restored(terminal: Terminal) -> bool:
    """Its settings are as they were, what stood on it is there again, and the cursor can be seen."""
    _, _, after = terminal.written.rpartition(IN)
    return terminal.settings_now() == terminal.settings and OUT in after and SHOW_CURSOR in after


def test_without_a_terminal_it_says_what_to_use(server: Server) -> None:
    done = subprocess.run(
        [PROGRAM, "top", "--port", str(server.port)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 2
    assert "--once prints the figures" in done.stderr


def test_only_the_live_view_loads_what_draws_it() -> None:
    code = "import keymiss.cli.top, sys; sys.exit('textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=DEADLINE_S).returncode == 0
