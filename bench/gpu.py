"""The same model on the GPU and on the processor, through each runtime, called without a server.

It needs no network and no server: a folder of exported models, as `keymiss model export` leaves them in the
cache, can be carried to the machine. What is not there is said, and the rest is measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from keymiss_deploy.models.export import export
from keymiss_deploy.models.forms import FORMS, REFERENCE, Form
from keymiss_deploy.models.source import ExportError, ModelUnavailable

from .effort import Effort
from .forward import TOKENS, forwarding
from .load import Load
from .progress import Progress
from .report import Promise, Report, machine_conditions
from .rounds import interleave, median_ratio

ON_GPU = ("torchscript", "torchscript-fp16", "torchscript-bf16", "onnx", "onnx-fp16")
QUICK_ON_GPU = ("torchscript", "onnx")
ON_CPU = (REFERENCE.name,)
BATCHES, QUICK_BATCHES = (1, 8, 32, 128), (1, 8)
GPU, CPU = "GPU:0", "CPU"

COLUMNS = ["model", "device", "batch", "sequences/s", "of the CPU", "p50 ms", "p99 ms", "logits differ by"]


class Row(NamedTuple):
    form: str
    device: str
    batch: int

    def __str__(self) -> str:
        return f"{self.form} on {self.device}, batch of {self.batch}"


def measure(effort: Effort, progress: Progress, folder: Path | None = None) -> Report:
    """`folder` holds exported models, `<form>/<file>`; where there is none they are exported. RuntimeError
    where not even the processor can run the model."""
    wanted = [(name, CPU) for name in ON_CPU]
    wanted += [(name, GPU) for name in (QUICK_ON_GPU if effort.quick else ON_GPU)]
    conditions = machine_conditions(effort.rounds) | {"input": f"{TOKENS} tokens"}
    variants: dict[Row, Callable[[], Load]] = {}
    outputs: dict[tuple[str, str], Any] = {}
    with ExitStack() as stack:
        for name, device in wanted:
            progress.say(f"loading {name} on {device}")
            try:
                ask, outputs[name, device] = _loaded(stack, FORMS[name], device, folder)
            except (RuntimeError, ModelUnavailable, ExportError, FileNotFoundError) as error:
                if device == CPU:
                    raise RuntimeError(f"{name} does not run on the processor: {error}") from error
                conditions[f"without {name} on {device}"] = str(error)
                continue
            for batch in QUICK_BATCHES if effort.quick else BATCHES:
                row = Row(name, device, batch)
                variants[row] = partial(_load, ask, batch, effort.seconds)
        progress.expect(len(variants) * effort.rounds)
        loads = interleave(variants, effort.rounds, progress)
    report = Report("gpu", "One model on the GPU and on the processor", COLUMNS, conditions)
    reference = outputs[REFERENCE.name, CPU]
    for row, some in loads.items():
        baseline = [load.rate for load in loads[Row(REFERENCE.name, CPU, row.batch)]]
        differ = float(np.abs(np.array(outputs[row.form, row.device]) - np.array(reference)).max())
        rates = [load.rate for load in some]
        latencies = [median(getattr(load, name) for load in some) for name in ("p50_ms", "p99_ms")]
        report.add(*row, median(rates), median_ratio(rates, baseline), *latencies, differ)
    report.promises += _promises(report)
    return report


def _loaded(stack: ExitStack, form: Form, device: str, folder: Path | None) -> tuple[Any, Any]:
    """A function that asks the model's process, and its outputs. RuntimeError where it does not run there."""
    file = folder / form.name / form.file if folder else Path(export(form=form.name).model(form.name))
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: `keymiss model export` makes it")
    ask = stack.enter_context(forwarding(file, form.backend, device, len(os.sched_getaffinity(0))))
    return ask, ask()["outputs"]


def _load(ask: Callable[..., dict[str, Any]], batch: int, seconds: float) -> Load:
    return Load(**ask(batch=batch, seconds=seconds))


def _promises(report: Report) -> Sequence[Promise]:
    """What the GPU brings, where there is one."""
    gains = [row["of the CPU"] for row in report.rows if row["device"] == GPU]
    best = max((gain for gain in gains if isinstance(gain, float)), default=None)
    if best is None:
        return []
    return [Promise("the GPU is faster than the processor, times", best, best > 1)]
