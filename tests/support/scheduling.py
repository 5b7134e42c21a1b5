"""How pytest-xdist hands out the tests: what shares a server stays together, the long files come first."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from support.server import KINDS

# Of these files a part serves both kinds of servers, and is made once for each test process.
BOTH_KINDS_TOGETHER = ("accuracy/test_accuracy.py",)


class FileAndServerScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """As `--dist loadscope`, but the tests of a file are one unit for each kind of server, and units go in
    order of collection. xdist would take those of most tests first, which are not the longest."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.endswith(BOTH_KINDS_TOGETHER):
            return file
        parameters = test.partition("[")[2].rstrip("]").split("-")
        return " ".join([file, *(kind for kind in KINDS if kind in parameters)])
