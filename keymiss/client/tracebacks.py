"""Errors of functions, as the server tells them."""

from __future__ import annotations

import ast


def readable(text: str) -> str:
    """A traceback, which the server tells as Python writes a list of its lines, as the lines."""
    if not text.startswith(("['", '["')):
        return text
    try:
        return "".join(ast.literal_eval(text)).rstrip()
    except (ValueError, SyntaxError, TypeError):
        return text
