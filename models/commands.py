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
from .load import store
from .source import DEFAULT, ExportError, ModelUnavailable

FORMS = {"torch": "torchscript", "onnx": "onnx"}

console = Console(highlight=False)
model_option = click.option(
    "--model",
    "name",
    default=DEFAULT,
    show_default=True,
    help="A Hugging Face id or folder; the default needs no hub.",
)
backend_option = click.option("--backend", type=click.Choice(list(FORMS)), default="torch", show_default=True)


@click.group()
def model() -> None:
    """Export question-answering models, and store them on the shards."""


@model.command("export")
@model_option
@backend_option
def export_command(name: str, backend: str) -> None:
    """Write the model as TorchScript or ONNX, checked against the original, and print where."""
    exported = _export(name, backend)
    click.echo(exported.model(FORMS[backend]))


@model.command("store")
@model_option
@backend_option
@click.option("--device", default="CPU", show_default=True, help="CPU, GPU or GPU:<number>.")
@folder_option
@port_option
def store_command(name: str, backend: str, device: str, folder: Path, port: int | None) -> None:
    """Export the model where that was not done before, and store it on every shard.

    Where another one was stored, the tokens and answers that were made with it go: `keymiss deploy` makes
    the tokens.
    """
    address = where(folder, port)
    with closing(connect(address.host, address.port)) as client:
        shards = read_shards(client)
    exported = _export(name, backend)
    size = exported.model(FORMS[backend]).stat().st_size / 1e6
    with console.status(f"storing {size:.0f} MB on {len(shards)} shards"):
        for stored in store(shards, exported, FORMS[backend], _label(name), device):
            if stored.changed:
                with closing(stored.shard.connect()) as client:
                    forget_tokens(client, stored.shard.hash_tag)
                    forget_answers(client, stored.shard.hash_tag)
            done = "stored" if stored.changed else "is there already"
            console.print(f"{stored.key} {done} ({size:.0f} MB, {backend}).", markup=False)


def _export(name: str, backend: str) -> Exported:
    try:
        with console.status(f"exporting {name}"):
            return export(name, FORMS[backend])
    except (ModelUnavailable, ExportError) as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'keymiss[export]' brings what this needs"
        ) from error


def _label(name: str) -> str:
    """The model's name as a tag holds it: a folder's last part."""
    return Path(name).name or name
