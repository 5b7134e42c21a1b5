"""How long OpenMP's threads spin for the next piece of a forward pass.

GNU OpenMP, which PyTorch brings, has them spin for many milliseconds. That is right for a program alone on
its machine; where the server, the functions worker or another shard want the same cores, each waits for
threads that do nothing, and a forward pass took ten times as long. A short while covers the gaps in a pass.
"""

from __future__ import annotations

import os

SPINS = "1000"  # as GNU OpenMP itself has it where there are more threads than cores; about 50 us


def spin_briefly() -> None:
    """To be called before a library that brings OpenMP is imported. What the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
