"""When a person bought, by example on both engines, and as the published summary of the CDNOW log has it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from hashlib import md5
from typing import Any

import pyarrow as pa
import pytest

from prima_emarsys.rules.attributes import orders_of_persons
from prima_emarsys.rules.purchase_history import days_of_persons, histories, sample
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules import cdnow
from prima_emarsys_tests.rules.tables import rows_of
from prima_emarsys_tests.rules.test_attributes import LEDGER, row

D0 = date(2026, 1, 5)
END = D0 + timedelta(days=100)


def day(number: int) -> date:
    """So many days after the first."""
    return D0 + timedelta(days=number)


def found(warehouse: Warehouse, rows: list[dict[str, Any]], as_of: date = END) -> dict[str, tuple[int, ...]]:
    """Person → (x, t_x and T in days, pence of the repeat days). The first letter of an account is its person."""
    accounts = sorted({one["account"] for one in rows})
    links = pa.table({"account": accounts, "person_key": [account[0] for account in accounts]})
    ledger = warehouse.settle(pa.Table.from_pylist(rows, schema=LEDGER))
    days = days_of_persons(orders_of_persons(ledger, warehouse.settle(links)))
    return {one[0]: one[1:] for one in rows_of(warehouse, histories(days, as_of))}


def test_the_first_day_is_no_repeat_and_times_count_from_it(warehouse: Warehouse) -> None:
    rows = [
        row("A1", "sale", 1, "10.00", day(0)),
        row("A2", "sale", 1, "20.00", day(7)),
        row("A3", "sale", 2, "30.50", day(30)),
        row("B1", "sale", 1, "99.99", day(90)),
    ]
    assert found(warehouse, rows) == {"A": (2, 30, 100, 50_50), "B": (0, 0, 10, 0)}


def test_orders_of_one_day_are_one_purchase_also_from_two_accounts_of_the_person(warehouse: Warehouse) -> None:
    rows = [
        row("A1", "sale", 1, "10.00", day(0)),
        row("A2", "sale", 1, "20.00", day(7)),
        row("A3", "sale", 1, "5.00", day(7)),
        row("A4", "sale", 1, "2.50", day(7)) | {"account": "A, again"},
        row("A5", "sale", 1, "1.00", day(0)) | {"account": "A, again"},
    ]
    assert found(warehouse, rows) == {"A": (1, 7, 100, 27_50)}


@pytest.mark.parametrize("kind", ["cancellation", "return", "credit"])
def test_a_refund_belongs_to_the_day_of_its_order_whenever_it_is_posted(warehouse: Warehouse, kind: str) -> None:
    rows = [
        row("A1", "sale", 1, "10.00", day(0)),
        row("A2", "sale", 2, "20.00", day(7)),
        row("A3", "sale", 1, "30.00", day(30)),
        row("A2", kind, -1, "-10.00", day(7), posted_on=day(30)),
    ]
    assert found(warehouse, rows) == {"A": (2, 30, 100, 40_00)}


def test_a_return_and_the_credit_that_takes_its_place_count_once(warehouse: Warehouse) -> None:
    rows = [
        row("A1", "sale", 1, "10.00", day(0)),
        row("A2", "sale", 2, "20.00", day(7)),
        row("A2", "return", -1, "-10.00", day(7), posted_on=day(9)),
        row("A2", "return-credited", 1, "10.00", day(7), posted_on=day(12)),
        row("A2", "credit", -1, "-9.00", day(7), posted_on=day(12)),
    ]
    assert found(warehouse, rows) == {"A": (1, 7, 100, 11_00)}


def test_a_day_that_is_refunded_in_full_is_no_purchase_wherever_it_stands(warehouse: Warehouse) -> None:
    def refunded(order: str, when: date) -> list[dict[str, Any]]:
        return [row(order, "sale", 1, "50.00", when), row(order, "credit", -1, "-50.00", when, posted_on=day(99))]

    kept = [row("A2", "sale", 1, "20.00", day(7)), row("A3", "sale", 1, "30.00", day(30))]
    assert found(warehouse, kept) == {"A": (1, 23, 93, 30_00)}
    for when in (day(0), day(20), day(40)):  # before, between, after
        assert found(warehouse, [*kept, *refunded("A1", when)]) == {"A": (1, 23, 93, 30_00)}


def test_persons_who_kept_nothing_are_kept_out(warehouse: Warehouse) -> None:
    rows = [
        row("A1", "sale", 1, "10.00", day(0)),
        row("A1", "return", -1, "-10.00", day(0)),
        row("B1", "sale", 1, "10.00", day(0)),
        row("B2", "credit", 0, "-12.00", day(5)),  # a credit that names no order, larger than all that was bought
        row("C1", "sale", 1, "0.00", day(0)),
        row("D1", "sale", 1, "10.00", day(0)),
        row("D2", "credit", 0, "-9.99", day(5)),
    ]
    assert found(warehouse, rows) == {"D": (0, 0, 100, 0)}


def test_charges_and_excluded_rows_do_not_count_and_goodwill_does(warehouse: Warehouse) -> None:
    rows = [
        row("A1", "sale", 1, "10.00", day(0)),
        row("A2", "sale", 1, "20.00", day(7)),
        row("A2", "sale", 0, "4.95", day(7), nature="charge"),
        row("A2", "credit", 0, "-3.00", day(7), nature="goodwill"),
        row("A3", "sale", 1, "30.00", day(30), excluded="order-held"),
        row("A4", "sale", 0, "4.95", day(60), nature="charge"),
    ]
    assert found(warehouse, rows) == {"A": (1, 7, 100, 17_00)}


def test_who_bought_after_the_day_of_observation_is_observed_until_then(warehouse: Warehouse) -> None:
    rows = [row("A1", "sale", 1, "10.00", day(0)), row("A2", "sale", 1, "20.00", day(70))]
    rows += [row("B1", "sale", 1, "10.00", day(65))]
    assert found(warehouse, rows, as_of=day(60)) == {"A": (1, 70, 70, 20_00), "B": (0, 0, 0, 0)}


def test_the_cdnow_log_gives_the_published_summary(warehouse: Warehouse) -> None:
    """x to the unit, times to the two decimals that were printed, mean worth to the cent."""
    log = [one for one in cdnow.purchases() if one[1] <= cdnow.END]
    who, when, worth = zip(*log, strict=True)
    orders = pa.table({"person_key": who, "ordered_on": when, "net": pa.array(worth, pa.decimal128(18, 2))})
    rows = rows_of(warehouse, histories(days_of_persons(warehouse.settle(orders)), cdnow.END))
    # Eight bought once, for nothing: they are no buyers by our rule.
    for_nothing = {person for person, _, dollars in log if not dollars}
    assert len(for_nothing) == 8
    published = {f"{number:04}": one for number, one in enumerate(cdnow.summary().T, 1)}
    assert {person: one[0] for person, one in published.items() if person in for_nothing} == dict.fromkeys(
        for_nothing, 0
    )
    assert {row[0] for row in rows} == set(published) - for_nothing
    for person, repeats, recency, age, cents in rows:
        x, t_x, t, mean = published[person]
        assert repeats == x
        assert recency / 7 == pytest.approx(t_x, abs=0.0051)
        assert age / 7 == pytest.approx(t, abs=0.0051)
        assert cents / 100 / max(repeats, 1) == pytest.approx(mean, abs=0.0051)


def test_a_sample_is_the_same_on_every_engine_and_for_every_order_of_rows(warehouse: Warehouse) -> None:
    keys = [f"P1-é{number:05}" for number in range(400)]
    least = sorted(keys, key=lambda key: md5(key.encode(), usedforsecurity=False).hexdigest())[:50]
    for order in (keys, keys[::-1]):
        table = warehouse.settle(pa.table({"person_key": order}))
        assert rows_of(warehouse, sample(table, 50), "person_key") == sorted(least)
    assert len(rows_of(warehouse, sample(table, 500))) == 400


def test_amounts_are_summed_to_the_penny(warehouse: Warehouse) -> None:
    rows = [row(f"A{number}", "sale", 1, "0.10", day(number)) for number in range(11)]
    rows += [row("A10", "sale", 1, "90071992547409.91", day(10))]
    assert found(warehouse, rows)["A"] == (10, 10, 100, int(Decimal("90071992547410.91") * 100))
