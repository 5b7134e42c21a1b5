"""TorchScript archives as files: what may be loaded, and weights that stay in the file's pages.

An archive is a zip file of uncompressed entries: code as text, a pickle of the module's attributes, and one
entry for each tensor storage, aligned to 64 bytes.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from keymiss.errors import BackendError

_MAX_CODE_BYTES = 64 << 20  # a generated model's code is some 100 KB
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, length of the extra field
_COMMENT = re.compile(rb"#[^\n]*")
# The operators of TorchScript that open a file by name. Code that a client stores has no business there.
_FILE_OPERATOR = re.compile(rb"\.\s*(save|from_file|load_tensor)\b")


def check_archive(path: Path) -> None:
    """BackendError unless `path` is a TorchScript archive whose code opens no files."""
    try:
        with ZipFile(path) as archive:
            entries = {entry: entry.filename.partition("/")[2] for entry in archive.infolist()}
            if "constants.pkl" not in entries.values():
                raise _no_archive(
                    "there is no constants.pkl in it", checkpoint="data.pkl" in entries.values()
                )
            code = [entry for entry, name in entries.items() if name.startswith("code/")]
            if sum(entry.file_size for entry in code) > _MAX_CODE_BYTES:
                raise _no_archive(f"it has more than {_MAX_CODE_BYTES >> 20} MB of code")
            for entry in code:
                _check_code(archive.read(entry))
    except (
        BadZipFile,
        NotImplementedError,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        zlib.error,
    ) as error:
        raise _no_archive(str(error)) from None


def _check_code(code: bytes) -> None:
    if found := _FILE_OPERATOR.search(_COMMENT.sub(b"", code)):
        raise BackendError(
            f"the model uses {found[1].decode()}, which opens files: not allowed in a stored model"
        )


def _no_archive(why: str, checkpoint: bool = False) -> BackendError:
    hint = "; it is a checkpoint of torch.save, which can hold code" if checkpoint else ""
    return BackendError(f"the blob is no TorchScript archive: {why}{hint}. torch.jit.save makes one")


def map_weights(torch: Any, module: Any, path: Path) -> int:
    """Let the parameters and buffers of `module`, just loaded from `path` to the CPU, live in the file's
    own pages, so that processes which load the same file share one copy. Returns the bytes that are mapped.

    torch.jit.load has no such option: it reads each storage into memory of its own. Storages are found
    again by size and content, which is certain and needs no second reader for the pickle. Pages are mapped
    copy-on-write: a model that writes into a buffer changes its own copy."""
    with path.open("rb") as file, ZipFile(file) as archive:
        entries = [
            e for e in archive.infolist() if e.compress_type == ZIP_STORED and e.file_size >= mmap.PAGESIZE
        ]
        if not entries:
            return 0
        spans = [(data_offset(file, entry), entry.file_size) for entry in entries]
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # lives as long as a tensor made from it
    by_size: dict[int, list[Any]] = {}
    for offset, size in spans:
        by_size.setdefault(size, []).append(
            torch.frombuffer(pages, dtype=torch.uint8, count=size, offset=offset)
        )
    mapped: dict[
        int, Any
    ] = {}  # address of the storage as loaded -> the storage in the file, shared tensors once
    for tensor in (*module.parameters(), *module.buffers()):
        loaded = tensor.untyped_storage()
        if (address := loaded.data_ptr()) not in mapped:
            content = torch.empty(0, dtype=torch.uint8).set_(loaded)
            same = [view for view in by_size.get(loaded.nbytes(), ()) if torch.equal(view, content)]
            if not same:
                continue
            mapped[address] = same[0]
        view = mapped[address].untyped_storage()
        start = mapped[address].storage_offset() + tensor.storage_offset() * tensor.element_size()
        if start % tensor.element_size():  # an archive made by other tools, without alignment
            continue
        replacement = torch.empty(0, dtype=tensor.dtype)
        replacement.set_(view, start // tensor.element_size(), tensor.size(), tensor.stride())
        tensor.data = replacement
    return sum(len(view) for view in mapped.values())


def data_offset(file: Any, entry: ZipInfo) -> int:
    """Where the bytes of a stored entry begin: behind its local header, whose extra field only the header
    tells."""
    file.seek(entry.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise _no_archive("damaged zip archive")
    return int(entry.header_offset) + _LOCAL_HEADER.size + int(name) + int(extra)
