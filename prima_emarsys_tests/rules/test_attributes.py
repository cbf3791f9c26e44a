"""What each person has bought, by example: counting, the twelve months, lifecycle, scores, segments."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pytest

from prima_emarsys.rules import attributes as rule
from prima_emarsys.site import AttributeRules, FixedThresholds
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import rows_of

D = Decimal
TODAY = date(2026, 11, 20)
RULES = AttributeRules()

LEDGER = pa.schema(
    [
        ("account", pa.string()),
        ("order_key", pa.string()),
        ("kind", pa.string()),
        ("nature", pa.string()),
        ("quantity", pa.int64()),
        ("base_incl_vat", pa.decimal128(18, 2)),
        ("ordered_on", pa.date32()),
        ("posted_on", pa.date32()),
        ("excluded", pa.string()),
    ]
)


def row(order: str, kind: str, quantity: int, amount: str, day: date = date(2026, 10, 1), **given: Any) -> dict:
    """A row of the signed ledger of the person whose letter the order begins with; account and person are `A`."""
    plain = {"account": order[0], "order_key": order, "kind": kind, "nature": "goods", "quantity": quantity}
    return plain | {"base_incl_vat": D(amount), "ordered_on": day, "posted_on": day, "excluded": None} | given


def bought(
    warehouse: Warehouse, rows: list[dict], *, persons: str = "", as_of: date = TODAY, rules: AttributeRules = RULES
) -> dict[str, dict[str, Any]]:
    """`purchases` by person; `persons` are those without any row."""
    everybody = sorted({one["account"] for one in rows} | set(persons))
    links = warehouse.settle(pa.table({"account": everybody, "person_key": everybody}))
    ledger = warehouse.settle(pa.Table.from_pylist(rows, schema=LEDGER))
    orders = rule.orders_of_persons(ledger, links)
    found = warehouse.read(rule.purchases(orders, links.select("person_key"), as_of, rules))
    return {one.pop("person_key"): one for one in found.to_pylist()}


def test_every_attribute_of_a_person_with_two_orders_a_cancellation_a_return_and_a_charge(warehouse: Warehouse) -> None:
    first, last = date(2025, 11, 20), date(2026, 10, 1)
    found = bought(
        warehouse,
        [
            row("A1", "sale", 2, "100.00", first),
            row("A1", "cancellation", -1, "-50.00", first),
            row("A2", "sale", 3, "90.01", last),
            row("A2", "sale", 0, "4.95", last, nature="charge"),
            row("A2", "return", -1, "-30.00", last, posted_on=date(2026, 10, 9)),
            row("A2", "return-credited", 1, "30.00", last, posted_on=date(2026, 10, 20)),
            row("A2", "credit", -1, "-28.00", last, posted_on=date(2026, 10, 20)),
            row("A2", "credit", 0, "-2.00", last, posted_on=date(2026, 11, 1), nature="goodwill"),
            row("A3", "sale", 9, "999.00", last, excluded="order-held"),
        ],
    )
    assert found == {
        "A": {
            "first_order_date": first,
            "last_order_date": last,
            "orders": 2,
            "units": 4,
            "gross_value": D("140.01"),
            "refunds_value": D("30.00"),
            "net_value": D("110.01"),
            "net_value_12m": D("60.01"),
            "average_order_value": D("55.01"),
            "return_rate": D("25.00"),
            "last_return_date": date(2026, 10, 20),
            "lifecycle_stage": "active",
        }
    }


def test_a_person_who_never_bought_has_noughts_no_dates_and_is_a_lead(warehouse: Warehouse) -> None:
    found = bought(warehouse, [row("B1", "sale", 1, "1.00")], persons="A")["A"]
    assert found == {
        "first_order_date": None,
        "last_order_date": None,
        "orders": 0,
        "units": 0,
        "gross_value": D("0.00"),
        "refunds_value": D("0.00"),
        "net_value": D("0.00"),
        "net_value_12m": D("0.00"),
        "average_order_value": None,
        "return_rate": None,
        "last_return_date": None,
        "lifecycle_stage": "lead",
    }


def test_an_order_counts_only_while_something_of_it_is_kept_unless_the_site_says_otherwise(
    warehouse: Warehouse,
) -> None:
    rows = [
        row("A1", "sale", 1, "10.00"),  # kept
        row("B1", "sale", 1, "10.00"),  # wholly returned
        row("B1", "return", -1, "-10.00"),
        row("C1", "sale", 1, "10.00"),  # wholly cancelled
        row("C1", "cancellation", -1, "-10.00"),
        row("D1", "sale", 2, "10.00"),  # half returned
        row("D1", "return", -1, "-5.00"),
        row("E1", "sale", 1, "0.00"),  # given away
        row("F1", "credit", 0, "-5.00"),  # a credit without order
        row("G1", "sale", 1, "10.00"),  # refunded more than it was worth
        row("G1", "credit", -1, "-12.00"),
    ]
    strict = bought(warehouse, rows)
    assert {key: one["orders"] for key, one in strict.items()} == dict(
        zip("ABCDEFG", (1, 0, 0, 1, 0, 0, 0), strict=True)
    )
    lenient = bought(warehouse, rows, rules=AttributeRules(refunded_orders_count=True))
    assert {key: one["orders"] for key, one in lenient.items()} == dict(
        zip("ABCDEFG", (1, 1, 0, 1, 0, 0, 1), strict=True)
    )
    # What does not count as an order still counts as money.
    assert {key: one["net_value"] for key, one in strict.items()} == {
        "A": D("10.00"),
        "B": D("0.00"),
        "C": D("0.00"),
        "D": D("5.00"),
        "E": D("0.00"),
        "F": D("-5.00"),
        "G": D("-2.00"),
    }
    assert {key: one["lifecycle_stage"] for key, one in strict.items() if one["orders"] == 0} == dict.fromkeys(
        "BCEFG", "lead"
    )
    assert strict["B"]["return_rate"] == D("100.00")
    assert strict["C"]["return_rate"] is None
    assert strict["G"]["refunds_value"] == D("12.00")


def test_lifecycle_changes_on_the_day_after_each_limit(warehouse: Warehouse) -> None:
    ages = {"A": 0, "B": 90, "C": 91, "D": 365, "E": 366}
    once = [row(f"{key}1", "sale", 1, "1.00", TODAY - timedelta(days=age)) for key, age in ages.items()]
    twice = [one | {"order_key": f"{one['account']}2"} for one in once]
    stages = {key: one["lifecycle_stage"] for key, one in bought(warehouse, once).items()}
    again = {key: one["lifecycle_stage"] for key, one in bought(warehouse, once + twice).items()}
    late = {"C": "defecting", "D": "defecting", "E": "inactive"}
    assert stages == {"A": "first-time buyer", "B": "first-time buyer"} | late
    assert again == {"A": "active", "B": "active"} | late


@pytest.mark.parametrize(
    ("as_of", "last_day_out"),
    [
        (date(2026, 11, 20), date(2025, 11, 20)),
        (date(2028, 2, 29), date(2027, 2, 28)),
        (date(2029, 2, 28), date(2028, 2, 28)),
        (date(2028, 3, 1), date(2027, 3, 1)),
    ],
)
def test_the_twelve_months_begin_on_the_day_after_the_same_day_a_year_ago(
    warehouse: Warehouse, as_of: date, last_day_out: date
) -> None:
    days = {"A": last_day_out, "B": last_day_out + timedelta(days=1), "C": as_of}
    found = bought(warehouse, [row(f"{key}1", "sale", 1, "1.00", day) for key, day in days.items()], as_of=as_of)
    assert [found[key]["net_value_12m"] for key in "ABC"] == [D("0.00"), D("1.00"), D("1.00")]


def _persons(warehouse: Warehouse, values: list[tuple[str, date | None, int, str]]) -> ir.Table:
    names = ("person_key", "last_order_date", "orders", "net_value")
    schema = pa.schema(
        [("person_key", pa.string()), ("last_order_date", pa.date32()), ("orders", pa.int64()),
         ("net_value", pa.decimal128(18, 2))]
    )  # fmt: skip
    rows = [dict(zip(names, (key, day, orders, D(net)), strict=True)) for key, day, orders, net in values]
    return warehouse.settle(pa.Table.from_pylist(rows, schema=schema))


def _cuts(warehouse: Warehouse, table: ir.Table) -> rule.CutPoints:
    cuts: dict[str, tuple[rule.Boundary, ...]] = {}
    rows = warehouse.read(rule.quintile_boundaries(table).order_by("measure", "score")).to_pylist()
    for one in rows:
        value = one["date_value"] if one["measure"] == "recency" else one["number_value"]
        value = int(value) if one["measure"] == "frequency" else value
        cuts[one["measure"]] = (*cuts.get(one["measure"], ()), rule.Boundary(value, one["person_key"]))
    return cuts


SCORES = ("recency_score", "frequency_score", "monetary_score")


def test_each_measure_is_cut_into_five_equal_groups_of_its_own_with_ties_by_key(warehouse: Warehouse) -> None:
    day = date(2026, 1, 1)
    people = [(f"P{n:02}", day + timedelta(days=n % 3), 1, f"{100 - n}.00") for n in range(10)]
    table = _persons(warehouse, [*people, ("P99", None, 0, "0.00")])
    cuts = _cuts(warehouse, table)
    assert {measure: len(boundaries) for measure, boundaries in cuts.items()} == dict.fromkeys(rule.MEASURES, 4)
    scored = rule.attributes(table, cuts)
    found = {one[0]: one[1:] for one in rows_of(warehouse, scored, "person_key", *SCORES)}
    # Recency by (day, key): P00 P03 P06 P09 | P01 P04 P07 | P02 P05 P08, two to a group.
    recency = dict(
        zip(["P00", "P03", "P06", "P09", "P01", "P04", "P07", "P02", "P05", "P08"], "1122334455", strict=True)
    )
    for n in range(10):
        key = f"P{n:02}"
        assert found[key] == (int(recency[key]), n // 2 + 1, 5 - n // 2)
    assert found["P99"] == (None, None, None)


def test_scoring_needs_only_the_person_once_the_cut_points_are_frozen(warehouse: Warehouse) -> None:
    people = [(f"P{n:02}", date(2026, 1, 1) + timedelta(days=n), n + 1, f"{n}.00") for n in range(20)]
    table = _persons(warehouse, people)
    cuts = _cuts(warehouse, table)
    together = rows_of(warehouse, rule.attributes(table, cuts), "person_key", *SCORES, "rfm_segment")
    alone = [
        rows_of(warehouse, rule.attributes(_persons(warehouse, [one]), cuts), "person_key", *SCORES, "rfm_segment")[0]
        for one in people[::7]
    ]
    assert alone == together[::7]
    # A newcomer is placed between them without moving them.
    [newcomer] = rows_of(
        warehouse, rule.attributes(_persons(warehouse, [("P07a", date(2026, 1, 9), 5, "7.50")]), cuts), *SCORES
    )
    assert newcomer == (2, 2, 2)  # on the day of P08, whose key comes after


def test_few_buyers_make_fewer_groups_and_nobody_makes_none(warehouse: Warehouse) -> None:
    day = date(2026, 1, 1)
    two = _persons(warehouse, [("P1", day, 1, "1.00"), ("P2", day, 1, "1.00")])
    assert rows_of(warehouse, rule.attributes(two, _cuts(warehouse, two)), *SCORES) == [(1, 1, 1), (2, 2, 2)]
    nobody = _persons(warehouse, [("P1", None, 0, "0.00")])
    assert _cuts(warehouse, nobody) == {}
    assert rows_of(warehouse, rule.attributes(nobody, {}), *SCORES) == [(None, None, None)]


def test_fixed_thresholds_score_by_the_sites_own_limits(warehouse: Warehouse) -> None:
    limits = FixedThresholds(
        method="thresholds",
        recency_days=(30, 90, 180, 365),
        frequency_orders=(2, 3, 5, 10),
        monetary_net=(D("50"), D("200"), D("500.00"), D("1000")),
    )
    cuts = rule.fixed_boundaries(limits, TODAY)
    examples = {
        ("P1", 30, 1, "49.99"): (5, 1, 1),
        ("P2", 31, 2, "50.00"): (4, 2, 2),
        ("P3", 90, 3, "499.99"): (4, 3, 3),
        ("P4", 180, 4, "500.00"): (3, 3, 4),
        ("P5", 365, 9, "999.99"): (2, 4, 4),
        ("P6", 366, 10, "1000.00"): (1, 5, 5),
    }
    table = _persons(warehouse, [(key, TODAY - timedelta(days=age), orders, net) for key, age, orders, net in examples])
    assert rows_of(warehouse, rule.attributes(table, cuts), *SCORES) == sorted(examples.values())
    assert {one[0]: one[1:] for one in rows_of(warehouse, rule.attributes(table, cuts), "person_key", *SCORES)} == {
        example[0]: scores for example, scores in examples.items()
    }


def test_each_cell_of_recency_and_frequency_has_one_name(warehouse: Warehouse) -> None:
    grid = {
        5: ["new", "promising", "promising", "champions", "champions"],
        4: ["new", "promising", "promising", "loyal", "loyal"],
        3: ["cooling", "needs attention", "needs attention", "loyal", "loyal"],
        2: ["hibernating", "at risk", "at risk", "must not lose", "must not lose"],
        1: ["hibernating", "at risk", "at risk", "must not lose", "must not lose"],
    }
    cells = [(recency, number + 1, name) for recency, names in grid.items() for number, name in enumerate(names)]
    table = warehouse.settle(
        pa.table({"r": [*(one[0] for one in cells), None], "f": [*(one[1] for one in cells), None]},
                 schema=pa.schema([("r", pa.int64()), ("f", pa.int64())]))
    )  # fmt: skip
    named = table.select("r", "f", name=rule.rfm_segment(table.r, table.f))
    assert rows_of(warehouse, named.filter(named.r.notnull())) == sorted(cells)
    assert rows_of(warehouse, named.filter(named.r.isnull()), "name") == [None]


def test_the_persons_who_cross_a_boundary_between_two_days_are_exactly_those_whose_attributes_change(
    warehouse: Warehouse,
) -> None:
    before, after = TODAY - timedelta(days=3), TODAY
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ages = [0, 86, 87, 88, 89, 90, 91, 92, 93, 94, 200, 361, 362, 363, 364, 365, 366, 367, 368, 369, 370, 700]
    rows = [
        row(f"{letter}1", "sale", 1, "1.00", TODAY - timedelta(days=age))
        for letter, age in zip(letters, ages, strict=False)
    ]
    then, now = bought(warehouse, rows, as_of=before), bought(warehouse, rows, as_of=after)
    changed = sorted(key for key in then if then[key] != now[key])
    everybody = sorted(then)
    links = warehouse.settle(pa.table({"account": everybody, "person_key": everybody}))
    orders = rule.orders_of_persons(warehouse.settle(pa.Table.from_pylist(rows, schema=LEDGER)), links)
    scored = warehouse.settle(
        pa.table({"person_key": everybody, "last_order_date": [then[key]["last_order_date"] for key in everybody]})
    )
    crossing = rows_of(warehouse, rule.crossing_persons(orders, scored, before, after, RULES), "person_key")
    assert crossing == changed
    assert [then[key]["last_order_date"] for key in changed] == [
        TODAY - timedelta(days=age) for age in (91, 92, 93, 365, 366, 367, 368)
    ]


def test_net_over_all_persons_is_the_sum_of_the_counted_rows(warehouse: Warehouse) -> None:
    amounts = [D(n * 37 % 1009) / 100 for n in range(60)]
    kinds = ["sale", "sale", "cancellation", "return", "credit"]
    rows = [
        row(f"{'ABCDE'[n % 5]}{n % 7}", kinds[n % 5], 1 if n % 5 < 2 else -1, str(amount if n % 5 < 2 else -amount))
        for n, amount in enumerate(amounts)
    ]
    found = bought(warehouse, rows)
    assert sum(one["net_value"] for one in found.values()) == sum(one["base_incl_vat"] for one in rows)
    assert bought(warehouse, rows[::-1]) == found


def test_a_year_before_a_leap_day_is_the_last_of_february() -> None:
    assert rule.one_year_before(date(2028, 2, 29)) == date(2027, 2, 28)
    assert rule.one_year_before(date(2027, 2, 28)) == date(2026, 2, 28)


def test_no_attribute_is_an_age(warehouse: Warehouse) -> None:
    """Between two days on which nothing happens and nobody crosses a boundary, nothing changes."""
    rows = [row("A1", "sale", 1, "1.00", TODAY - timedelta(days=40)), row("B1", "sale", 1, "9.00", date(2024, 1, 1))]
    assert bought(warehouse, rows, as_of=TODAY) == bought(warehouse, rows, as_of=TODAY + timedelta(days=30))
