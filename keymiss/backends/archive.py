"""TorchScript archives as files: what may be loaded, and weights that stay in the file's pages.

An archive is a zip file of uncompressed entries: code as text, a pickle of the module's attributes, and one
entry for each tensor storage, aligned to 64 bytes.
"""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from keymiss.errors import BackendError

_MAX_CODE_BYTES = 64 << 20  # a generated model's code is some 100 KB
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of the name, length of the extra field
# The operators of TorchScript that open a file by name. Code that a client stores has no business there.
_FILE_OPERATORS = frozenset((b"save", b"from_file", b"load_tensor"))
# What matters in code: comments, strings, getattr, and one of those operators behind a dot.
_WORDS = re.compile(
    rb"""(?P<comment>\#[^\n]*)
    |(?P<string>\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<getattr>\bgetattr\b)
    |\.(?:\s|\\|\#[^\n]*)*(?P<operator>save|from_file|load_tensor)\b""",
    re.DOTALL | re.VERBOSE,
)
_BETWEEN_STRINGS = re.compile(rb"[\s\\]*")  # of two that are one


def check_archive(torch: Any, path: Path) -> None:
    """BackendError unless `path` is a TorchScript archive whose code opens no files.

    The archive is read as torch.jit.load reads it: whoever makes one that two readers of zip files see
    differently gains nothing. Like that reader, this takes names in any case."""
    try:
        reader = torch._C.PyTorchFileReader(str(path))
        records = {name.lower(): name for name in reader.get_all_records()}
        if "constants.pkl" not in records:
            raise _no_archive("there is no constants.pkl in it", checkpoint="data.pkl" in records)
        code = [name for lower, name in records.items() if lower.startswith("code/")]
        if sum(map(reader.get_record_size, code)) > _MAX_CODE_BYTES:
            raise _no_archive(f"it has more than {_MAX_CODE_BYTES >> 20} MB of code")
        for name in code:
            _check_code(reader.get_record(name))
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        raise _no_archive(str(error).splitlines()[0].partition(". This is an internal miniz")[0]) from None


def _check_code(code: bytes) -> None:
    strings: list[bytes] = []  # those that stand side by side as one, as the compiler takes them
    end = None  # of the last of them
    uses_getattr = False
    for word in _WORDS.finditer(code):
        if word["operator"] is not None:
            raise _opens_files(word["operator"])
        if word["string"] is not None:
            text = word["string"].strip(b"\"'")
            if end is not None and _BETWEEN_STRINGS.fullmatch(code, end, word.start()):
                strings[-1] += text
            else:
                strings.append(text)
            end = word.end()
        elif word["comment"] is not None and end is not None:
            end = word.end() if _BETWEEN_STRINGS.fullmatch(code, end, word.start()) else None
        uses_getattr = uses_getattr or word["getattr"] is not None
    if uses_getattr:
        for text in strings:
            for name in {text.replace(b"\\", b""), text.decode("unicode_escape", "replace").encode()}:
                if name in _FILE_OPERATORS:
                    raise _opens_files(name)


def _opens_files(operator: bytes) -> BackendError:
    return BackendError(
        f"the model uses {operator.decode()}, which opens files: not allowed in a stored model"
    )


def _no_archive(why: str, checkpoint: bool = False) -> BackendError:
    hint = "; it is a checkpoint of torch.save, which can hold code" if checkpoint else ""
    return BackendError(f"the blob is no TorchScript archive: {why}{hint}. torch.jit.save makes one")


class MappedWeights(NamedTuple):
    """Those of a module that live in its file's own pages."""

    bytes: int
    pages: mmap.mmap | None  # of the whole file; None where nothing is mapped

    def let_go(self) -> None:
        """Take the pages out of this process; they come again, from the page cache, as they are read. What
        was written into them is lost."""
        if self.pages is not None:
            self.pages.madvise(mmap.MADV_DONTNEED)


def map_weights(torch: Any, module: Any, path: Path) -> MappedWeights:
    """Let the parameters and buffers of `module`, just loaded from `path` to the CPU, live in the file's
    own pages, so that processes which load the same file share one copy.

    torch.jit.load has no such option: it reads each storage into memory of its own. Storages are found
    again by size and content, which is certain and needs no second reader for the pickle. Pages are mapped
    copy-on-write: a model that writes into a buffer changes its own copy."""
    with path.open("rb") as file, ZipFile(file) as archive:
        entries = [
            e for e in archive.infolist() if e.compress_type == ZIP_STORED and e.file_size >= mmap.PAGESIZE
        ]
        if not entries:
            return MappedWeights(0, None)
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
            views = by_size.get(loaded.nbytes(), [])
            found = next((n for n, view in enumerate(views) if torch.equal(view, content)), None)
            if found is None:
                continue
            mapped[address] = views.pop(found)  # for one storage: what is equal now need not stay so
        view = mapped[address].untyped_storage()
        start = mapped[address].storage_offset() + tensor.storage_offset() * tensor.element_size()
        if start % tensor.element_size():  # an archive made by other tools, without alignment
            continue
        replacement = torch.empty(0, dtype=tensor.dtype)
        replacement.set_(view, start // tensor.element_size(), tensor.size(), tensor.stride())
        tensor.data = replacement
    return MappedWeights(sum(len(view) for view in mapped.values()), pages)


def data_offset(file: Any, entry: ZipInfo) -> int:
    """Where the bytes of a stored entry begin: behind its local header, whose extra field only the header
    tells."""
    file.seek(entry.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise _no_archive("damaged zip archive")
    return int(entry.header_offset) + _LOCAL_HEADER.size + int(name) + int(extra)
