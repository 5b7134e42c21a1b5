"""Shard: one server read directly, through Grafana's Redis data source."""

from __future__ import annotations

from collections.abc import Sequence

from .page import REDIS_TAG, Page, PanelBuilder, Row, shard_variable
from .redis_source import as_rows, cli, figures, info, known, listing, stream

REFRESH = "30s"


def shard() -> Page:
    """What INFO and its like say."""
    return Page(
        uid="keymiss-shard",
        title="Keymiss / Shard",
        description="One server, read by its own commands; needs no Prometheus.",
        tag=REDIS_TAG,
        refresh=REFRESH,
        variables=[shard_variable()],
        rows=[
            Row("", _at_a_glance()),
            Row("Now", _now()),
            Row("Figures", _figures()),
            Row("Cluster", _cluster()),
            Row("Clients and commands", _clients()),
        ],
    )


def _at_a_glance() -> Sequence[PanelBuilder]:
    server = info("server")
    return [
        figures("Version", "Of the server.", "string", server, "redis_version"),
        figures("Up for", "Since the server was started.", "dtdurations", server, "uptime_in_seconds"),
        figures("Memory", "What the data takes.", "bytes", info("memory"), "used_memory"),
        figures("Keys", "DBSIZE.", "short", cli("DBSIZE"), "Value"),
        figures("Clients", "Connections.", "short", info("clients"), "connected_clients"),
        figures("Role", "master or slave.", "string", info("replication"), "role"),
    ]


def _now() -> Sequence[PanelBuilder]:
    waiting = {
        "keymiss_functions_queue_depth": "waiting for functions",
        "keymiss_models_queue_depth": "waiting for models",
        "keymiss_functions_running": "at functions",
        "keymiss_models_running": "at models",
        "keymiss_misses_waiting": "clients of misses",
    }
    memory = {"used_memory": "data", "used_memory_rss": "resident"}
    return [
        stream(
            "Saturation",
            "Jobs that wait for a worker or are at one, and clients whose miss is being worked out.",
            "short",
            info("keymiss"),
            *waiting,
            names=waiting,
        ),
        stream("Memory", "Of the server's process.", "bytes", info("memory"), *memory, names=memory),
    ]


def _figures() -> Sequence[PanelBuilder]:
    counted = {
        "keymiss_hits": "hits",
        "keymiss_misses": "misses",
        "keymiss_misses_overridden": "answers",
        "keymiss_single_flight_savings": "joined",
    }
    errors = {f"keymiss_errors_{kind}": kind for kind in ("busy", "timeout", "worker", "function", "model")}
    latency = {f"keymiss_miss_latency_{end}_us": end for end in ("p50", "p99", "max")}
    return [
        figures(
            "Reads",
            "Since the server was started.",
            "short",
            info("keymiss"),
            *counted,
            names=counted,
            size=(8, 6),
        ),
        figures(
            "Latency of misses", "Since then.", "µs", info("keymiss"), *latency, names=latency, size=(8, 6)
        ),
        figures("Errors", "That clients got.", "short", info("keymiss"), *errors, names=errors, size=(8, 6)),
        listing(
            "INFO keymiss",
            "Every figure of the module. Durations are in microseconds.",
            info("keymiss"),
            as_rows(),
            size=(24, 10),
        ),
    ]


def _cluster() -> Sequence[PanelBuilder]:
    slots = {"cluster_slots_ok": "slots served", "cluster_known_nodes": "nodes", "cluster_size": "masters"}
    return [
        figures(
            "State",
            "Of the cluster, as this shard sees it.",
            "string",
            known("clusterInfo"),
            "cluster_state",
            size=(4, 7),
        ),
        figures(
            "Slots and nodes",
            "Fewer than 16384 slots: a part of the keys cannot be reached.",
            "none",
            known("clusterInfo"),
            *slots,
            names=slots,
            size=(6, 7),
        ),
        listing(
            "Nodes",
            "CLUSTER NODES of this shard.",
            known("clusterNodes"),
            size=(14, 7),
            units={"Ping": "dateTimeFromNow", "Pong": "dateTimeFromNow"},
        ),
    ]


def _clients() -> Sequence[PanelBuilder]:
    return [
        listing(
            "Commands",
            "Since the server was started.",
            info("commandstats"),
            size=(12, 9),
            names={
                "Usec": "Time",
                "Usec_per_call": "Time of a call",
                "RejectedCalls": "Rejected",
                "FailedCalls": "Failed",
            },
            hidden=["CallsMaster"],
            units={"Usec": "µs", "Usec_per_call": "µs", "Calls": "short"},
        ),
        listing(
            "Slow commands",
            "SLOWLOG GET: what held the server itself longer than slowlog-log-slower-than.",
            known("slowlogGet"),
            size=(12, 9),
            units={"Duration": "µs", "Timestamp": "dateTimeAsIso"},
            hidden=["Id"],
        ),
        listing(
            "Clients",
            "CLIENT LIST.",
            known("clientList"),
            size=(24, 9),
            units={"age": "s", "idle": "s"},
        ),
    ]
