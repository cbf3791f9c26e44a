"""Available to sell, by examples, on both engines."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pytest

from prima_emarsys.contract import ENTITIES
from prima_emarsys.rules.availability import (
    ADDED,
    CHANGED,
    MISSING,
    SEEN,
    SKU,
    VANISHED,
    availability,
    available_stock,
    came_back,
    moves,
    owed_stock,
)
from prima_emarsys.site import StockRules
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import rows_of, table

SOON, LATER = date(2026, 6, 1), date(2026, 7, 1)
HOUSES = [
    {"warehouse": "MAIN", "is_sellable": True},
    {"warehouse": "SHOP", "is_sellable": True},
    {"warehouse": "QC", "is_sellable": False},
    {"warehouse": "ODD", "is_sellable": None},
]
CASES: dict[str, tuple[list[dict[str, Any]], list[tuple[int, date | None]]]] = {
    "everything taken off": ([{"physical": 9, "allocated": 2, "held": 1, "buffer": 3}], [(3, None)]),
    "no buffer known": ([{"physical": 9, "allocated": 2, "held": 1}], [(6, None)]),
    "more promised than there is": ([{"physical": 1, "allocated": 5, "expected_on": SOON}], [(0, SOON)]),
    "one warehouse owes, another has": (
        [{"physical": 1, "allocated": 5, "expected_on": SOON}, {"warehouse": "SHOP", "physical": 2}],
        [(2, None)],
    ),
    "the earlier day": ([{"expected_on": LATER}, {"warehouse": "SHOP", "expected_on": SOON}], [(0, SOON)]),
    "a warehouse that is not sellable": ([{"physical": 1}, {"warehouse": "QC", "physical": 9}], [(1, None)]),
    "nowhere sellable": ([{"warehouse": name, "physical": 9} for name in ("QC", "ODD", "GONE")], []),
    "two sizes": ([{"matrix_2": "075", "physical": 1}, {"matrix_2": "080", "physical": 2}], [(1, None), (2, None)]),
    "two companies": ([{"physical": 1}, {"company": "2", "physical": 9}], [(1, None)]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_can_be_sold(warehouse: Warehouse, case: str) -> None:
    rows, expected = CASES[case]
    sku = {"warehouse": "MAIN", "matrix_1": "", "matrix_2": "", "matrix_3": "", "matrix_4": ""}
    stock = table(warehouse, "stock", *({**sku, **row} for row in rows))
    found = available_stock(stock, table(warehouse, "warehouse", *HOUSES))
    assert found.columns == tuple(ENTITIES["available_stock"].arrow_schema.names)
    assert rows_of(warehouse, found, "available", "expected_on") == expected


def test_what_is_owed_is_listed_and_a_buffer_owes_nothing(warehouse: Warehouse) -> None:
    sku = {"matrix_1": "", "matrix_2": "", "matrix_3": "", "matrix_4": ""}
    stock = table(
        warehouse,
        "stock",
        {**sku, "warehouse": "MAIN", "physical": 1, "allocated": 5},
        {**sku, "warehouse": "SHOP", "physical": 1, "buffer": 3},
        {**sku, "warehouse": "QC", "physical": 0, "held": 1},
    )
    owed = owed_stock(stock, table(warehouse, "warehouse", *HOUSES))
    assert rows_of(warehouse, owed, "warehouse", "free") == [("MAIN", -4)]


# -- what a snapshot changes -----------------------------------------------------------------------------------------

PATIENCE = 2
MOVES: dict[str, tuple[tuple[int, date | None, int] | None, tuple[int, date | None] | None, tuple[Any, ...] | None]] = {
    "as it was": ((3, None, 0), (3, None), None),
    "fewer": ((3, None, 0), (1, None), (1, None, 0, 3, CHANGED)),
    "sold out, more expected": ((3, None, 0), (0, SOON), (0, SOON, 0, 3, CHANGED)),
    "another day": ((0, SOON, 0), (0, LATER), (0, LATER, 0, 0, CHANGED)),
    "never seen": (None, (2, None), (2, None, 0, None, ADDED)),
    "below nothing": (None, (-2, None), (0, None, 0, None, ADDED)),
    "lacking once": ((3, SOON, 0), None, (3, SOON, 1, 3, MISSING)),
    "back before it vanished": ((3, None, 1), (3, None), (3, None, 0, 3, SEEN)),
    "lacking too often": ((3, SOON, 1), None, (0, None, 2, 3, VANISHED)),
    "lacking as ever": ((0, None, 2), None, None),
    "back after it vanished": ((0, None, 2), (4, None), (4, None, 0, 0, CHANGED)),
}


def skus(warehouse: Warehouse, *rows: tuple[int, date | None, int]) -> ir.Table:
    """Believed stock of one SKU."""
    columns = pa.schema(
        [*((name, pa.string()) for name in SKU), ("available", pa.int64()), ("expected_on", pa.date32())]
    )
    named = [
        dict(zip(SKU, ("1", "BOOT", "F", "075", "", ""), strict=True))
        | {"available": units, "expected_on": day, "absent": absent}
        for units, day, absent in rows
    ]
    return warehouse.settle(pa.Table.from_pylist(named, columns.append(pa.field("absent", pa.int64()))))


@pytest.mark.parametrize("case", MOVES)
def test_what_a_snapshot_changes(warehouse: Warehouse, case: str) -> None:
    before, now, expected = MOVES[case]
    believed = skus(warehouse, *([before] if before else []))
    snapshot = skus(warehouse, *([(*now, 0)] if now else []))
    found = moves(believed, snapshot, PATIENCE)
    columns = ("available", "expected_on", "absent", "was", "kind")
    assert rows_of(warehouse, found, *columns) == ([expected] if expected else [])


# -- what can be sold, and what is back ------------------------------------------------------------------------------

LONG_AGO, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 5, 1, 12, tzinfo=UTC)
STATES: dict[str, tuple[int, bool | None, bool, bool]] = {  # units, was available, is available, is back
    "out and stays out": (0, False, False, False),
    "a first unit, of three that it takes": (1, False, False, False),
    "one short": (2, False, False, False),
    "as many as it takes": (3, False, True, True),
    "down to the last but one": (2, True, True, False),
    "at the limit": (1, True, False, False),
    "never seen, and there": (9, None, True, False),
    "never seen, and in between": (2, None, True, False),
    "never seen, and out": (0, None, False, False),
}


@pytest.mark.parametrize("case", STATES)
def test_a_sku_is_back_only_when_it_was_out_and_has_enough(warehouse: Warehouse, case: str) -> None:
    units, was, expected, back = STATES[case]
    rules = StockRules(out_at=1, back_at=3)
    believed = skus(warehouse, (units, None, 0))
    columns = pa.schema(
        [*((name, pa.string()) for name in SKU), ("is_available", pa.bool_()), ("since", pa.timestamp("us", "UTC"))]
    )
    known = [dict(zip(SKU, ("1", "BOOT", "F", "075", "", ""), strict=True)) | {"is_available": was, "since": LONG_AGO}]
    before = warehouse.settle(pa.Table.from_pylist(known if was is not None else [], columns))
    found = availability(believed, before, rules, date(2026, 5, 1), NOW)
    since = LONG_AGO if was == expected else NOW
    assert rows_of(warehouse, found, "sku", "available", "is_available", "since") == [
        ("BOOT_F_075", units, expected, since)
    ]
    assert rows_of(warehouse, came_back(found), "sku", "at") == ([("BOOT_F_075", NOW)] if back else [])


@pytest.mark.parametrize(
    ("day", "told"), [(date(2026, 5, 1), None), (date(2026, 5, 2), date(2026, 5, 2)), (None, None)]
)
def test_the_day_of_more_is_told_while_it_lies_ahead(warehouse: Warehouse, day: date | None, told: date | None) -> None:
    nothing = warehouse.settle(
        pa.schema(
            [*((name, pa.string()) for name in SKU), ("is_available", pa.bool_()), ("since", pa.timestamp("us", "UTC"))]
        ).empty_table()
    )
    found = availability(skus(warehouse, (0, day, 0)), nothing, StockRules(), date(2026, 5, 1), NOW)
    assert rows_of(warehouse, found, "expected_on") == [told]
