"""Examples as documentation shows them for Python: `>>>`, with what they print below."""

from __future__ import annotations

import doctest
import io
from collections.abc import Mapping
from pathlib import Path


def check_examples(page: Path, ports: Mapping[int, int], least: int, options: int = 0) -> None:
    """Run all examples of the page, of which there are at least so many, in one session. `ports` has the
    servers' own by those that the page shows."""
    text = page.read_text()
    for shown, port in ports.items():
        assert f"port={shown}" in text
        text = text.replace(f"port={shown}", f"port={port}")
    session = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert len(session.examples) >= least
    printed = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=options)
    runner.run(session, out=printed.write)
    assert runner.failures == 0, printed.getvalue()
