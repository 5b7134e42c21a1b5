"""`keymiss load`: files into the shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import redis

from ..client import read_registrations
from ..corpus import UNITS, Article, CorpusError, Loaded, find_files, load_articles, read_articles
from ..corpus.tokenised import lacks_model
from ..keys import SENTENCES_PREFIX
from .console import plain_console
from .options import folder_option, port_option, shards_of
from .progress import NO_MODEL, bar, show_tokens
from .words import count

console = plain_console()


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@folder_option
@port_option
@click.option(
    "--unit",
    type=click.Choice(UNITS),
    default="sentence",
    show_default=True,
    help="What is numbered and asked.",
)
@click.option(
    "--language", default="en", show_default=True, help="Of the text, for finding the ends of sentences."
)
def load(files: tuple[Path, ...], folder: Path, port: int | None, unit: str, language: str) -> None:
    """Load articles: SQuAD or CORD-19 JSON, JSONL, CSV, plain text, or folders of them.

    Loading the same again changes nothing; articles that changed are replaced.
    """
    shards = shards_of(folder, port)
    with closing(shards[0].connect()) as client:
        tokenises = _tokenises(client)
    try:
        paths = find_files(files)
        with bar(console) as progress:
            task = progress.add_task("files", total=len(paths))

            def articles() -> Iterator[Article]:
                for path in paths:
                    yield from read_articles(path)
                    progress.advance(task)

            def tell(loaded: Loaded) -> None:
                progress.update(task, description=f"{_size(loaded, unit)}; files")

            loaded = load_articles(shards, articles(), unit, language, tell)
    except CorpusError as error:
        raise click.ClickException(str(error)) from error
    console.print(
        f"{_size(loaded, unit)} on {count(len(shards), 'shard')}: "
        f"{loaded.new} new, {loaded.changed} changed, {loaded.same} as they were."
    )
    for name in loaded.skipped:
        console.print(f"Skipped a second article named {name}.", style="yellow")
    if not loaded.new + loaded.changed:
        return
    if any(map(lacks_model, shards)):
        console.print(NO_MODEL)
    elif not tokenises or show_tokens(shards, console):
        console.print("`keymiss deploy` deploys the functions, and tokenises what is not tokenised yet.")


def _size(loaded: Loaded, unit: str) -> str:
    return f"{count(loaded.articles, 'article')}, {count(loaded.paragraphs, unit)}"


def _tokenises(client: redis.Redis) -> bool:
    """Whether a function is registered on articles as they arrive. False, too, on a server without the
    module."""
    try:
        return any(function.prefix == f"{SENTENCES_PREFIX}*" for function in read_registrations(client))
    except redis.ResponseError:
        return False
