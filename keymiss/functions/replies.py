"""Values on their way between Python and RESP2, as functions have always seen them.

    from the server            Python                 from a function          RESP2
    bulk string, UTF-8         str                    str "+text", "-text"     status, error
    bulk string, other bytes   bytearray              str, bytes               bulk string
    status                     str                    int, bool                integer
    integer                    int                    float                    bulk string, "%f"
    nil                        None                   list                     array
    array                      list                   anything else            bulk string "PY RECORD"
    error                      GearsError is raised;
                               in an array its text

Pure: no I/O, any thread.
"""

from __future__ import annotations

from typing import Any

import hiredis

from keymiss.channel import parse_reply
from keymiss.errors import ChannelError, GearsError

NIL = b"$-1\r\n"
OK = b"+OK\r\n"
_MAX_DEPTH = 60  # of lists in a reply: the server refuses deeper ones
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
_DOLLAR, _COLON, _PLUS = b"$:+"


def text(data: bytes) -> str | bytearray:
    """A string of the server as functions see it: str, or bytearray where it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return bytearray(data)


def from_resp(reply: bytes) -> Any:
    """One RESP2 value as Python. GearsError where it is an error, or no RESP2 value."""
    kind = reply[0] if reply else 0
    try:
        if kind == _DOLLAR:  # the most frequent kinds by hand: no parser is made for them
            return None if reply == NIL else text(reply[reply.index(b"\r\n") + 2 : -2])
        if kind == _COLON:
            return int(reply[1:-2])
        if kind == _PLUS:
            return text(reply[1:-2])
    except ValueError as error:
        raise GearsError(f"malformed reply: {error}") from None
    return _python(bytes_from_resp(reply))


def bytes_from_resp(reply: bytes) -> Any:
    """As `from_resp`, with every string as bytes; an error inside an array is a hiredis.ReplyError."""
    try:
        value = parse_reply(reply)
    except ChannelError as error:
        raise GearsError(str(error)) from None
    if isinstance(value, hiredis.ReplyError):
        raise GearsError(str(value))
    return value


def _python(value: Any) -> Any:
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, list):
        return [_python(item) for item in value]
    return str(value) if isinstance(value, hiredis.ReplyError) else value


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def error(message: str) -> bytes:
    """An error reply. Its text is the message on one line, code first."""
    return b"-%b\r\n" % _line(message)


def status(message: str) -> bytes:
    return b"+%b\r\n" % _line(message)


def array(items: list[bytes]) -> bytes:
    """An array of RESP2 values."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def to_resp(value: Any, depth: int = 0) -> bytes:
    """A value of a function as RESP2 (see the table above). GearsError where it cannot be said in it."""
    if isinstance(value, str):
        if len(value) > 1 and value[0] in "+-":
            return status(value[1:]) if value[0] == "+" else error(value[1:])
        return bulk(_encode(value))
    if isinstance(value, bytes):
        return bulk(value)
    if isinstance(value, int):
        if not _INT64_MIN <= value <= _INT64_MAX:
            raise GearsError("a reply cannot hold an integer of more than 64 bits")
        return b":%d\r\n" % value
    if isinstance(value, float):
        return bulk(b"%f" % value)
    if isinstance(value, list):
        if depth >= _MAX_DEPTH:
            raise GearsError(f"a reply cannot be nested deeper than {_MAX_DEPTH} lists")
        return array([to_resp(item, depth + 1) for item in value])
    return bulk(b"PY RECORD")


def argument(value: Any) -> bytes:
    """One argument of a command:

    bytes as they are, anything else as `str` says it. GearsError where that is no UTF-8.
    """
    if isinstance(value, str):
        return _encode(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return _encode(str(value))


def _encode(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise GearsError("a string with a lone surrogate cannot be encoded as UTF-8") from None


def _line(message: str) -> bytes:
    return (
        message.replace("\r\n", " ").replace("\n", " ").replace("\r", " ").strip().encode("utf-8", "replace")
    )
