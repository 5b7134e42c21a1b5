"""Reliable keyspace notifications: every change below `person:` becomes an entry of a stream.

    redis-cli RG.PYEXECUTE "$(cat reliable_notifications.py)"
    redis-cli HSET person:1 name Ada
    redis-cli XRANGE 'notifications:{06S}' - +

The server's own notifications are lost on whoever does not listen at that moment; these stay until they are
read, with consumer groups if there are several readers. The function runs with the command that changes the
key. Where its worker dies in the middle it runs again, so an entry is added only where the key is not told to
be in that state already; both in one step.
"""

import json

from redisgears import GB, execute, hashtag

TELL = """
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[3] then return false end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return redis.call('XADD', KEYS[1], '*', 'key', ARGV[1], 'event', ARGV[2], 'value', ARGV[3])
"""


def tell(record):
    """Add the change to this shard's stream."""
    keys = (f"notifications:{{{hashtag()}}}", f"notified:{{{hashtag()}}}")
    execute("EVAL", TELL, 2, *keys, record["key"], record["event"], json.dumps(record["value"], default=str))


GB(desc="tell changes of persons").foreach(tell).register(
    "person:*", eventTypes=["hset", "hdel", "hincrby", "del", "expired"], mode="sync"
)
