"""`keymiss model`: make what servers can run of a model, and store it on every shard."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click
from rich.console import Console

from keymiss.cli.options import folder_option, port_option, where
from keymiss.client import connect, read_shards
from keymiss.corpus.derived import forget_answers, forget_tokens

from .export import Exported, export
from .forms import PRECISIONS, RUNTIMES, Form, matching
from .load import store
from .source import DEFAULT, ExportError, ModelUnavailable

console = Console(highlight=False)
model_option = click.option(
    "--model",
    "name",
    default=DEFAULT,
    show_default=True,
    help="A Hugging Face id or folder; the default needs no hub.",
)
backend_option = click.option("--backend", type=click.Choice(RUNTIMES), default="torch", show_default=True)
precision_option = click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True
)


@click.group()
def model() -> None:
    """Export question-answering models, and store them on the shards."""


@model.command("export")
@model_option
@backend_option
@precision_option
def export_command(name: str, backend: str, precision: str) -> None:
    """Write the model as servers run it, checked against the original, and print where."""
    form = _form(backend, precision)
    click.echo(_export(name, form).model(form.name))


@model.command("store")
@model_option
@backend_option
@precision_option
@click.option("--device", default="CPU", show_default=True, help="CPU, GPU or GPU:<number>.")
@folder_option
@port_option
def store_command(
    name: str, backend: str, precision: str, device: str, folder: Path, port: int | None
) -> None:
    """Export the model where that was not done before, and store it on every shard.

    Where another one was stored, the tokens and answers that were made with it go: `keymiss deploy` makes
    the tokens.
    """
    address = where(folder, port)
    with closing(connect(address.host, address.port)) as client:
        shards = read_shards(client)
    form = _form(backend, precision)
    exported = _export(name, form)
    size = exported.model(form.name).stat().st_size / 1e6
    with console.status(f"storing {size:.0f} MB on {len(shards)} shards"):
        for stored in store(shards, exported, form.name, _label(name), device):
            if stored.changed:
                with closing(stored.shard.connect()) as client:
                    forget_tokens(client, stored.shard.hash_tag)
                    forget_answers(client, stored.shard.hash_tag)
            done = "stored" if stored.changed else "is there already"
            console.print(
                f"{stored.key} {done} ({size:.0f} MB, {form.runtime} {form.precision}).", markup=False
            )


def _form(backend: str, precision: str) -> Form:
    for form in matching(backend, precision):
        return form
    raise click.UsageError(f"there is no {backend} in {precision}")


def _export(name: str, form: Form) -> Exported:
    try:
        with console.status(f"exporting {name}"):
            return export(name, form.name)
    except (ModelUnavailable, ExportError) as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'keymiss[export]' brings what this needs"
        ) from error


def _label(name: str) -> str:
    """The model's name as a tag holds it: a folder's last part."""
    return Path(name).name or name
