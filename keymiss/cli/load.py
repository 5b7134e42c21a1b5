"""`keymiss load`: files into the shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..client import connect, read_shards
from ..corpus import UNITS, Article, CorpusError, Loaded, find_files, load_articles, read_articles
from .options import folder_option, port_option, where

console = Console(highlight=False)


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
    address = where(folder, port)
    with closing(connect(address.host, address.port)) as client:
        shards = read_shards(client)
    try:
        paths = find_files(files)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("files", total=len(paths))

            def articles() -> Iterator[Article]:
                for path in paths:
                    yield from read_articles(path)
                    bar.advance(task)

            def progress(loaded: Loaded) -> None:
                bar.update(
                    task, description=f"{loaded.articles} articles, {loaded.paragraphs} paragraphs; files"
                )

            loaded = load_articles(shards, articles(), unit, language, progress)
    except CorpusError as error:
        raise click.ClickException(str(error)) from error
    console.print(
        f"{loaded.articles} articles, {loaded.paragraphs} {unit}s on {len(shards)} shards: "
        f"{loaded.new} new, {loaded.changed} changed, {loaded.same} as they were."
    )
    for name in loaded.skipped:
        console.print(f"Skipped a second article named {name}.", style="yellow")
