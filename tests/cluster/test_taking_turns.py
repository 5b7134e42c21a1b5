"""What commands that change a cluster leave in its folder, where they fail or meet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from keymiss_deploy.cluster.layout import Layout
from keymiss_deploy.cluster.turns import turn


def test_a_folder_that_is_removed_while_a_turn_begins_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, really_open = tmp_path / "cluster", Path.open

    def removed_first(path: Path, *arguments: Any) -> Any:
        monkeypatch.setattr(Path, "open", really_open)
        folder.rmdir()
        return really_open(path, *arguments)

    monkeypatch.setattr(Path, "open", removed_first)
    with turn(folder, print):
        assert folder.is_dir()
    assert not folder.exists()


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    with turn(tmp_path, print):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_cluster_that_is_removed_goes(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cluster", "server")
    layout.save()
    with turn(layout.folder, print):
        (layout.folder / "cluster.json").unlink()
    assert not layout.folder.exists()


def test_a_layout_that_cannot_be_saved_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        Layout(tmp_path, "server").save()
    assert list(tmp_path.iterdir()) == []
    assert tmp_path / "cluster.json.new" in Layout(tmp_path, "server").contents


def test_down_looks_for_the_cluster_when_it_is_its_turn(tmp_path: Path) -> None:
    program, layout = Path(sys.executable).with_name("keymiss"), Layout(tmp_path, "server")
    with turn(tmp_path, print):
        down = subprocess.Popen([program, "down", "--dir", tmp_path], stdout=subprocess.PIPE, text=True)
        assert down.stdout is not None
        assert "waiting for another" in down.stdout.readline()
        layout.save()
    assert "Nothing ran." in down.communicate(timeout=60)[0]


def test_down_makes_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    program = Path(sys.executable).with_name("keymiss")
    subprocess.run([program, "down", "--dir", folder], check=True, timeout=60)
    assert not folder.exists()
