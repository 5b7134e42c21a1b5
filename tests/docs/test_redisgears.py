"""docs/redisgears.md: its examples print what it shows, and it leaves nothing out."""

from __future__ import annotations

import re

import redis
from docs.examples import check_examples
from support.paths import REPOSITORY
from support.server import Server

from keymiss.functions.builder import READERS, GearsBuilder
from keymiss.functions.commands import _TABLE
from keymiss.functions.config import _CHANGEABLE
from keymiss.functions.runtime import _NAMES, _REDISGEARS

PAGE = REPOSITORY / "docs" / "redisgears.md"


def test_the_examples_of_the_page_go_as_shown(server: Server) -> None:
    check_examples(PAGE, {6379: server.port}, least=6)


def test_the_page_tells_of_every_command_reader_step_name_and_option() -> None:
    """Each stands in a table, as code."""
    told = set(re.findall(r"[\w.]+", " ".join(re.findall(r"`([^`]+)`", PAGE.read_text()))))
    known = {name.upper() for name in _TABLE} | {*READERS, *_NAMES, *_REDISGEARS, *_CHANGEABLE}
    known |= {name for name in vars(GearsBuilder) if not name.startswith("_")}
    assert known - told == set()


def test_the_module_has_the_names_of_scripts_as_the_page_says(client: redis.Redis) -> None:
    script = "execute('SET', 'missing', ' '.join(sorted(set(globals()) - set(dir(redisgears)))))"
    client.execute_command("RG.PYEXECUTE", script)
    assert client.get("missing") == b"__builtins__ loop"
