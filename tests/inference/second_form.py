"""What has the linear model make its second form: a pass that has one of two threads."""

from __future__ import annotations

import numpy as np
from support.waiting import wait_until

from keymiss.backends import Model

DEADLINE_S = 20.0
ROW = np.array([[1.0, 2.0, 3.0]], np.float32)


def run_beside_another(model: Model) -> None:
    model.take_threads(1)
    model.run([ROW])


def make_second_form(model: Model) -> None:
    """Where there is room for it."""
    run_beside_another(model)
    wait_until(lambda: model.resident_bytes == 2 * model.weight_bytes, DEADLINE_S, "it has a second form")
