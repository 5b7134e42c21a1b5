"""What `keymiss doctor` checks of a cluster: `reading` asks its servers once, the other files judge that."""

from keymiss.doctor.check import Check, Group

from . import deployed, health, places, settings, workers
from .reading import read_cluster

__all__ = ["GROUP"]

GROUP = Group(
    "cluster",
    read_cluster,
    (
        Check("cluster.json", places.state_file),
        Check("ports", places.ports),
        Check("folder", places.folder),
        Check("shards", health.answers),
        Check("module", health.module),
        Check("slots", health.slots),
        Check("replication", health.replication),
        Check("persistence", health.persistence),
        Check("memory", health.memory),
        Check("clocks", health.clocks),
        Check("settings", settings.contradictions),
        Check("same settings", settings.differences),
        Check("functions workers", workers.functions),
        Check("models workers", workers.models),
        Check("queues", workers.queues),
        Check("monitor", workers.monitor),
        Check("models", deployed.models),
        Check("one copy", deployed.one_copy),
        Check("functions", deployed.functions),
        Check("tokens", deployed.tokens),
    ),
)
