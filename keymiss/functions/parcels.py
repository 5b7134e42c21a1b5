"""A set of requirements as one file, to carry to a server that reaches no index: RG.PYEXPORTREQ makes it,
RG.PYIMPORTREQ takes it.

A tar file: `requirements.txt`, and the wheels as they are. Pure: no I/O.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

from keymiss.errors import GearsError

_LIST = "requirements.txt"


def pack(requirements: Sequence[str], wheels: Mapping[str, bytes]) -> bytes:
    """The file."""
    file = io.BytesIO()
    listed = "".join(f"{requirement}\n" for requirement in requirements).encode()
    with tarfile.open(fileobj=file, mode="w") as parcel:
        for name, data in {_LIST: listed, **wheels}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            parcel.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def unpack(data: bytes) -> tuple[list[str], dict[str, bytes]]:
    """The requirements, and the wheels by name. GearsError where it is no such file."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as parcel:
            for entry in parcel:
                file = parcel.extractfile(entry) if entry.isreg() and not entry.issparse() else None
                if file is None:
                    raise _refused(f"{entry.name} is no plain file")
                files[entry.name] = file.read()
        requirements = files.pop(_LIST, b"").decode().splitlines()
    except (tarfile.TarError, ValueError, OSError) as error:
        raise _refused(str(error)) from None
    if not requirements or any("/" in name or not name.endswith(".whl") for name in files):
        raise _refused("it holds other files than wheels, or names no requirement")
    return requirements, files


def _refused(why: str) -> GearsError:
    return GearsError(f"ERR this is nothing that RG.PYEXPORTREQ gave: {why}")
