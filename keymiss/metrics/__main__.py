"""`python -m keymiss.metrics`: docs/metrics.md, as it should be."""

from __future__ import annotations

from keymiss.metrics.page import page

if __name__ == "__main__":
    print(page(), end="")
