"""The models worker: one per host. It loads models once for all shards and runs their batches.

A job's way: `worker` (frames in and out) -> `store` (the loaded model) -> `batcher` (waits, joined by
`policy`) -> a thread of its device -> `worker`. Start with `python -m keymiss.inference`.
"""
