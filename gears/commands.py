"""`keymiss deploy`: functions to the shards."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click
import redis

from keymiss.cli.console import plain_console
from keymiss.cli.options import folder_option, port_option, shards_of
from keymiss.cli.progress import NO_MODEL, show_tokens
from keymiss.cli.words import count
from keymiss.client import text_of
from keymiss.client.tracebacks import readable
from keymiss.corpus.tokenised import lacks_model

HERE = Path(__file__).parent
DEFAULT_FILES = (HERE / "tokenise.py", HERE / "answer.py")
DEADLINE_S = 3600.0

console = plain_console()


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
    shards = shards_of(folder, port)
    with closing(shards[0].connect(DEADLINE_S)) as client:
        for file in files or DEFAULT_FILES:
            session = f"keymiss-{file.stem}"
            script = _read(file)
            try:
                with console.status(f"deploying {file.stem}"):
                    reply = client.execute_command("RG.PYEXECUTE", script, "ID", session, "UPGRADE")
            except redis.ResponseError as error:
                raise click.ClickException(f"{file}: {readable(str(error))}") from error
            console.print(f"Deployed {file.stem} to {count(len(shards), 'shard')}{_results(reply)}.")
    if files:
        return
    if any(map(lacks_model, shards)):
        raise click.ClickException(NO_MODEL)
    if show_tokens(shards, console):
        raise click.ClickException("no more tokens are being added: the logs of the shards say why")


def _read(file: Path) -> str:
    """ClickException where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file}: {error}") from error


def _results(reply: Any) -> str:
    """What a script that ran something gave back. ClickException where parts of it failed."""
    if not isinstance(reply, list):
        return ""
    results, errors = reply
    if errors:
        raise click.ClickException("\n".join(readable(text_of(error)) for error in errors))
    return f" ({', '.join(map(text_of, results))} processed)" if results else ""
