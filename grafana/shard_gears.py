"""Shard, Gears: registrations, requirements and memory, by RG.* commands."""

from __future__ import annotations

from collections.abc import Sequence

from .page import REDIS_TAG, Page, PanelBuilder, Row, shard_variable
from .redis_source import figures, from_json, info, listing, rg, stream
from .shard import REFRESH

# Runs on all masters: RG.PYEXECUTE gives the results of the cluster, whichever shard is asked.
MASTERS = """
import json

def figures(_):
    told = dict(line.split(':', 1) for line in execute('INFO', 'keymiss').splitlines() if ':' in line)
    wanted = ('hits', 'misses', 'misses_overridden', 'hooked_calls', 'executions_done', 'executions_failed')
    return json.dumps({'shard': hashtag(), **{name: int(told.get('keymiss_' + name, 0)) for name in wanted}})

GB('ShardsIDReader').map(figures).run()
""".strip()


def shard_gears() -> Page:
    """As the shard's functions worker tells it."""
    return Page(
        uid="keymiss-shard-gears",
        title="Keymiss / Shard: Gears",
        description="Registrations, requirements and memory of one shard; needs no Prometheus.",
        tag=REDIS_TAG,
        refresh=REFRESH,
        variables=[shard_variable()],
        rows=[Row("", _at_a_glance()), Row("Functions", _functions()), Row("All masters", _masters())],
    )


def _at_a_glance() -> Sequence[PanelBuilder]:
    memory = {"TotalAllocated": "allocated in all", "PeakAllocated": "peak", "CurrAllocated": "now"}
    executions = {
        "keymiss_executions_running": "running",
        "keymiss_executions_done": "done",
        "keymiss_executions_failed": "failed",
        "keymiss_executions_aborted": "aborted",
    }
    return [
        figures(
            "Memory of functions",
            "RG.PYSTATS: of the functions worker's process.",
            "bytes",
            rg("PYSTATS"),
            *memory,
            names=memory,
            size=(8, 7),
        ),
        figures(
            "Executions",
            "Since the worker started.",
            "short",
            info("keymiss"),
            *executions,
            names=executions,
            size=(8, 7),
        ),
        stream(
            "Memory of functions now",
            "RG.PYSTATS, repeated.",
            "bytes",
            rg("PYSTATS"),
            "CurrAllocated",
            names={"CurrAllocated": "now"},
            size=(8, 7),
        ),
    ]


def _functions() -> Sequence[PanelBuilder]:
    return [
        listing(
            "Registrations",
            "RG.DUMPREGISTRATIONS: what is registered here and how its runs ended.",
            rg("DUMPREGISTRATIONS"),
            names={
                "reader": "Reader",
                "desc": "Description",
                "mode": "Mode",
                "numTriggered": "Triggered",
                "numSuccess": "Success",
                "numFailures": "Failures",
                "numAborted": "Aborted",
                "lastError": "Last error",
                "args": "Arguments",
                "status": "Status",
            },
            hidden=["PD"],
        ),
        listing(
            "Requirements",
            "RG.PYDUMPREQS: packages that functions brought.",
            rg("PYDUMPREQS"),
            names={
                "GearReqVersion": "Version",
                "IsDownloaded": "Downloaded",
                "IsInstalled": "Installed",
                "CompiledOs": "For",
            },
        ),
    ]


def _masters() -> Sequence[PanelBuilder]:
    return [
        listing(
            "Masters",
            "RG.PYEXECUTE: a function that runs on every master and gives a row each.",
            rg("PYEXECUTE", MASTERS),
            from_json("results"),
            names={
                "shard": "Hash tag",
                "hits": "Hits",
                "misses": "Misses",
                "misses_overridden": "Answers",
                "hooked_calls": "Hooked",
                "executions_done": "Executions",
                "executions_failed": "Failed",
            },
            unit="short",
            size=(24, 7),
        )
    ]
