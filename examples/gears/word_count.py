"""Word count: how often each word stands in the texts of `text:*`, over all shards.

redis-cli RG.PYEXECUTE "$(cat word_count.py)"
"""

import re

from redisgears import GB

WORD = re.compile(r"\w+")

(
    GB()
    .filter(lambda record: record["type"] == "string")
    .flatmap(lambda record: WORD.findall(record["value"].lower()))
    .countby()
    .run("text:*")
)
