"""The log of the models worker: where it goes, and which jobs it tells of."""

from __future__ import annotations

import logging
from time import monotonic

from keymiss.channel import Frame, Hello, Job
from keymiss.errors import BackendError, ChannelError
from keymiss.inference.frames import ModelParts
from keymiss.inference.tracing import TRACED
from keymiss.logs import Lines, Quota, about, level_number

log = logging.getLogger("keymiss.inference")

DEFAULT_SLOW_MS = 1000
_KIND, _RUN_MODEL = 2, 4  # in JOB <id> RUN or LOAD <deadline_ms> <model>
_NEVER_S = float("inf")


def log_by(handler: logging.Handler, lines: Lines) -> None:
    """Log there from now on: to the server whose own this worker is, or to standard error, which is the log
    file of a shared one."""
    handler.setFormatter(lines)
    logging.root.addHandler(handler)  # libraries warn by it
    log.setLevel(logging.INFO)


def follow_settings(lines: Lines, hello: Hello) -> None:
    """HELLO and SETTING: what is logged, and in which form. Of several shards, as the last one said."""
    lines.json = hello.settings.get("log-format") == "json"
    lines.shard = hello.shard_name
    log.setLevel(level_number(hello.settings.get("log-level", "notice")))


class JobLog:
    """Of one channel. Every thread."""

    def __init__(self, hello: Hello) -> None:
        """`hello` follows the settings."""
        self._hello = hello
        self._quota = Quota()
        slow_ms = hello.setting("slow-ms", DEFAULT_SLOW_MS)
        self._slow_s = slow_ms / 1000 if slow_ms > 0 else _NEVER_S
        self.tells_all = log.isEnabledFor(logging.DEBUG)

    def ended(self, job: Job, reply: bytes) -> None:
        """A job was answered by this RESP2 value: nearly always there is nothing to say."""
        self.answered(job.parts, reply, monotonic() - job.came_s)

    def answered(self, frame: Frame, reply: bytes, took_s: float) -> None:
        """As `ended`, of the job that came by this frame."""
        failed, slow = reply.startswith(b"-"), took_s > self._slow_s
        if not (failed or slow or self.tells_all):
            return
        expected = not failed and not slow
        left_out = 0 if expected else self._quota.take()
        if left_out is None:
            return
        fields: dict[str, str | int] = {"kind": frame[_KIND].decode("utf-8", "replace"), **_model(frame)}
        fields["us"] = round(1e6 * took_s)
        if failed:
            fields["error"] = reply[1:].strip().decode("utf-8", "replace")
        if left_out:
            fields["left_out"] = left_out
        event = "job-error" if failed else "job-slow" if slow else "job-done"
        extra = about(event, fields, self._hello.request_name(_request(frame)), self._hello.shard_name)
        log.log(logging.DEBUG if expected else logging.INFO, "", extra=extra)


def _request(frame: Frame) -> int:
    """The number of its request: the last element of its frame."""
    digits = frame[-1].removesuffix(TRACED)
    return int(digits) if digits.isdigit() else 0


def _model(frame: Frame) -> dict[str, str | int]:
    """What the job names."""
    if frame[_KIND] not in (b"RUN", b"LOAD"):
        return {}
    try:
        parts = ModelParts.parse(frame, _RUN_MODEL)
    except (BackendError, ChannelError):
        return {}
    return {"model": parts.label, "device": str(parts.identity.device)}
