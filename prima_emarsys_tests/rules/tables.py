"""Small tables by the contract, made from dicts: what a test does not name has a harmless value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.contract import ENTITIES, Column, Type, day_of
from prima_emarsys.warehouse import Warehouse

_DEFAULTS: dict[str, dict[str, Any]] = {
    "": {"company": "1", "currency": "GBP", "base_currency": "GBP", "product": "BOOT"},
    "customer_address": {"address_number": "1", "address_type": "invoice"},
    "customer_merge": {"merged_at": date(2026, 5, 1)},
    "sales_order": {"customer_code": "A", "status": "despatched", "ordered_at": date(2026, 3, 1)},
    "sales_order_line": {"line_number": "1", "status": "despatched", "quantity": 1, "quantity_despatched": 0},
    "order_charge": {"charge_number": "1", "charge_code": "CARR"},
    "customer_return": {"line_number": "1", "order_line_number": "1", "quantity": 1, "receipted_at": date(2026, 4, 1)},
    "credit_note": {
        "customer_code": "A",
        "credit_type": "refund",
        "status": "finalised",
        "finalised_at": date(2026, 4, 10),
    },
    "credit_note_line": {"line_number": "1", "quantity": 0},
}


def page(name: str, *rows: Mapping[str, Any]) -> pa.Table:
    """A typed page of an entity. Days stand for that day's noon, texts for amounts; `value` sets both sides of VAT
    (with VAT as given, without it the same less a sixth)."""
    entity = ENTITIES[name]
    filled = [_filled(name, entity.column, dict(row)) for row in rows]
    return pa.Table.from_pylist(filled, schema=entity.arrow_schema)


def _filled(name: str, columns: Mapping[str, Column], given: dict[str, Any]) -> dict[str, Any]:
    if "value" in given:
        amount = Decimal(given.pop("value"))
        given = {"value_incl_vat": amount, "value_excl_vat": (amount * 5 / 6).quantize(Decimal("0.0001"))} | given
    if unknown := set(given) - set(columns):
        raise KeyError(f"{name} has no column {sorted(unknown)}")
    defaults = _DEFAULTS[""] | _DEFAULTS.get(name, {})
    row: dict[str, Any] = {}
    for column in columns.values():
        value = given.get(column.name, defaults.get(column.name))
        if value is None and column.required and column.name not in given:
            value = {Type.INTEGER: 0, Type.MONEY: Decimal(0)}.get(column.type)
        if column.type in (Type.MONEY, Type.RATE) and value is not None:
            value = Decimal(value)
        if column.type is Type.TIMESTAMP:
            if isinstance(value, date) and not isinstance(value, datetime):
                value = datetime(value.year, value.month, value.day, 12, tzinfo=UTC)
            row[day_of(column.name)] = value.date() if value else None
        row[column.name] = value
    return row


def table(warehouse: Warehouse, name: str, *rows: Mapping[str, Any]) -> ir.Table:
    """The same, in the engine."""
    return warehouse.settle(page(name, *rows))


def rows_of(warehouse: Warehouse, expression: ir.Table, *columns: str) -> list[Any]:
    """The result as sorted tuples (or values, for one column)."""
    found = warehouse.read(expression.select(*columns) if columns else expression)
    tuples = [tuple(row.values()) for row in found.to_pylist()]
    tuples.sort(key=lambda row: [(value is None, "" if value is None else value) for value in row])
    return [row[0] for row in tuples] if len(columns) == 1 else tuples
