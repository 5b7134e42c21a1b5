"""Gears: functions, what fires them, and whether they keep up."""

from __future__ import annotations

from collections.abc import Sequence

from .overview import QUANTILE_COLORS, quantiles
from .page import Page, PanelBuilder, Row, prometheus_annotations, prometheus_variables
from .panels import BAD, GOOD, WARN, Column, Query, graph, number, rows, steps
from .promql import grown, per_second, share, total

LAGS_S, LAGS_TOO_MUCH_S = 5.0, 60.0  # the second is what the alert KeymissRegistrationLag waits for
_PROCESS = 'job="keymiss-functions"'


def gears() -> Page:
    """Of the functions workers."""
    return Page(
        uid="keymiss-gears",
        title="Keymiss / Gears",
        description="Functions, registrations, executions and how far they lag behind.",
        variables=prometheus_variables(),
        annotations=prometheus_annotations(),
        rows=[
            Row("", _at_a_glance()),
            Row("Functions", _functions()),
            Row("Events and executions", _events()),
            Row("Between shards, and what it costs", _resources()),
        ],
    )


def _failed(*by: str) -> str:
    return per_second("keymiss_function_runs_total", *by, where='outcome!="success"')


def _at_a_glance() -> Sequence[PanelBuilder]:
    return [
        number(
            "Registrations",
            "Of each shard together; one that is registered in the cluster counts at every master.",
            "short",
            Query(total("keymiss_registrations", where='kind!="gone"'), "registrations"),
        ),
        number(
            "Runs",
            "Runs of registrations that ended, in a second.",
            "reqps",
            Query(per_second("keymiss_function_runs_total"), "runs"),
        ),
        number(
            "Failures",
            "Of these, the part that failed or was aborted.",
            "percentunit",
            Query(share(_failed(), per_second("keymiss_function_runs_total")), "failures"),
            thresholds=steps(GOOD, (0.001, WARN), (0.05, BAD)),
            empty="no runs",
        ),
        number(
            "Lag",
            "How long the oldest event, command or stream entry has waited. KeymissRegistrationLag fires "
            "above a minute.",
            "s",
            Query(total("keymiss_registration_lag_seconds", of="max"), "lag"),
            thresholds=steps(GOOD, (LAGS_S, WARN), (LAGS_TOO_MUCH_S, BAD)),
        ),
        number(
            "Executions running",
            "Executions of RG.PYEXECUTE and runs of registrations that have not ended.",
            "short",
            Query(total("keymiss_executions_running"), "executions"),
        ),
        number(
            "Sessions",
            "Sessions that registrations or executions hold.",
            "short",
            Query(total("keymiss_sessions"), "sessions"),
        ),
    ]


def _functions() -> Sequence[PanelBuilder]:
    runs = per_second("keymiss_function_runs_total", "function")
    return [
        graph(
            "Runs by function",
            "Runs that ended, in a second.",
            "reqps",
            Query(runs, "{{function}}"),
            stacked=True,
        ),
        graph(
            "Time of a run by function",
            "Mean of the runs that ended.",
            "s",
            Query(share(per_second("keymiss_function_run_seconds_total", "function"), runs), "{{function}}"),
        ),
        graph(
            "Lag by function",
            "How long the oldest event, command or stream entry that is not finished has waited; 0: none.",
            "s",
            Query(total("keymiss_registration_lag_seconds", "function", of="max"), "{{function}}"),
            limits=[(LAGS_TOO_MUCH_S, BAD)],
        ),
        rows(
            "Functions",
            "Each registration, by its description or else its id.",
            {"function": "Function"},
            Column("Runs", grown("keymiss_function_runs_total", "function"), "short"),
            Column(
                "Failures",
                grown("keymiss_function_runs_total", "function", where='outcome!="success"'),
                "short",
                limits=((1, BAD),),
            ),
            Column(
                "Run, mean",
                share(
                    grown("keymiss_function_run_seconds_total", "function"),
                    grown("keymiss_function_runs_total", "function"),
                ),
                "s",
            ),
            Column(
                "Lag",
                total("keymiss_registration_lag_seconds", "function", of="max"),
                "s",
                limits=((LAGS_S, WARN), (LAGS_TOO_MUCH_S, BAD)),
            ),
            Column("Waiting", total("keymiss_registration_waiting", "function"), "short"),
            size=(24, 7),
            sort_by="Runs",
        ),
    ]


def _events() -> Sequence[PanelBuilder]:
    size = (6, 8)
    return [
        graph(
            "Events",
            "Events of keys that registrations want. sync: run while the server waited; refused: the queue "
            "was full.",
            "cps",
            Query(per_second("keymiss_events_total", "outcome"), "{{outcome}}"),
            size=size,
            stacked=True,
            colors={"refused": WARN, "failed": BAD},
        ),
        graph(
            "Latency of events",
            "From when the event's job was queued until it was done.",
            "s",
            *quantiles("keymiss_job_duration_seconds", where='kind="event"'),
            size=size,
            colors=QUANTILE_COLORS,
        ),
        graph(
            "Executions",
            "Executions that ended, by how.",
            "cps",
            Query(per_second("keymiss_executions_total", "outcome"), "{{outcome}}"),
            size=size,
            stacked=True,
            colors={"done": GOOD, "failed": BAD, "aborted": WARN},
        ),
        graph(
            "Waiting",
            "Events put off until their command has ended, and what registrations have not finished.",
            "short",
            Query(total("keymiss_events_waiting"), "events put off"),
            Query(total("keymiss_registration_waiting"), "for registrations"),
            size=size,
        ),
    ]


def _resources() -> Sequence[PanelBuilder]:
    size = (6, 8)
    return [
        graph(
            "Registrations by kind",
            "What fires them: events of keys, stream entries, hooked commands, or other; gone: removed, "
            "remembered for the cluster.",
            "short",
            Query(total("keymiss_registrations", "kind"), "{{kind}}"),
            size=size,
        ),
        graph(
            "Messages between shards",
            "Between the functions workers of a cluster. Any that is lost was on its way to a shard that "
            "ended.",
            "cps",
            Query(per_second("keymiss_peer_messages_total", "direction"), "{{direction}}"),
            size=size,
            colors={"lost": BAD},
        ),
        graph(
            "Memory of functions",
            "Resident memory of each functions worker and the processes beside it.",
            "bytes",
            Query(total("keymiss_functions_memory_bytes", "shard"), "{{shard}}"),
            size=size,
        ),
        graph(
            "Processes and cores",
            "Processes of each functions worker, and the cores that the workers use.",
            "short",
            Query(total("keymiss_functions_processes", "shard"), "processes of {{shard}}"),
            Query(
                per_second("process_cpu_seconds_total", "instance", where=_PROCESS), "cores of {{instance}}"
            ),
            size=size,
        ),
    ]
