"""Lines that a worker gives to its server's log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from keymiss.errors import ChannelError
from keymiss.logs.levels import level_name


class Forwarding(logging.Handler):
    """`send(level, line)` sends LOG. Where the channel has ended, the line goes to standard error."""

    def __init__(self, send: Callable[[str, bytes], object]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        try:
            self._send(level_name(record.levelno), line.encode("utf-8", "replace"))
        except ChannelError:
            print(line, file=sys.stderr)
