"""Answers as they come over a connection: what was received in, the answer out once that holds it. Pure."""

from __future__ import annotations

from collections.abc import Callable

_SHOWN = 300  # bytes of what a server says instead of an answer


class Failed(Exception):
    """A server answered by an error."""


def of_resp(received: bytes) -> bytes | None:
    """A bulk string; empty for nil. None where it is not whole yet."""
    head, found, rest = received.partition(b"\r\n")
    if not found:
        return None
    if head[:1] != b"$":
        raise Failed(head[:_SHOWN].decode(errors="replace"))
    size = int(head[1:])
    if size < 0:
        return b""
    return rest[:size] if len(rest) >= size + 2 else None


def of_http(received: bytes) -> bytes | None:
    """The body of an HTTP/1.1 response of known length, or in chunks. None where it is not whole yet."""
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found:
        return None
    status, *lines = head.lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines if b": " in line)
    if headers.get(b"transfer-encoding") == b"chunked":
        body = _of_chunks(rest)
    else:
        size = int(headers[b"content-length"])
        body = rest[:size] if len(rest) >= size else None
    if body is not None and b" 200 " not in status + b" ":
        raise Failed(f"{status.decode()}: {body[:_SHOWN].decode(errors='replace')}")
    return body


def _of_chunks(rest: bytes) -> bytes | None:
    body = b""
    while True:
        head, found, rest = rest.partition(b"\r\n")
        if not found or len(rest) < (size := int(head, 16)) + 2:
            return None
        if not size:
            return body
        body, rest = body + rest[:size], rest[size + 2 :]


PROTOCOLS: dict[str, Callable[[bytes], bytes | None]] = {"resp": of_resp, "http": of_http}
