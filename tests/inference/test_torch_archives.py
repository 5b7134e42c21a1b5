"""TorchScript archives that were made to open files or to run Python when they are loaded."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from inference.shard import Shard, StoredModel, floats
from support import torch_models

from keymiss.backends.archive import _check_code
from keymiss.errors import BackendError

OK = b"+OK\r\n"


def remade(change: Callable[[str, bytes], tuple[str, bytes]]) -> bytes:
    """The archive of a small model, each entry changed by `change(name, content)`."""
    blob = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(torch_models.doubler())) as given,
        zipfile.ZipFile(blob, "w") as made,
    ):
        for entry in given.infolist():
            made.writestr(*change(entry.filename, given.read(entry)))
    return blob.getvalue()


def stored(folder: Path, blob: bytes) -> StoredModel:
    file = folder / "blob"
    file.write_bytes(blob)
    return StoredModel(file)


def test_an_archive_that_is_only_packed_anew_is_loaded(shard: Shard, tmp_path: Path) -> None:
    model = stored(tmp_path, remade(lambda name, content: (name, content)))
    assert shard.run(model, [floats(1, values=[2])]).outputs == [floats(1, values=[4])]


@pytest.mark.parametrize("entry", ["data.pkl", "constants.pkl"])
def test_pickled_python_in_an_archive_is_not_run(shard: Shard, tmp_path: Path, entry: str) -> None:
    witness = tmp_path / "witness"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(witness),)

    payload = pickle.dumps(Evil(), protocol=2)
    blob = remade(lambda name, content: (name, payload if name.endswith(f"/{entry}") else content))
    assert shard.load(stored(tmp_path, blob))[0].startswith(b"-ERR the blob is no TorchScript model")
    assert not witness.exists()


def test_code_is_found_in_whichever_case_its_folder_is_written(shard: Shard, tmp_path: Path) -> None:
    """torch finds it so, too."""

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        if name.endswith("torch_models.py"):
            return name.replace("/code/", "/CODE/"), content.replace(
                b"return", b'torch.save(x, "f")\n    return'
            )
        return name, content

    assert b"opens files" in shard.load(stored(tmp_path, remade(change)))[0]


def test_code_is_read_as_torch_reads_it_where_an_archive_has_two_directories(
    shard: Shard, tmp_path: Path
) -> None:
    """The archive's end points at one directory; another of the same size stands right before the end, where
    some readers look. Their files are the same but for the code."""
    evil = remade(lambda name, code: (name, code.replace(b"return", b'torch.save(x, "f")\n    return')))
    good = remade(lambda name, code: (name, code.replace(b"return", b"torch.rand(8, 9)  \n    return")))
    assert len(evil) == len(good)
    directory, end = _directory_of(evil)
    assert _directory_of(good) == (directory, end)
    both = evil[:end] + good[directory:]  # its end, of 22 bytes, says where the first directory is
    assert b"opens files" in shard.load(stored(tmp_path, both))[0]


def _directory_of(archive: bytes) -> tuple[int, int]:
    """Where the directory of a zip begins and ends."""
    end = archive.rindex(b"PK\x05\x06")
    return int.from_bytes(archive[end + 16 : end + 20], "little"), end


@pytest.mark.parametrize(
    "code",
    [
        b"torch.save(x)",
        b"ops.aten.from_file(x)",
        b"torch . save(x)",
        b"torch.\\\n save(x)",
        b"(torch. # a comment\n save(x))",
        b'f("#", torch.save(x))',
        b'"""#"""\ntorch.save(x)',
        b'x = "\\"#"; torch.save(x)',
        b'getattr(torch, "save")(x)',
        b"getattr(torch, 'sa' \"ve\")(x)",
        b'getattr(torch, "sa" # a comment\n "ve")(x)',
        b'getattr(torch, "sa\\166e")(x)',
    ],
)
def test_an_operator_that_opens_files_is_found_however_it_is_written(code: bytes) -> None:
    with pytest.raises(BackendError, match="opens files"):
        _check_code(code)


@pytest.mark.parametrize(
    "code",
    [b"x.save_it()", b"# torch.save(x)\ny", b'"torch.save"', b'getattr(self, "0")', b'"save"', b"saved = 1"],
)
def test_code_that_only_looks_like_it_is_let_pass(code: bytes) -> None:
    _check_code(code)


def test_torch_has_no_more_operators_that_open_files() -> None:
    """Of a version that is new here: does an operator take a file's name that is not refused?"""
    schemas = torch._C._jit_get_all_schemas()
    taking = {schema.name for schema in schemas if any("file" in each.name for each in schema.arguments)}
    assert taking <= {"aten::save", "aten::from_file", "profiler::_record_function_enter"}
