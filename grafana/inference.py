"""Inference: what the models worker does, model by model and stage by stage, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from .overview import QUANTILE_COLORS, STAGES_NOTE, quantiles
from .page import Page, PanelBuilder, Row, prometheus_annotations, prometheus_variables
from .panels import BAD, GOOD, WARN, Column, Query, distribution, graph, number, rows, steps
from .promql import grown, mean, per_second, quantile, share, total

_PROCESS = 'job="keymiss-models"'


def inference() -> Page:
    """Of the models worker; $shard narrows what is counted by shard."""
    return Page(
        uid="keymiss-inference",
        title="Keymiss / Inference",
        description="Requests, batches, stages, devices, padding and memory of the models worker.",
        variables=prometheus_variables("model"),
        annotations=prometheus_annotations(),
        rows=[
            Row("", _at_a_glance()),
            Row("Models", _models()),
            Row("Batches", _batches()),
            Row("Stages", _stages()),
            Row("Devices and memory", _resources()),
            Row("Keys", _keys()),
        ],
    )


def padding_share(*by: str) -> str:
    padding = per_second("keymiss_padding_tokens_total", *by)
    return share(padding, f"({padding} + {per_second('keymiss_tokens_total', *by)})")


def _at_a_glance() -> Sequence[PanelBuilder]:
    return [
        number(
            "Requests",
            "Requests to run a model or a script that ended, in a second.",
            "reqps",
            Query(per_second("keymiss_model_requests_total"), "requests"),
        ),
        number(
            "Tokens",
            "Tokens that models ran on in a second, without padding.",
            "cps",
            Query(per_second("keymiss_tokens_total"), "tokens"),
        ),
        number(
            "Forward pass, p95",
            "95 of 100 passes took no longer.",
            "s",
            Query(quantile(0.95, "keymiss_forward_duration_seconds"), "p95"),
        ),
        number(
            "Requests a pass",
            "Mean size of a batch. More: the device is used better; each waits a little longer.",
            "short",
            Query(mean("keymiss_batch_size"), "requests"),
        ),
        number(
            "Padding",
            "Of the tokens that were computed, those that only fill shorter sequences up.",
            "percentunit",
            Query(padding_share(), "padding"),
            thresholds=steps(GOOD, (0.3, WARN), (0.6, BAD)),
            empty="no tokens",
        ),
        number(
            "Errors",
            "Of the passes of models and scripts, requests that failed in a second.",
            "cps",
            Query(per_second("keymiss_model_errors_total"), "errors"),
            thresholds=steps(GOOD, (0.001, WARN), (1, BAD)),
        ),
    ]


def _models() -> Sequence[PanelBuilder]:
    by = ("model", "device")
    ones = f"(0 * {total('keymiss_batches_total', *by)} + 1)"  # for each device that a model is on
    return [
        graph(
            "Requests by model",
            "Requests that ended, in a second.",
            "reqps",
            Query(per_second("keymiss_model_requests_total", *by), "{{model}} on {{device}}"),
            stacked=True,
        ),
        graph(
            "Forward pass by model, p95",
            "Of one pass, whatever the size of its batch.",
            "s",
            Query(quantile(0.95, "keymiss_forward_duration_seconds", *by), "{{model}} on {{device}}"),
        ),
        graph(
            "Tokens by model",
            "Without padding.",
            "cps",
            Query(per_second("keymiss_tokens_total", *by), "{{model}} on {{device}}"),
        ),
        rows(
            "Models",
            "Each model that ran in the time shown.",
            {"model": "Model", "device": "Device"},
            Column("Requests", grown("keymiss_model_requests_total", *by), "short"),
            Column("Errors", grown("keymiss_model_errors_total", *by), "short", limits=((1, BAD),)),
            Column("Passes", grown("keymiss_batches_total", *by), "short"),
            Column("Tokens", grown("keymiss_tokens_total", *by), "short"),
            Column("Padding", padding_share(*by), "percentunit"),
            Column("Pass, mean", mean("keymiss_forward_duration_seconds", *by), "s"),
            Column(
                "Weights",
                f"{total('keymiss_model_weight_bytes', 'model')} * on (model) group_right () {ones}",
                "bytes",
            ),
            size=(24, 7),
            sort_by="Requests",
        ),
    ]


def _batches() -> Sequence[PanelBuilder]:
    return [
        distribution(
            "Requests in a pass",
            "How many passes in a second had how many requests.",
            "short",
            Query(per_second("keymiss_batch_size_bucket", "le"), "{{le}}"),
            size=(8, 8),
        ),
        graph(
            "Wait for a pass",
            "From when a request came to the models worker until its pass began.",
            "s",
            *quantiles("keymiss_batch_wait_seconds"),
            colors=QUANTILE_COLORS,
        ),
        graph(
            "Padding",
            "Of the tokens that a device computed, those that only fill shorter sequences up.",
            "percentunit",
            Query(padding_share("device"), "{{device}}"),
            maximum=1,
        ),
    ]


def _stages() -> Sequence[PanelBuilder]:
    return [
        graph(
            "Stages of a miss, p95",
            STAGES_NOTE,
            "s",
            Query(quantile(0.95, "keymiss_stage_duration_seconds", "stage"), "{{stage}}"),
            size=(12, 8),
        ),
        graph(
            "Runs asked for",
            "Runs of models, scripts and DAGs by clients and functions, by how they ended.",
            "reqps",
            Query(per_second("keymiss_runs_total", "outcome"), "{{outcome}}"),
            size=(6, 8),
            stacked=True,
            colors={"done": GOOD, "failed": BAD, "timed_out": WARN},
        ),
        graph(
            "Requests waiting",
            "In the models worker, for their device.",
            "short",
            Query(total("keymiss_models_queue_depth", "device"), "{{device}}"),
            size=(6, 8),
        ),
    ]


def _resources() -> Sequence[PanelBuilder]:
    return [
        graph(
            "Devices at work",
            "How much of the time a device was running models and scripts; above 1: passes beside each "
            "other.",
            "percentunit",
            Query(per_second("keymiss_device_busy_seconds_total", "device"), "{{device}}"),
        ),
        graph(
            "Memory of weights",
            "Weights that are loaded, and what keymiss.models-memory allows. KeymissModelsMemoryHigh fires "
            "above 90 %.",
            "bytes",
            Query(total("keymiss_models_resident_bytes"), "loaded"),
            Query(f"{total('keymiss_models_memory_limit_bytes')} > 0", "limit"),
            colors={"limit": BAD},
        ),
        graph(
            "The models worker",
            "Its resident memory, weights and all, and the cores it uses.",
            "bytes",
            Query(
                total("process_resident_memory_bytes", "instance", where=_PROCESS), "memory of {{instance}}"
            ),
            Query(
                per_second("process_cpu_seconds_total", "instance", where=_PROCESS),
                "cores of {{instance}}",
                "none",
            ),
        ),
        graph(
            "Models come and go",
            "Loads, of which some bring back what had been put out to make room. Both all the time: more "
            "memory is needed.",
            "cps",
            Query(per_second("keymiss_model_loads_total"), "loaded"),
            Query(per_second("keymiss_models_put_out_total"), "put out"),
            Query(per_second("keymiss_models_brought_back_total"), "brought back"),
        ),
        number(
            "Load, mean",
            "How long it took to load a model, in the time shown.",
            "s",
            Query(
                share(grown("keymiss_model_load_seconds_total"), grown("keymiss_model_loads_total")), "a load"
            ),
            empty="none loaded",
            size=(4, 8),
            sparkline=False,
        ),
        number(
            "The worker has",
            "Models that are ready, threads that one pass may use, and shards that use the worker.",
            "short",
            Query(total("keymiss_models_loaded"), "models"),
            Query(total("keymiss_inference_threads"), "threads"),
            Query(total("keymiss_inference_channels"), "shards"),
            size=(12, 8),
            sparkline=False,
        ),
    ]


def _keys() -> Sequence[PanelBuilder]:
    return [
        graph(
            "Keys by shard",
            "Keys that hold a model, a script or a tensor.",
            "short",
            Query(total("keymiss_models_stored", "shard"), "models at {{shard}}"),
            Query(total("keymiss_scripts", "shard"), "scripts at {{shard}}"),
            Query(total("keymiss_tensors", "shard"), "tensors at {{shard}}"),
            size=(12, 8),
        ),
        graph(
            "Memory of keys by shard",
            "Tensors, and the files of models; a file that several keys hold counts once.",
            "bytes",
            Query(total("keymiss_tensor_bytes", "shard"), "tensors at {{shard}}"),
            Query(total("keymiss_model_blob_bytes", "shard"), "models at {{shard}}"),
            size=(12, 8),
        ),
    ]
