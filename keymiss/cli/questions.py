"""Which key a question is, and which shard holds it: for the commands that ask."""

from __future__ import annotations

from pathlib import Path

import click

from ..client import Shard, shard_of
from ..hashtags import slot_of
from ..keys import Paragraph, parse_question_key
from .options import shards_of

NO_FUNCTION = "no function answers this key: `keymiss deploy` deploys them"


def find_question(paragraph: str, question: str | None, folder: Path, port: int | None) -> tuple[str, Shard]:
    """The key of a question about ARTICLE:NUMBER, or `paragraph` itself where that is all there is; and its
    shard. ClickException where it is no key of a question."""
    shards = shards_of(folder, port)
    key = paragraph if question is None else _key(paragraph, question, shards)
    return key, shard_of(_slot_of(key), shards)


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
