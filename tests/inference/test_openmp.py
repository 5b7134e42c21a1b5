"""OpenMP's threads spin briefly, unless the user has said how they wait."""

from __future__ import annotations

import os

import pytest

from keymiss.inference.openmp import SPINS, spin_briefly


@pytest.mark.parametrize(
    ("told", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_spin_briefly_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], spins: str | None
) -> None:
    monkeypatch.setattr(os, "environ", told.copy())
    spin_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
