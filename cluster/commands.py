"""`keymiss up`, `down` and `status`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click

import keymiss
from keymiss.cli.console import plain_console
from keymiss.cli.options import folder_option, port_option_for
from keymiss.cli.words import count

from . import monitor as monitoring
from .errors import UpError
from .layout import LAST_PORT, Layout, read_layout
from .lifecycle import bring_up, changed_settings, take_down
from .monitor_layout import Monitor
from .show import show_status
from .status import read_status
from .turns import turn

# Of --set, and why. In lower case: names of settings have none.
REFUSED = {
    **dict.fromkeys(("port", "cluster-port"), "--port chooses those of all servers"),
    **dict.fromkeys(("dir", "cluster-config-file", "keymiss.shard-name"), "each server has its own"),
    **dict.fromkeys(
        ("keymiss.metrics-port", "keymiss.models-metrics-port"),
        "each server has its own; --monitor and --monitor-port choose them",
    ),
    **dict.fromkeys(("daemonize", "cluster-enabled"), "`keymiss up` relies on what it sets itself"),
    "requirepass": "servers of `keymiss up` have no password, and listen on 127.0.0.1 only",
}

console = plain_console()


def _settings(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for value in values:
        name, equals, setting = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(
                f"{value!r}: write it as NAME=VALUE, for example keymiss.job-timeout-ms=20000"
            )
        if why := REFUSED.get(name.lower()):
            raise click.BadParameter(f"{name}: {why}")
        if settings.setdefault(name.lower(), setting) != setting:
            raise click.BadParameter(f"{name.lower()}: two values are given; several words are one value")
    return settings


@click.command()
@folder_option
@click.option("--shards", type=click.IntRange(1, 1000), help="Masters.  [default: 3]")
@click.option("--replicas", type=click.IntRange(0, 5), help="Replicas of each master.  [default: 0]")
@click.option(
    "--port", type=click.IntRange(1024, LAST_PORT), help="Port of the first shard.  [default: 30001]"
)
@click.option("--server", help="A redis-server or valkey-server.  [default: the one that is installed]")
@click.option(
    "--shared-models/--own-models",
    default=None,
    help="One models worker for the host, or one for each shard.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_settings,
    metavar="NAME=VALUE",
    help="A setting of the servers; a later `up` changes it.",
)
@click.option("--plain", is_flag=True, help="Without keymiss.so, to compare with.")
@click.option(
    "--monitor/--no-monitor",
    default=None,
    help="Prometheus beside it, with alerts and the servers' own figures.  [default: as before]",
)
@click.option(
    "--monitor-port",
    type=click.IntRange(1024, LAST_PORT),
    help="Port of Prometheus; what it reads follows.  [default: 9090]",
)
@click.option(
    "--monitor-interval",
    type=click.IntRange(1, 60),
    metavar="SECONDS",
    help="How often Prometheus reads.  [default: 5]",
)
def up(
    folder: Path,
    settings: dict[str, str],
    plain: bool,
    monitor: bool | None,
    monitor_port: int | None,
    monitor_interval: int | None,
    **asked: Any,
) -> None:
    """Bring a cluster up, or what is missing of it, and wait until it answers."""
    chosen = {name: value for name, value in asked.items() if value is not None}
    if "server" in chosen:
        chosen["server"] = _program(chosen["server"])
    _refuse_pattern(folder.resolve())
    with turn(folder.resolve(), _say):
        layout = _layout(_existing(folder), folder.resolve(), chosen, plain)
        if layout.last_port > LAST_PORT:
            raise click.ClickException(
                f"{layout.servers} servers need two ports each: {layout.port} is too high for that"
            )
        try:
            with changed_settings(layout, settings) as changed:
                layout = _with_monitor(changed, monitor, monitor_port, monitor_interval)
                started = bring_up(layout, _say)
        except UpError as error:
            raise click.ClickException(str(error)) from error
    ports = f"ports {layout.port}-{layout.nodes[-1].port}" if len(layout.nodes) > 1 else f"port {layout.port}"
    state = "is up" if started else "was up already"
    size = f"{count(layout.shards, 'shard')}, {count(layout.replicas, 'replica')} each"
    console.print(f"The cluster {state}: {size}, {ports}.")
    console.print(f"Logs: {layout.folder}/*/*.log", soft_wrap=True)
    if layout.monitor is not None:
        _show_monitor(layout)


@click.command()
@folder_option
@click.option("--delete", is_flag=True, help="Remove its data and logs, too.")
def down(folder: Path, delete: bool) -> None:
    """Stop every server and worker of the cluster."""
    layout = _existing(folder)
    if folder.is_dir():  # else there is nothing to wait for either
        with turn(folder.resolve(), _say):
            layout = _existing(folder)
            stopped = take_down(layout, delete) if layout is not None else []
    if layout is None:
        console.print(f"Nothing to stop: no cluster in {folder.resolve()}.", soft_wrap=True)
        return
    console.print(f"Stopped {', '.join(stopped)}." if stopped else "Nothing ran.", soft_wrap=True)
    if delete:
        _show_removed(layout)


@click.command()
@folder_option
@port_option_for("Ask this server instead of the cluster in the folder.")
@click.option(
    "--json", "as_json", is_flag=True, help="Everything, for programs: docs/cluster.md lists the fields."
)
def status(folder: Path, port: int | None, as_json: bool) -> None:
    """Show the shards, workers, models and functions. Exits with 1 where something is missing."""
    layout = _existing(folder) if port is None else None
    if layout is None and port is None:
        raise click.ClickException(
            f"no cluster in {folder.resolve()}: `keymiss up` makes one, --port looks at another"
        )
    found = read_status(layout, port)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show_status(found, console)
    raise SystemExit(0 if found["complete"] else 1)


def _say(line: str) -> None:
    console.print(f"  {line}", soft_wrap=True)


def _with_monitor(layout: Layout, on: bool | None, port: int | None, interval_s: int | None) -> Layout:
    """The layout with the monitor that was asked for; as it was where nothing was said.

    Ends the one that runs where there is to be none. UpError where a server does not let go of it."""
    had = layout.monitor
    if on is False:
        if port is not None or interval_s is not None:
            raise click.UsageError("--no-monitor takes neither --monitor-port nor --monitor-interval")
        if had is not None:
            for part in monitoring.turn_off(layout):
                _say(f"stopped {part}")
        return layout.changed(monitor=None)
    if on is None and port is None and interval_s is None:
        return layout
    first = had or Monitor()
    wanted = Monitor(port or first.port, interval_s or first.interval_s)
    last = wanted.last_port(layout.servers, layout.shared_models)
    if last > LAST_PORT:
        raise click.ClickException(
            f"the monitor needs ports up to {last}: {wanted.port} is too high for that"
        )
    if had not in (None, wanted) and any(part["pid"] for part in monitoring.state(layout)):
        raise click.ClickException(
            f"the monitor runs on port {first.port} and reads every {first.interval_s} s: "
            "`keymiss up --no-monitor` ends it, then choose anew"
        )
    return layout.changed(monitor=wanted)


def _show_monitor(layout: Layout) -> None:
    """Where to look, and how a Grafana that is installed here is told."""
    prometheus = monitoring.state(layout)[0]["url"]
    console.print(f"Monitor: {prometheus} (Alerts: in its menu)", soft_wrap=True)
    if shutil.which("grafana-server"):
        console.print(
            "Grafana: `keymiss dashboards --provision FOLDER` tells it of this cluster and of the dashboards",
            soft_wrap=True,
        )


def _show_removed(layout: Layout) -> None:
    """That all is gone, or what is left."""
    if not layout.folder.exists():
        console.print(f"Removed {layout.folder}.", soft_wrap=True)
        return
    left = ", ".join(sorted(path.name for path in layout.folder.iterdir()))
    console.print(f"Removed the cluster from {layout.folder}. There is left: {left}.", soft_wrap=True)


def _existing(folder: Path) -> Layout | None:
    try:
        return read_layout(folder.resolve())
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _layout(existing: Layout | None, folder: Path, chosen: dict[str, Any], plain: bool) -> Layout:
    """The cluster in `folder`, which what was asked for must not contradict, or a new one."""
    if existing is None:
        chosen.setdefault("server", _default_server())
        layout = Layout(folder=folder, module=None if plain else _module(), **chosen)
        _refuse_others_files(layout)
        return layout
    if plain:
        chosen["module"] = None
    elif existing.module is not None:
        existing = existing.changed(module=_module())  # where it is now, if it was installed anew
    for name, value in chosen.items():
        have = getattr(existing, name)
        if have != value:
            raise click.ClickException(
                f"the cluster in {folder} has {name} {have}, not {value}: "
                "`keymiss down --delete` first, or choose another --dir"
            )
    return existing


def _refuse_pattern(folder: Path) -> None:
    """ClickException where servers would look for more configurations than their own, or for another."""
    if any(letter in str(folder) for letter in "*?["):
        raise click.ClickException(
            f"{folder}: in a path servers take *, ? and [ for a pattern; choose another --dir"
        )


def _refuse_others_files(layout: Layout) -> None:
    """ClickException where what a new cluster would make is there already, and is not left of an earlier
    one."""
    if any(node.configuration.exists() for node in layout.nodes):
        return
    there = [str(path) for path in layout.contents if path.exists() and path != layout.draft]
    if there:
        raise click.ClickException(
            f"{', '.join(there)} would be the cluster's, and is there already: choose another --dir"
        )


def _module() -> str:
    try:
        return str(keymiss.module_path())
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from error


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise click.ClickException(
            f"no program {name}: --server takes the path of a redis-server or valkey-server"
        )
    return str(Path(path).absolute())  # not resolved: the program looks at the name it is called by


def _default_server() -> str:
    for name in ("redis-server", "valkey-server"):
        if shutil.which(name):
            return _program(name)
    raise click.ClickException(
        "neither redis-server nor valkey-server is installed: install one, or name it with --server"
    )
