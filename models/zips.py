"""Zip files of uncompressed entries that can be mapped, and come out the same bytes each time."""

from __future__ import annotations

from typing import IO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

_ALIGNMENT = 64  # of each entry's data, as torch has it for tensors
_LOCAL_HEADER_BYTES = 30  # of an entry, before its name
_EXTRA_HEADER_BYTES = 4
_EXTRA_ID = b"FB"  # as torch marks its own padding


def write_entry(archive: ZipFile, file: IO[bytes], name: str, data: bytes) -> None:
    """Add an entry, aligned and dated 1980. `file` is what the archive is written to."""
    entry = ZipInfo(name)
    entry.compress_type = ZIP_STORED
    start = file.tell() + _LOCAL_HEADER_BYTES + len(name.encode()) + _EXTRA_HEADER_BYTES
    fill = -start % _ALIGNMENT
    entry.extra = _EXTRA_ID + fill.to_bytes(2, "little") + b"Z" * fill
    archive.writestr(entry, data)
