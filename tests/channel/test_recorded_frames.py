"""Both sides read the frames of a recorded session alike (the C side: engine/tests/test_resp.c)."""

from __future__ import annotations

from pathlib import Path

import pytest

from keymiss.channel import Frame, FrameReader, encode
from keymiss.errors import ChannelError

FOLDER = Path(__file__).parents[1] / "frames"
GOOD = sorted(path for path in FOLDER.glob("*.resp") if not path.name.startswith("bad-"))
BAD = sorted(FOLDER.glob("bad-*.resp"))


def described(frame: Frame) -> str:
    """As the .txt files show a frame."""
    return " ".join(
        "".join(chr(c) if 32 < c < 127 and c != ord("%") else f"%{c:02X}" for c in part) or "%"
        for part in frame
    )


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_recorded_frames_are_read_as_described(path: Path, step: int) -> None:
    stream, reader = path.read_bytes(), FrameReader()
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]
    frames = [frame for piece in pieces for frame in reader.feed(piece)]
    assert [described(frame) for frame in frames] == path.with_suffix(".txt").read_text().splitlines()
    assert b"".join(encode(*frame) for frame in frames) == stream


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_recorded_nonsense_is_refused(path: Path) -> None:
    with pytest.raises(ChannelError):
        list(FrameReader().feed(path.read_bytes()))


VERBS = {
    "hello",
    "ready",
    "job",
    "done",
    "call",
    "result",
    "run",
    "outputs",
    "begin",
    "end",
    "hook",
    "unhook",
    "model",
}


def test_every_verb_that_matters_was_recorded() -> None:
    assert {path.stem.split("-")[3] for path in GOOD} >= VERBS
