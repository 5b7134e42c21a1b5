"""`python -m keymiss.functions`: the functions worker, started by the module."""

from __future__ import annotations

from keymiss.functions.starting import start

start()
