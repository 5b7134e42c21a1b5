"""`keymiss trace`: one question, and how long each stage of it took."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import redis
from rich.table import Table

from ..client.shards import Shard
from ..client.tracing import COMMAND, Trace, read_trace
from .ask import NOTHING_FOUND, TIMEOUT_S
from .console import plain_console
from .options import folder_option, port_option
from .questions import NO_FUNCTION, find_question

console = plain_console()


@click.command()
@click.argument("paragraph")
@click.argument("question", required=False)
@click.option(
    "--of",
    "paragraphs",
    multiple=True,
    metavar="ARTICLE:NUMBER",
    help="Trace the question about each of these, one after the other.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a question, for programs.")
@folder_option
@port_option
def trace(
    paragraph: str,
    question: str | None,
    paragraphs: tuple[str, ...],
    as_json: bool,
    folder: Path,
    port: int | None,
) -> None:
    """Ask as `keymiss ask` does, about a PARAGRAPH or by a whole key, and show the time of each stage. The
    answer is worked out also where it is cached.

    \b
    keymiss trace adenovirus:2 "When were adenoviruses first isolated?"
    """
    if paragraphs and question is not None:
        raise click.UsageError("with --of, give the question alone")
    failed = False
    for about, words in [(one, paragraph) for one in paragraphs] if paragraphs else [(paragraph, question)]:
        key, shard = find_question(about, words, folder, port)
        traced, client_us = _run(key, shard)
        failed |= traced.error is not None
        if as_json:
            click.echo(json.dumps(_described(traced, key, shard, client_us)))
        else:
            _show(traced, key, shard, client_us)
    if failed:
        raise click.exceptions.Exit(1)


def _run(key: str, shard: Shard) -> tuple[Trace, int]:
    """And how long the client waited for it, in microseconds."""
    with closing(shard.connect(TIMEOUT_S)) as client:
        client.ping()  # to connect is no stage of a question
        began = time.perf_counter()
        try:
            reply = client.execute_command(COMMAND, key)
        except redis.ResponseError as error:
            said = str(error)
            raise click.ClickException(NO_FUNCTION if NO_FUNCTION.startswith(said) else said) from error
        client_us = round(1e6 * (time.perf_counter() - began))
    try:
        return read_trace(reply), client_us
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _described(traced: Trace, key: str, shard: Shard, client_us: int) -> dict[str, Any]:
    """The fields that docs/tracing.md lists."""
    return {
        "request": traced.request,
        "key": key,
        "port": shard.port,
        "cached": traced.cached,
        "answer": traced.answer,
        "error": traced.error,
        "client_us": client_us,
        "server_us": traced.total_us,
        "stages": [
            {
                "stage": stage.name,
                "worker": stage.worker,
                "depth": stage.depth,
                "began_us": stage.began_us,
                "took_us": stage.took_us,
                **stage.facts,
            }
            for stage in traced.stages
        ],
    }


def _show(traced: Trace, key: str, shard: Shard, client_us: int) -> None:
    answer = traced.answer or NOTHING_FOUND.format("this paragraph")
    if traced.error is None:
        console.print(answer, style="bold", soft_wrap=True)
    else:
        console.print(traced.error, style="red", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("stage", "left"), ("at ms", "right"), ("took ms", "right"), ("", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("measured by", no_wrap=True)
    table.add_column("")
    for stage in traced.stages:
        table.add_row(
            "  " * stage.depth + stage.name,
            f"{stage.began_us / 1000:.3f}",
            f"{stage.took_us / 1000:.3f}",
            f"{stage.took_us / max(1, traced.total_us):.0%}",
            stage.worker,
            " ".join(f"{name}={number}" for name, number in stage.facts.items()),
        )
    table.add_row("server", "", f"{traced.total_us / 1000:.3f}", "100%")
    table.add_row("client", "", f"{client_us / 1000:.3f}")
    console.print(table)
    source = "cached, worked out all the same" if traced.cached else "not cached before"
    console.print(f"request {traced.request}, shard {shard.port}, {source}", style="dim", soft_wrap=True)
    console.print(key, style="dim", soft_wrap=True)
