"""What `keymiss up` says when it cannot."""

from __future__ import annotations


class UpError(Exception):
    """The cluster could not be brought up; the text says why and what to do."""
