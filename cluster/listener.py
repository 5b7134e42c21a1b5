"""Who listens on a port of this host, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

_LISTENS = "0A"  # a socket's state, as the kernel writes it
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def listener(port: int) -> str:
    """The program that listens there and its pid; empty where that is none, or not for us to see."""
    pid = listener_pid(port)
    return f"{_name(pid)} (pid {pid})" if pid is not None else ""


def listener_pid(port: int) -> int | None:
    """The process that listens there; None where that is none, or not for us to see."""
    sockets = {f"socket:[{inode}]" for table in _TABLES for inode in _inodes(Path(table), port)}
    for process in Path("/proc").iterdir() if sockets else ():
        if process.name.isdecimal() and _holds(process, sockets):
            return int(process.name)
    return None


def _inodes(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(_target(link) in sockets for link in (process / "fd").iterdir())
    except OSError:  # it ended, or is another user's
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed since it was listed: it says nothing of the others
        return ""


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a program"
