"""`keymiss model`: make what servers can run of a model, and store it on every shard."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click
from rich.table import Column, Table

from keymiss.backends import Device
from keymiss.cli.console import plain_console
from keymiss.cli.options import folder_option, port_option, shards_of
from keymiss.cli.words import count
from keymiss.corpus.derived import forget_answers, forget_tokens
from keymiss.errors import BackendError

from .choosing import Choice, Tried, choose
from .export import Exported, export
from .forms import AUTO, PRECISIONS, RUNTIMES, matching
from .load import renewed, store
from .source import DEFAULT, ExportError, ModelUnavailable
from .trying import FormFailed

console = plain_console()


def _device(_: click.Context, __: click.Parameter, told: str) -> str:
    try:
        return str(Device.parse(told))
    except BackendError as error:
        raise click.BadParameter(str(error)) from None


model_option = click.option(
    "--model",
    "name",
    default=DEFAULT,
    show_default=True,
    help="A Hugging Face id or folder; the default needs no hub.",
)
backend_option = click.option(
    "--backend",
    type=click.Choice([AUTO, *RUNTIMES]),
    default=AUTO,
    show_default=True,
    help="What runs it; auto: the fastest here.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice([AUTO, *PRECISIONS]),
    default=AUTO,
    show_default=True,
    help="auto: the fastest here whose answers are as good as those of TorchScript in fp32.",
)
check_option = click.option(
    "--check",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file in SQuAD format with more questions for auto to check answers by. May be repeated.",
)
device_option = click.option(
    "--device", default="CPU", show_default=True, callback=_device, help="CPU, GPU or GPU:<number>."
)


@click.group()
def model() -> None:
    """Export question-answering models, and store them on the shards."""


@model.command("export")
@model_option
@backend_option
@precision_option
@check_option
@device_option
def export_command(name: str, backend: str, precision: str, files: tuple[Path, ...], device: str) -> None:
    """Write the model as servers run it, checked against the original, and print where."""
    form, exported = _exported(name, backend, precision, files, device)
    click.echo(exported.model(form))


@model.command("store")
@model_option
@backend_option
@precision_option
@check_option
@device_option
@folder_option
@port_option
def store_command(
    name: str,
    backend: str,
    precision: str,
    files: tuple[Path, ...],
    device: str,
    folder: Path,
    port: int | None,
) -> None:
    """Export the model where that was not done before, and store it on every shard.

    Where another one was stored, the tokens and answers that were made with it go: `keymiss deploy` makes
    the tokens.
    """
    shards = shards_of(folder, port)
    form, exported = _exported(name, backend, precision, files, device)
    size = exported.model(form).stat().st_size / 1e6
    with console.status(f"storing {size:.0f} MB on {count(len(shards), 'shard')}"):
        for stored in store(shards, exported, form, _label(name), device):
            if stored.stale:
                tag = stored.shard.hash_tag
                with closing(stored.shard.connect()) as client:
                    forget_tokens(client, tag)
                    forget_answers(client, tag)
                    renewed(client, tag)
            done = "stored" if stored.changed else "is there already"
            console.print(f"{stored.key} {done} ({size:.0f} MB, {form}).")


def _exported(
    name: str, backend: str, precision: str, files: Sequence[Path], device: str
) -> tuple[str, Exported]:
    """The form that was asked for, or is best here, and the model in it."""
    try:
        forms = matching(backend, precision)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        with console.status(f"exporting {name}") as status:
            if len(forms) == 1:
                form = forms[0].name
            else:
                choice = choose(name, forms, device, files, lambda what: status.update(f"{name}: {what}"))
                form = choice.form
                if choice.is_new:
                    _show(choice)
            return form, export(name, form)
    except (ModelUnavailable, ExportError, FormFailed, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'keymiss[export]' brings what this needs"
        ) from error


def _show(choice: Choice) -> None:
    """What was measured, the fastest form first."""
    table = Table("form", Column("speed", justify="right"), "answers", box=None, pad_edge=False)
    for one in choice.tried:
        chosen = "chosen: " if one.form == choice.form else ""
        table.add_row(one.form, f"{one.speed:.2f}" if one.speed else "", chosen + _answers(one))
    errors = plain_console(stderr=True)
    errors.print(table)
    if choice.is_doubtful:
        errors.print(
            f"Other processes had {choice.others:.0%} of the processors: it is measured again the next time, "
            "if they are idle then."
        )


def _answers(one: Tried) -> str:
    if one.failed:
        return f"does not run here: {one.failed}"
    if one.verdict is None:
        return "not asked"
    return f"F1 {one.verdict.f1:.1f} of {one.verdict.reference_f1:.1f}, {one.verdict.alike:.1f} % alike"


def _label(name: str) -> str:
    """The model's name as a tag holds it: a folder's last part."""
    return Path(name).name or name
