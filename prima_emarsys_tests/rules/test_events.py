"""Order events as a table of small orders: which facts they show, under which ids, and what was overtaken."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prima_emarsys.rules import sales
from prima_emarsys.rules.events import Fact, OrderRows, facts, money, sku
from prima_emarsys.site import EventKind, SalesRules
from prima_emarsys_tests.rules.tables import page

RULES = SalesRules(excluded_order_types=["SAMPLE"])
ORDERED = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
K = EventKind


def at(minutes: float) -> datetime:
    return ORDERED + timedelta(minutes=minutes)


def rows(name: str, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Contract rows, filled up with what does not matter here."""
    common = {"company": "1", "order_number": "O1", "changed_at": ORDERED}
    return page(name, *(common | one for one in changes)).to_pylist() if changes else []


def line(number: str = "1", quantity: int = 2, **changes: Any) -> dict[str, Any]:
    given = {"line_number": number, "product": "BOOT", "matrix_1": "40", "quantity": quantity}
    value = {"value_incl_vat": Decimal("60.00"), "value_excl_vat": Decimal("50.00")}
    return given | {"quantity_cancelled": 0, "quantity_despatched": 0, "status": "confirmed"} | value | changes


def order(*lines: dict[str, Any], header: dict[str, Any] | None = None, **more: list[dict[str, Any]]) -> OrderRows:
    given = {"customer_code": "C1", "status": "confirmed", "ordered_at": ORDERED, "currency": "GBP"}
    (made,) = rows("sales_order", given | (header or {}))
    return OrderRows(
        "1",
        "O1",
        made,
        rows("sales_order_line", *(lines or (line(),))),
        rows("order_charge", *more.get("charges", [])),
        rows("despatch", *more.get("despatches", [])),
        rows("customer_return", *more.get("returns", [])),
        rows("credit_note", *more.get("credits", [])),
        rows("credit_note_line", *more.get("credit_lines", [])),
    )


def despatch(number: str, line_number: str = "1", quantity: int = 1, minutes: float = 60) -> dict[str, Any]:
    return {
        "despatch_number": number, "line_number": line_number, "order_line_number": line_number, "quantity": quantity,
        "despatched_at": at(minutes), "carrier": "RM48", "tracking_reference": "ZZ1",
    }  # fmt: skip


def came_back(number: str, quantity: int = 1, minutes: float = 900, line_number: str = "1") -> dict[str, Any]:
    return {
        "return_number": number, "line_number": "1", "order_line_number": line_number, "quantity": quantity,
        "receipted_at": at(minutes), "reason": "SIZE",
    }  # fmt: skip


def shown(found: list[Fact]) -> list[str]:
    """Kinds, with a mark for those that were overtaken."""
    return [fact.kind.value + (" (overtaken)" if fact.overtaken_by else "") for fact in found]


def ids(found: list[Fact]) -> list[str]:
    return [fact.event_id for fact in found]


# -- which facts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (order(), ["order-confirmed"]),
        (order(header={"status": "held"}), []),
        (OrderRows("1", "O1", rows("sales_order", {"customer_code": "C1"})[0]), []),
        (
            order(line(quantity_despatched=1), despatches=[despatch("D1")]),
            ["order-confirmed", "order-part-despatched"],
        ),
        (
            order(line(quantity_despatched=2), despatches=[despatch("D1"), despatch("D2", minutes=90)]),
            ["order-confirmed", "order-part-despatched", "order-despatched"],
        ),
        (
            order(line(quantity_cancelled=1, cancelled_at=at(5))),
            ["order-confirmed", "order-part-cancelled"],
        ),
        (
            order(line(quantity_cancelled=2, cancelled_at=at(5))),
            ["order-confirmed (overtaken)", "order-cancelled"],
        ),
        (
            order(header={"status": "cancelled", "cancelled_at": at(5)}),
            ["order-confirmed (overtaken)", "order-cancelled"],
        ),
        (
            order(
                line(quantity_cancelled=1, cancelled_at=at(5), quantity_despatched=1), despatches=[despatch("D1")]
            ),
            ["order-confirmed", "order-part-cancelled", "order-despatched"],
        ),
        (
            order(
                line(quantity_despatched=2), despatches=[despatch("D1", quantity=2)], returns=[came_back("R1")]
            ),
            ["order-confirmed", "order-despatched", "return-receipted"],
        ),
        (
            order(
                line(quantity_despatched=2), despatches=[despatch("D1", quantity=2)], returns=[came_back("R1", 2)]
            ),
            ["order-confirmed", "order-despatched (overtaken)", "return-receipted"],
        ),
        (
            order(
                line(quantity_despatched=2),
                despatches=[despatch("D1", quantity=2)],
                credits=[{"credit_number": "K1", "customer_code": "C1", "status": "finalised", "finalised_at": at(99)}],
                credit_lines=[{"credit_number": "K1", "quantity": 2, "product": "BOOT"}],
            ),
            ["order-confirmed", "order-despatched (overtaken)", "credit-note-finalised"],
        ),
        (
            order(
                credits=[{"credit_number": "K1", "customer_code": "C1", "status": "draft", "finalised_at": None}],
                credit_lines=[{"credit_number": "K1", "quantity": 1}],
            ),
            ["order-confirmed"],
        ),
    ],
)  # fmt: skip
def test_an_order_shows(situation: OrderRows, expected: list[str]) -> None:
    assert shown(facts(situation, RULES)) == expected


