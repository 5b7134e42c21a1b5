"""`keymiss ask`: one question, and how long the answer took."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console

from ..client import Shard, connect, read_shards, shard_of, text_of
from ..hashtags import slot_of
from ..keys import Paragraph, parse_question_key
from .options import folder_option, port_option, where

TIMEOUT_S = 120.0

console = Console(highlight=False)


@click.command()
@click.argument("paragraph")
@click.argument("question", required=False)
@folder_option
@port_option
def ask(paragraph: str, question: str | None, folder: Path, port: int | None) -> None:
    """Ask about a PARAGRAPH, written ARTICLE:NUMBER; or give a whole question key.

    \b
    keymiss ask adenovirus:2 "When were adenoviruses first isolated?"
    """
    address = where(folder, port)
    with closing(connect(address.host, address.port)) as client:
        shards = read_shards(client)
    key = paragraph if question is None else _key(paragraph, question, shards)
    shard = shard_of(_slot_of(key), shards)
    with closing(shard.connect(TIMEOUT_S)) as client:
        cached = bool(client.exists(key))
        started = time.perf_counter()
        answer = client.get(key)
        took_ms = 1000 * (time.perf_counter() - started)
    if answer is None:
        raise click.ClickException("no function answers this key: `keymiss deploy` deploys them")
    source = "from the cache" if cached else "by the model"
    text = text_of(answer) or "(the model finds no answer in this paragraph)"
    console.print(text, style="bold", markup=False, soft_wrap=True)
    console.print(f"{took_ms:.1f} ms, {source}, shard {shard.port}", style="dim")
    console.print(key, style="dim", markup=False, soft_wrap=True)


def _slot_of(key: str) -> int:
    """The slot of a question key. ClickException where it is none."""
    try:
        parse_question_key(key)
    except ValueError as error:
        raise click.ClickException(f"{error}; or write ARTICLE:NUMBER and the question") from error
    return slot_of(key)


def _key(paragraph: str, question: str, shards: list[Shard]) -> str:
    article, colon, number = paragraph.rpartition(":")
    if not (article and colon and number.isdecimal()):
        raise click.ClickException(f"{paragraph!r}: write it as ARTICLE:NUMBER, for example adenovirus:2")
    return Paragraph(article, shard_of(slot_of(article), shards).hash_tag, number).question_key(question)
