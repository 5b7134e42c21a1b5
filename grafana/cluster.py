"""Cluster: slots, memory, replication and clients of the servers, as redis_exporter tells them."""

from __future__ import annotations

from collections.abc import Sequence

from .page import Page, PanelBuilder, Row, prometheus_annotations, prometheus_variables
from .panels import BAD, GOOD, WARN, Column, Query, graph, named, number, rows, states, steps
from .promql import per_second, share, total

SLOTS = 16384
MEMORY_WARN, MEMORY_BAD = 0.75, 0.9  # of maxmemory; the second is what the alert KeymissMemoryHigh waits for


def cluster() -> Page:
    """Of the servers themselves."""
    return Page(
        uid="keymiss-cluster",
        title="Keymiss / Cluster",
        description="Slots, memory, replication and clients of the servers.",
        variables=prometheus_variables(),
        annotations=prometheus_annotations(),
        rows=[
            Row("", _at_a_glance()),
            Row("Servers", _servers()),
            Row("Slots and replication", _replication()),
            Row("Memory and keys", _memory()),
            Row("Clients and commands", _clients()),
        ],
    )


def _memory_share(*by: str) -> str:
    return share(total("redis_memory_used_bytes", *by), total("redis_memory_max_bytes", *by))


def _time_of(label: str) -> str:
    took = per_second("redis_commands_duration_seconds_total", label)
    return share(took, per_second("redis_commands_total", label))


def _at_a_glance() -> Sequence[PanelBuilder]:
    return [
        number(
            "Cluster",
            "What the shards say of their cluster; the worst counts.",
            "none",
            Query(total("redis_cluster_state", of="min"), "state"),
            mappings=named(**{"not ok": BAD, "ok": GOOD}),
            sparkline=False,
        ),
        number(
            "Slots served",
            f"Of {SLOTS}; fewer: a part of the keys cannot be reached.",
            "none",
            Query(total("redis_cluster_slots_ok", of="min"), "slots"),
            thresholds=steps(BAD, (SLOTS, GOOD)),
        ),
        number(
            "Servers",
            "Shards and replicas that answer.",
            "short",
            Query(total("redis_up"), "servers"),
        ),
        number(
            "Memory",
            "What the data of all servers takes.",
            "bytes",
            Query(total("redis_memory_used_bytes"), "used"),
        ),
        number(
            "Keys",
            "Of all servers, replicas too.",
            "short",
            Query(total("redis_db_keys"), "keys"),
        ),
        number(
            "Clients",
            "Connections of clients, workers and exporters.",
            "short",
            Query(total("redis_connected_clients"), "clients"),
        ),
    ]


def _servers() -> Sequence[PanelBuilder]:
    return [
        rows(
            "Servers",
            "One row for each shard and replica.",
            {"shard": "Server"},
            Column("Up for", total("redis_uptime_in_seconds", "shard"), "dtdurations"),
            Column("Slots it sees served", total("redis_cluster_slots_ok", "shard"), "none"),
            Column("Replicas", total("redis_connected_slaves", "shard"), "none"),
            Column("Keys", total("redis_db_keys", "shard"), "short"),
            Column("Memory", total("redis_memory_used_bytes", "shard"), "bytes"),
            Column("Clients", total("redis_connected_clients", "shard"), "none"),
            Column("Commands", per_second("redis_commands_processed_total", "shard"), "reqps"),
            Column(
                "Last save worked",
                total("redis_rdb_last_bgsave_status", "shard"),
                "bool_yes_no",
            ),
            size=(24, 7),
        ),
    ]


def _replication() -> Sequence[PanelBuilder]:
    return [
        graph(
            "Slots",
            "As the shard with the worst view has them. pfail: one shard thinks their master is gone; "
            "fail: all do.",
            "none",
            Query(total("redis_cluster_slots_assigned", of="min"), "assigned"),
            Query(total("redis_cluster_slots_ok", of="min"), "ok"),
            Query(total("redis_cluster_slots_pfail", of="max"), "pfail"),
            Query(total("redis_cluster_slots_fail", of="max"), "fail"),
            colors={"ok": GOOD, "pfail": WARN, "fail": BAD},
        ),
        states(
            "Replicas' links",
            "Whether each replica is connected to its master.",
            Query(total("redis_master_link_up", "shard", of="min"), "{{shard}}"),
            mappings=named(broken=BAD, linked=GOOD),
            size=(8, 8),
        ),
        graph(
            "Replication lag",
            "How long ago each master's slowest replica acknowledged.",
            "s",
            Query(total("redis_connected_slave_lag_seconds", "shard", of="max"), "{{shard}}"),
        ),
    ]


def _memory() -> Sequence[PanelBuilder]:
    return [
        graph(
            "Memory",
            "What the data takes, by server.",
            "bytes",
            Query(total("redis_memory_used_bytes", "shard"), "{{shard}}"),
            stacked=True,
        ),
        graph(
            "Of maxmemory",
            "Where maxmemory is set. KeymissMemoryHigh fires above 90 %.",
            "percentunit",
            Query(_memory_share("shard"), "{{shard}}"),
            maximum=1,
            limits=[(MEMORY_WARN, WARN), (MEMORY_BAD, BAD)],
        ),
        graph(
            "Resident memory",
            "Of the process, and so with its fragmentation; workers are processes of their own.",
            "bytes",
            Query(total("redis_memory_used_rss_bytes", "shard"), "{{shard}}"),
        ),
        graph(
            "Keys",
            "All keys, by server.",
            "short",
            Query(total("redis_db_keys", "shard"), "{{shard}}"),
            size=(12, 7),
        ),
        graph(
            "Keys that went",
            "Expired; and evicted, for which maxmemory is too small.",
            "cps",
            Query(per_second("redis_expired_keys_total"), "expired"),
            Query(per_second("redis_evicted_keys_total"), "evicted"),
            colors={"evicted": WARN},
            size=(12, 7),
        ),
    ]


def _clients() -> Sequence[PanelBuilder]:
    return [
        graph(
            "Clients",
            "Connected; and blocked, for example while a miss is being worked out.",
            "short",
            Query(total("redis_connected_clients", "shard"), "{{shard}}"),
            Query(total("redis_blocked_clients"), "blocked, all"),
        ),
        graph(
            "Commands",
            "Of all kinds, by server.",
            "reqps",
            Query(per_second("redis_commands_processed_total", "shard"), "{{shard}}"),
        ),
        graph(
            "Time of a command",
            "Mean time as the servers count it, of the eight commands that take longest.",
            "s",
            Query(
                f"topk(8, {_time_of('cmd')})",
                "{{cmd}}",
            ),
        ),
        graph(
            "Error replies",
            "By the first word of the error, as for example MOVED or WRONGTYPE.",
            "cps",
            Query(per_second("redis_errors_total", "err"), "{{err}}"),
            stacked=True,
        ),
        graph(
            "Network",
            "What servers read and wrote.",
            "binBps",
            Query(per_second("redis_net_input_bytes_total"), "in"),
            Query(per_second("redis_net_output_bytes_total"), "out"),
        ),
        graph(
            "Cores",
            "That each server's own process uses; workers are processes of their own.",
            "none",
            Query(
                f"{per_second('redis_cpu_sys_seconds_total', 'shard')} + "
                f"{per_second('redis_cpu_user_seconds_total', 'shard')}",
                "{{shard}}",
            ),
        ),
    ]