def test_no_review_can_be_asked_for_an_order_that_came_back_or_was_cancelled() -> None:
    """The despatch starts that journey: it is marked as overtaken, and what follows it says so in its data."""
    returned = order(
        line(quantity_despatched=2), despatches=[despatch("D1", quantity=2)], returns=[came_back("R1", 2)]
    )  # fmt: skip
    *_, last = facts(returned, RULES)
    assert last.data["is_fully_returned"] is True
    *_, last = facts(order(line(quantity_cancelled=2, cancelled_at=at(5))), RULES)
    assert last.data["is_cancelled"] is True
    assert last.data["remaining_quantity"] == 0


def test_a_despatch_after_a_return_is_not_overtaken_by_it() -> None:
    """An exchange: what came back first did not make the later parcel untrue."""
    again = order(
        line(quantity=3, quantity_despatched=3),
        despatches=[despatch("D1", quantity=2), despatch("D2", quantity=1, minutes=2_000)],
        returns=[came_back("R1", 3, minutes=1_000)],
    )
    assert shown(facts(again, RULES)) == [
        "order-confirmed", "order-part-despatched (overtaken)", "return-receipted", "order-despatched",
    ]  # fmt: skip


def test_orders_of_a_type_that_is_no_sale_are_kept_from_everybody_by_name_of_the_rule() -> None:
    (one,) = facts(order(header={"order_type": "Sample"}), RULES)
    assert one.excluded == "order-type"


def test_a_return_of_an_order_that_prima_does_not_show_says_so() -> None:
    alone = OrderRows("1", "O1", returns=rows("customer_return", came_back("R1")))
    (one,) = facts(alone, RULES)
    assert (one.order_known, one.account, one.aggregate) == (False, None, "1-O1")
    known = order(returns=[came_back("R1")])
    assert one.event_id in ids(facts(known, RULES))


def test_a_credit_without_an_order_is_about_itself() -> None:
    credit = rows(
        "credit_note",
        {"credit_number": "K1", "customer_code": "C9", "order_number": None, "finalised_at": at(9), "currency": "EUR"},
    )
    parts = rows("credit_note_line", {"credit_number": "K1", "order_number": None, "quantity": 0})
    (one,) = facts(OrderRows("1", None, credits=credit, credit_lines=parts), RULES)
    assert (one.order_known, one.account, one.aggregate) == (True, "1-C9", "1-credit-K1")
    assert one.data["credit_currency"] == "EUR"


# -- identity and versions -------------------------------------------------------------------------------------------


def test_ids_are_the_same_for_ever() -> None:
    """Written down: an id that changes with the software would tell every customer everything again."""
    full = order(line(quantity_despatched=2), despatches=[despatch("D1", quantity=2)], returns=[came_back("R1")])
    assert ids(facts(full, RULES)) == [
        "dd340c0b-c19c-51f3-a7c6-636057632c4a",
        "850816fe-d640-54a0-be6c-67c5d71bb879",
        "f7190296-2e6c-58c1-925c-2800dd8274b3",
    ]


@given(st.data())
def test_the_order_in_which_rows_are_read_changes_nothing(data: st.DataObject) -> None:
    lines = [line(str(number), quantity_despatched=1) for number in range(1, 4)]
    notes = [despatch("D1", "1"), despatch("D1", "2"), despatch("D2", "3", minutes=70)]
    back = [came_back("R1", line_number="2"), came_back("R2", line_number="1")]
    some, other, third = (data.draw(st.permutations(part)) for part in (lines, notes, back))
    found = facts(order(*some, despatches=other, returns=third), RULES)
    assert found == facts(order(*lines, despatches=notes, returns=back), RULES)
    assert len(set(ids(found))) == 5


@pytest.mark.parametrize(
    "changed",
    [
        line(quantity=3),
        line(value_incl_vat=Decimal("59.00")),
        line(matrix_1="41"),
    ],
)
def test_row_58_an_amended_order_is_confirmed_anew_and_dates_from_its_amendment(changed: dict[str, Any]) -> None:
    (first,) = facts(order(), RULES)
    amended = facts(order(changed | {"changed_at": at(700)}), RULES, confirmed={first.version})[0]
    assert amended.event_id != first.event_id
    assert amended.data["is_amended"] is True
    assert amended.dated_at == at(700)
    assert first.dated_at == ORDERED


