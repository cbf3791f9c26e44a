"""Available to sell, by examples, on both engines."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from prima_emarsys.contract import ENTITIES
from prima_emarsys.rules.availability import available_stock
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
