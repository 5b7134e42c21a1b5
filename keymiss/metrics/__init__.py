"""What Keymiss measures of itself, and how it is told: see definitions.py for the table of all metrics."""

from __future__ import annotations

from keymiss.metrics.definitions import METRICS, Field, Metric, of

__all__ = ["METRICS", "Field", "Metric", "of"]
