"""`keymiss dashboards`: Grafana's dashboards as files."""

from __future__ import annotations

from pathlib import Path

import click
from keymiss_deploy.cluster.layout import Layout, read_layout
from keymiss_deploy.cluster.monitor_layout import Monitor

from keymiss.cli.options import folder_option

from .provisioning import COMPOSE, Sources
from .provisioning import write as write_provisioning

HERE = Path(__file__).resolve().parent


@click.command()
@click.option(
    "--provision",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write nothing but a provisioning folder for a Grafana on this host, with the cluster of --dir.",
)
@click.option("--check", is_flag=True, help="Write nothing: fail where a file is not what the code makes.")
@folder_option
def dashboards(target: Path | None, check: bool, folder: Path) -> None:
    """Write Grafana's dashboards, and what makes Grafana find them."""
    if target is not None:
        for path in write_provisioning(target, _local(_cluster(folder))):
            click.echo(path)
        return
    try:
        from .files import differing, write
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing: pip install 'keymiss[grafana]'. "
            f"The dashboards themselves are in {HERE / 'dashboards'}"
        ) from error
    if check:
        if different := differing(HERE / "dashboards"):
            raise click.ClickException(f"not what the code makes: {', '.join(different)}")
        return
    for path in [*write(HERE / "dashboards"), *write_provisioning(HERE / "provisioning", COMPOSE)]:
        click.echo(path)


def _cluster(folder: Path) -> Layout:
    try:
        layout = read_layout(folder)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if layout is None:
        raise click.ClickException(f"no cluster in {folder}: `keymiss up --monitor` makes one")
    return layout


def _local(layout: Layout) -> Sources:
    """Of a cluster on this host; one without a monitor has no Prometheus."""
    monitor = layout.monitor
    return Sources(
        prometheus=f"http://127.0.0.1:{monitor.port}" if monitor else None,
        shards={node.name: f"redis://127.0.0.1:{node.port}" for node in layout.nodes},
        dashboards=str(HERE / "dashboards"),
        interval_s=(monitor or Monitor()).interval_s,
    )
