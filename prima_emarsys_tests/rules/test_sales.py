"""The signed ledger of sales, by example: every case is an order (or credit) of its own, all booked at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from prima_emarsys.rules.sales import Books, orphans, refunds_above_sales, signed_ledger, sku_id
from prima_emarsys.site import SalesRules
from prima_emarsys.warehouse import Warehouse, open_warehouse
from prima_emarsys_tests.rules.tables import rows_of, table

RULES = SalesRules(excluded_order_types=["Staff", "SAMPLE"], excluded_products=["VOUCHER"])
Rows = list[dict[str, Any]]
D = Decimal
AMOUNTS = ("value_incl_vat", "value_excl_vat", "base_incl_vat", "base_excl_vat", "base_discount")


def books(warehouse: Warehouse, given: Mapping[str, Rows]) -> Books:
    """Books of what a test names by entity; company 1 keeps its books in pounds, company 2 in euros."""
    entities = {
        "companies": "company",
        "orders": "sales_order",
        "lines": "sales_order_line",
        "charges": "order_charge",
        "returns": "customer_return",
        "credits": "credit_note",
        "credit_lines": "credit_note_line",
    }
    companies = [{"company": "1", "base_currency": "GBP"}, {"company": "2", "base_currency": "EUR"}]
    all_given = {"company": companies} | dict(given)
    return Books(**{name: table(warehouse, entity, *all_given.get(entity, [])) for name, entity in entities.items()})


def booked(warehouse: Warehouse, **given: Rows) -> list[dict[str, Any]]:
    """Rows of the signed ledger, by key."""
    ledger = signed_ledger(books(warehouse, given), RULES, warehouse.settle)
    return sorted(warehouse.read(ledger).to_pylist(), key=lambda row: row["sale_key"])


def net(rows: list[dict[str, Any]], order_key: str) -> Decimal:
    """What counts of an order, base currency with VAT, without charges."""
    return sum(
        (
            row["base_incl_vat"]
            for row in rows
            if row["order_key"] == order_key and row["excluded"] is None and row["nature"] != "charge"
        ),
        D(0),
    )


def short(row: dict[str, Any]) -> tuple[Any, ...]:
    """kind, quantity, value with VAT, base with VAT, posted_on."""
    return (row["kind"], row["quantity"], row["value_incl_vat"], row["base_incl_vat"], row["posted_on"])


def test_a_line_is_a_sale_with_both_sides_of_vat_both_days_and_its_keys(warehouse: Warehouse) -> None:
    [row] = booked(
        warehouse,
        sales_order=[{"order_number": "00100", "customer_code": "0000000007", "channel": "WEB"}],
        sales_order_line=[
            {
                "order_number": "00100",
                "line_number": "03",
                "matrix_1": "F",
                "matrix_2": "075",
                "quantity": 2,
                "value_incl_vat": "120.00",
                "value_excl_vat": "100.00",
                "discount_incl_vat": "12.00",
            }
        ],
    )
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert row == {
        "sale_key": "1-00100|03|sale",
        "order_key": "1-00100",
        "document": "1|00100",
        "company": "1",
        "order_number": "00100",
        "line_number": "03",
        "channel": "WEB",
        "kind": "sale",
        "nature": "goods",
        "account": "1-0000000007",
        "product": "BOOT",
        "sku": "BOOT_F_075",
        "quantity": 2,
        "currency": "GBP",
        "base_currency": "GBP",
        "value_incl_vat": D("120.0000"),
        "value_excl_vat": D("100.0000"),
        "base_incl_vat": D("120.00"),
        "base_excl_vat": D("100.00"),
        "base_discount": D("12.00"),
        "ordered_at": noon,
        "ordered_on": date(2026, 3, 1),
        "posted_at": noon,
        "posted_on": date(2026, 3, 1),
        "excluded": None,
    }


def test_a_cancellation_takes_its_share_of_the_line_on_the_day_that_it_happened(warehouse: Warehouse) -> None:
    line = {"quantity": 3, "value": "100.00"}
    rows = booked(
        warehouse,
        sales_order=[
            {"order_number": "PART"},
            {"order_number": "LINE"},
            {"order_number": "ALL", "status": "cancelled", "cancelled_at": date(2026, 3, 5)},
            {"order_number": "MORE"},
            {"order_number": "UNDATED", "status": "cancelled"},
        ],
        sales_order_line=[
            {"order_number": "PART", "quantity_cancelled": 1, "cancelled_at": date(2026, 3, 4)} | line,
            {"order_number": "LINE", "status": "cancelled", "cancelled_at": date(2026, 3, 4)} | line,
            {"order_number": "ALL"} | line,
            {"order_number": "MORE", "quantity_cancelled": 9, "cancelled_at": date(2026, 3, 4)} | line,
            {"order_number": "UNDATED"} | line,
        ],
    )
    cancelled = {row["order_number"]: short(row) for row in rows if row["kind"] == "cancellation"}
    whole = ("cancellation", -3, D("-100.0000"), D("-100.00"))
    assert cancelled == {
        "PART": ("cancellation", -1, D("-33.3333"), D("-33.33"), date(2026, 3, 4)),
        "LINE": (*whole, date(2026, 3, 4)),
        "ALL": (*whole, date(2026, 3, 5)),
        "MORE": (*whole, date(2026, 3, 4)),
        "UNDATED": (*whole, date(2026, 3, 1)),
    }
    assert [net(rows, f"1-{order}") for order in ("PART", "LINE", "ALL", "MORE", "UNDATED")] == [D("66.67"), 0, 0, 0, 0]


def test_returns_in_pieces_add_up_exactly_and_never_to_more_than_was_kept(warehouse: Warehouse) -> None:
    rows = booked(
        warehouse,
        sales_order=[{"order_number": "O"}, {"order_number": "C"}],
        sales_order_line=[
            {"order_number": "O", "quantity": 3, "value": "100.00"},
            {"order_number": "C", "quantity": 3, "quantity_cancelled": 1, "value": "100.00"},
        ],
        customer_return=[
            {"return_number": "R1", "order_number": "O", "receipted_at": date(2026, 4, 1)},
            {"return_number": "R3", "order_number": "O", "receipted_at": date(2026, 4, 2)},
            {"return_number": "R2", "order_number": "O", "receipted_at": date(2026, 4, 3)},
            {"return_number": "R4", "order_number": "O", "receipted_at": date(2026, 4, 4)},
            {"return_number": "R5", "order_number": "C", "quantity": 5, "receipted_at": date(2026, 4, 4)},
        ],
    )
    returned = {row["document"]: short(row) for row in rows if row["kind"] == "return"}
    assert returned == {
        "1|R1": ("return", -1, D("-33.3333"), D("-33.33"), date(2026, 4, 1)),
        "1|R3": ("return", -1, D("-33.3334"), D("-33.34"), date(2026, 4, 2)),
        "1|R2": ("return", -1, D("-33.3333"), D("-33.33"), date(2026, 4, 3)),
        "1|R5": ("return", -2, D("-66.6667"), D("-66.67"), date(2026, 4, 4)),
    }
    assert (net(rows, "1-O"), net(rows, "1-C")) == (0, 0)


def _return_and_credit(receipted: date, finalised: date, **credit: Any) -> dict[str, Rows]:
    return {
        "sales_order": [{"order_number": "O"}],
        "sales_order_line": [{"order_number": "O", "quantity": 2, "value": "80.00"}],
        "customer_return": [{"return_number": "R", "order_number": "O", "receipted_at": receipted}],
        "credit_note": [{"credit_number": "K", "order_number": "O", "finalised_at": finalised} | credit],
        "credit_note_line": [
            {"credit_number": "K", "order_line_number": "1", "product": "BOOT", "quantity": 1, "value": "40.00"}
        ],
    }


@pytest.mark.parametrize(
    ("receipted", "finalised"), [(date(2026, 4, 1), date(2026, 4, 9)), (date(2026, 4, 9), date(2026, 4, 1))]
)
def test_a_return_and_its_credit_count_once_whichever_comes_first(
    warehouse: Warehouse, receipted: date, finalised: date
) -> None:
    rows = booked(warehouse, **_return_and_credit(receipted, finalised))
    assert [short(row)[:3] for row in rows if row["kind"] != "sale"] == [
        ("credit", -1, D("-40.0000")),
        ("return-credited", 1, D("40.0000")),
        ("return", -1, D("-40.0000")),
    ]
    assert net(rows, "1-O") == D("40.00")


def test_only_a_finalised_credit_counts_and_until_then_the_return_stands_for_it(warehouse: Warehouse) -> None:
    rows = booked(warehouse, **_return_and_credit(date(2026, 4, 1), date(2026, 4, 9), status="draft"))
    assert [row["kind"] for row in rows] == ["sale", "return"]
    assert net(rows, "1-O") == D("40.00")


def test_a_credit_without_a_date_is_kept_out_by_rule_and_the_return_counts_on(warehouse: Warehouse) -> None:
    given = _return_and_credit(date(2026, 4, 1), date(2026, 4, 9)) | {
        "credit_note": [{"credit_number": "K", "order_number": "O", "finalised_at": None}]
    }
    rows = booked(warehouse, **given)
    assert {row["kind"]: row["excluded"] for row in rows} == {
        "sale": None,
        "return": None,
        "return-credited": "credit-undated",
        "credit": "credit-undated",
    }
    assert net(rows, "1-O") == D("40.00")


def test_a_credit_of_another_amount_than_the_return_settles_the_return_wholly(warehouse: Warehouse) -> None:
    given = _return_and_credit(date(2026, 4, 1), date(2026, 4, 9))
    given["credit_note_line"][0] |= {"value_incl_vat": D("35.00"), "value_excl_vat": D("29.1667")}
    assert net(booked(warehouse, **given), "1-O") == D("45.00")


def test_a_second_credit_for_goods_that_came_back_once_is_a_refund_of_its_own(warehouse: Warehouse) -> None:
    given = _return_and_credit(date(2026, 4, 1), date(2026, 4, 9))
    given["credit_note"].append({"credit_number": "K2", "order_number": "O", "finalised_at": date(2026, 4, 12)})
    given["credit_note_line"].append(given["credit_note_line"][0] | {"credit_number": "K2"})
    rows = booked(warehouse, **given)
    assert [row["kind"] for row in rows].count("return-credited") == 1
    assert net(rows, "1-O") == 0


def test_an_exchange_paid_by_credit_counts_once(warehouse: Warehouse) -> None:
    given = _return_and_credit(date(2026, 4, 1), date(2026, 4, 1), credit_type="exchange")
    given["sales_order"].append({"order_number": "O2", "exchange_credit_number": "K", "ordered_at": date(2026, 4, 2)})
    given["sales_order_line"].append({"order_number": "O2", "value": "40.00"})
    rows = booked(warehouse, **given)
    # Bought for 80, brought one back, took another for it: what was really kept is worth 80.
    assert net(rows, "1-O") + net(rows, "1-O2") == D("80.00")


def test_charges_and_goodwill_stand_apart_from_goods(warehouse: Warehouse) -> None:
    rows = booked(
        warehouse,
        sales_order=[{"order_number": "O"}, {"order_number": "X", "status": "cancelled"}],
        sales_order_line=[{"order_number": "O", "value": "60.00"}, {"order_number": "X", "value": "10.00"}],
        order_charge=[{"order_number": "O", "value": "4.95"}, {"order_number": "X", "value": "3.95"}],
        credit_note=[{"credit_number": "K", "order_number": "O"}],
        credit_note_line=[
            {"credit_number": "K", "line_number": "1", "charge_code": "CARR", "product": None, "value": "4.95"},
            {"credit_number": "K", "line_number": "2", "product": None, "value": "5.00"},
        ],
    )
    found = {row["sale_key"]: (row["nature"], row["quantity"], row["value_incl_vat"], row["sku"]) for row in rows}
    assert found == {
        "1-O|1|sale": ("goods", 1, D("60.0000"), "BOOT"),
        "1-O|charge-1|sale": ("charge", 0, D("4.9500"), "CARR"),
        "1|K|1|credit": ("charge", 0, D("-4.9500"), "CARR"),
        "1|K|2|credit": ("goodwill", 0, D("-5.0000"), ""),
        "1-X|1|sale": ("goods", 1, D("10.0000"), "BOOT"),
        "1-X|1|cancellation": ("goods", -1, D("-10.0000"), "BOOT"),
        "1-X|charge-1|sale": ("charge", 0, D("3.9500"), "CARR"),
        "1-X|charge-1|cancellation": ("charge", 0, D("-3.9500"), "CARR"),
    }
    assert net(rows, "1-O") == D("55.00")


def test_foreign_money_comes_home_by_the_orders_own_rate_half_away_from_zero(warehouse: Warehouse) -> None:
    line = {"value_incl_vat": "10.1250", "value_excl_vat": "8.4375"}
    rows = booked(
        warehouse,
        sales_order=[
            {"order_number": "EUR", "currency": "EUR", "exchange_rate": "0.80000000"},
            {"order_number": "HOME", "currency": "GBP", "exchange_rate": "7"},
            {"order_number": "BARE", "currency": "GBP"},
            {"order_number": "NONE", "currency": "USD"},
            {"company": "2", "order_number": "EUR", "currency": "EUR"},
        ],
        sales_order_line=[
            {"order_number": "EUR"} | line,
            {"order_number": "HOME"} | line,
            {"order_number": "BARE"} | line,
            {"order_number": "NONE"} | line,
            {"company": "2", "order_number": "EUR"} | line,
        ],
        credit_note=[
            {"credit_number": "K", "order_number": "EUR", "currency": "EUR", "exchange_rate": "0.90000000"},
            {"credit_number": "K0", "order_number": "EUR", "currency": "EUR"},
        ],
        credit_note_line=[{"credit_number": "K", "value": "10.0050"}, {"credit_number": "K0", "value": "1.00"}],
    )
    found = {row["sale_key"]: (row["base_incl_vat"], row["base_excl_vat"], row["excluded"]) for row in rows}
    assert found == {
        "1-EUR|1|sale": (D("8.10"), D("6.75"), None),
        "1-HOME|1|sale": (D("10.13"), D("8.44"), None),
        "1-BARE|1|sale": (D("10.13"), D("8.44"), None),
        "1-NONE|1|sale": (None, None, "missing-rate"),
        "2-EUR|1|sale": (D("10.13"), D("8.44"), None),
        "1|K|1|credit": (D("-9.00"), D("-7.50"), None),
        "1|K0|1|credit": (None, None, "missing-rate"),
    }


def test_what_does_not_count_stays_in_the_books_under_the_name_of_its_rule(warehouse: Warehouse) -> None:
    rows = booked(
        warehouse,
        sales_order=[
            {"order_number": "HELD", "status": "held"},
            {"order_number": "STAFF", "order_type": "STAFF"},
            {"order_number": "MIX", "order_type": "WEB"},
        ],
        sales_order_line=[
            {"order_number": "HELD", "value": "1.00"},
            {"order_number": "STAFF", "value": "1.00"},
            {"order_number": "MIX", "value": "20.00", "product": "VOUCHER"},
            {"order_number": "MIX", "line_number": "2", "value": "30.00"},
        ],
        customer_return=[{"return_number": "R", "order_number": "MIX"}],
        order_charge=[{"order_number": "HELD", "value": "4.00"}],
        credit_note=[
            {"credit_number": "K1", "order_number": "STAFF"},
            {"credit_number": "K2", "order_number": "MIX"},
            {"credit_number": "K3", "order_number": "LOST"},
            {"credit_number": "K4", "customer_code": "B"},
        ],
        credit_note_line=[
            {"credit_number": "K1", "order_line_number": "1", "quantity": 1, "value": "1.00"},
            {"credit_number": "K2", "order_line_number": "1", "quantity": 1, "value": "20.00"},
            {"credit_number": "K3", "order_line_number": "1", "quantity": 1, "value": "7.00"},
            {"credit_number": "K4", "product": None, "value": "2.50"},
        ],
    )
    excluded = {row["sale_key"]: row["excluded"] for row in rows}
    assert excluded == {
        "1-HELD|1|sale": "order-held",
        "1-HELD|charge-1|sale": "order-held",
        "1-STAFF|1|sale": "order-type",
        "1|K1|1|credit": "order-type",
        "1-MIX|1|sale": "not-merchandise",
        "1|R|1|return": "not-merchandise",
        "1|K2|1|credit": "not-merchandise",
        "1|K2|1|return-credited": "not-merchandise",
        "1-MIX|2|sale": None,
        "1|K3|1|credit": "order-unknown",
        "1|K4|1|credit": None,
    }
    without_order = {row["sale_key"]: (row["order_key"], row["account"], row["ordered_on"]) for row in rows if row[
        "order_key"].startswith("1-credit-")}  # fmt: skip
    assert without_order == {
        "1|K3|1|credit": ("1-credit-K3", "1-A", date(2026, 4, 10)),
        "1|K4|1|credit": ("1-credit-K4", "1-B", date(2026, 4, 10)),
    }
    assert net(rows, "1-MIX") == D("30.00")


def test_a_credit_line_may_name_another_order_than_its_note(warehouse: Warehouse) -> None:
    rows = booked(
        warehouse,
        sales_order=[{"order_number": "O1", "customer_code": "A"}, {"order_number": "O2", "customer_code": "B"}],
        sales_order_line=[{"order_number": "O1", "value": "9.00"}, {"order_number": "O2", "value": "9.00"}],
        credit_note=[{"credit_number": "K", "order_number": "O1", "customer_code": "A"}],
        credit_note_line=[
            {"credit_number": "K", "line_number": "1", "value": "1.00"},
            {"credit_number": "K", "line_number": "2", "order_number": "", "value": "2.00"},
            {"credit_number": "K", "line_number": "3", "order_number": "O2", "value": "4.00"},
        ],
    )
    assert (net(rows, "1-O1"), net(rows, "1-O2")) == (D("6.00"), D("5.00"))
    assert {row["line_number"]: row["account"] for row in rows if row["order_key"] == "1-O2"} == {"1": "1-B", "": "1-B"}


def test_refunds_above_the_sale_and_references_to_nothing_are_reported_with_their_money(warehouse: Warehouse) -> None:
    given: dict[str, Rows] = {
        "sales_order": [{"order_number": "O", "currency": "EUR", "exchange_rate": "0.9"}, {"order_number": "FINE"}],
        "sales_order_line": [
            {"order_number": "O", "value": "10.00"},
            {"order_number": "FINE", "value": "10.00"},
        ],
        "customer_return": [
            {"return_number": "R", "order_number": "LOST"},
            {"return_number": "R2", "order_number": "FINE", "order_line_number": "9"},
            {"return_number": "R3", "order_number": "FINE"},
        ],
        "credit_note": [
            {"credit_number": "K", "order_number": "O", "currency": "EUR", "exchange_rate": "0.9"},
            {"credit_number": "K2", "order_number": "LOST"},
        ],
        "credit_note_line": [
            {"credit_number": "K", "order_line_number": "1", "quantity": 1, "value": "12.50"},
            {"credit_number": "K2", "order_line_number": "1", "quantity": 1, "value": "3.00"},
        ],
    }
    made = books(warehouse, given)
    ledger = warehouse.settle(signed_ledger(made, RULES, warehouse.settle))
    assert rows_of(warehouse, refunds_above_sales(ledger)) == [("order-line|1-O|1", D("2.5000"), "EUR")]
    returns, credits = orphans(made)
    assert rows_of(warehouse, returns) == [
        ("return|1|R2|1", "names order line 1-FINE|9", None, None),
        ("return|1|R|1", "names order line 1-LOST|1", None, None),
    ]
    assert rows_of(warehouse, credits) == [("credit|1|K2|1", "names order 1-LOST", D("3.0000"), "GBP")]


def test_a_sku_names_every_level_of_its_matrix_and_drops_empty_ones_at_the_end_only(warehouse: Warehouse) -> None:
    examples = {
        ("310BRF", "F", "075", None, None): "310BRF_F_075",
        ("310BRF", "G", "075", "", ""): "310BRF_G_075",
        ("BELT", None, None, None, None): "BELT",
        ("SOCK", "", "L", None, None): "SOCK__L",
        ("BOOT", "E", "9", "BLK", "W"): "BOOT_E_9_BLK_W",
    }
    lines = [
        {"order_number": str(n), "product": style, "matrix_1": m1, "matrix_2": m2, "matrix_3": m3, "matrix_4": m4}
        for n, (style, m1, m2, m3, m4) in enumerate(examples)
    ]
    found = table(warehouse, "sales_order_line", *lines)
    assert rows_of(warehouse, found.select("order_number", sku=sku_id(found)), "order_number", "sku") == [
        (str(n), sku) for n, sku in enumerate(examples.values())
    ]


@pytest.fixture(scope="module")
def one_warehouse() -> Iterator[Warehouse]:
    """One engine for all examples of a law."""
    with open_warehouse("duckdb://") as opened:
        yield opened


@st.composite
def trade(draw: st.DrawFn) -> dict[str, Rows]:
    """Orders of a few lines, and returns and credits of them that may be too many, too early or for nothing."""
    orders, lines, returns, credits, credit_lines = [], [], [], [], []
    amount = st.decimals(min_value=0, max_value=5_000, places=4).map(str)
    day = st.dates(min_value=date(2025, 1, 1), max_value=date(2026, 11, 1))
    for number in range(draw(st.integers(1, 8))):
        order = f"O{number}"
        currency, rate = draw(st.sampled_from([("GBP", None), ("EUR", "0.86123"), ("USD", None)]))
        status = draw(st.sampled_from(["confirmed"] * 4 + ["cancelled", "held"]))
        orders.append(
            {
                "order_number": order,
                "status": status,
                "currency": currency,
                "exchange_rate": rate,
                "ordered_at": draw(day),
            }
        )
        for line in range(draw(st.integers(1, 3))):
            lines.append(
                {
                    "order_number": order,
                    "line_number": str(line),
                    "quantity": draw(st.integers(1, 7)),
                    "quantity_cancelled": draw(st.sampled_from([0, 0, 1, 3])),
                    "value_incl_vat": draw(amount),
                    "value_excl_vat": draw(amount),
                    "discount_incl_vat": draw(st.none() | amount),
                }
            )
    for number in range(draw(st.integers(0, 10))):
        whole = {"order_number": f"O{draw(st.integers(0, 8))}", "order_line_number": draw(st.sampled_from("0123"))}
        quantity = draw(st.integers(0, 4))
        returns.append({"return_number": f"R{number}", "quantity": quantity, "receipted_at": draw(day)} | whole)
    for number in range(draw(st.integers(0, 6))):
        order = f"O{draw(st.integers(0, 8))}"
        finalised = {"status": draw(st.sampled_from(["finalised", "finalised", "draft"])), "finalised_at": draw(day)}
        credits.append({"credit_number": f"K{number}", "order_number": order} | finalised)
        credit_lines.append(
            {
                "credit_number": f"K{number}",
                "order_line_number": draw(st.sampled_from("0123")),
                "quantity": draw(st.integers(0, 3)),
                "value_incl_vat": draw(amount),
                "value_excl_vat": draw(amount),
            }
        )
    return {
        "sales_order": orders,
        "sales_order_line": lines,
        "customer_return": returns,
        "credit_note": credits,
        "credit_note_line": credit_lines,
    }


@hypothesis.settings(max_examples=8, deadline=None)
@hypothesis.given(given_books=trade(), shuffle=st.randoms(use_true_random=False))
def test_sums_are_kept_and_the_order_of_rows_does_not_matter(
    one_warehouse: Warehouse, given_books: dict[str, Rows], shuffle: Random
) -> None:
    rows = booked(one_warehouse, **given_books)
    mixed = {name: shuffle.sample(some, len(some)) for name, some in given_books.items()}
    assert booked(one_warehouse, **mixed) == rows
    assert len({row["sale_key"] for row in rows}) == len(rows)
    # The small tables let everything happen at noon.
    assert all(row[f"{clock}_at"].date() == row[f"{clock}_on"] for row in rows for clock in ("ordered", "posted"))

    cancelled_orders = {one["order_number"] for one in given_books["sales_order"] if one["status"] == "cancelled"}
    finalised = {one["credit_number"] for one in given_books["credit_note"] if one["status"] == "finalised"}
    sold = sum(D(one["value_incl_vat"]) for one in given_books["sales_order_line"])
    credited = sum(
        D(one["value_incl_vat"]) for one in given_books["credit_note_line"] if one["credit_number"] in finalised
    )

    def total(*kinds: str) -> Decimal:
        return sum((row["value_incl_vat"] for row in rows if row["kind"] in kinds), D(0))

    assert (total("sale"), -total("credit")) == (sold, credited)
    # Net of the ledger = lines less cancellations less credits less returns that wait for their credit.
    waiting = total("return") + total("return-credited")
    assert total("sale", "cancellation", "return", "return-credited", "credit") == (
        sold + total("cancellation") - credited + waiting
    )
    assert waiting <= 0
    for line in given_books["sales_order_line"]:
        key = f"1-{line['order_number']}", line["line_number"]
        of_line = [row for row in rows if (row["order_key"], row["line_number"]) == key and row["kind"] != "credit"]
        kept = sum(row["quantity"] for row in of_line)
        worth = {name: sum((row[name] for row in of_line if row[name] is not None), D(0)) for name in AMOUNTS}
        assert 0 <= kept <= line["quantity"]
        if kept == 0:
            assert set(worth.values()) == {0}, of_line
        if line["order_number"] in cancelled_orders:
            assert kept == 0
