"""Every metric of Keymiss: name, kind, meaning, unit, labels, who measures it, and its fields of INFO.

One table for all: what /metrics serves, what the workers tell INFO, docs/metrics.md and the checks of the
dashboards derive from it. Pure data: nothing here measures anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Source: TypeAlias = Literal["engine", "functions", "models"]
Unit: TypeAlias = Literal["", "seconds", "bytes"]

INFO_PREFIX = "keymiss_"  # of every field of INFO keymiss; left out in this table

# Upper bounds of the buckets of all histograms in seconds, and how INFO keymiss writes them.
SECONDS_BOUNDS: dict[str, float] = {
    **{"50us": 50e-6, "100us": 100e-6, "250us": 250e-6, "500us": 500e-6},
    **{"1ms": 1e-3, "2.5ms": 2.5e-3, "5ms": 5e-3, "10ms": 10e-3, "25ms": 25e-3, "50ms": 50e-3},
    **{"100ms": 0.1, "250ms": 0.25, "500ms": 0.5, "1s": 1.0, "2.5s": 2.5, "10s": 10.0},
}
BATCH_BOUNDS: dict[str, float] = {str(2**power): float(2**power) for power in range(9)}  # requests

WORKERS = ("functions", "models")
JOB_KINDS = ("command", "miss", "event", "hooked", "load", "run", "compile", "dag")
JOB_OUTCOMES = ("done", "timed_out", "failed", "cancelled", "retried", "refused")
ENGINE_STAGES = ("hook", "queue", "reply")
FUNCTION_STAGES = ("tokenise", "forward", "span")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of INFO keymiss that shows a metric, or, of a histogram, the beginning of its fields' names
    (`_count`, `_sum_us`, `_max_us`, `_p50_us`, `_p99_us`, `_buckets`; without `_us` where it has no unit).

    `labels` says of which label values it is, without the shard's: INFO is of one shard anyway. Labels of the
    metric that are left out are summed over. `part`: within a field of the form `a=1,b=2`, which of them."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    part: str = ""
    source: Source | None = None  # where it is not the metric's


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `fields` is empty where INFO keymiss does not show it."""

    name: str
    kind: Kind
    help: str
    source: Source
    labels: tuple[str, ...] = ("shard",)
    unit: Unit = ""
    fields: tuple[Field, ...] = ()

    @property
    def bounds(self) -> dict[str, float]:
        """Of a histogram's buckets, by how INFO writes them; without the last, which has no bound."""
        return SECONDS_BOUNDS if self.unit == "seconds" else BATCH_BOUNDS

    @property
    def series(self) -> tuple[str, ...]:
        """The names that queries use."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)

    def source_of(self, field: Field) -> Source:
        return field.source or self.source


def _one(field: str) -> tuple[Field, ...]:
    return (Field(field),)


def _each(label: str, values: Iterable[str], field: str, part: str = "") -> tuple[Field, ...]:
    """One field for each value of a label: `{}` in its name stands for the value."""
    return tuple(Field(field.format(value), ((label, value),), part) for value in values)


def _jobs() -> tuple[Field, ...]:
    return tuple(
        Field(f"{kind}_{outcome}", (("kind", kind), ("outcome", outcome)))
        for kind in JOB_KINDS
        for outcome in JOB_OUTCOMES
    )


def _stages() -> tuple[Field, ...]:
    told = tuple(
        Field(f"stage_{stage}", (("stage", stage),), source="functions") for stage in FUNCTION_STAGES
    )
    return (*_each("stage", ENGINE_STAGES, "stage_{}"), *told)


_ENGINE: Sequence[Metric] = (
    Metric(
        "keymiss_hits_total",
        "counter",
        "Hooked read commands whose key was there.",
        "engine",
        fields=_one("hits"),
    ),
    Metric(
        "keymiss_misses_total",
        "counter",
        "Hooked read commands whose key was not there, so that a function was asked.",
        "engine",
        fields=_one("misses"),
    ),
    Metric(
        "keymiss_answers_total",
        "counter",
        "Misses that a function answered.",
        "engine",
        fields=_one("misses_overridden"),
    ),
    Metric(
        "keymiss_single_flight_savings_total",
        "counter",
        "Misses that joined one of the same key which was being worked out already.",
        "engine",
        fields=_one("single_flight_savings"),
    ),
    Metric(
        "keymiss_misses_waiting",
        "gauge",
        "Clients whose miss is being worked out now.",
        "engine",
        fields=_one("misses_waiting"),
    ),
    Metric(
        "keymiss_errors_total",
        "counter",
        "Errors that clients got. By kind: busy, a queue was full or a worker read nothing; timeout, a "
        "deadline passed; worker, it died or could not be started; function, a function raised; "
        "model, the models worker said so.",
        "engine",
        ("shard", "kind"),
        fields=_each("kind", ("busy", "timeout", "worker", "function", "model"), "errors_{}"),
    ),
    Metric(
        "keymiss_jobs_total",
        "counter",
        "Jobs for the workers by how they ended; retried: sent once more, the worker had died.",
        "engine",
        ("shard", "kind", "outcome"),
        fields=_jobs(),
    ),
    Metric(
        "keymiss_job_duration_seconds",
        "histogram",
        "From when a job was queued until it was done.",
        "engine",
        ("shard", "kind"),
        "seconds",
        _each("kind", JOB_KINDS, "{}_latency"),
    ),
    Metric(
        "keymiss_stage_duration_seconds",
        "histogram",
        "The stages of a miss. hook: command seen to job queued; queue: queued to written to the functions "
        "worker; tokenise: the question made into tokens; forward: model asked to outputs there; "
        "span: outputs to answer; reply: job done to client unblocked.",
        "engine",
        ("shard", "stage"),
        "seconds",
        _stages(),
    ),
    Metric(
        "keymiss_queue_depth",
        "gauge",
        "Jobs that wait to be sent to a worker.",
        "engine",
        ("shard", "worker"),
        fields=_each("worker", WORKERS, "{}_queue_depth"),
    ),
    Metric(
        "keymiss_jobs_running",
        "gauge",
        "Jobs that a worker was sent and has not done.",
        "engine",
        ("shard", "worker"),
        fields=_each("worker", WORKERS, "{}_running"),
    ),
    Metric(
        "keymiss_hooked_calls_total",
        "counter",
        "Commands that passed a hook.",
        "engine",
        fields=_one("hooked_calls"),
    ),
    Metric(
        "keymiss_events_total",
        "counter",
        "Events of keys that registrations want. fired: given to a function; sync: so, while the server "
        "waited; refused: the queue was full; failed: the function raised.",
        "engine",
        ("shard", "outcome"),
        fields=_each("outcome", ("fired", "sync", "refused", "failed"), "events_{}"),
    ),
    Metric(
        "keymiss_events_waiting",
        "gauge",
        "Events put off until their command has ended.",
        "engine",
        fields=_one("events_put_off"),
    ),
    Metric(
        "keymiss_registrations",
        "gauge",
        "Registrations by what fires them; gone: removed, remembered for the cluster.",
        "engine",
        ("shard", "kind"),
        fields=_each("kind", ("keys", "stream", "hook", "other", "gone"), "registrations_{}"),
    ),
    Metric("keymiss_tensors", "gauge", "Keys that hold a tensor.", "engine", fields=_one("tensors")),
    Metric(
        "keymiss_tensor_bytes",
        "gauge",
        "Memory of the tensors at keys.",
        "engine",
        unit="bytes",
        fields=_one("tensor_bytes"),
    ),
    Metric("keymiss_models_stored", "gauge", "Keys that hold a model.", "engine", fields=_one("models")),
    Metric(
        "keymiss_model_blob_bytes",
        "gauge",
        "Size of the models' files; a blob that several keys hold counts once.",
        "engine",
        unit="bytes",
        fields=_one("model_bytes"),
    ),
    Metric("keymiss_scripts", "gauge", "Keys that hold a script.", "engine", fields=_one("scripts")),
    Metric(
        "keymiss_runs_total",
        "counter",
        "Runs of models, scripts and DAGs that clients and functions asked for, by how they ended.",
        "engine",
        ("shard", "outcome"),
        fields=_each("outcome", ("done", "failed", "timed_out"), "runs_{}"),
    ),
    Metric(
        "keymiss_rg_commands_total",
        "counter",
        "RG.* commands given to the functions worker.",
        "engine",
        fields=_one("rg_commands"),
    ),
    Metric(
        "keymiss_peer_messages_total",
        "counter",
        "Messages between the functions workers of a cluster's shards.",
        "engine",
        ("shard", "direction"),
        fields=_each("direction", ("sent", "received", "lost"), "peer_messages_{}"),
    ),
    Metric(
        "keymiss_worker_up",
        "gauge",
        "1 while the shard's worker is ready.",
        "engine",
        ("shard", "worker"),
        fields=_each("worker", WORKERS, "{}_worker", "state"),
    ),
    Metric(
        "keymiss_worker_starts_total",
        "counter",
        "How often the shard has started the worker, or joined the shared one.",
        "engine",
        ("shard", "worker"),
        fields=_each("worker", WORKERS, "{}_worker", "starts"),
    ),
    Metric(
        "keymiss_worker_restarts_total",
        "counter",
        "How often that was needed again, because the worker had ended.",
        "engine",
        ("shard", "worker"),
        fields=_each("worker", WORKERS, "{}_worker", "restarts"),
    ),
    Metric(
        "keymiss_worker_uptime_seconds",
        "gauge",
        "How long the worker has been ready; 0 while it is not.",
        "engine",
        ("shard", "worker"),
        "seconds",
        _each("worker", WORKERS, "{}_worker", "uptime_seconds"),
    ),
)

_FUNCTIONS: Sequence[Metric] = (
    Metric(
        "keymiss_build_info",
        "gauge",
        "1. Its labels are the versions of Keymiss and of the server it runs in.",
        "functions",
        ("shard", "version", "server", "server_version"),
    ),
    Metric(
        "keymiss_shard_scraped",
        "gauge",
        "1 where the shard told its figures for this scrape; 0: not in time, they are missing.",
        "functions",
    ),
    Metric(
        "keymiss_executions_total",
        "counter",
        "Executions that ended: of RG.PYEXECUTE, and of registrations.",
        "functions",
        ("shard", "outcome"),
        fields=_each("outcome", ("done", "failed", "aborted"), "executions_{}"),
    ),
    Metric(
        "keymiss_executions_running",
        "gauge",
        "Executions and runs of registrations that have not ended.",
        "functions",
        fields=_one("executions_running"),
    ),
    Metric(
        "keymiss_sessions",
        "gauge",
        "Sessions that registrations or executions hold.",
        "functions",
        fields=_one("sessions"),
    ),
    Metric(
        "keymiss_function_runs_total",
        "counter",
        "Runs of a registration that ended.",
        "functions",
        ("shard", "function", "outcome"),
    ),
    Metric(
        "keymiss_function_run_seconds_total",
        "counter",
        "Time that the runs of a registration took together.",
        "functions",
        ("shard", "function"),
        "seconds",
    ),
    Metric(
        "keymiss_registration_lag_seconds",
        "gauge",
        "How long the oldest event, command or stream entry that a registration has not finished has waited; "
        "0: none.",
        "functions",
        ("shard", "function"),
        "seconds",
    ),
    Metric(
        "keymiss_registration_waiting",
        "gauge",
        "Events, commands and stream entries that a registration has not finished.",
        "functions",
        ("shard", "function"),
    ),
    Metric(
        "keymiss_functions_memory_bytes",
        "gauge",
        "Resident memory of the functions worker and the processes beside it.",
        "functions",
        unit="bytes",
        fields=_one("functions_memory_bytes"),
    ),
    Metric(
        "keymiss_functions_processes",
        "gauge",
        "The functions worker and the processes beside it.",
        "functions",
        fields=_one("functions_processes"),
    ),
)

_BY_MODEL = ("model", "device")

_MODELS: Sequence[Metric] = (
    Metric(
        "keymiss_model_requests_total",
        "counter",
        "Requests to run a model or a script that ended, by the shard that sent them.",
        "models",
        ("shard", *_BY_MODEL),
        fields=_one("jobs_run"),
    ),
    Metric(
        "keymiss_model_errors_total",
        "counter",
        "Of these, those that failed.",
        "models",
        _BY_MODEL,
        fields=_one("jobs_failed"),
    ),
    Metric(
        "keymiss_batches_total", "counter", "Forward passes.", "models", _BY_MODEL, fields=_one("batches_run")
    ),
    Metric(
        "keymiss_batch_size",
        "histogram",
        "Requests of one forward pass.",
        "models",
        _BY_MODEL,
        fields=_one("batch_size"),
    ),
    Metric(
        "keymiss_batch_wait_seconds",
        "histogram",
        "From when a request came until its forward pass began.",
        "models",
        ("device",),
        "seconds",
        _one("batch_wait"),
    ),
    Metric(
        "keymiss_forward_duration_seconds",
        "histogram",
        "Of one forward pass.",
        "models",
        _BY_MODEL,
        "seconds",
        _one("forward"),
    ),
    Metric(
        "keymiss_tokens_total",
        "counter",
        "Tokens of requests that a model ran on, without padding.",
        "models",
        _BY_MODEL,
        fields=_one("tokens_run"),
    ),
    Metric(
        "keymiss_padding_tokens_total",
        "counter",
        "Tokens that filled shorter sequences up to the longest of their batch.",
        "models",
        _BY_MODEL,
        fields=_one("tokens_padded"),
    ),
    Metric(
        "keymiss_models_queue_depth",
        "gauge",
        "Requests that wait in the models worker for their device.",
        "models",
        ("device",),
        fields=_one("queue_depth"),
    ),
    Metric(
        "keymiss_models_loaded", "gauge", "Models that are ready.", "models", (), fields=_one("models_loaded")
    ),
    Metric(
        "keymiss_model_weight_bytes",
        "gauge",
        "Size of a loaded model's weights.",
        "models",
        ("model",),
        "bytes",
        _one("weight_bytes"),
    ),
    Metric(
        "keymiss_models_resident_bytes",
        "gauge",
        "Memory of the weights that are loaded and not put out.",
        "models",
        (),
        "bytes",
        _one("bytes_resident"),
    ),
    Metric(
        "keymiss_models_memory_limit_bytes",
        "gauge",
        "What keymiss.models-memory allows for weights; 0: any.",
        "models",
        (),
        "bytes",
        _one("memory_limit_bytes"),
    ),
    Metric(
        "keymiss_model_loads_total",
        "counter",
        "Models that were loaded, also those brought back.",
        "models",
        (),
        fields=_one("models_loads"),
    ),
    Metric(
        "keymiss_model_load_seconds_total",
        "counter",
        "Time that loading models took.",
        "models",
        (),
        "seconds",
        _one("models_load_us"),
    ),
    Metric(
        "keymiss_models_put_out_total",
        "counter",
        "Models put out of memory to make room.",
        "models",
        (),
        fields=_one("models_put_out"),
    ),
    Metric(
        "keymiss_models_brought_back_total",
        "counter",
        "Models loaded again that had been put out.",
        "models",
        (),
        fields=_one("models_brought_back"),
    ),
    Metric(
        "keymiss_device_busy_seconds_total",
        "counter",
        "Time that a device was running models and scripts.",
        "models",
        ("device",),
        "seconds",
        _one("device_busy_us"),
    ),
    Metric(
        "keymiss_inference_threads",
        "gauge",
        "Threads that one forward pass may use.",
        "models",
        (),
        fields=_one("threads"),
    ),
    Metric(
        "keymiss_inference_channels",
        "gauge",
        "Shards that use the models worker.",
        "models",
        (),
        fields=_one("channels"),
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*_ENGINE, *_FUNCTIONS, *_MODELS)}

# What prometheus_client itself adds to both workers' /metrics, of what dashboards use.
PROCESS_METRICS = ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds")


def of(source: Source) -> list[Metric]:
    """The metrics that this one measures, whole or in part."""
    return [
        metric
        for metric in METRICS.values()
        if metric.source == source or any(field.source == source for field in metric.fields)
    ]
