"""What a query of PromQL measures (seconds, bytes or a number, in a second or not), and what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import promql_parser as promql


@dataclass(frozen=True)
class Dimension:
    """Powers of a second and of a byte: Dimension(seconds=-1) is a number in a second."""

    seconds: int = 0
    bytes: int = 0

    def __truediv__(self, other: Dimension) -> Dimension:
        return Dimension(self.seconds - other.seconds, self.bytes - other.bytes)

    def __mul__(self, other: Dimension) -> Dimension:
        return Dimension(self.seconds + other.seconds, self.bytes + other.bytes)


NUMBER = Dimension()
OF_UNIT = {"seconds": Dimension(seconds=1), "bytes": Dimension(bytes=1), "": NUMBER}
A_SECOND = Dimension(seconds=1)


class Unlike(Exception):
    """Two things are added or compared that are not of one kind."""


def selectors(expr: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Every selector of series in it."""
    if isinstance(expr, promql.VectorSelector):
        yield expr
    elif isinstance(expr, promql.MatrixSelector):
        yield expr.vector_selector
    for part in _parts(expr):
        yield from selectors(part)


def labels(expr: promql.Expr) -> Iterator[str]:
    """Every label that it groups or joins by."""
    modifier = getattr(expr, "modifier", None)
    if isinstance(expr, promql.AggregateExpr) and modifier is not None:
        yield from modifier.labels
    if isinstance(expr, promql.BinaryExpr) and modifier is not None and modifier.matching is not None:
        yield from modifier.matching.labels
    for part in _parts(expr):
        yield from labels(part)


def _parts(expr: promql.Expr) -> list[promql.Expr]:
    if isinstance(expr, promql.BinaryExpr):
        return [expr.lhs, expr.rhs]
    if isinstance(expr, promql.AggregateExpr):
        return [expr.expr]
    if isinstance(expr, promql.Call):
        return list(expr.args)
    if isinstance(expr, promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        return [expr.expr]
    return []


def dimension(expr: promql.Expr, unit_of: Callable[[str], str]) -> Dimension:
    """Of what it gives. `unit_of` tells the unit of a series by its name: seconds, bytes or nothing.

    Raises Unlike where it adds or compares what cannot be.
    """
    if isinstance(expr, promql.NumberLiteral):
        return NUMBER
    if isinstance(expr, promql.VectorSelector):
        return OF_UNIT[unit_of(expr.name)]
    if isinstance(expr, promql.MatrixSelector):
        return OF_UNIT[unit_of(expr.vector_selector.name)]
    if isinstance(expr, promql.Call):
        return _of_call(expr, unit_of)
    if isinstance(expr, promql.BinaryExpr):
        return _of_both(expr, unit_of)
    (part,) = _parts(expr)
    return dimension(part, unit_of)


def _of_call(call: promql.Call, unit_of: Callable[[str], str]) -> Dimension:
    name = call.func.name
    if name == "rate":
        return dimension(call.args[0], unit_of) / A_SECOND
    if name == "increase":
        return dimension(call.args[0], unit_of)
    if name == "vector":
        return NUMBER
    if name == "histogram_quantile":
        (bucket,) = {one.name for one in selectors(call.args[1])}
        return OF_UNIT[unit_of(bucket.removesuffix("_bucket"))]
    raise NotImplementedError(name)


def _of_both(expr: promql.BinaryExpr, unit_of: Callable[[str], str]) -> Dimension:
    left, right = dimension(expr.lhs, unit_of), dimension(expr.rhs, unit_of)
    operator = str(expr.op)
    if operator == "/":
        return left / right
    if operator == "*":
        return left * right
    literal = isinstance(expr.rhs, promql.NumberLiteral) or isinstance(expr.lhs, promql.NumberLiteral)
    if left != right and not literal:
        raise Unlike(f"{left} {operator} {right} in {expr.prettify()}")
    return left if isinstance(expr.rhs, promql.NumberLiteral) else right
