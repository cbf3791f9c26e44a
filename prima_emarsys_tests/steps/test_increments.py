"""A full and an incremental run give the same bytes, whatever happened in Prima and on whichever day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from prima_emarsys.emarsys.countries import COUNTRY_IDS
from prima_emarsys.rules.contacts import FIELDS
from prima_emarsys.site import AttributeRules, IdentityRules, InternalRule, SalesData, SalesRules
from prima_emarsys.steps.attributes import score_persons
from prima_emarsys.steps.contacts import compose_contacts
from prima_emarsys.steps.persons import resolve_persons
from prima_emarsys.steps.sales import book_sales
from prima_emarsys.steps.sales_data import compose_sales
from prima_emarsys.steps.verdicts import (
    attributes_tie,
    every_account_placed,
    every_person_composed,
    no_internal_person,
    sales_tie,
)
from prima_emarsys.sync.people import People
from prima_emarsys.warehouse import Warehouse, open_warehouse
from prima_emarsys_tests.steps.small_prima import TODAY, SmallPrima

IDENTITY = IdentityRules(internal=[InternalRule(name="staff", account_types=["STAFF"])])
SALES = SalesRules(excluded_order_types=["SAMPLE"], excluded_products=["VOUCHER"])
ATTRIBUTES = AttributeRules()
DERIVED = (
    "core.accounts",
    "core.persons",
    "core.sales",
    "emarsys.rfm_clv",
    "emarsys.contacts",
    "emarsys.contacts_excluded",
    "emarsys.contacts_withheld",
    "emarsys.sales_data",
)
CUTS = "core.rfm_cut_points"


def derive(warehouse: Warehouse, people: People, as_of: date, *, whole: bool = False) -> list[Any]:
    """All steps, in their order."""
    return [
        resolve_persons(warehouse, people, IDENTITY, whole=whole),
        book_sales(warehouse, SALES, whole=whole),
        score_persons(warehouse, ATTRIBUTES, as_of, whole=whole),
        compose_contacts(warehouse, FIELDS, COUNTRY_IDS, as_of, whole=whole),
        compose_sales(warehouse, SalesData(), whole=whole),
    ]


def contents(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Every derived table, row by row."""
    return {
        name: sorted((tuple(row.values()) for row in warehouse.read(warehouse.table(name)).to_pylist()), key=repr)
        for name in DERIVED
    }


def freeze_as(warehouse: Warehouse, other: Warehouse, as_of: date) -> None:
    """Give a warehouse the cut points that another one scores by, as if frozen on that day."""
    stored = other.table(CUTS)
    latest = other.read(stored.filter(stored.as_of == stored.as_of.max().as_scalar()))
    warehouse.write(CUTS, ibis.memtable(latest).mutate(as_of=ibis.literal(as_of)))


def assert_sound(warehouse: Warehouse) -> None:
    for verdict in (no_internal_person, every_account_placed, sales_tie, attributes_tie, every_person_composed):
        found = verdict(warehouse)
        assert found.passed, found


def history(
    warehouse: Warehouse, people_in: Callable[..., People], seed: int, changes: list[int], days: int
) -> tuple[dict[str, list[tuple[Any, ...]]], dict[str, list[tuple[Any, ...]]]]:
    """Derive a small Prima step by step while it changes; then from nothing but its end and the ledger. Both tables."""
    prima = SmallPrima(seed)
    name = f"{warehouse.engine}-{seed}-{len(changes)}"
    people = people_in(name)
    prima.land(warehouse)
    as_of = TODAY
    derive(warehouse, people, as_of)
    for number, some in enumerate(changes):
        before = f"{name}-before-{number}"
        people_in(before, like=name)
        prima.happen(some)
        prima.land(warehouse)
        as_of += timedelta(days=days)
        derive(warehouse, people, as_of)
    assert_sound(warehouse)
    with open_warehouse("duckdb://") as rebuilt:
        prima.land_everything(rebuilt)
        freeze_as(rebuilt, warehouse, as_of)
        derive(rebuilt, people_in(f"{name}-again", like=before), as_of)
        return contents(warehouse), contents(rebuilt)


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(min_value=0, max_value=10**9),
    changes=st.lists(st.integers(min_value=1, max_value=12), min_size=1, max_size=3),
    days=st.sampled_from([0, 0, 1, 30]),
)
def test_increments_give_the_same_bytes_as_a_full_run(
    people_in: Callable[..., People], seed: int, changes: list[int], days: int
) -> None:
    with open_warehouse("duckdb://") as warehouse:
        by_increments, at_once = history(warehouse, people_in, seed, changes, days)
    for name in DERIVED:
        assert by_increments[name] == at_once[name], name


