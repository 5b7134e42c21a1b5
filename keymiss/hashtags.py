"""Slots of keys, and the hash tag that stands for a shard.

A shard's hash tag is a short string whose slot is the first slot the shard owns, so that `name{tag}` is
stored there: "06S" for slot 0. Tags are found, not tabulated: the first string over 0-9A-Za-z, shortest
first, that hashes to the slot; three characters reach every slot.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import lru_cache
from itertools import product
from string import ascii_lowercase, ascii_uppercase, digits

SLOTS = 16384
_ALPHABET = (digits + ascii_uppercase + ascii_lowercase).encode()


def slot_of(key: str | bytes) -> int:
    """The cluster slot of a key: CRC16 (XMODEM) of its hash tag, or of the whole key where it has none."""
    data = key.encode() if isinstance(key, str) else key
    start = data.find(b"{")
    if start >= 0:
        end = data.find(b"}", start + 1)
        if end > start + 1:
            data = data[start + 1 : end]
    return crc_hqx(data, 0) % SLOTS


def share_of(shard: int, shards: int) -> tuple[int, int]:
    """First and last slot of a shard, counted from 0, where all have equal shares: cut where `redis-cli
    --cluster create` cuts."""
    share = SLOTS / shards
    return (round(shard * share), round((shard + 1) * share) - 1)


@lru_cache(maxsize=SLOTS)
def hash_tag_of(slot: int) -> str:
    """The hash tag of the shard whose first slot is `slot`. ValueError where there is no such slot."""
    for length in (1, 2, 3):
        for letters in product(_ALPHABET, repeat=length):
            if crc_hqx(bytes(letters), 0) % SLOTS == slot:
                return bytes(letters).decode()
    raise ValueError(f"no slot {slot}: slots are 0 to {SLOTS - 1}")
