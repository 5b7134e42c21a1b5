"""The functions worker: runs the functions that scripts register, one process per shard beside the server."""
