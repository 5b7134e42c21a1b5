"""Figures as people read them, in few characters. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .figures import Value

Unit: TypeAlias = Callable[[float], str]

UNKNOWN = "-"


def written(value: Value, unit: Unit | None) -> str:
    """A cell; a number without a unit is written as a count."""
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else " " for letter in value)
    return (unit or count)(value)


def count(number: float) -> str:
    """12,345; from 100,000 on 123 k, 12.3 M."""
    if abs(number) < 100_000:
        return f"{number:,.0f}"
    return _scaled(number, 1000, ("", " k", " M", " G", " T"))


def rate(number: float) -> str:
    """0.25, 12.3, 1,234; from 100,000 on 123 k."""
    if number == 0 or abs(number) >= 100:
        return count(number)
    return f"{number:.2f}" if abs(number) < 10 else f"{number:.1f}"


def percent(share: float) -> str:
    """Of a share from 0 to 1."""
    return f"{100 * share:.1f} %"


def seconds(value: float) -> str:
    """840 us, 1.23 ms, 45.6 ms, 7.89 s; 0 as it is."""
    if value == 0:
        return "0"
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if value < 999.5 * size:
            return f"{_three(value / size)} {unit}"
    return f"{_three(value)} s"


def size(number: float) -> str:
    """Of bytes, in powers of 1024: 1.23 GB."""
    return _scaled(number, 1024, (" B", " KB", " MB", " GB", " TB"))


def age(value: float) -> str:
    """Of seconds: 42s, 3m12s, 5h07m, 12d03h."""
    whole = int(value)
    for big, small, length, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= length:
            return f"{whole // length}{big}{whole % length // part:02}{small}"
    return f"{whole}s"


def _scaled(number: float, step: int, units: tuple[str, ...]) -> str:
    power = 0
    while abs(number) >= 999.5 and power < len(units) - 1:
        number, power = number / step, power + 1
    return (f"{number:.0f}" if power == 0 else _three(number)) + units[power]


def _three(number: float) -> str:
    """Three digits."""
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:.{digits}f}"
