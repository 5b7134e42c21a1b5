"""Talking to a running Keymiss from outside: where it is, which shards it has."""

from .registrations import Registration, read_registrations
from .shards import Shard, connect, read_shards, shard_of, text_of
from .where import STATE_FILE, Address, find_server

__all__ = [
    "STATE_FILE",
    "Address",
    "Registration",
    "Shard",
    "connect",
    "find_server",
    "read_registrations",
    "read_shards",
    "shard_of",
    "text_of",
]
