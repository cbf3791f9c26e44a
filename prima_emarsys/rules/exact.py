"""Exact arithmetic that every engine does alike. Money never passes through a float that could change it.

Engines divide decimals as doubles, so shares are taken on whole numbers of the smallest unit, rounded half up.
"""

from __future__ import annotations

from decimal import Decimal

import ibis
import ibis.expr.types as ir

_TEN_THOUSANDTH = ibis.literal(Decimal("0.0001"), type="decimal(18,4)")
_HUNDREDTH = ibis.literal(Decimal("0.01"), type="decimal(18,2)")


def ratio(numerator: ir.IntegerValue, denominator: ir.IntegerValue) -> ir.IntegerValue:
    """`numerator / denominator` rounded half up, for numerator ≥ 0 and denominator > 0; null for denominator 0.

    Engines may floor-divide through a double: exact while numerator × 2 < 2^53 and denominator is below a million,
    which leaves room for 100,000 units of a line worth 4,000,000.
    """
    safe = denominator.nullif(0)
    return (numerator * 2 + safe) // (safe * 2)


def first_units(value: ir.DecimalValue, units: ir.IntegerValue, quantity: ir.IntegerValue) -> ir.DecimalValue:
    """Value of the first `units` of a line of `quantity` units worth `value` (four decimals, of either sign).

    Pieces cut between successive counts of units add up to the whole, however often the line is cut:
    the piece from unit a to unit b is `first_units(b) - first_units(a)`.
    """
    whole = (value.abs() * 10_000).cast("int64")
    part = (ratio(whole * units, quantity).cast("decimal(18,0)") * _TEN_THOUSANDTH).cast("decimal(18,4)")
    signed = (value < 0).ifelse(-part, part)
    return (units >= quantity).ifelse(value, signed).cast("decimal(18,4)")


def in_base(value: ir.DecimalValue, rate: ir.DecimalValue) -> ir.DecimalValue:
    """An amount in base currency, to the penny, half away from zero."""
    return (value * rate).round(2).cast("decimal(18,2)")


def cents(value: ir.DecimalValue) -> ir.IntegerValue:
    """An amount with two decimals as a whole number of its hundredths."""
    return (value * 100).cast("int64")


def from_cents(number: ir.IntegerValue) -> ir.DecimalValue:
    """The amount for a whole number of hundredths."""
    return (number.cast("decimal(18,0)") * _HUNDREDTH).cast("decimal(18,2)")
