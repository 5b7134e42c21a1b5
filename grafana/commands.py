"""`keymiss dashboards`: Grafana's dashboards as files."""

from __future__ import annotations

from pathlib import Path

import click

HERE = Path(__file__).parent / "dashboards"


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE,
    help="Folder for the JSON, and for no other JSON.  [default: where it is kept]",
)
@click.option("--check", is_flag=True, help="Write nothing: fail where a file is not what the code makes.")
def dashboards(out: Path, check: bool) -> None:
    """Write Grafana's dashboards."""
    try:
        from .files import differing, write
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing: pip install 'keymiss[grafana]'. "
            f"The dashboards themselves are in {HERE}"
        ) from error
    if check:
        if different := differing(out):
            raise click.ClickException(f"not what the code makes: {', '.join(different)}")
        return
    for path in write(out):
        click.echo(path)
