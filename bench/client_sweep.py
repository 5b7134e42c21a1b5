"""BATCHSIZE against clients: how many runs a second AI.MODELEXECUTE gives, over the grid of both."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

import numpy as np
import redis
from keymiss_deploy.models.logits import INPUTS, OUTPUTS

from keymiss.backends import backend_class
from keymiss.cli.words import count

from . import workload
from .deployment import StoredModel, deployed
from .effort import Effort
from .load import Key, Load, loader
from .progress import Progress
from .report import Promise, Report, conditions_of
from .rounds import interleave
from .servers import find_server

BATCH_SIZES, CLIENTS = (1, 4, 8, 16, 32), (1, 4, 8, 16, 32, 64)
QUICK_BATCH_SIZES, QUICK_CLIENTS = (1, 8), (1, 8)
TOKENS = 64
ROW = "BATCHSIZE"


@dataclass
class Grid(Report):
    """A table of rates: a row a BATCHSIZE, a column a number of clients; drawn as a heat map."""

    _colours: ClassVar[str] = "viridis"

    def _draw(self, path: Path) -> bool:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return False
        columns = self.columns[1:]
        rates = [[float(row[column] or 0) for column in columns] for row in self.rows]
        figure = Figure(figsize=(1.1 * len(columns) + 2, 0.7 * len(rates) + 1.8), layout="constrained")
        axes = figure.add_subplot(title=self.title, xlabel="clients", ylabel=ROW)
        image = axes.imshow(rates, cmap=self._colours, aspect="auto")
        axes.set_xticks(range(len(columns)), [column.split()[0] for column in columns])
        axes.set_yticks(range(len(rates)), [str(row[ROW]) for row in self.rows])
        bright = (min(map(min, rates)) + max(map(max, rates))) / 2
        for y, row in enumerate(rates):
            for x, rate in enumerate(row):
                colour = "black" if rate > bright else "white"
                axes.text(x, y, f"{rate:,.0f}", ha="center", va="center", color=colour)
        figure.colorbar(image, label="runs a second")
        figure.savefig(path, dpi=150)
        return True


def measure(server: str | None, effort: Effort, progress: Progress, model: Sequence[str] = ()) -> Report:
    """`model` are options of `keymiss model store`."""
    sizes, clients = (QUICK_BATCH_SIZES, QUICK_CLIENTS) if effort.quick else (BATCH_SIZES, CLIENTS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keymiss-bench-")))
        progress.say("deploying")
        items = workload.items((), workload.LEAST)
        shard = stack.enter_context(deployed(find_server(server), items, folder, model))
        stored = shard.stored_model(folder)
        _store_inputs(shard.client)
        variants = {}
        for size in sizes:
            command = _store(shard.client, stored, size)
            for number in clients:
                key = Key(str(size), number)
                progress.say(f"warming up: {ROW} {key}")
                variants[key] = loader(shard.client, command, number, effort.seconds)
        progress.expect(len(variants) * effort.rounds)
        loads = interleave(variants, effort.rounds, progress)
        conditions = conditions_of(shard.client, clients[-1], effort.rounds)
    conditions |= {"clients": "as shown", "input": f"1 x {TOKENS} tokens, the same of every client"}
    conditions |= {
        "model": f"{stored.tag} by {stored.backend}",
        "figures": "runs of AI.MODELEXECUTE a second",
    }
    return _report(loads, sizes, clients, conditions)


def _store_inputs(client: redis.Redis) -> None:
    for name in INPUTS:
        blob = np.ones((1, TOKENS), "<i8").tobytes()
        client.execute_command("AI.TENSORSET", name, "INT64", 1, TOKENS, "BLOB", blob)


def _store(client: redis.Redis, stored: StoredModel, size: int) -> list[str]:
    """Store the model with this BATCHSIZE; the command that runs it."""
    key = f"model:{size}"
    options = ["BATCHSIZE", size]
    if backend_class(stored.backend).takes_names:
        options += ["INPUTS", len(stored.inputs), *stored.inputs]
        options += ["OUTPUTS", len(stored.outputs), *stored.outputs]
    client.execute_command(
        "AI.MODELSTORE", key, stored.backend, "CPU", *options, "BLOB", stored.file.read_bytes()
    )
    command = ["AI.MODELEXECUTE", key, "INPUTS", str(len(INPUTS)), *INPUTS]
    return [*command, "OUTPUTS", str(len(OUTPUTS)), *OUTPUTS]


def _report(
    loads: dict[Key, list[Load]], sizes: Sequence[int], clients: Sequence[int], conditions: dict[str, str]
) -> Report:
    columns = [ROW, *(count(number, "client") for number in clients)]
    report = Grid("client-sweep", "Runs a second by BATCHSIZE and clients", columns, conditions)
    rates = {key: median(load.rate for load in some) for key, some in loads.items()}
    for size in sizes:
        report.add(size, *(rates[Key(str(size), number)] for number in clients))
    ratio = max(rates.values()) / rates[Key(str(sizes[0]), clients[0])]
    text = f"the best of the grid is more than {ROW} {sizes[0]} with one client, times"
    report.promises.append(Promise(text, ratio, ratio > 1))
    return report
