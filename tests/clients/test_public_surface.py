"""What keymiss.client exports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import keymiss.client


def test_public_names_exist_and_are_sorted() -> None:
    names = keymiss.client.__all__
    assert all(hasattr(keymiss.client, name) for name in names)
    assert sorted(names) == sorted(set(names))
    with pytest.raises(AttributeError, match="nosuch"):
        keymiss.client.nosuch  # noqa: B018


def test_numpy_is_imported_when_a_client_is_asked_for() -> None:
    """The command line, which asks for none, starts without it."""
    script = (
        "import sys, keymiss.client\n"
        "print('numpy' in sys.modules)\n"
        "keymiss.client.AI\n"
        "print('numpy' in sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "True"]
