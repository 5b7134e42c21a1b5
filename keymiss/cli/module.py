"""`keymiss module`: the path of keymiss.so."""

from __future__ import annotations

import click

from .. import module_path


@click.command()
def module() -> None:
    """Print the path of keymiss.so, for `redis-server --loadmodule`."""
    try:
        click.echo(module_path())
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from error
