"""Overview: is it well, how fast is it, what is wrong, and at which shard."""

from __future__ import annotations

from collections.abc import Sequence

from .page import Page, PanelBuilder, Row, prometheus_annotations, prometheus_variables
from .panels import BAD, GOOD, WARN, Column, Query, graph, named, number, rows, states, steps
from .promql import FIRING, grown, mean, per_second, quantile, series, share, total

SLOW_S, TOO_SLOW_S = 0.25, 1.0  # of a miss; the second is what the alert KeymissLatencyHigh waits for
QUANTILE_COLORS = {"p50": GOOD, "p95": WARN, "p99": BAD}
STAGES_NOTE = (
    "hook: command seen to job queued; queue: until it was written to the functions worker; "
    "reply: job done to client unblocked. The others are what the function marks as its stages."
)
_SCRAPED = 'job=~"redis|keymiss-.+"'
_READS = (
    Query(per_second("keymiss_hits_total"), "hits"),
    Query(per_second("keymiss_misses_total"), "misses"),
    Query(per_second("keymiss_answers_total"), "answers"),
)
_CLIENT_JOBS = 'kind!="event"'  # those for which a client waits


def quantiles(histogram: str, *by: str, where: str = "") -> list[Query]:
    """p50, p95 and p99."""
    return [Query(quantile(q, histogram, *by, where=where), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)]


def overview() -> Page:
    """The dashboard to look at first."""
    return Page(
        uid="keymiss-overview",
        title="Keymiss / Overview",
        description="Traffic, latency, errors and saturation of a cluster, of each shard, and its workers.",
        variables=prometheus_variables(),
        annotations=prometheus_annotations(),
        rows=[
            Row("", _at_a_glance()),
            Row("Golden signals", _golden_signals()),
            Row("$shard", _one_shard(), repeat="shard"),
            Row("Alerts and workers", _workers()),
        ],
    )


def _hit_rate(*by: str) -> str:
    hits, misses = per_second("keymiss_hits_total", *by), per_second("keymiss_misses_total", *by)
    return share(hits, f"({hits} + {misses})")


def _error_share() -> str:
    jobs = per_second("keymiss_jobs_total", where=_CLIENT_JOBS)
    return share(per_second("keymiss_errors_total"), jobs)


def _at_a_glance() -> Sequence[PanelBuilder]:
    return [
        number(
            "Alerts",
            "Alerts that fire. Below, they are listed; docs/operations.md says what to do about each.",
            "none",
            Query(f"sum({FIRING}) or vector(0)", "alerts"),
            thresholds=steps(GOOD, (1, BAD)),
            size=(3, 4),
        ),
        number(
            "Down",
            "Servers and workers that do not answer, and what Prometheus cannot read. The models worker "
            "counts once for each shard that uses it.",
            "short",
            Query(f"sum(1 - {series('redis_up')})", "servers"),
            Query(f"sum(1 - {series('keymiss_worker_up')})", "workers"),
            Query(f"sum(1 - {series('up', _SCRAPED)})", "targets"),
            thresholds=steps(GOOD, (1, BAD)),
        ),
        number(
            "Answers",
            "Misses that a function answered, in a second.",
            "reqps",
            Query(per_second("keymiss_answers_total"), "answers"),
            size=(3, 4),
        ),
        number(
            "Miss, p99",
            "99 of 100 misses were answered within this time. KeymissLatencyHigh fires above a second.",
            "s",
            Query(quantile(0.99, "keymiss_job_duration_seconds", where='kind="miss"'), "p99"),
            thresholds=steps(GOOD, (SLOW_S, WARN), (TOO_SLOW_S, BAD)),
        ),
        number(
            "Cache hit rate",
            "Of the hooked reads, those whose key was there.",
            "percentunit",
            Query(_hit_rate(), "hit rate"),
            empty="no reads",
            size=(3, 4),
        ),
        number(
            "Errors",
            "Of what clients asked the workers for, the part that they got an error for.",
            "percentunit",
            Query(_error_share(), "errors"),
            thresholds=steps(GOOD, (0.001, WARN), (0.01, BAD)),
            empty="no requests",
            size=(3, 4),
        ),
        number(
            "Waiting",
            "Jobs that wait to be sent to a worker. More than a moment's worth: the workers do not keep up.",
            "short",
            Query(total("keymiss_queue_depth"), "jobs"),
            thresholds=steps(GOOD, (100, WARN), (1000, BAD)),
        ),
    ]


