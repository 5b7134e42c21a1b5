"""Two readings of a cluster as rows of figures: rates and quantiles of what lay between them. Pure.

A row is what `--json` gives: figures by name, durations in seconds, sizes in bytes, shares from 0 to 1; None
for what a server does not show, and for what needs two readings where there is only one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..metrics.definitions import INFO_PREFIX, METRICS, WORKERS
from ..metrics.histogram import Distribution
from ..metrics.info import parts_of
from .info import Info, number_of
from .rates import growth, increase, merged, quantile, ratio, total
from .reading import Model, Reading, Server

Value: TypeAlias = str | float | int | None
Row: TypeAlias = dict[str, Value]

ERROR_KINDS = tuple(dict(field.labels)["kind"] for field in METRICS["keymiss_errors_total"].fields)
_REGISTRATION = re.compile(rf"{INFO_PREFIX}function_\d+")  # a field each
_MEMORY = {"functions": "keymiss_functions_memory_bytes", "models": "keymiss_models_resident_bytes"}


@dataclass(frozen=True)
class Figures:
    """All tables of one moment."""

    totals: Row
    shards: list[Row]
    workers: list[Row]
    models: list[Row]
    inference: list[Row]
    functions: list[Row]

    @property
    def complete(self) -> bool:
        """Every server tells its figures."""
        return all(row["state"] == "up" for row in self.shards)


@dataclass(frozen=True)
class Window:
    """A server between two readings; `before` is None where the first does not count, as it was down."""

    before: Server | None
    now: Server

    @property
    def seconds(self) -> float | None:
        return self.now.at - self.before.at if self.before else None

    def rate(self, metric: str, **labels: str) -> float | None:
        """How fast a counter grew."""
        before = self.before.info.figure(metric, **labels) if self.before else None
        return ratio(increase(before, self.figure(metric, **labels)), self.seconds)

    def grown(self, metric: str, **labels: str) -> Distribution | None:
        """What was added to a histogram."""
        before = self.before.info.histogram(metric, **labels) if self.before else None
        return growth(before, self.now.info.histogram(metric, **labels))

    def figure(self, metric: str, **labels: str) -> float | None:
        return self.now.info.figure(metric, **labels)


def compare(before: Reading, now: Reading) -> Figures:
    """What happened between two readings."""
    windows = [_window(before.get(address), server) for address, server in now.items()]
    shards = [_shard(window) for window in windows]
    inference = [_inference(window) for window in _models_workers(windows)]
    return Figures(
        _totals(windows, shards, inference),
        shards,
        [_worker(window, worker) for window in windows if window.now.info.fields for worker in WORKERS],
        _models(windows),
        inference,
        _functions(windows),
    )


def _window(before: Server | None, now: Server) -> Window:
    """A server that was started anew meanwhile counts from 0 since: what it counted before is not known."""
    same = before is not None and before.info.fields.get("run_id") == now.info.fields.get("run_id")
    return Window(before if same else None, now)


def _shard(window: Window) -> Row:
    server = window.now
    hits, misses = window.rate("keymiss_hits_total"), window.rate("keymiss_misses_total")
    row: Row = {
        "shard": server.name,
        "address": f"{server.address.host}:{server.address.port}",
        "role": server.role,
        "slots": server.slots,
        "state": server.state,
        "error": server.error,
        "seconds": window.seconds,
        "answers_per_second": window.rate("keymiss_answers_total"),
        "misses_per_second": misses,
        "hits_per_second": hits,
        "savings_per_second": window.rate("keymiss_single_flight_savings_total"),
        "hit_rate": _hit_rate(hits, misses),
        **_quantiles("miss", window.grown("keymiss_job_duration_seconds", kind="miss")),
        "waiting": window.figure("keymiss_misses_waiting"),
    }
    for worker in WORKERS:
        row[f"{worker}_worker"] = server.info.parts(f"{worker}_worker").get("state")
        row[f"{worker}_queue"] = window.figure("keymiss_queue_depth", worker=worker)
        row[f"{worker}_running"] = window.figure("keymiss_jobs_running", worker=worker)
    row["restarts"] = window.figure("keymiss_worker_restarts_total")
    row["errors"] = window.figure("keymiss_errors_total")
    row["errors_per_second"] = window.rate("keymiss_errors_total")
    for kind in ERROR_KINDS:
        row[f"{kind}_errors"] = window.figure("keymiss_errors_total", kind=kind)
        row[f"{kind}_errors_per_second"] = window.rate("keymiss_errors_total", kind=kind)
    row["memory_bytes"] = server.info.number("used_memory")
    row["memory_limit_bytes"] = server.info.number("maxmemory") or None
    return row


def _worker(window: Window, worker: str) -> Row:
    info = window.now.info
    told = info.parts(f"{worker}_worker")
    return {
        "shard": window.now.name,
        "worker": worker,
        "state": told.get("state"),
        "pid": number_of(told.get("pid")),
        "uptime_seconds": window.figure("keymiss_worker_uptime_seconds", worker=worker),
        "starts": window.figure("keymiss_worker_starts_total", worker=worker),
        "restarts": window.figure("keymiss_worker_restarts_total", worker=worker),
        "queue": window.figure("keymiss_queue_depth", worker=worker),
        "running": window.figure("keymiss_jobs_running", worker=worker),
        "memory_bytes": window.figure(_MEMORY[worker]),
        "last_error": info.fields.get(f"{INFO_PREFIX}{worker}_last_error") or None,
    }


def _models_workers(windows: Iterable[Window]) -> list[Window]:
    """One window for each models worker, whichever of the shards that share it tells of it."""
    found: dict[tuple[str, str], Window] = {}
    for window in windows:
        told = window.now.info.parts("models_worker")
        if told.get("state") == "ready":
            found.setdefault((window.now.address.host, told.get("pid", "")), window)
    return list(found.values())


def _inference(window: Window) -> Row:
    requests = window.rate("keymiss_model_requests_total")
    batches = window.rate("keymiss_batches_total")
    tokens, padding = window.rate("keymiss_tokens_total"), window.rate("keymiss_padding_tokens_total")
    pid = window.now.info.parts("models_worker").get("pid", "")
    return {
        "worker": f"{window.now.address.host} pid {pid}",
        "shards": window.figure("keymiss_inference_channels"),
        "requests_per_second": requests,
        "batches_per_second": batches,
        "mean_batch_size": ratio(requests, batches),
        "tokens_per_second": tokens,
        "padding_share": ratio(padding, total((tokens, padding))),
        **_quantiles("forward", window.grown("keymiss_forward_duration_seconds")),
        "queue": window.figure("keymiss_models_queue_depth"),
        "busy_share": window.rate("keymiss_device_busy_seconds_total"),
        "models_loaded": window.figure("keymiss_models_loaded"),
        "resident_bytes": window.figure("keymiss_models_resident_bytes"),
        "memory_limit_bytes": window.figure("keymiss_models_memory_limit_bytes") or None,
    }


@dataclass(frozen=True)
class _Counts:
    """What is counted of one model or function on one shard, twice."""

    before: Mapping[str, float] | None
    now: Mapping[str, float]
    seconds: float | None

    def rate(self, name: str) -> float | None:
        before = self.before.get(name) if self.before is not None else None
        return ratio(increase(before, self.now.get(name)), self.seconds)


def _rate(told: Iterable[_Counts], name: str) -> float | None:
    return total(counts.rate(name) for counts in told)


def _sum(told: Iterable[_Counts], name: str) -> float | None:
    return total(counts.now.get(name) for counts in told)


def _models(windows: Iterable[Window]) -> list[Row]:
    """One row for each model, of all shards that have it."""
    found: dict[tuple[str, str, str], list[_Counts]] = {}
    for window in windows:
        before = {model.key: model.counts for model in window.before.models} if window.before else {}
        for model in window.now.models:
            kind = (_model_name(model), model.backend, model.device)
            found.setdefault(kind, []).append(_Counts(before.get(model.key), model.counts, window.seconds))
    return [_model(*kind, told) for kind, told in sorted(found.items())]


def _model_name(model: Model) -> str:
    """Its tag; else its key, without the hash tag that puts it on its shard."""
    return model.tag or re.sub(r"\{[^{}]+\}", "", model.key) or model.key


def _model(name: str, backend: str, device: str, told: Sequence[_Counts]) -> Row:
    samples, batches, busy_us = (_rate(told, count) for count in ("samples", "calls", "duration"))
    return {
        "model": name,
        "backend": backend,
        "device": device,
        "shards": len(told),
        "samples_per_second": samples,
        "batches_per_second": batches,
        "mean_batch_size": ratio(samples, batches),
        "batch_seconds": _seconds(ratio(busy_us, batches)),
        "errors_per_second": _rate(told, "errors"),
        "samples": _sum(told, "samples"),
        "batches": _sum(told, "calls"),
        "errors": _sum(told, "errors"),
    }


def _functions(windows: Iterable[Window]) -> list[Row]:
    """One row for each name that registrations go by, of all shards that have one."""
    found: dict[str, list[_Counts]] = {}
    for window in windows:
        before = _registrations(window.before.info) if window.before else {}
        for name, counts in _registrations(window.now.info).items():
            found.setdefault(name, []).append(_Counts(before.get(name), counts, window.seconds))
    return [_function(name, told) for name, told in sorted(found.items())]


def _registrations(info: Info) -> dict[str, dict[str, float]]:
    """What the functions worker counts of each. Which has which number changes as they come and go, so those
    of one name are one: their counts are added, and the longest lag is theirs."""
    found: dict[str, dict[str, float]] = {}
    for field in filter(_REGISTRATION.fullmatch, info.fields):
        parts = parts_of(info.fields[field])
        counts = found.setdefault(parts.get("name", ""), {})
        for part, value in parts.items():
            number = number_of(value) if part != "name" else None
            if number is not None:
                counts[part] = (max if part == "lag_us" else sum)((counts.get(part, 0.0), number))
    return found


def _function(name: str, told: Sequence[_Counts]) -> Row:
    lags = [counts.now["lag_us"] for counts in told if "lag_us" in counts.now]
    return {
        "function": name,
        "shards": len(told),
        "runs_per_second": _rate(told, "runs"),
        "failures_per_second": _rate(told, "failures"),
        "waiting": _sum(told, "waiting"),
        "lag_seconds": _seconds(max(lags, default=None)),
        "runs": _sum(told, "runs"),
        "failures": _sum(told, "failures"),
    }


def _totals(windows: Sequence[Window], shards: Sequence[Row], inference: Sequence[Row]) -> Row:
    def sums(rows: Iterable[Row], *names: str) -> Row:
        rows = list(rows)
        return {name: total(_number(row[name]) for row in rows) for name in names}

    rates = ("answers", "misses", "hits", "savings", "errors")
    of_shards = sums(shards, *(f"{name}_per_second" for name in rates), *_SUMMED)
    of_models = sums(
        inference, "requests_per_second", "batches_per_second", "tokens_per_second", "resident_bytes"
    )
    misses = [window.grown("keymiss_job_duration_seconds", kind="miss") for window in windows]
    return {
        "servers": len(shards),
        "servers_up": sum(row["state"] == "up" for row in shards),
        "server": next((name for window in windows if (name := _version(window.now.info))), None),
        **of_shards,
        "hit_rate": _hit_rate(_number(of_shards["hits_per_second"]), _number(of_shards["misses_per_second"])),
        **_quantiles("miss", merged(misses)),
        **of_models,
    }


_SUMMED = ("waiting", "functions_queue", "models_queue", "restarts", "errors", "memory_bytes")


def _version(info: Info) -> str | None:
    for kind in ("valkey", "redis"):  # Valkey says redis_version, too
        if version := info.fields.get(f"{kind}_version"):
            return f"{kind} {version}"
    return None


def _number(value: Value) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _seconds(us: float | None) -> float | None:
    return None if us is None else us / 1e6


def _hit_rate(hits: float | None, misses: float | None) -> float | None:
    """None where nothing was read."""
    return ratio(hits, total((hits, misses)))


def _quantiles(name: str, of: Distribution | None) -> Row:
    return {f"{name}_p50_seconds": quantile(of, 0.5), f"{name}_p99_seconds": quantile(of, 0.99)}
