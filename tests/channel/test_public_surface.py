"""What others may import: a name that comes or goes shows here."""

from __future__ import annotations

import subprocess
import sys

import pytest

import keymiss
import keymiss.channel
import keymiss.errors


def test_the_package_has_two_names() -> None:
    assert keymiss.__all__ == ["__version__", "module_path"]
    assert keymiss.__version__
    with pytest.raises(AttributeError, match="nosuch"):
        keymiss.nosuch  # noqa: B018


@pytest.mark.parametrize("module", [keymiss.channel, keymiss.errors])
def test_public_names_exist_and_are_sorted(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert all(hasattr(module, name) for name in names)
    assert sorted(names) == sorted(set(names))


def test_every_error_is_a_keymiss_error() -> None:
    for name in keymiss.errors.__all__:
        assert issubclass(getattr(keymiss.errors, name), keymiss.errors.KeymissError)


def test_functions_know_errors_by_their_old_names() -> None:
    assert str(keymiss.errors.GearsError) == "<class 'gears.error'>"


def test_the_channel_needs_nothing_heavy() -> None:
    """Both workers stand on it: what it imports, every start of a worker pays for."""
    heavy = "{'numpy', 'torch', 'redis', 'importlib.metadata'}"
    script = f"import sys, keymiss.channel; print({heavy} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
