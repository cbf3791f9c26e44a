"""Exact arithmetic: pieces of a line add up, and halves go away from zero."""

from __future__ import annotations

from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prima_emarsys.rules.exact import cents, first_units, from_cents, in_base, ratio
from prima_emarsys.warehouse import Warehouse, open_warehouse
from prima_emarsys_tests.rules.tables import rows_of


def test_a_ratio_is_rounded_half_up_and_missing_without_denominator(warehouse: Warehouse) -> None:
    examples = [(0, 3, 0), (1, 3, 0), (1, 2, 1), (3, 2, 2), (5, 3, 2), (7, 0, None), (40_000_000_000, 99_999, 400_004)]
    numbers = warehouse.settle(pa.Table.from_pylist([dict(zip("nde", one, strict=True)) for one in examples]))
    results = rows_of(warehouse, numbers.select("e", result=ratio(numbers.n, numbers.d)), "e", "result")
    assert [result for _, result in results] == [expected for expected, _ in results]


def test_amounts_come_into_base_currency_to_the_penny_half_away_from_zero(warehouse: Warehouse) -> None:
    examples = [
        ("10.0000", "0.86100000", "8.61"),
        ("1.0050", "1.00000000", "1.01"),
        ("-1.0050", "1.00000000", "-1.01"),
        ("0.0050", "1.00000000", "0.01"),
        ("2.3450", "1.00000000", "2.35"),
        ("99.9900", "0.85555000", "85.55"),
        ("8.1250", "0.80000000", "6.50"),
    ]
    schema = pa.schema([("v", pa.decimal128(18, 4)), ("r", pa.decimal128(18, 8)), ("e", pa.decimal128(18, 2))])
    amounts = warehouse.settle(
        pa.Table.from_pylist([dict(zip("vre", map(Decimal, one), strict=True)) for one in examples], schema=schema)
    )
    results = rows_of(warehouse, amounts.select("e", base=in_base(amounts.v, amounts.r)), "e", "base")
    assert [base for _, base in results] == [expected for expected, _ in results]


def test_cents_and_back_change_nothing(warehouse: Warehouse) -> None:
    amounts = [Decimal("-12.34"), Decimal("0.00"), Decimal("0.01"), Decimal("9999999.99")]
    given_ = warehouse.settle(pa.table({"v": pa.array(amounts, pa.decimal128(18, 2))}))
    assert rows_of(warehouse, given_.select(v=from_cents(cents(given_.v))), "v") == sorted(amounts)


@pytest.fixture(scope="module")
def duckdb_warehouse():
    """One engine for all examples of a law."""
    with open_warehouse("duckdb://") as opened:
        yield opened


lines = st.tuples(
    st.decimals(min_value=-400_000, max_value=400_000, places=4, allow_nan=False),
    st.integers(min_value=1, max_value=100_000),
    st.lists(st.integers(min_value=0, max_value=100_000), max_size=6),
)


@settings(max_examples=25, deadline=None)
@given(examples=st.lists(lines, min_size=1, max_size=40))
def test_a_line_cut_anywhere_adds_up_to_itself_and_every_cut_is_exactly_rounded(
    duckdb_warehouse: Warehouse, examples: list[tuple[Decimal, int, list[int]]]
) -> None:
    cuts, wanted = [], []
    for value, quantity, places in examples:
        for units in sorted({0, quantity, *(place % (quantity + 1) for place in places)}):
            cuts.append({"value": value, "units": units, "quantity": quantity})
            # Half up on the magnitude, in whole ten-thousandths, computed by Python's integers.
            whole = abs(int(value * 10_000))
            part = Decimal((whole * units * 2 + quantity) // (quantity * 2)) / 10_000
            wanted.append(value if units == quantity else part.copy_sign(value))
    schema = pa.schema([("value", pa.decimal128(18, 4)), ("units", pa.int64()), ("quantity", pa.int64())])
    table = ibis.memtable(pa.Table.from_pylist(cuts, schema=schema))
    found = duckdb_warehouse.read(table.select(part=first_units(table.value, table.units, table.quantity)))
    assert found["part"].to_pylist() == wanted
