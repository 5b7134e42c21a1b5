"""Reading servers that hang, want a password, or let nobody see much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, closing

from support.processes import stopped
from support.server import Server

from keymiss.client import Address
from keymiss.top.reading import Reader, Reading

SHORT_S, LONG_S = 2.0, 20.0  # short, but enough for a busy server
DEADLINE_S = 30.0

Make = Callable[..., Server]


def read_until(
    servers: list[Server], condition: Callable[[Reading], bool], deadline_s: float = LONG_S
) -> Reading:
    """Read again and again with one reader, until it found that."""

    async def reading() -> Reading:
        end = time.monotonic() + DEADLINE_S
        async with aclosing(Reader([Address(port=server.port) for server in servers], deadline_s)) as reader:
            while not condition(found := await reader.read()):
                assert time.monotonic() < end, found
            return found

    return asyncio.run(reading())


def test_a_server_that_hangs_holds_up_no_other_and_answers_to_the_next_reading(make_server: Make) -> None:
    hangs, answers = make_server(module=None), make_server(module=None)
    seen: list[Reading] = []

    def look(found: Reading) -> bool:
        seen.append(found)
        if len(seen) == 1:
            go_on()
        return all(server.state == "up" for server in found.values())

    with stopped(hangs.pid) as go_on:
        read_until([hangs, answers], look, SHORT_S)
    first, second = seen[0].values()
    assert (first.state, first.error) == ("down", f"no answer within {SHORT_S:g} s")
    assert second.state == "up"
    assert second.info.number("used_memory")


def test_a_server_that_wants_a_password_is_there_and_tells_nothing(make_server: Make) -> None:
    server = make_server(module=None)
    with closing(server.client()) as client:
        client.config_set("requirepass", "secret")
        (found,) = read_until([server], lambda _: True).values()
        assert found.state == "error"
        assert "uthentication" in found.error
        client.config_set("requirepass", "")


def test_what_the_user_may_not_do_is_left_out(make_server: Make) -> None:
    server = make_server()
    with closing(server.client()) as client:
        client.execute_command("ACL", "SETUSER", "default", "-@all", "+info")
        (found,) = read_until([server], lambda _: True).values()
    assert found.state == "up"
    assert found.name == str(server.port)
    assert found.info.figure("keymiss_misses_total") == 0
    assert found.models == ()
