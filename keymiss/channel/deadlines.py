"""Deadlines: points of monotonic time, in seconds. NEVER where there is none."""

from __future__ import annotations

from time import monotonic

NEVER = float("inf")


def deadline_after_ms(deadline_ms: int) -> float:
    """The point of time `deadline_ms` from now; 0 or less is NEVER, as in a JOB frame."""
    return monotonic() + deadline_ms / 1000 if deadline_ms > 0 else NEVER


def remaining_s(deadline: float) -> float | None:
    """Seconds left, at least 0; None (wait without limit) for NEVER.

    What waiting calls take as their timeout.
    """
    return None if deadline == NEVER else max(0.0, deadline - monotonic())


def remaining_ms(deadline: float) -> int:
    """Milliseconds left for a frame: at least 1, since 0 is NEVER there."""
    return 0 if deadline == NEVER else max(1, int((deadline - monotonic()) * 1000))
