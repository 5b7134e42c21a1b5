"""How long OpenMP's threads spin for the next piece of a forward pass.

By itself GNU OpenMP, which PyTorch brings, has them spin for many milliseconds, and Intel's for 200. That is
right for a program alone on its machine; where the server, the functions worker or another shard want the
same cores, each waits for threads that do nothing, and a forward pass took ten times as long.

Where two threads of a process have computed with all cores, GNU OpenMP counts more threads than there are
cores and spins ten times shorter than it was told, unless the policy is "active". Its threads then slept 250
times in a forward pass of MiniLM, which took 24.5 ms instead of 18.5.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# A short while covers the gaps in a pass.
_BRIEFLY = {
    "OMP_WAIT_POLICY": "active",
    "GOMP_SPINCOUNT": "1000",  # 10 to 50 us
    "KMP_BLOCKTIME": "1",  # of Intel's; in ms
}


def spinning_briefly(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a process for its threads to spin briefly. What the user has set
    stays; nothing is added where that is the policy."""
    if "OMP_WAIT_POLICY" in environment:
        return {}
    return {name: value for name, value in _BRIEFLY.items() if name not in environment}


def spin_briefly() -> None:
    """To be called before a library that brings OpenMP is imported."""
    os.environ.update(spinning_briefly(os.environ))
