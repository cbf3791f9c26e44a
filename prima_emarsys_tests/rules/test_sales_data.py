"""What a line of sales data says, and which rule keeps one out, by example."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pytest

from prima_emarsys.rules.sales import signed_ledger
from prima_emarsys.rules.sales_data import COLUMNS, colliding_orders, sales_lines, uncastable_orders
from prima_emarsys.site import SalesData, SalesRules
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import rows_of
from prima_emarsys_tests.rules.test_sales import Rows, books

RULES = SalesRules(excluded_order_types=["SAMPLE"], excluded_products=["VOUCHER"])
D = Decimal
ACCOUNTS: dict[str, tuple[str | None, str | None]] = {
    "1-A": (None, "P1-A"),
    "1-B": (None, "P1-A"),
    "2-E": (None, "P2-E"),
    "1-STAFF": ("internal:staff", None),
    "1-MUTE": (None, "P1-MUTE"),
}
"""Account → the rule that makes it internal, its person. MUTE has no e-mail address, so it is no contact."""
KEPT_OUT = {"P1-MUTE": "no-email:missing"}


def table_of(warehouse: Warehouse, settings: SalesData, currency: str, given: Mapping[str, Rows]) -> ir.Table:
    """Lines for what a test names by entity."""

    def small(rows: list[dict[str, str | None]], *names: str) -> ir.Table:
        return warehouse.settle(pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names])))

    accounts = small([{"account": one, "excluded": rule} for one, (rule, _) in ACCOUNTS.items()], "account", "excluded")
    persons = small(
        [{"account": one, "person_key": person} for one, (_, person) in ACCOUNTS.items() if person],
        "account",
        "person_key",
    )
    kept_out = small([{"person_key": one, "rule": rule} for one, rule in KEPT_OUT.items()], "person_key", "rule")
    ledger = warehouse.settle(signed_ledger(books(warehouse, given), RULES, warehouse.settle))
    return sales_lines(ledger, accounts, persons, kept_out, settings, currency)


def lines_of(
    warehouse: Warehouse, settings: SalesData | None = None, currency: str = "GBP", **given: Rows
) -> list[dict[str, Any]]:
    """The same as rows, by key."""
    made = table_of(warehouse, settings or SalesData(), currency, given)
    assert tuple(made.columns) == COLUMNS
    return sorted(warehouse.read(made).to_pylist(), key=lambda row: row["line_key"])


def short(row: dict[str, Any]) -> tuple[Any, ...]:
    """kind, order, item, quantity, price, day on which it happened."""
    return (row["kind"], row["order_id"], row["item"], row["quantity"], row["price"], row["posted_on"])


def test_a_sale_names_its_item_order_buyer_amounts_and_moment(warehouse: Warehouse) -> None:
    [row] = lines_of(
        warehouse,
        sales_order=[{"order_number": "100", "customer_code": "B", "channel": "WEB"}],
        sales_order_line=[
            {
                "order_number": "100",
                "matrix_1": "F",
                "matrix_2": "075",
                "quantity": 2,
                "value_incl_vat": "120.00",
                "value_excl_vat": "100.00",
                "discount_incl_vat": "12.00",
            }
        ],
    )
    assert row == {
        "line_key": "1-100|1|sale",
        "order_key": "1-100",
        "order_line": "1-100|1",
        "order_id": "100",
        "item": "BOOT_F_075",
        "customer": "P1-A",
        "account": "1-B",
        "company": "1",
        "channel": "WEB",
        "kind": "sale",
        "price": D("120.00"),
        "quantity": 2,
        "gross": D("120.00"),
        "net": D("100.00"),
        "discount": D("12.00"),
        "currency": "GBP",
        "order_value": D("120.0000"),
        "happened_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "ordered_on": date(2026, 3, 1),
        "posted_on": date(2026, 3, 1),
        "excluded": None,
    }


def _bought_and_brought_back(**credit: Any) -> dict[str, Rows]:
    return {
        "sales_order": [{"order_number": "100"}],
        "sales_order_line": [{"order_number": "100", "quantity": 2, "value": "80.00"}],
        "customer_return": [{"return_number": "R", "order_number": "100", "receipted_at": date(2026, 4, 1)}],
        "credit_note": [{"credit_number": "K", "order_number": "100", "finalised_at": date(2026, 4, 9)} | credit],
        "credit_note_line": [
            {"credit_number": "K", "order_line_number": "1", "product": "BOOT", "quantity": 1, "value": "40.00"}
        ],
    }


def test_a_refund_is_a_negative_line_under_the_original_order_dated_at_the_credit_note(warehouse: Warehouse) -> None:
    rows = lines_of(warehouse, **_bought_and_brought_back())
    assert list(map(short, rows)) == [
        ("sale", "100", "BOOT", 2, D("80.00"), date(2026, 3, 1)),
        ("return", "100", "BOOT", -1, D("-40.00"), date(2026, 4, 9)),
    ]


def test_a_return_without_its_credit_is_no_line_yet(warehouse: Warehouse) -> None:
    rows = lines_of(warehouse, **_bought_and_brought_back(status="draft"))
    assert [row["kind"] for row in rows] == ["sale"]


def test_an_order_confirmed_and_cancelled_nets_to_zero_and_not_to_minus(warehouse: Warehouse) -> None:
    rows = lines_of(
        warehouse,
        sales_order=[{"order_number": "100", "status": "cancelled", "cancelled_at": date(2026, 3, 1)}],
        sales_order_line=[{"order_number": "100", "quantity": 3, "value": "100.00"}],
        order_charge=[{"order_number": "100", "value": "4.95"}],
    )
    assert list(map(short, rows)) == [
        ("cancellation", "100", "BOOT", -3, D("-100.00"), date(2026, 3, 1)),
        ("sale", "100", "BOOT", 3, D("100.00"), date(2026, 3, 1)),
        ("cancellation", "100", "charge-CARR", -1, D("-4.95"), date(2026, 3, 1)),
        ("sale", "100", "charge-CARR", 1, D("4.95"), date(2026, 3, 1)),
    ]


def test_an_exchange_paid_by_credit_counts_once(warehouse: Warehouse) -> None:
    given = _bought_and_brought_back(credit_type="exchange")
    given["sales_order"].append({"order_number": "200", "exchange_credit_number": "K", "ordered_at": date(2026, 4, 9)})
    given["sales_order_line"].append({"order_number": "200", "value": "40.00"})
    rows = lines_of(warehouse, **given)
    # Bought for 80, brought one back, took another for it: what was really kept is worth 80.
    assert sum(row["price"] for row in rows) == D("80.00")


def test_charges_and_goodwill_go_as_named_items_so_that_the_order_total_ties(warehouse: Warehouse) -> None:
    given: dict[str, Rows] = {
        "sales_order": [{"order_number": "100"}],
        "sales_order_line": [{"order_number": "100", "value": "60.00"}],
        "order_charge": [
            {"order_number": "100", "value": "4.95"},
            {"order_number": "100", "charge_number": "2", "charge_code": "GIFT", "value": "2.00"},
        ],
        "credit_note": [{"credit_number": "K", "order_number": "100"}, {"credit_number": "K2"}],
        "credit_note_line": [
            {"credit_number": "K", "line_number": "1", "charge_code": "CARR", "product": None, "value": "4.95"},
            {"credit_number": "K", "line_number": "2", "product": None, "value": "5.00"},
            {"credit_number": "K", "line_number": "3", "product": "BOOT", "order_line_number": "1", "value": "1.00"},
            {"credit_number": "K2", "product": None, "value": "3.00"},
        ],
    }
    rows = lines_of(warehouse, **given)
    later = date(2026, 4, 10)
    assert list(map(short, rows)) == [
        ("sale", "100", "BOOT", 1, D("60.00"), date(2026, 3, 1)),
        ("sale", "100", "charge-CARR", 1, D("4.95"), date(2026, 3, 1)),
        ("sale", "100", "charge-GIFT", 1, D("2.00"), date(2026, 3, 1)),
        ("credit", "credit-K2", "goodwill", -1, D("-3.00"), later),
        ("credit", "100", "charge-CARR", -1, D("-4.95"), later),
        ("credit", "100", "goodwill", -1, D("-5.00"), later),
        ("credit", "100", "BOOT", 0, D("-1.00"), later),
    ]
    assert sum(row["price"] for row in rows if row["order_id"] == "100") == D("60.00") + D("2.00") - D("6.00")
    mapped = SalesData(charge_items={"CARR": "shipping", "GIFT": None}, goodwill_item=None)
    found = {row["line_key"]: (row["item"], row["excluded"]) for row in lines_of(warehouse, mapped, **given)}
    assert found["1-100|charge-1|sale"] == found["1|K|1|credit"] == ("shipping", None)
    assert found["1-100|charge-2|sale"] == found["1|K2|1|credit"] == (None, "charge-kept-out")


def test_every_line_that_is_kept_out_names_its_rule(warehouse: Warehouse) -> None:
    sold = {name: {"order_number": name, "value": "10.00"} for name in ("INT", "MUTE", "LOST", "SAMPLE", "MIX")}
    rows = lines_of(
        warehouse,
        sales_order=[
            {"order_number": "INT", "customer_code": "STAFF"},
            {"order_number": "MUTE", "customer_code": "MUTE"},
            {"order_number": "LOST", "customer_code": "NOBODY"},
            {"order_number": "SAMPLE", "order_type": "SAMPLE"},
            {"order_number": "MIX"},
            {"order_number": "FREE"},
            {"order_number": "USD", "currency": "USD"},
            {"company": "2", "order_number": "EUR", "customer_code": "E", "currency": "EUR"},
        ],
        sales_order_line=[
            *sold.values(),
            {"order_number": "MIX", "line_number": "2", "product": "VOUCHER", "value": "50.00"},
            {"order_number": "MIX", "line_number": "3", "product": "FREEBIE", "value": "0.00"},
            {"order_number": "FREE", "value": "0.00"},
            {"order_number": "USD", "value": "9.00"},
            {"company": "2", "order_number": "EUR", "value": "9.00"},
        ],
        credit_note=[{"credit_number": "K", "order_number": "NOWHERE"}],
        credit_note_line=[{"credit_number": "K", "product": "BOOT", "quantity": 1, "value": "7.00"}],
    )
    assert {row["line_key"]: row["excluded"] for row in rows} == {
        "1-INT|1|sale": "internal:staff",
        "1-MUTE|1|sale": "no-email:missing",
        "1-LOST|1|sale": "account-unknown",
        "1-SAMPLE|1|sale": "order-type",
        "1-MIX|1|sale": None,
        "1-MIX|2|sale": "not-merchandise",
        "1-MIX|3|sale": None,
        "1-FREE|1|sale": "zero-amount",
        "1-USD|1|sale": "missing-rate",
        "2-EUR|1|sale": "foreign-currency",
        "1|K|1|credit": "order-unknown",
    }


@pytest.mark.parametrize(
    ("settings", "currency", "prices"),
    [
        (SalesData(), "GBP", {"1-G|1|sale": "120.00", "1-E|1|sale": "102.00"}),
        (SalesData(vat="excl"), "GBP", {"1-G|1|sale": "100.00", "1-E|1|sale": "85.00"}),
        (
            SalesData(rates={"EUR": D("0.8612")}),
            "GBP",
            {"1-G|1|sale": "120.00", "1-E|1|sale": "102.00", "2-E|1|sale": "103.34"},
        ),
        (SalesData(), "EUR", {"2-E|1|sale": "120.00"}),
    ],
)
def test_prices_are_in_the_accounts_one_currency_with_or_without_vat(
    warehouse: Warehouse, settings: SalesData, currency: str, prices: dict[str, str]
) -> None:
    rows = lines_of(
        warehouse,
        settings,
        currency,
        sales_order=[
            {"order_number": "G"},
            {"order_number": "E", "currency": "EUR", "exchange_rate": "0.85"},
            {"company": "2", "order_number": "E", "customer_code": "E", "currency": "EUR"},
        ],
        sales_order_line=[
            {"order_number": "G", "value": "120.00"},
            {"order_number": "E", "value": "120.00"},
            {"company": "2", "order_number": "E", "value": "120.00"},
        ],
    )
    assert {row["line_key"]: str(row["price"]) for row in rows if row["excluded"] is None} == prices
    # In the order's own currency they always tie.
    assert {row["order_value"] for row in rows} == {D("120.0000")}


def test_an_order_id_follows_the_sites_template_and_a_collision_is_found(warehouse: Warehouse) -> None:
    given: dict[str, Rows] = {
        "sales_order": [
            {"order_number": "100"},
            {"company": "2", "order_number": "100", "customer_code": "E", "currency": "EUR"},
            {"order_number": "0101"},
            {"order_number": "W-102"},
            {"order_number": "9" * 19},
        ],
        "sales_order_line": [
            {"order_number": "100", "value": "1.00"},
            {"company": "2", "order_number": "100", "value": "1.00"},
            {"order_number": "0101", "value": "1.00"},
            {"order_number": "W-102", "value": "1.00"},
            {"order_number": "9" * 19, "value": "1.00"},
        ],
    }
    rates = {"EUR": D("0.86")}

    def ids(settings: SalesData) -> tuple[list[Any], list[Any]]:
        made = warehouse.settle(table_of(warehouse, settings, "GBP", given))
        return (
            rows_of(warehouse, colliding_orders(made), "order_id", "orders", "order_key"),
            rows_of(warehouse, uncastable_orders(made), "order_id"),
        )

    assert ids(SalesData(rates=rates)) == ([("100", 2, "1-100")], ["0101", "9" * 19, "W-102"])
    assert ids(SalesData(rates=rates, order_id="{company}{order_number}")) == ([], ["1" + "9" * 19, "1W-102"])


def test_an_unknown_sku_goes_as_it_is(warehouse: Warehouse) -> None:
    rows = lines_of(
        warehouse,
        sales_order=[{"order_number": "100"}],
        sales_order_line=[
            {"order_number": "100", "product": "nobody-knows", "value": "1.00"},
            {"order_number": "100", "line_number": "2", "product": "NOBODY-KNOWS", "value": "1.00"},
        ],
    )
    assert [(row["item"], row["excluded"]) for row in rows] == [("nobody-knows", None), ("NOBODY-KNOWS", None)]
