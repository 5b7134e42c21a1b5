"""The live view beside real servers, driven by textual's own pilot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import TypeAlias

from support.cluster import Cluster
from support.functions import answering_misses, register
from support.load import Load
from support.server import Server
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from keymiss.client import Address
from keymiss.top.app import Top
from keymiss.top.help import Help
from keymiss.top.reading import Reader
from keymiss.top.view import TableView

INTERVAL_S = 0.2
RARELY_S = 60.0  # the pilot waits after each key until nothing is computed any more
DEADLINE_S = 30.0

Test: TypeAlias = Callable[[Top, "Pilot[None]"], Awaitable[None]]


def run(
    ports: list[int], test: Test, interval_s: float = INTERVAL_S, size: tuple[int, int] = (80, 24)
) -> None:
    """Have the app follow these servers while `test` presses keys."""

    async def session() -> None:
        app = Top(Reader([Address(port=port) for port in ports], 5.0), interval_s)
        async with app.run_test(size=(80, 24)) as pilot:
            await test(app, pilot)

    asyncio.run(session())


async def until(pilot: Pilot[None], condition: Callable[[], object], what: str) -> None:
    """Let the app go on until `condition` holds."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, (
            f"not within {DEADLINE_S} s: {what}; on the screen:\n{heading(pilot.app)}"
        )
        await pilot.pause(0.01)


def heading(app: App[None]) -> str:
    return str(app.query_one("#heading", Static).render())


def view(app: Top) -> TableView:
    """The table on the screen."""
    return next(one for one in app.query(TableView) if one.region.area)


def column(app: Top, title: str) -> list[str]:
    """A column of the table on the screen, as it is written there."""
    shown = view(app)
    titles = [str(one.label) for one in shown.ordered_columns]
    return [str(cell) for cell in shown.get_column_at(titles.index(title))]


def test_every_shard_shows_what_it_answers(cluster: Cluster) -> None:
    prefix = "live:"
    with ExitStack() as stack:
        first = stack.enter_context(closing(cluster.masters[0].client()))
        register(first, answering_misses(prefix))
        for shard in cluster.shards:
            key = f"{prefix}{{{shard.hash_tag}}}"
            ask = partial(lambda key, client, n: client.get(f"{key}{n}"), key)
            stack.enter_context(Load(shard.master.client, ask, clients=1, pause_s=0.005))

        async def test(app: Top, pilot: Pilot[None]) -> None:
            def all_answer() -> bool:
                rates = column(app, "answers/s")
                return len(rates) == 3 and not {"0", "-"} & {*rates, *column(app, "p99")}

            await until(pilot, all_answer, "all shards answer")
            assert column(app, "state") == ["up"] * 3
            assert column(app, "address") == [f"127.0.0.1:{master.port}" for master in cluster.masters]
            assert "3 of 3 up" in heading(app)
            await pilot.press("3")
            await until(pilot, lambda: view(app).table.title == "Workers", "the workers are in view")
            ready = zip(column(app, "worker"), column(app, "state"), strict=True)
            assert [state for worker, state in ready if worker == "functions"] == ["ready"] * 3

        run([cluster.masters[0].port], test)


def test_a_shard_goes_down_and_comes_back_and_a_pause_holds_the_view(
    make_server: Callable[..., Server],
) -> None:
    stays, goes = make_server(), make_server(settings={"keymiss.shard-name": "goes"})

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: column(app, "state") == ["up", "up"], "both are up")
        assert column(app, "shard") == [str(stays.port), "goes"]
        await pilot.press("p")
        assert heading(app).endswith("paused")
        goes.stop()
        await pilot.pause(3 * INTERVAL_S)
        assert column(app, "state") == ["up", "up"], "what was read before the pause"
        await pilot.press("p")
        await until(pilot, lambda: column(app, "state") == ["up", "down"], "one is down")
        assert column(app, "shard") == [str(stays.port), "goes"], "it keeps its name"
        assert "1 of 2 up" in heading(app)
        assert "onnect" in column(app, "error")[1]
        goes.start()
        await until(pilot, lambda: column(app, "state") == ["up", "up"], "it is back")

    run([stays.port, goes.port], test)


def test_any_column_sorts_and_help_says_what_it_means(cluster: Cluster) -> None:
    addresses = [f"127.0.0.1:{master.port}" for master in cluster.masters]

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: column(app, "address") == addresses, "the shards in the order of slots")
        await pilot.press("down", "S", "S")
        assert "by address" in heading(app)
        assert column(app, "address") == sorted(addresses)
        await pilot.press("r")
        assert column(app, "address") == sorted(addresses, reverse=True)
        under_cursor = column(app, "address")[view(app).cursor_row]
        assert under_cursor == addresses[1], "the cursor stays on its row"
        await pilot.press("s", "s", "r")
        assert column(app, "address") == addresses, "behind the last column: in no order"
        await pilot.press("2", "question_mark")
        assert isinstance(app.screen, Help)
        assert app.screen.table.title == "Errors"
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)

    run([cluster.masters[0].port], test, RARELY_S)


def test_keys_change_the_interval_and_end_it(server: Server) -> None:
    async def test(app: Top, pilot: Pilot[None]) -> None:
        for key, interval in (("plus", "5"), ("plus", "10"), ("minus", "5"), ("minus", "2"), ("minus", "1")):
            await pilot.press(key)
            assert f"every {interval} s" in heading(app)
        await pilot.press("minus")
        assert "every 1 s" in heading(app), "there is none shorter"
        await pilot.press("ctrl+c")
        assert app.return_code == 0

    run([server.port], test, interval_s=3.0)


def test_a_terminal_may_be_of_any_size(server: Server) -> None:
    async def test(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: column(app, "state") == ["up"], "it is up")
        for size in ((40, 12), (3, 2), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.press("question_mark", "escape")
        assert column(app, "state") == ["up"]
        assert view(app).region.bottom < 24, "the keys stay in view below it"

    run([server.port], test, RARELY_S)


def test_servers_that_never_answered_are_waited_for(make_server: Callable[..., Server]) -> None:
    late = make_server(start=False)

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: column(app, "state") == ["down"], "it is down")
        assert "no server  0 of 1 up" in heading(app)
        late.start()
        await until(pilot, lambda: column(app, "state") == ["up"], "it is up")

    run([late.port], test)
