"""`keymiss deploy`: functions to the shards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import redis
from rich.console import Console

from keymiss.cli.options import folder_option, port_option, where
from keymiss.client import Shard, connect, read_shards, text_of
from keymiss.keys import processed_key

HERE = Path(__file__).parent
DEFAULT_FILES = (HERE / "tokenise.py", HERE / "answer.py")
DEADLINE_S = 3600.0
PROGRESS_S = 0.5

console = Console(highlight=False)
T = TypeVar("T")


@click.command()
@click.argument(
    "files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="[FILE...]"
)
@folder_option
@port_option
def deploy(files: tuple[Path, ...], folder: Path, port: int | None) -> None:
    """Send functions to every shard: those of FILEs, or tokenise and answer.

    A file is deployed under its name, so that deploying it again replaces it.
    """
    address = where(folder, port)
    with closing(connect(address.host, address.port, DEADLINE_S)) as client:
        shards = read_shards(client)
        for file in files or DEFAULT_FILES:
            session = f"keymiss-{file.stem}"
            script = file.read_text(encoding="utf-8")
            try:
                reply = _with_progress(partial(_execute, client, script, session), shards)
            except redis.ResponseError as error:
                raise click.ClickException(f"{file}: {error}") from error
            console.print(f"Deployed {file.stem} to {len(shards)} shards{_results(reply)}.")


def _execute(client: redis.Redis, script: str, session: str) -> Any:
    return client.execute_command("RG.PYEXECUTE", script, "ID", session, "UPGRADE")


def _results(reply: Any) -> str:
    """What a script that ran something gave back. ClickException where parts of it failed."""
    if not isinstance(reply, list):
        return ""
    results, errors = reply
    if errors:
        raise click.ClickException("\n".join(map(text_of, errors)))
    return f" ({', '.join(map(text_of, results))} processed)" if results else ""


def _with_progress(run: Callable[[], T], shards: list[Shard]) -> T:
    """The result of `run`, which may take long; meanwhile shows how many paragraphs have their tokens."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(run())
        except BaseException as error:
            failure.append(error)

    worker = threading.Thread(target=work, daemon=True)
    with console.status("deploying") as status:
        worker.start()
        worker.join(PROGRESS_S)
        while worker.is_alive():
            status.update(f"tokenised {_tokenised(shards)} paragraphs")
            worker.join(PROGRESS_S)
    if failure:
        raise failure[0]
    return outcome[0]


def _tokenised(shards: list[Shard]) -> int:
    count = 0
    for shard in shards:
        with closing(shard.connect()) as client:
            count += int(client.scard(processed_key(shard.hash_tag)))
    return count
