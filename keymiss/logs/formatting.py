"""A record of Python's logging as one line. The module writes its own lines alike (engine/log_line.c)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

from keymiss.logs.levels import level_name

LINE_BYTES = 960  # of a line for a server's log: servers cut at 1024, behind their own words
FILE_LINE_BYTES = 1 << 14
_VALUE_CHARACTERS = 300
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # may stand without quotes: no space, quote, backslash or =


def about(
    event: str = "log",
    fields: Mapping[str, str | int] = MappingProxyType({}),
    request: str = "",
    shard: str = "",
) -> dict[str, Any]:
    """`extra` of a logging call. `event` names what happened, and `fields` are about it, for programs;
    `request` is the request's id; `shard` is needed where a process works for several."""
    return {"keymiss": {"event": event, "request": request, "shard": shard, "fields": fields}}


class Lines(logging.Formatter):
    """Formats the lines of one worker. `to_file`: no server adds time and level before a line of text.

    `json` and `shard` follow the settings of the server."""

    def __init__(self, worker: str, to_file: bool = False) -> None:
        super().__init__()
        self.json = False
        self.shard = ""
        self._worker = worker
        self._to_file = to_file

    def format(self, record: logging.LogRecord) -> str:
        """One line, not longer than a log takes: the message is cut where it would be."""
        told = getattr(record, "keymiss", None) or about()["keymiss"]
        fields = dict(self._fields(record, told))
        message = " ".join(record.getMessage().split("\n")).strip()
        write = self._json if self.json else self._text
        limit = FILE_LINE_BYTES if self._to_file else LINE_BYTES
        message = message[:limit]
        while True:
            line = write(record, told, message, fields)
            excess = len(line.encode("utf-8", "replace")) - limit
            if excess <= 0:
                return line
            if message:
                message = message[: -max(1, excess // 4)]  # a character is up to four bytes
            else:
                fields.popitem()

    def _fields(self, record: logging.LogRecord, told: dict[str, Any]) -> Iterator[tuple[str, str | int]]:
        for name, value in told["fields"].items():
            yield name, value if isinstance(value, int) else str(value)[:_VALUE_CHARACTERS]
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            yield "error", f"{type(error).__name__}: {error}"[:_VALUE_CHARACTERS]
            if self._to_file:
                yield "traceback", self.formatException(record.exc_info)  # type: ignore[arg-type]

    def _text(
        self, record: logging.LogRecord, told: dict[str, Any], message: str, fields: dict[str, str | int]
    ) -> str:
        named = {"request": told["request"], **fields}
        if self._to_file:
            named = {"shard": told["shard"], **named}
        words = [message or told["event"]]
        words += [f"{name}={_quoted(value)}" for name, value in named.items() if value != ""]
        head = f"{_time(record)} {level_name(record.levelno)} " if self._to_file else ""
        return head + _printable(" ".join(words))

    def _json(
        self, record: logging.LogRecord, told: dict[str, Any], message: str, fields: dict[str, str | int]
    ) -> str:
        head = {
            "time": _time(record),
            "level": level_name(record.levelno),
            "shard": told["shard"] or self.shard,
            "worker": self._worker,
            "event": told["event"],
            "message": message,
            "request": told["request"],
        }
        line = {name: value for name, value in head.items() if value != ""} | fields
        return _printable(json.dumps(line, ensure_ascii=False, separators=(",", ":")))


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, timezone.utc)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _quoted(value: str | int) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _printable(line: str) -> str:
    """Control characters, that is line ends of all kinds, as spaces; JSON has none left."""
    return "".join(" " if ord(c) < 32 or c in "\x7f\x85\u2028\u2029" else c for c in line)
