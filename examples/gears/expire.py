"""Automatic expiry: whatever is written below `session:` goes half an hour after it was written last.

    redis-cli RG.PYEXECUTE "$(cat expire.py)"

The function runs with the command that writes, so no key is ever seen without its time.
"""

from redisgears import GB, execute

SECONDS = 1800

GB(desc="expire sessions").foreach(lambda record: execute("EXPIRE", record["key"], SECONDS)).register(
    "session:*",
    eventTypes=["set", "hset", "hincrby", "rpush", "lpush", "sadd", "zadd"],
    readValue=False,
    mode="sync",
)
