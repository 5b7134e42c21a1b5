"""OpenMP's threads spin briefly, unless the user has said how they wait."""

from __future__ import annotations

import os

import pytest

from keymiss.inference.openmp import spin_briefly

BRIEFLY = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, BRIEFLY),
        ({"GOMP_SPINCOUNT": "7"}, BRIEFLY | {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "passive"}, {"OMP_WAIT_POLICY": "passive"}),
    ],
)
def test_threads_spin_briefly_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "environ", told.copy())
    spin_briefly()
    assert os.environ == expected
