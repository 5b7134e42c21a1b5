"""Lines that a worker gives to its server's log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from keymiss.errors import ChannelError
from keymiss.logs.formatting import Lines
from keymiss.logs.levels import level_name


class Forwarding(logging.Handler):
    """`send(level, line)` sends LOG; where the channel has ended, nobody is told."""

    def __init__(self, lines: Lines, send: Callable[[str, bytes], object]) -> None:
        super().__init__()
        self.setFormatter(lines)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(ChannelError):
            self._send(level_name(record.levelno), self.format(record).encode("utf-8", "replace"))