def _golden_signals() -> Sequence[PanelBuilder]:
    return [
        graph(
            "Traffic",
            "Hooked reads that were hits and misses, misses that joined one of the same key, commands that "
            "passed a hook, and RG.* commands.",
            "reqps",
            *_READS,
            Query(per_second("keymiss_single_flight_savings_total"), "joined"),
            Query(per_second("keymiss_hooked_calls_total"), "hooked"),
            Query(per_second("keymiss_rg_commands_total"), "RG.*"),
        ),
        _latency(),
        _errors(),
        _saturation(),
        graph(
            "Cache hit rate",
            "Of the hooked reads of a shard, those whose key was there.",
            "percentunit",
            Query(_hit_rate("shard"), "{{shard}}"),
            maximum=1,
        ),
        graph(
            "Where the time of a miss goes",
            f"Mean time of each stage. {STAGES_NOTE}",
            "s",
            Query(mean("keymiss_stage_duration_seconds", "stage"), "{{stage}}"),
            stacked=True,
        ),
    ]


def _one_shard() -> Sequence[PanelBuilder]:
    """The same of one shard: in a row that repeats, $shard is a single one."""
    size = (6, 6)
    answers = graph("Answers", "Hits, misses and answers of this shard.", "reqps", *_READS, size=size)
    return [answers, _latency(size), _errors(size), _saturation(size)]


def _latency(size: tuple[int, int] = (8, 8)) -> PanelBuilder:
    return graph(
        "Latency of misses",
        "From when the job was queued until it was done. The line is where KeymissLatencyHigh fires.",
        "s",
        *quantiles("keymiss_job_duration_seconds", where='kind="miss"'),
        limits=[(TOO_SLOW_S, BAD)],
        colors=QUANTILE_COLORS,
        size=size,
    )


def _errors(size: tuple[int, int] = (8, 8)) -> PanelBuilder:
    return graph(
        "Errors",
        "Errors that clients got. busy: a queue was full; timeout: a deadline passed; worker: it died; "
        "function, model: it said so.",
        "cps",
        Query(per_second("keymiss_errors_total", "kind"), "{{kind}}"),
        stacked=True,
        size=size,
    )


def _saturation(size: tuple[int, int] = (8, 8)) -> PanelBuilder:
    return graph(
        "Saturation",
        "Jobs that wait for a worker, jobs that a worker has, and clients whose miss is being worked out.",
        "short",
        Query(total("keymiss_queue_depth", "worker"), "waiting for {{worker}}"),
        Query(total("keymiss_jobs_running", "worker"), "at {{worker}}"),
        Query(total("keymiss_misses_waiting"), "clients of misses"),
        size=size,
    )


def _workers() -> Sequence[PanelBuilder]:
    versions = {"shard": "Shard", "version": "Keymiss", "server": "Server", "server_version": "Its version"}
    return [
        rows(
            "Alerts that fire",
            "One row for each; docs/operations.md says what shows its cause and what mends it.",
            {
                "alertname": "Alert",
                "severity": "Severity",
                "shard": "Shard",
                "worker": "Worker",
                "function": "Function",
            },
            Column("Firing", f"sum by (alertname, severity, shard, worker, function) ({FIRING})", "none"),
            size=(24, 5),
        ),
        states(
            "Workers",
            "When each shard's workers were ready.",
            Query(total("keymiss_worker_up", "shard", "worker", of="min"), "{{shard}} {{worker}}"),
            mappings=named(down=BAD, up=GOOD),
            size=(12, 9),
        ),
        rows(
            "Workers' lives",
            "Restarts are within the time shown: each is a worker that ended and was needed again.",
            {"shard": "Shard", "worker": "Worker"},
            Column(
                "Ready for",
                total("keymiss_worker_uptime_seconds", "shard", "worker", of="min"),
                "dtdurations",
            ),
            Column("Starts", grown("keymiss_worker_starts_total", "shard", "worker"), "short"),
            Column(
                "Restarts",
                grown("keymiss_worker_restarts_total", "shard", "worker"),
                "short",
                limits=((1, BAD),),
            ),
            size=(12, 9),
        ),
        graph(
            "Jobs that were not done",
            "By how they ended. retried: sent once more, since the worker had died.",
            "cps",
            Query(
                per_second("keymiss_jobs_total", "kind", "outcome", where='outcome!="done"'),
                "{{kind}} {{outcome}}",
            ),
            size=(12, 8),
            stacked=True,
        ),
        rows(
            "Versions",
            "What each shard runs, and whether it told its figures for the last scrape.",
            versions,
            Column(
                "Told",
                f"min by ({', '.join(versions)}) ({series('keymiss_build_info')} "
                f"* on (shard) group_left () {total('keymiss_shard_scraped', 'shard', of='min')})",
                "bool_yes_no",
            ),
            size=(12, 8),
        ),
    ]
