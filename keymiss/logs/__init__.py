"""Lines of the log, one for each thing that is said, as text or as JSON (docs/tracing.md).

Workers log by Python's logging: `log.info("a shard came", extra=about("shard-connected", {"pid": 5}))`.
What is added by `about` becomes fields of the line.
"""

from __future__ import annotations

from keymiss.logs.formatting import LINE_BYTES, Lines, about
from keymiss.logs.forwarding import Forwarding
from keymiss.logs.levels import NOTICE, VERBOSE, level_name, level_number
from keymiss.logs.quota import Quota

__all__ = [
    "LINE_BYTES",
    "NOTICE",
    "VERBOSE",
    "Forwarding",
    "Lines",
    "Quota",
    "about",
    "level_name",
    "level_number",
]
