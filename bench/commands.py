"""`keymiss bench <name>`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, TypeAlias

import click
from keymiss_deploy.models.forms import AUTO, PRECISIONS, RUNTIMES, matching

from keymiss.cli.console import plain_console
from keymiss.cli.options import folder_option, port_option, servers_of

from . import (
    ai,
    client_sweep,
    gears,
    gpu,
    loading,
    many_models,
    memory,
    metrics,
    miss,
    overhead,
    qa,
    redis_benchmark,
    workload,
)
from .effort import effort
from .peers.servers import PEERS, Peer
from .progress import Progress, progress
from .question import deployed_question
from .report import Report

MANY_ROWS_SECONDS = 1.25  # of benchmarks with so many rows that each has to be shorter
SWEEP_ROUNDS = LOAD_ROUNDS = 3
METRICS_ROUNDS = 15  # what is looked for is one part of a hundred
WIDTH = 120  # of a table that is written to a file

Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def _made(_context: click.Context, _option: click.Parameter, folder: Path | None) -> Path | None:
    """The folder, made before anything is measured: what cannot be kept is not waited for."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _asked(_context: click.Context, _option: click.Parameter, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files, which questions can be taken of."""
    try:
        if files:
            workload.items(files, workload.LEAST)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return files


_server = click.option(
    "--server", help="The redis-server or valkey-server to measure; the one on the PATH otherwise."
)
_quick = click.option(
    "--quick", is_flag=True, help="One short round: shows the table, says nothing about speed."
)
_out = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_made,
    help="Folder for the JSON and, with the extra `bench`, a picture.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
_questions = click.option(
    "--questions",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_asked,
    envvar="KEYMISS_QUESTIONS",
    show_envvar=True,
    help=f"SQuAD files to ask; otherwise {workload.SHARED_FILE} in the folder KEYMISS_SHARED, where that is "
    "set, else the corpus that comes with Keymiss.",
)
_backend = click.option(
    "--backend", type=click.Choice([AUTO, *RUNTIMES]), default=AUTO, help="As of `keymiss model store`."
)
_precision = click.option(
    "--precision", type=click.Choice([AUTO, *PRECISIONS]), default=AUTO, help="As of `keymiss model store`."
)
_peers = click.option(
    "--peers",
    help=f"all, none, or names with commas between: {', '.join(PEERS)}.  [default: all; with --quick none]",
)


def _together(*options: Option) -> Option:
    """One decorator for all of them, in the order in which `--help` shows them."""
    return lambda function: reduce(lambda done, option: option(done), reversed(options), function)


_usual = _together(_server, _quick, _out, _json)
_form = _together(_backend, _precision)


def _stop(*_: object) -> None:
    """End the servers, too; once: `timeout` sends its signal twice, and the second would interrupt that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


@click.group()
def bench() -> None:
    """Measure what the README claims, with a plain server beside it in the same run."""
    signal.signal(signal.SIGTERM, _stop)


@contextmanager
def _measuring() -> Iterator[Progress]:
    """Progress, while it is measured. ClickException where something for it is missing, fails or does not
    answer."""
    try:
        with progress() as shown:
            yield shown
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


@bench.command("overhead")
@_usual
def overhead_command(server: str | None, quick: bool, out: Path | None, as_json: bool) -> None:
    """What the module costs commands that it does not hook, and a hooked GET that hits."""
    with _measuring() as shown:
        report = overhead.measure(server, effort(quick), shown)
    _finish(report, out, as_json)


@bench.command("miss")
@_usual
@folder_option
@port_option
def miss_command(
    server: str | None, quick: bool, out: Path | None, as_json: bool, folder: Path, port: int | None
) -> None:
    """What a GET costs that misses and is answered by a function: a trivial one, and the deployed one where a
    cluster is up."""
    address = servers_of(folder, port)[0]
    with deployed_question(address.host, address.port) as question, _measuring() as shown:
        report = miss.measure(server, effort(quick), shown, question)
    _finish(report, out, as_json)
    if question is None:
        click.echo(
            "No deployed cluster was found: `./bootstrap.sh` makes one, to measure real questions too.",
            err=as_json,
        )


@bench.command("ai")
@_usual
def ai_command(server: str | None, quick: bool, out: Path | None, as_json: bool) -> None:
    """What AI.* costs: tensors beside strings of the same size, a tiny and a MiniLM-sized model beside the
    same model called directly, at 1, 8 and 50 clients, alone and in batches."""
    with _measuring() as shown:
        report = ai.measure(server, effort(quick, seconds=MANY_ROWS_SECONDS), shown)
    _finish(report, out, as_json)


@bench.command("gears")
@_usual
def gears_command(server: str | None, quick: bool, out: Path | None, as_json: bool) -> None:
    """What functions cost: commands and misses that they answer, events that fire them, and runs over 100,000
    keys of one shard and of three."""
    with _measuring() as shown:
        report = gears.measure(server, effort(quick, seconds=MANY_ROWS_SECONDS), shown)
    _finish(report, out, as_json)


@bench.command("qa")
@_usual
@_questions
@_form
@_peers
def qa_command(
    server: str | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
    files: tuple[Path, ...],
    backend: str,
    precision: str,
    peers: str | None,
) -> None:
    """Questions a second that a deployed model answers: 1 to 64 clients, texts of mixed length, beside the
    original method."""
    with _measuring() as shown:
        report = qa.measure(
            server,
            effort(quick, seconds=MANY_ROWS_SECONDS),
            shown,
            files,
            _model(backend, precision),
            _chosen(peers, quick),
        )
    _finish(report, out, as_json)


@bench.command("redis-benchmark")
@_usual
@_questions
@_form
def redis_benchmark_command(
    server: str | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
    files: tuple[Path, ...],
    backend: str,
    precision: str,
) -> None:
    """The original article's command: redis-benchmark on question keys that miss, and what AI.INFO counts."""
    with _measuring() as shown:
        model = _model(backend, precision)
        report = redis_benchmark.measure(
            server, effort(quick, seconds=MANY_ROWS_SECONDS), shown, files, model
        )
    _finish(report, out, as_json)


