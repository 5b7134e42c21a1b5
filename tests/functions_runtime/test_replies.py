"""Values between Python and RESP2, against the recordings and against hiredis."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymiss.errors import GearsError
from keymiss.functions.replies import argument, bytes_from_resp, from_resp, to_resp

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
resp_values = st.recursive(
    st.one_of(INT64, st.binary(max_size=40), st.none()),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)


def resp(value: Any) -> bytes:
    """The oracle's RESP2 of ints, bytes, None and lists."""
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if value is None:
        return b"$-1\r\n"
    return b"*%d\r\n" % len(value) + b"".join(map(resp, value))


def as_functions_see(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return bytearray(value)
    return [as_functions_see(item) for item in value] if isinstance(value, list) else value


@given(resp_values)
def test_replies_of_the_server_become_python(value: Any) -> None:
    assert from_resp(resp(value)) == as_functions_see(value)
    assert bytes_from_resp(resp(value)) == value


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (b"+OK\r\n", "OK"),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"$2\r\n\xff\x00\r\n", bytearray(b"\xff\x00")),
        (b"*2\r\n:1\r\n-MYERR x\r\n", [1, "MYERR x"]),
    ],
)
def test_replies_are_seen_as_recorded(reply: bytes, value: Any) -> None:
    seen = from_resp(reply)
    assert (seen, type(seen)) == (value, type(value))


def test_an_error_is_raised_with_its_text() -> None:
    with pytest.raises(GearsError, match=r"^WRONGTYPE Operation$"):
        from_resp(b"-WRONGTYPE Operation\r\n")


@given(st.binary(max_size=60))
def test_malformed_replies_are_gears_errors(reply: bytes) -> None:
    try:
        from_resp(reply)
        bytes_from_resp(reply)
    except GearsError:
        pass


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        ("abc", b"$3\r\nabc\r\n"),
        ("", b"$0\r\n\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n"),
        ("+", b"$1\r\n+\r\n"),
        ("-", b"$1\r\n-\r\n"),
        ("+READY now", b"+READY now\r\n"),
        ("-a\nb", b"-a b\r\n"),
        ("-12", b"-12\r\n"),
        (5, b":5\r\n"),
        (True, b":1\r\n"),
        (HTTPStatus.NOT_FOUND, b":404\r\n"),
        (1.5, b"$8\r\n1.500000\r\n"),
        (b"\xff", b"$1\r\n\xff\r\n"),
        (bytearray(b"x"), b"$9\r\nPY RECORD\r\n"),
        (None, b"$9\r\nPY RECORD\r\n"),
        ([1, ["b"]], b"*2\r\n:1\r\n*1\r\n$1\r\nb\r\n"),
    ],
)
def test_values_of_functions_are_answered_as_recorded(value: Any, reply: bytes) -> None:
    assert to_resp(value) == reply


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [2**63, -(2**70), "\ud800", ["\udfff"], [2**64], nested(100), itself()])
def test_values_that_no_reply_can_hold_are_errors(value: Any) -> None:
    with pytest.raises(GearsError):
        to_resp(value)


@given(
    st.recursive(
        st.one_of(st.text(), st.binary(), INT64, st.floats(), st.none(), st.booleans()),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=12,
    )
)
def test_whatever_is_answered_is_one_resp_value(value: Any) -> None:
    try:
        reply = to_resp(value)
    except GearsError:
        return  # a lone surrogate
    reader = hiredis.Reader()
    reader.feed(reply + b"+behind\r\n")
    assert reader.gets() is not False
    assert reader.gets() == b"behind"


@pytest.mark.parametrize(
    ("value", "sent"),
    [("é", b"\xc3\xa9"), (b"\xff", b"\xff"), (bytearray(b"\xff"), b"\xff"), (1.5, b"1.5"), (None, b"None")],
)
def test_arguments_are_sent_as_recorded(value: Any, sent: bytes) -> None:
    assert argument(value) == sent


def test_an_argument_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(GearsError, match="surrogate"):
        argument("\ud800")
