"""Replies of numbers, texts and lists in lists, without the meanings that `replies.to_resp` gives to what
functions return.
"""

from __future__ import annotations

from typing import Any

from keymiss.functions import replies


def nested(value: Any) -> bytes:
    """None, int, str (always a bulk string) and lists of them, as RESP2."""
    if value is None:
        return replies.NIL
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return replies.array([nested(item) for item in value])
    return replies.bulk(str(value).encode("utf-8", "replace"))
