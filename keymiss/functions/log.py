"""The lines of this process in the server's log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from keymiss.channel import Channel, Hello
from keymiss.functions.pool import shielded
from keymiss.logs import NOTICE, Forwarding, Lines, about, level_number


class Log:
    """Every thread may write."""

    def __init__(self, channel: Channel) -> None:
        self._lines = Lines("functions")
        self._least_level = NOTICE
        # None of logging's own tree: what functions do with that concerns their lines only.
        self._logger = logging.Logger("keymiss.functions")
        forwarding = Forwarding(lambda level, line: channel.send(b"LOG", level, line))
        forwarding.setFormatter(self._lines)
        self._logger.addHandler(forwarding)

    def follow(self, hello: Hello) -> None:
        """HELLO and SETTING: what is logged, and in which form."""
        self._lines.json = hello.settings.get("log-format") == "json"
        self._lines.shard = hello.shard_name
        self._least_level = level_number(hello.settings.get("log-level", "notice"))

    def wants(self, level: str) -> bool:
        """Lines of this level are written."""
        return level_number(level) >= self._least_level

    def write(
        self, level: str, message: str, event: str, fields: Mapping[str, str | int], request: str
    ) -> None:
        """Write a line, about the request of that name, "" for none; see docs/tracing.md for `event`."""
        with shielded():
            self._logger.log(level_number(level), "%s", message, extra=about(event, fields, request))
