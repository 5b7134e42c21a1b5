"""Every metric of Keymiss, in one table.

What /metrics serves, what the workers tell INFO, docs/metrics.md and the checks of the dashboards derive from
it. Pure data: nothing here measures anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keymiss.metrics.metric import INFO_PREFIX, Field, Kind, Metric, Source, Unit

__all__ = ["INFO_PREFIX", "METRICS", "PROCESS_METRICS", "WORKERS", "Field", "Metric", "Source", "of"]

WORKERS = ("functions", "models")
JOB_KINDS = ("command", "miss", "event", "hooked", "load", "run", "compile", "dag")
JOB_OUTCOMES = ("done", "timed_out", "failed", "cancelled", "retried", "refused")
ENGINE_STAGES = ("hook", "queue", "reply")
FUNCTION_STAGES = ("tokenise", "forward", "span")


def _one(field: str) -> tuple[Field, ...]:
    return (Field(field),)


def _single(name: str, kind: Kind, source: Source, field: str, help: str, unit: Unit = "") -> Metric:
    """A metric of one value for each shard, or for the models worker, and its field."""
    return Metric(name, kind, help, source, () if source == "models" else ("shard",), unit, _one(field))


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
    _single("keymiss_hits_total", "counter", "engine", "hits", "Hooked read commands whose key was there."),
    _single(
        "keymiss_misses_total",
        "counter",
        "engine",
        "misses",
        "Hooked read commands whose key was not there, so that a function was asked.",
    ),
    _single(
        "keymiss_answers_total", "counter", "engine", "misses_overridden", "Misses that a function answered."
    ),
    _single(
        "keymiss_single_flight_savings_total",
        "counter",
        "engine",
        "single_flight_savings",
        "Misses that joined one of the same key which was being worked out already.",
    ),
    _single(
        "keymiss_misses_waiting",
        "gauge",
        "engine",
        "misses_waiting",
        "Clients whose miss is being worked out now.",
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
    _single(
        "keymiss_hooked_calls_total", "counter", "engine", "hooked_calls", "Commands that passed a hook."
    ),
    Metric(
        "keymiss_events_total",
        "counter",
        "Events and hooked commands on keys that registrations want. fired: all; of these sync: while the "
        "server waited; refused: the queue was full; failed: nobody waited, and the run failed.",
        "engine",
        ("shard", "outcome"),
        fields=_each("outcome", ("fired", "sync", "refused", "failed"), "events_{}"),
    ),
    _single(
        "keymiss_events_waiting",
        "gauge",
        "engine",
        "events_put_off",
        "Events put off until their command has ended.",
    ),
    Metric(
        "keymiss_registrations",
        "gauge",
        "Registrations by what fires them; gone: removed, remembered for the cluster.",
        "engine",
        ("shard", "kind"),
        fields=_each("kind", ("keys", "stream", "hook", "other", "gone"), "registrations_{}"),
    ),
    _single("keymiss_tensors", "gauge", "engine", "tensors", "Keys that hold a tensor."),
    _single(
        "keymiss_tensor_bytes", "gauge", "engine", "tensor_bytes", "Memory of the tensors at keys.", "bytes"
    ),
    _single("keymiss_models_stored", "gauge", "engine", "models", "Keys that hold a model."),
    _single(
        "keymiss_model_blob_bytes",
        "gauge",
        "engine",
        "model_bytes",
        "Size of the models at keys.",
        "bytes",
    ),
    _single("keymiss_scripts", "gauge", "engine", "scripts", "Keys that hold a script."),
    Metric(
        "keymiss_runs_total",
        "counter",
        "Runs of models, scripts and DAGs that clients and functions asked for, by how they ended.",
        "engine",
        ("shard", "outcome"),
        fields=_each("outcome", ("done", "failed", "timed_out"), "runs_{}"),
    ),
    _single(
        "keymiss_rg_commands_total",
        "counter",
        "engine",
        "rg_commands",
        "RG.* commands given to the functions worker.",
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
        "1 while the shard's worker is ready; missing while nothing needs it, and it is off.",
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
    _single(
        "keymiss_executions_running",
        "gauge",
        "functions",
        "executions_running",
        "Executions and runs of registrations that have not ended.",
    ),
    _single(
        "keymiss_sessions",
        "gauge",
        "functions",
        "sessions",
        "Sessions that have registrations.",
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
    _single(
        "keymiss_functions_memory_bytes",
        "gauge",
        "functions",
        "functions_memory_bytes",
        "Resident memory of the functions worker and the processes beside it.",
        "bytes",
    ),
    _single(
        "keymiss_functions_processes",
        "gauge",
        "functions",
        "functions_processes",
        "The functions worker and the processes beside it.",
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
    _single("keymiss_models_loaded", "gauge", "models", "models_loaded", "Models that are ready."),
    Metric(
        "keymiss_model_weight_bytes",
        "gauge",
        "Size of a loaded model's weights.",
        "models",
        ("model",),
        "bytes",
        _one("weight_bytes"),
    ),
    _single(
        "keymiss_models_resident_bytes",
        "gauge",
        "models",
        "bytes_resident",
        "Memory of the weights that are loaded and not put out.",
        "bytes",
    ),
    _single(
        "keymiss_models_memory_limit_bytes",
        "gauge",
        "models",
        "memory_limit_bytes",
        "What keymiss.models-memory allows for weights; 0: any.",
        "bytes",
    ),
    _single(
        "keymiss_model_loads_total",
        "counter",
        "models",
        "models_loads",
        "Models that were loaded, also those brought back.",
    ),
    _single(
        "keymiss_model_load_seconds_total",
        "counter",
        "models",
        "models_load_us",
        "Time that loading models took.",
        "seconds",
    ),
    _single(
        "keymiss_models_put_out_total",
        "counter",
        "models",
        "models_put_out",
        "Models put out of memory to make room.",
    ),
    _single(
        "keymiss_models_brought_back_total",
        "counter",
        "models",
        "models_brought_back",
        "Models loaded again that had been put out.",
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
    _single(
        "keymiss_inference_threads", "gauge", "models", "threads", "Threads that one forward pass may use."
    ),
    _single(
        "keymiss_inference_channels", "gauge", "models", "channels", "Shards that use the models worker."
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
