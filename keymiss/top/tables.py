"""The tables of `keymiss top`: which figures they show, how these are written, and what they mean.

The text about a figure that is a metric is the metric's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..metrics.definitions import METRICS
from . import units
from .figures import ERROR_KINDS, Figures, Row, Value
from .units import Unit, written

_DURATION = "keymiss_job_duration_seconds"
_FORWARD = "keymiss_forward_duration_seconds"
_LAG = "keymiss_registration_lag_seconds"


@dataclass(frozen=True)
class Column:
    """A column: the figure of a row that it shows. `unit` is None for words, which are set to the left."""

    figure: str
    title: str
    unit: Unit | None = None
    about: str = ""
    metric: str = ""
    bad: bool = False  # where it is more than 0

    def cell(self, row: Row) -> str:
        return written(row[self.figure], self.unit)

    @property
    def help(self) -> str:
        """What it says, and of which metric it is."""
        told = METRICS[self.metric].help if self.metric else ""
        return " ".join(filter(None, (self.about, told, f"[{self.metric}]" if self.metric else "")))


@dataclass(frozen=True)
class Table:
    """A table: of which rows of Figures, which of their figures. `key` tells one row from the others."""

    title: str
    of: Callable[[Figures], list[Row]]
    key: tuple[str, ...]
    columns: tuple[Column, ...]


def key_of(table: Table, row: Row) -> str:
    return " ".join(str(row[name]) for name in table.key)


def ordered(rows: Iterable[Row], figure: str | None, reverse: bool) -> list[Row]:
    """Rows by a figure, words from a to z, numbers from the largest, or the other way round; rows without it
    are last either way. As they are for None."""
    if figure is None:
        return list(rows)
    rows = list(rows)
    missing = [row for row in rows if row[figure] in (None, "")]
    there = [row for row in rows if row[figure] not in (None, "")]
    numbers = all(isinstance(row[figure], (int, float)) for row in there)
    return sorted(there, key=lambda row: _rank(row[figure]), reverse=numbers != reverse) + missing


def _rank(value: Value) -> tuple[float, str]:
    return (value, "") if isinstance(value, (int, float)) else (0.0, value or "")


_SHARD = Column("shard", "shard", about="Its name (keymiss.shard-name), or its port.")

SHARDS = Table(
    "Shards",
    lambda figures: figures.shards,
    ("address",),
    (
        _SHARD,
        Column("state", "state", about="up; loading its data; error, it tells no figures; down, no answer."),
        Column("answers_per_second", "answers/s", units.rate, "A second:", "keymiss_answers_total"),
        Column("misses_per_second", "misses/s", units.rate, "A second:", "keymiss_misses_total"),
        Column("hits_per_second", "hits/s", units.rate, "A second:", "keymiss_hits_total"),
        Column("hit_rate", "hit rate", units.percent, "The share of hits in hits and misses."),
        Column("miss_p50_seconds", "p50", units.seconds, "Half of the misses took less:", _DURATION),
        Column("miss_p99_seconds", "p99", units.seconds, "99 of 100 misses took less:", _DURATION),
        Column("errors_per_second", "errors/s", units.rate, "A second:", "keymiss_errors_total", bad=True),
        Column("waiting", "waiting", units.count, "", "keymiss_misses_waiting"),
        Column("functions_queue", "queue f", units.count, "For the functions worker:", "keymiss_queue_depth"),
        Column("models_queue", "queue m", units.count, "For the models worker:", "keymiss_queue_depth"),
        Column("memory_bytes", "memory", units.size, "That the server uses (used_memory)."),
        Column("memory_limit_bytes", "limit", units.size, "What it may use (maxmemory)."),
        Column(
            "savings_per_second", "saved/s", units.rate, "A second:", "keymiss_single_flight_savings_total"
        ),
        Column(
            "restarts", "restarts", units.count, "Of both workers:", "keymiss_worker_restarts_total", bad=True
        ),
        Column("role", "role", about="master or replica."),
        Column("slots", "slots", units.count, "How many of the 16384 it serves."),
        Column("address", "address", about="Where it listens."),
        Column("error", "error", about="Why there are no figures."),
    ),
)

_KINDS = {
    "busy": "a queue was full, or a worker read nothing",
    "timeout": "a deadline passed",
    "worker": "a worker died or could not be started",
    "function": "a function raised",
    "model": "the models worker said so",
}

ERRORS = Table(
    "Errors",
    lambda figures: figures.shards,
    ("address",),
    (
        _SHARD,
        Column("errors_per_second", "all/s", units.rate, "A second: errors that clients got.", bad=True),
        *(
            Column(
                f"{kind}_errors_per_second", f"{kind}/s", units.rate, f"A second: {_KINDS[kind]}.", bad=True
            )
            for kind in ERROR_KINDS
        ),
        Column("errors", "all", units.count, "Since the server started: errors that clients got.", bad=True),
        *(
            Column(
                f"{kind}_errors", kind, units.count, f"Since the server started: {_KINDS[kind]}.", bad=True
            )
            for kind in ERROR_KINDS
        ),
    ),
)

WORKERS = Table(
    "Workers",
    lambda figures: figures.workers,
    ("shard", "worker"),
    (
        _SHARD,
        Column("worker", "worker", about="functions, or models (which shards of a host may share)."),
        Column("state", "state", about="off until it is needed; starting; ready; paused before another try."),
        Column("uptime_seconds", "up for", units.age, "", "keymiss_worker_uptime_seconds"),
        Column("restarts", "restarts", units.count, "", "keymiss_worker_restarts_total", bad=True),
        Column("queue", "queue", units.count, "", "keymiss_queue_depth"),
        Column("running", "running", units.count, "", "keymiss_jobs_running"),
        Column(
            "memory_bytes",
            "memory",
            units.size,
            "functions: its processes' resident memory; models: the weights that are loaded.",
        ),
        Column("starts", "starts", units.count, "", "keymiss_worker_starts_total"),
        Column("pid", "pid", str, "Its process."),
        Column("last_error", "last error", about="Why it last ended or did not start."),
    ),
)

MODELS = Table(
    "Models",
    lambda figures: figures.models,
    ("model", "backend", "device"),
    (
        Column("model", "model", about="Its tag, or its key without the hash tag."),
        Column("device", "device", about="Where it runs."),
        Column("backend", "backend", about="By which runtime."),
        Column("samples_per_second", "samples/s", units.rate, "A second: samples of requests that ran."),
        Column("batches_per_second", "batches/s", units.rate, "A second: forward passes."),
        Column("mean_batch_size", "batch", units.rate, "Samples of one forward pass, on average."),
        Column("batch_seconds", "pass", units.seconds, "How long one forward pass took, on average."),
        Column("errors_per_second", "errors/s", units.rate, "A second: runs that failed.", bad=True),
        Column("errors", "errors", units.count, "Runs that failed, in all (AI.INFO).", bad=True),
        Column("samples", "samples", units.count, "Samples, in all (AI.INFO)."),
        Column("batches", "batches", units.count, "Forward passes, in all (AI.INFO)."),
        Column("shards", "keys", units.count, "Keys of all shards that hold it."),
    ),
)

INFERENCE = Table(
    "Inference",
    lambda figures: figures.inference,
    ("worker",),
    (
        Column("worker", "models worker", about="Its host and process."),
        Column("requests_per_second", "requests/s", units.rate, "A second:", "keymiss_model_requests_total"),
        Column("batches_per_second", "batches/s", units.rate, "A second:", "keymiss_batches_total"),
        Column("mean_batch_size", "batch", units.rate, "Requests of one forward pass, on average."),
        Column("tokens_per_second", "tokens/s", units.rate, "A second:", "keymiss_tokens_total"),
        Column("padding_share", "padding", units.percent, "Of all tokens:", "keymiss_padding_tokens_total"),
        Column("forward_p50_seconds", "p50", units.seconds, "Half took less:", _FORWARD),
        Column("forward_p99_seconds", "p99", units.seconds, "99 of 100 took less:", _FORWARD),
        Column("queue", "queue", units.count, "", "keymiss_models_queue_depth"),
        Column("busy_share", "busy", units.percent, "Of the time:", "keymiss_device_busy_seconds_total"),
        Column("resident_bytes", "resident", units.size, "", "keymiss_models_resident_bytes"),
        Column("memory_limit_bytes", "limit", units.size, "", "keymiss_models_memory_limit_bytes"),
        Column("models_loaded", "models", units.count, "", "keymiss_models_loaded"),
        Column("shards", "shards", units.count, "", "keymiss_inference_channels"),
    ),
)

FUNCTIONS = Table(
    "Functions",
    lambda figures: figures.functions,
    ("function",),
    (
        Column("function", "function", about="The registration's description, or its id."),
        Column("runs_per_second", "runs/s", units.rate, "A second:", "keymiss_function_runs_total"),
        Column("failures_per_second", "failures/s", units.rate, "A second: runs that failed.", bad=True),
        Column("waiting", "waiting", units.count, "", "keymiss_registration_waiting"),
        Column("lag_seconds", "lag", units.seconds, "Of all shards the longest:", _LAG),
        Column("runs", "runs", units.count, "Runs since the workers started."),
        Column("failures", "failures", units.count, "Runs that failed since the workers started.", bad=True),
        Column("shards", "shards", units.count, "Shards that have it."),
    ),
)

TABLES = (SHARDS, ERRORS, WORKERS, MODELS, INFERENCE, FUNCTIONS)

# Of the whole cluster, always in view.
TOTALS = tuple(
    next(column for column in table.columns if column.figure == figure)
    for table, figures in (
        (SHARDS, ("answers_per_second", "misses_per_second", "hits_per_second", "hit_rate")),
        (SHARDS, ("errors_per_second", "miss_p50_seconds", "miss_p99_seconds", "waiting")),
        (SHARDS, ("functions_queue", "models_queue", "memory_bytes", "restarts")),
        (INFERENCE, ("tokens_per_second", "batches_per_second", "resident_bytes")),
    )
    for figure in figures
)
