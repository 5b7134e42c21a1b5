"""Frames of the channel: RESP arrays of bulk strings (docs/channel.md), made and parsed. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import hiredis

from keymiss.errors import ChannelError

Frame = list[bytes]
Part: TypeAlias = bytes | str | int

MAX_FRAME_BYTES = 1 << 30  # keymiss.max-frame-bytes until HELLO says otherwise
MAX_FRAME_PARTS = 1 << 20

_ALL_BYTES = frozenset([bytes])


def encode(*parts: Part) -> bytes:
    """One frame. Text is sent as UTF-8, numbers as decimals."""
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]  # its stubs know one element only
    return packed


def element(part: bytes | str) -> bytes:
    """One element of a frame."""
    data = part.encode() if isinstance(part, str) else part
    return b"$%d\r\n%b\r\n" % (len(data), data)


def error_reply(error: str) -> bytes:
    """A RESP error in one line: its text, code first."""
    return b"-%b\r\n" % " ".join(error.split()).encode("utf-8", "replace")


def encode_pieces(*parts: Part | memoryview) -> list[bytes | memoryview]:
    """One frame as pieces to be written one after the other, so that large parts are not copied."""
    head = bytearray(b"*%d\r\n" % len(parts))
    pieces: list[bytes | memoryview] = []
    for part in parts:
        data = (
            part.cast("B")
            if isinstance(part, memoryview)
            else part
            if isinstance(part, bytes)
            else str(part).encode()
        )
        head += b"$%d\r\n" % len(data)
        if len(data) < 4096:
            head += data
        else:
            pieces += [bytes(head), data]
            head = bytearray()
        head += b"\r\n"
    pieces.append(bytes(head))
    return pieces


class FrameReader:
    """Bytes in, frames out, however the bytes are cut."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._reader = hiredis.Reader()
        self._unparsed = 0  # bytes fed since the last complete frame: what a frame may not exceed

    def feed(self, data: bytes | bytearray, length: int | None = None) -> Iterator[Frame]:
        """The frames that `data`, or its first `length` bytes, completes. `data` may change afterwards.

        ChannelError on anything else: the stream is then of no use any more.
        """
        length = len(data) if length is None else length
        self._unparsed += length
        self._reader.feed(data, 0, length)  # type: ignore[arg-type]  # any buffer, say its sources
        gets = self._reader.gets
        while True:
            try:
                frame = gets()
            except hiredis.ProtocolError as error:
                raise ChannelError(f"malformed frame: {error}") from None
            if frame is False:
                break
            self._unparsed = 0
            if type(frame) is not list or not frame or set(map(type, frame)) != _ALL_BYTES:
                raise ChannelError("malformed frame: not an array of bulk strings")
            if len(frame) > MAX_FRAME_PARTS:
                raise ChannelError(f"malformed frame: more than {MAX_FRAME_PARTS} elements")
            yield frame
        if self._unparsed > self.max_frame_bytes:
            raise ChannelError(f"malformed frame: longer than {self.max_frame_bytes} bytes")


def parse_reply(reply: bytes) -> Any:
    """A reply inside a frame: bytes for every string, int, None, list, hiredis.ReplyError for an error.
    ChannelError where it is no RESP2 value."""
    reader = hiredis.Reader()
    try:
        reader.feed(reply)
        value = reader.gets()
    except hiredis.ProtocolError as error:
        raise ChannelError(f"malformed reply: {error}") from None
    if value is False:
        raise ChannelError("malformed reply: it is cut short")
    return value


def number(part: bytes) -> int:
    """A decimal part of a frame. ChannelError where it is none."""
    try:
        return int(part)
    except ValueError:
        raise ChannelError(f"malformed frame: {part[:32]!r} is not a number") from None
