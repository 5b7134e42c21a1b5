"""`keymiss ask`: one question about a paragraph or about many, and how long the answer took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

import click
import redis

from ..client import Shard, shard_of, text_of
from ..client.asking import (
    UNKNOWN_TRIGGER,
    Answers,
    ParagraphAnswer,
    grouped,
    joined,
    names_of,
    read_rows,
    words_of,
)
from ..hashtags import slot_of
from ..keys import parse_paragraph_name, parse_sentences_key, sentences_key
from .console import plain_console
from .options import folder_option, port_option, shards_of
from .questions import NO_FUNCTION, find_question
from .words import count

TIMEOUT_S = 120.0
SHOWN = 5  # answers beside the best one
SCANNED = 1000  # keys in one step
NOTHING_FOUND = "(the model finds no answer in {})"

console = plain_console()


@click.command()
@click.argument("paragraph")
@click.argument("question", required=False)
@click.option(
    "--of",
    "articles",
    multiple=True,
    metavar="ARTICLE[:NUMBER]",
    help="Ask about all of these; 'vaccine*' names all articles that begin so.",
)
@folder_option
@port_option
def ask(
    paragraph: str, question: str | None, articles: tuple[str, ...], folder: Path, port: int | None
) -> None:
    """Ask about a PARAGRAPH, written ARTICLE:NUMBER; or give a whole question key; or a question, and what it
    is about by --of.

    \b
    keymiss ask adenovirus:2 "When were adenoviruses first isolated?"
    keymiss ask "When were adenoviruses first isolated?" --of adenovirus --of 'vaccine*'
    """
    if articles:
        if question is not None:
            raise click.UsageError("with --of, give the question alone")
        _ask_many(paragraph, articles, folder, port)
        return
    key, shard = find_question(paragraph, question, folder, port)
    with closing(shard.connect(TIMEOUT_S)) as client:
        cached = bool(client.exists(key))
        started = time.perf_counter()
        answer = client.get(key)
        took_ms = 1000 * (time.perf_counter() - started)
    if answer is None:
        raise click.ClickException(NO_FUNCTION)
    source = "from the cache" if cached else "by the model"
    text = text_of(answer) or NOTHING_FOUND.format("this paragraph")
    console.print(text, style="bold", soft_wrap=True)
    console.print(f"{took_ms:.1f} ms, {source}, shard {shard.port}", style="dim")
    console.print(key, style="dim", soft_wrap=True)


def _ask_many(question: str, articles: Sequence[str], folder: Path, port: int | None) -> None:
    shards = shards_of(folder, port)
    try:
        names = names_of(dict.fromkeys(_expanded(articles, shards)))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    groups = grouped(names, lambda article: shard_of(slot_of(article), shards))

    def ask_shard(shard: Shard) -> list[ParagraphAnswer]:
        with closing(shard.connect(TIMEOUT_S)) as client:
            return read_rows(client.execute_command(*words_of(question, groups[shard])))

    started = time.perf_counter()
    try:
        with ThreadPoolExecutor(len(groups)) as pool:
            answers = joined(names, pool.map(ask_shard, groups))
    except redis.ResponseError as error:
        known = str(error) != UNKNOWN_TRIGGER
        raise click.ClickException(str(error) if known else NO_FUNCTION) from error
    _show(answers, 1000 * (time.perf_counter() - started), len(groups))


def _expanded(articles: Sequence[str], shards: Sequence[Shard]) -> Iterator[str]:
    """The names, those with * ? or [ replaced by the articles that they match. ClickException where there is
    none."""
    patterns = {name for name in articles if any(letter in name for letter in "*?[")}
    there = _articles(shards) if patterns else []
    for name in articles:
        if name not in patterns or parse_paragraph_name(name)[0] in there:
            yield name
        elif matching := [article for article in there if fnmatchcase(article, name)]:
            yield from matching
        else:
            raise click.ClickException(f"no article is named {name}")


def _articles(shards: Sequence[Shard]) -> list[str]:
    """All articles, one walk over the keys of each shard."""
    found: set[str] = set()
    for shard in shards:
        with closing(shard.connect(TIMEOUT_S)) as client:
            for key in client.scan_iter(match=sentences_key("?*", shard.hash_tag), count=SCANNED):
                found.add(parse_sentences_key(text_of(key))[0])
    return sorted(found)


def _show(answers: Answers, took_ms: float, shards: int) -> None:
    asked = len(answers.paragraphs)
    if len(answers.errors) == asked:
        why = dict.fromkeys(str(one.error) for one in answers.errors)
        raise click.ClickException(f"no paragraph could be asked: {'; '.join(why)}")
    best = answers.best
    text = best.text if best else NOTHING_FOUND.format("these paragraphs")
    console.print(text, style="bold", soft_wrap=True)
    others = sorted((one for one in answers.paragraphs if one.text), key=lambda one: -one.margin)
    for one in others[: SHOWN + 1]:
        console.print(f"{one.margin:6.1f}  {one.paragraph}  {one.text}", style="dim", soft_wrap=True)
    for one in answers.errors:
        console.print(f"{one.paragraph}: {one.error}", style="red", soft_wrap=True)
    console.print(f"{took_ms:.1f} ms, {count(asked, 'paragraph')} on {count(shards, 'shard')}", style="dim")
