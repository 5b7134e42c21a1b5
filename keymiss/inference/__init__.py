"""The models worker: one per host. It loads models once for all shards and runs their batches, and scripts.

A job's way: `worker` (frames in and out) -> `runs` (what it needs, from `store` or `scripts`) -> `batcher`
(waits, joined by `policy`) -> a thread of its device -> `worker`. A DAG (`graph`) goes that way once for each
op; a script asks its shard while it runs (`operators` -> `host` -> `asking`). What takes less time than that
way is done where its frame is read (`quick`, `quick_graphs`). Start with `python -m keymiss.inference`.
"""
