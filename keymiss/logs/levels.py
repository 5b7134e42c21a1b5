"""The server's levels among those of Python's logging."""

from __future__ import annotations

import logging

NOTICE = logging.INFO
VERBOSE = (logging.DEBUG + logging.INFO) // 2

_NUMBERS = {"debug": logging.DEBUG, "verbose": VERBOSE, "notice": NOTICE, "warning": logging.WARNING}


def level_number(name: str) -> int:
    """Of a level of the server; notice for what is none."""
    return _NUMBERS.get(name, NOTICE)


def level_name(number: int) -> str:
    """The server's level for one of Python's: everything from a warning on is one."""
    return next((name for name, least in reversed(_NUMBERS.items()) if number >= least), "debug")
