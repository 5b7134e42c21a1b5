"""What a builder tells and refuses, in the recorded words; without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from keymiss.errors import GearsError
from keymiss.functions.builder import GearsBuilder


@pytest.mark.parametrize(
    ("mode", "refusal"),
    [
        ("nosuch", "unknown execution mode"),
        ("ASYNC", "unknown execution mode"),
        (5, "execution mode must be a string"),
        (None, "execution mode must be a string"),
    ],
)
def test_run_refuses_a_mode_that_is_none(mode: Any, refusal: str) -> None:
    with pytest.raises(GearsError) as error:
        GearsBuilder("ShardsIDReader").run(mode=mode)
    assert str(error.value) == refusal


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("KeysReader", "KeysReader"),
        ("StreamReader", "StreamReader"),
        ("KeysOnlyReader", "PythonReader"),
        ("ShardsIDReader", "PythonReader"),
    ],
)
def test_a_builder_tells_its_reader(name: str, reader: str) -> None:
    builder = GearsBuilder(name)
    assert (builder.realReader, builder.reader) == (name, reader)


async def gives() -> int:
    return 1


async def yields() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [gives, yields])
def test_run_refuses_a_reader_that_would_have_to_be_awaited(function: Callable[[], Any]) -> None:
    with pytest.raises(GearsError, match="coroutine are not allow on reader"):
        GearsBuilder("PythonReader").run(function)