@bench.command("client-sweep")
@_usual
@_form
def client_sweep_command(
    server: str | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
    backend: str,
    precision: str,
) -> None:
    """Runs of AI.MODELEXECUTE a second over BATCHSIZE and clients: a table, and with --out a heat map."""
    told = effort(quick, SWEEP_ROUNDS, MANY_ROWS_SECONDS)
    with _measuring() as shown:
        report = client_sweep.measure(server, told, shown, _model(backend, precision))
    _finish(report, out, as_json)


@bench.command("memory")
@_usual
def memory_command(server: str | None, quick: bool, out: Path | None, as_json: bool) -> None:
    """What the shards of a host that hold the same model take of its memory."""
    with _measuring() as shown:
        report = memory.measure(server, effort(quick), shown)
    _finish(report, out, as_json)


@bench.command("load")
@_usual
def load_command(server: str | None, quick: bool, out: Path | None, as_json: bool) -> None:
    """How long it takes until a stored model answers, new or there already, and how long others wait."""
    with _measuring() as shown:
        report = loading.measure(server, effort(quick, LOAD_ROUNDS), shown)
    _finish(report, out, as_json)


@bench.command("many-models")
@_usual
def many_models_command(server: str | None, quick: bool, out: Path | None, as_json: bool) -> None:
    """Twelve models, asked for unevenly at random, in less memory than they need, beside all of them in
    memory and beside loading the one that is asked for."""
    with _measuring() as shown:
        report = many_models.measure(server, effort(quick), shown)
    _finish(report, out, as_json)


@bench.command("metrics")
@_usual
@_form
def metrics_command(
    server: str | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
    backend: str,
    precision: str,
) -> None:
    """What metrics cost: misses, RG.TRIGGER and questions while the workers are scraped every second, beside
    the same without metrics."""
    told = effort(quick, METRICS_ROUNDS, MANY_ROWS_SECONDS)
    with _measuring() as shown:
        report = metrics.measure(server, told, shown, _model(backend, precision))
    _finish(report, out, as_json)


@bench.command("gpu")
@_quick
@_out
@_json
@click.option(
    "--models",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of exported models, FORM/FILE, for a machine that cannot export them.",
)
def gpu_command(quick: bool, out: Path | None, as_json: bool, models: Path | None) -> None:
    """The same model on GPU:0 and on the processor, through PyTorch and ONNX Runtime."""
    with _measuring() as shown:
        report = gpu.measure(effort(quick, seconds=MANY_ROWS_SECONDS), shown, models)
    _finish(report, out, as_json)
    if not any(row["device"] == gpu.GPU for row in report.rows):
        click.echo(f"{gpu.GPU} was not measured: the conditions say why.", err=as_json)


def _chosen(peers: str | None, quick: bool) -> list[Peer]:
    """The peers that are told. UsageError where there is none of that name."""
    told = peers or ("none" if quick else "all")
    names = {"all": list(PEERS), "none": []}.get(told, told.split(","))
    if unknown := set(names) - set(PEERS):
        raise click.UsageError(f"--peers {', '.join(unknown)}: known are {', '.join(PEERS)}, all and none")
    return [PEERS[name] for name in names]


def _model(backend: str, precision: str) -> list[str]:
    """The options as `keymiss model store` takes them. UsageError where there is no such form."""
    try:
        matching(backend, precision)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return ["--backend", backend, "--precision", precision]


def _finish(report: Report, out: Path | None, as_json: bool) -> None:
    written = report.save(out) if out else []
    if as_json:
        click.echo(report.to_json())
    else:
        console = plain_console()
        if not console.is_terminal:
            console.width = WIDTH
        report.show(console)
        for path in written:
            console.print(f"written: {path}")
    if out and not any(path.suffix == ".png" for path in written):
        click.echo("No picture was drawn: pip install 'keymiss[bench]' brings matplotlib.", err=as_json)