def test_running_again_changes_nothing_and_a_whole_run_neither(
    warehouse: Warehouse, people_in: Callable[..., People]
) -> None:
    prima = SmallPrima(seed=1)
    people = people_in("people")
    prima.land(warehouse)
    derive(warehouse, people, TODAY)
    once = contents(warehouse)
    persons, sales, attributes, composed, _ = derive(warehouse, people, TODAY)
    assert (persons.touched, persons.new_persons, sales.orders, sales.persons) == (0, 0, 0, 0)
    assert (attributes.computed, attributes.changed, composed.composed) == (0, 0, 0)
    assert contents(warehouse) == once
    persons, _, attributes, *_ = derive(warehouse, people, TODAY, whole=True)
    assert (persons.new_persons, attributes.changed) == (0, 0)
    assert contents(warehouse) == once
    assert_sound(warehouse)


def test_both_engines_derive_the_same_rows_by_increments(people_in: Callable[..., People], postgres_url: str) -> None:
    found = {}
    for url in ("duckdb://", postgres_url):
        with open_warehouse(url) as warehouse:
            by_increments, at_once = history(warehouse, people_in, 7, [3, 25], 1)
            assert by_increments == at_once
            found[url] = by_increments
    assert found["duckdb://"] == found[postgres_url]


def test_the_order_of_rows_in_prima_does_not_matter(people_in: Callable[..., People]) -> None:
    found = []
    for name in ("once", "again"):  # each landing shuffles its rows anew
        with open_warehouse("duckdb://") as warehouse:
            SmallPrima(seed=11).land(warehouse) if name == "once" else SmallPrima(seed=11).land_everything(warehouse)
            derive(warehouse, people_in(name), TODAY)
            found.append(contents(warehouse))
    assert found[0] == found[1]


def test_the_counts_of_a_run_add_up(warehouse: Warehouse, people_in: Callable[..., People]) -> None:
    prima = SmallPrima(seed=5)
    prima.land(warehouse)
    persons, sales, attributes, composed, lines = derive(warehouse, people_in("people"), TODAY)
    assert persons.linked == warehouse.size("core.persons")
    assert persons.accounts == persons.linked + sum(persons.excluded.values())
    assert sales.rows == warehouse.size("core.sales")
    assert attributes.persons == attributes.computed == persons.persons == composed.persons
    assert composed.persons == composed.contacts + sum(composed.excluded.values())
    assert sum(attributes.stages.values()) == sum(attributes.segments.values()) == attributes.persons
    assert composed.contacts == warehouse.size("emarsys.contacts")
    assert lines.read == lines.lines + sum(lines.excluded.values()) == warehouse.size("emarsys.sales_data")


def test_a_step_that_dies_before_its_end_is_repeated_and_leaves_the_same_bytes(
    people_in: Callable[..., People],
) -> None:
    """The ledger remembers the keys, then the process dies: nothing of the step is in the warehouse."""
    prima = SmallPrima(seed=2)

    class Dies(People):
        """Person keys whose process dies once they are remembered."""

        def __init__(self, people: People) -> None:
            self.__dict__.update(people.__dict__)

        def remember(self, links: pa.Table) -> int:
            super().remember(links)
            raise KeyboardInterrupt

    with open_warehouse("duckdb://") as warehouse, open_warehouse("duckdb://") as calm:
        people, others = people_in("dies"), people_in("calm")
        prima.land_everything(calm)
        prima.land(warehouse)
        derive(calm, others, TODAY)
        derive(warehouse, people, TODAY)
        prima.happen(10)
        prima.put("customer", {"customer_code": "C77", "email": "new@shop.example"})
        prima.land(warehouse)
        prima.land_everything(calm)
        with pytest.raises(KeyboardInterrupt):
            resolve_persons(warehouse, Dies(people), IDENTITY)
        derive(warehouse, people, TODAY)
        derive(calm, others, TODAY)
        assert contents(warehouse) == contents(calm)
        assert_sound(warehouse)


def test_an_account_that_comes_back_with_a_resting_key_leaves_it_to_its_founder(
    people_in: Callable[..., People],
) -> None:
    """C1 and C2 are one person under C1's key; C2 becomes staff, C1 joins an older person, C2 comes back alone."""

    def one(code: str, email: str, kind: str = "RETAIL") -> dict[str, str]:
        return {"customer_code": code, "email": f"{email}@shop.example", "account_type": kind}

    prima, people = SmallPrima(seed=0, empty=True), people_in("people")
    with open_warehouse("duckdb://") as warehouse:
        for changes in (
            [one("C0", "old")],
            [one("C1", "one"), one("C2", "one")],
            [one("C2", "one", "STAFF")],
            [one("C1", "old")],
            [one("C2", "two")],
        ):
            for change in changes:
                prima.put("customer", change)
            prima.land(warehouse)
            resolve_persons(warehouse, people, IDENTITY)
        persons = warehouse.read(warehouse.table("core.persons")).to_pylist()
    assert {row["account"]: row["person_key"] for row in persons} == {
        "1-C0": "P1-C0",
        "1-C1": "P1-C0",
        "1-C2": "P1-C2",
    }
