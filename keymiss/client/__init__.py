"""Talking to a running Keymiss from outside: where it is, which shards it has."""

from .shards import Shard, connect, read_shards, shard_of, text_of
from .where import STATE_FILE, Address, find_server

__all__ = ["STATE_FILE", "Address", "Shard", "connect", "find_server", "read_shards", "shard_of", "text_of"]