@pytest.mark.parametrize(
    "touched",
    [
        line(quantity_cancelled=1, cancelled_at=at(5)),
        line(quantity_despatched=1, status="part despatched"),
        line(due_on=ORDERED.date(), changed_at=at(5)),
        line(value_incl_vat=Decimal("60.0000")),
    ],
)
def test_what_happens_to_an_order_is_no_new_version_of_it(touched: dict[str, Any]) -> None:
    (first,) = facts(order(), RULES)
    again = facts(order(touched), RULES, confirmed={first.version})[0]
    assert again.event_id == first.event_id
    assert again.data["is_amended"] is False


def test_further_cancellations_are_further_facts() -> None:
    three = {"quantity": 3, "cancelled_at": at(5)}
    found = [facts(order(line(quantity_cancelled=number, **three)), RULES)[1] for number in (1, 2, 3)]
    assert len(set(ids(found))) == 3
    assert shown(found) == ["order-part-cancelled", "order-part-cancelled", "order-cancelled"]


def test_a_parcel_is_told_once_although_the_rest_was_cancelled_later() -> None:
    before = facts(order(line(quantity_despatched=1), despatches=[despatch("D1")]), RULES)[1]
    gone = line(quantity_despatched=1, quantity_cancelled=1, cancelled_at=at(99))
    after = facts(order(gone, despatches=[despatch("D1")]), RULES)
    assert before.event_id in ids(after)


def test_an_old_cancellation_without_a_date_is_as_old_as_its_order() -> None:
    touched = facts(order(line(quantity_cancelled=1, cancelled_at=None, changed_at=at(99_999))), RULES)
    assert [fact.dated_at for fact in touched] == [ORDERED, ORDERED]


# -- what a template reads ---------------------------------------------------------------------------------------------


def test_a_confirmation_tells_lines_and_value_to_the_penny() -> None:
    confirmed = order(
        line("1", 2),
        line("2", 3, product="SOCK", matrix_1=None, value_incl_vat=Decimal("10.00")),
        charges=[{"charge_number": "1", "charge_code": "CARR", "value_incl_vat": Decimal("4.95")}],
    )
    (one,) = facts(confirmed, RULES)
    assert one.data | {"lines": None} == {
        "event": "order-confirmed", "company": "1", "order_number": "O1", "document_number": "O1", "lines": None,
        "is_amended": False, "ordered_at": "2026-11-20T09:00:00Z", "happened_at": "2026-11-20T09:00:00Z",
        "order_channel": one.data["order_channel"], "currency": "GBP", "order_value": "74.95", "goods_value": "70.00",
        "ordered_quantity": 5, "cancelled_quantity": 0, "despatched_quantity": 0, "returned_quantity": 0,
        "credited_quantity": 0, "remaining_quantity": 5, "is_cancelled": False, "is_complete": False,
        "is_fully_returned": False, "is_fully_credited": False,
    }  # fmt: skip
    assert one.data["lines"] == [
        {"line_number": "1", "sku": "BOOT_40", "product": "BOOT", "quantity": 2, "price": "30.00", "value": "60.00"},
        {"line_number": "2", "sku": "SOCK", "product": "SOCK", "quantity": 3, "price": "3.33", "value": "10.00"},
    ]


def test_a_despatch_tells_what_is_in_the_parcel_and_how_to_follow_it() -> None:
    (_, gone) = facts(order(line(quantity_despatched=1), despatches=[despatch("D1")]), RULES)
    assert (gone.data["carrier"], gone.data["tracking_reference"]) == ("RM48", "ZZ1")
    assert gone.data["lines"] == [
        {"line_number": "1", "sku": "BOOT_40", "product": "BOOT", "quantity": 1, "price": "30.00", "value": "30.00"}
    ]
    assert gone.data["remaining_quantity"] == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "0.00"), ("12.3000", "12.30"), ("-5", "-5.00"), ("0.1250", "0.125"), ("1000000.0001", "1000000.0001")],
)
def test_money_is_exact_text(value: str, text: str) -> None:
    assert money(Decimal(value)) == text


def test_a_sku_is_what_sales_call_it() -> None:
    import ibis

    levels = [None, "", "40"]
    made = [
        {"product": "BOOT", **dict(zip(("matrix_1", "matrix_2", "matrix_3", "matrix_4"), parts, strict=True))}
        for parts in itertools.product(levels, repeat=4)
    ]
    kinds = dict.fromkeys(["product", "matrix_1", "matrix_2", "matrix_3", "matrix_4"], "string")
    table = ibis.memtable(made, schema=kinds)
    found = table.select(*kinds, sku=sales.sku_id(table)).execute().astype(object)
    for one in found.where(found.notna(), None).to_dict("records"):
        assert sku(one) == one["sku"]
