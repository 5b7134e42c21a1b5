"""Frames survive the channel however their bytes are cut; anything else is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymiss.channel import FrameReader, encode, encode_pieces, number
from keymiss.errors import ChannelError

frames = st.lists(st.lists(st.binary(max_size=200), min_size=1, max_size=12), min_size=1, max_size=8)


def read(data: bytes, cuts: list[int], reader: FrameReader | None = None) -> list[list[bytes]]:
    """The frames in `data`, fed in pieces that end at `cuts`."""
    reader = reader or FrameReader()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [frame for start, end in itertools.pairwise(places) for frame in reader.feed(data[start:end])]


@given(frames, st.lists(st.integers(min_value=0), max_size=20))
def test_frames_are_read_as_written_wherever_the_stream_is_cut(
    written: list[list[bytes]], cuts: list[int]
) -> None:
    assert read(b"".join(encode(*frame) for frame in written), cuts) == written


@given(st.lists(st.binary(max_size=9000), min_size=1, max_size=6))
def test_pieces_of_a_frame_are_the_frame(parts: list[bytes]) -> None:
    assert b"".join(encode_pieces(*parts)) == encode(*parts)


def test_text_and_numbers_are_sent_as_utf8_and_decimals() -> None:
    assert read(encode("DONE", 12, "é", b"\xff"), []) == [[b"DONE", b"12", "é".encode(), b"\xff"]]
    assert b"".join(encode_pieces("DONE", 12, memoryview(b"ab"))) == encode("DONE", 12, b"ab")


@pytest.mark.parametrize(
    "data",
    [
        b"+OK\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*1\r\n:5\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n*1\r\n$1\r\na\r\n",
        b"*x\r\n",
        b"$3\r\nabc\r\n",
        b"hello\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_array_of_bulk_strings_is_refused(data: bytes) -> None:
    with pytest.raises(ChannelError, match="malformed frame"):
        read(data, [])


@given(st.binary(max_size=300), st.lists(st.integers(min_value=0), max_size=5))
def test_any_bytes_are_frames_or_refused(data: bytes, cuts: list[int]) -> None:
    try:
        found = read(data, cuts)
    except ChannelError:
        return
    assert all(frame and all(type(part) is bytes for part in frame) for frame in found)


def test_a_frame_over_the_limit_is_refused_before_it_is_whole() -> None:
    reader = FrameReader(max_frame_bytes=1000)
    assert read(encode(b"x" * 900) * 3, [], reader) == [[b"x" * 900]] * 3
    with pytest.raises(ChannelError, match="longer than 1000 bytes"):
        read(b"*1\r\n$5000\r\n" + b"x" * 2000, [500, 1200], reader)


@pytest.mark.parametrize("part", [b"", b"x", b"1.5", b"\xff"])
def test_a_part_that_should_be_a_number_is_checked(part: bytes) -> None:
    with pytest.raises(ChannelError, match="not a number"):
        number(part)
