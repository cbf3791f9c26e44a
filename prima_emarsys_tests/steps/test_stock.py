"""Snapshots of stock, one after the other: what is believed, what is refused, and what comes back because of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.finding import Finding
from prima_emarsys.prima.sql import Mark, Page
from prima_emarsys.prima.webservice import Disbelieved
from prima_emarsys.site import StockRules
from prima_emarsys.steps.availability import BACK, AvailabilityCounts, available_over_time, update_availability
from prima_emarsys.steps.stock import BELIEVED, LANE, MOVES, SNAPSHOTS, StockCounts, ask_service, take_snapshot
from prima_emarsys.sync import guard
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.warehouse import Warehouse, open_warehouse
from prima_emarsys_tests.rules.tables import page
from prima_emarsys_tests.steps.conftest import HASH_KEY

AVAILABLE = ENTITIES["available_stock"]
START = datetime(2026, 11, 20, 9, tzinfo=UTC)
TODAY = START.date()
RULES = StockRules(vanished_after=2)
SKUS, STYLES = 5_390, 536
"""As on record of a real site, where one answer held 603 SKUs of 101 styles with status OK."""
CHANGES = (0, 130, 1_480, 0, 600)

Stock = dict[tuple[str, str], int]
"""(style, size) → quantity, of company 1."""


class Service:
    """A reader that answers what a test lays down."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.error: Disbelieved | None = None

    def lay(self, stock: Stock, *, company: str = "1", findings: list[Finding] | None = None) -> None:
        rows = [
            {"company": company, "product": product, "matrix_1": "F", "matrix_2": size, "matrix_3": "", "matrix_4": "",
             "available": units}
            for (product, size), units in stock.items()
        ]  # fmt: skip
        self.pages = [Page(AVAILABLE, page("available_stock", *rows), findings or [], len(rows), len(findings or []))]

    def everything(self, entity: Entity) -> Iterator[Page]:
        assert entity is AVAILABLE
        if self.error:
            raise self.error
        yield from self.pages

    def changed(self, entity: Entity, since: Mark | None) -> Iterator[Page]:  # noqa: ARG002
        return self.everything(entity)


class Shop:
    """A warehouse and a ledger, to which snapshots come a quarter of an hour apart."""

    def __init__(self, warehouse: Warehouse, ledger: Ledger) -> None:
        self.warehouse, self.ledger, self.service = warehouse, ledger, Service()
        self.now = START

    def take(self, stock: Stock | None = None, *, asked: timedelta = timedelta(0), **options: Any) -> StockCounts:
        self.now += timedelta(minutes=15)
        if stock is not None:
            self.service.lay(stock, **options)
        sighting = ask_service(self.service, self.now - asked)
        return take_snapshot(self.warehouse, self.ledger, sighting, RULES, self.now)

    def follow(self, *, whole: bool = False) -> AvailabilityCounts:
        return update_availability(self.warehouse, RULES, TODAY, whole=whole)

    def back(self) -> list[tuple[str, datetime]]:
        rows = self.warehouse.read(self.warehouse.table(BACK).order_by("at", "sku")).to_pylist()
        return [(row["sku"], row["at"]) for row in rows]

    def rows(self, name: str) -> list[dict[str, Any]]:
        return self.warehouse.read(self.warehouse.table(name)).to_pylist()

    def told(self) -> list[tuple[str, str, str]]:
        return [(case.kind, case.record, case.detail) for case in open_exceptions(self.ledger)]


@pytest.fixture
def ledger(empty_ledger: Path, tmp_path: Path) -> Iterator[Ledger]:
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    with closing(Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY)) as opened:
        yield opened


@pytest.fixture
def shop(ledger: Ledger) -> Iterator[Shop]:
    with open_warehouse("duckdb://") as warehouse:
        yield Shop(warehouse, ledger)


@pytest.fixture
def either(warehouse: Warehouse, ledger: Ledger) -> Shop:
    """The same on each engine."""
    return Shop(warehouse, ledger)


def a_shop_full() -> Stock:
    """Sizes of styles as on record: 5,390 SKUs, a third of them out."""
    random = np.random.default_rng(4)
    units = np.where(random.random(SKUS) < 0.3, 0, random.integers(0, 873, SKUS))
    return {(f"{300 + n % STYLES}ANV", f"{60 + n // STYLES:03}"): int(units[n]) for n in range(SKUS)}


def changed(stock: Stock, number: int, seed: int) -> Stock:
    """The stock with so many other quantities, many of them from or to 0."""
    random = np.random.default_rng(seed)
    keys = list(stock)
    chosen = [keys[n] for n in random.choice(len(keys), number, replace=False)]
    return stock | {key: 0 if stock[key] and random.random() < 0.3 else stock[key] + 1 for key in chosen}


def risen(before: Stock, after: Stock) -> set[str]:
    return {f"{p}_F_{size}" for (p, size), units in after.items() if units > 0 and before.get((p, size)) == 0}


def test_a_series_as_on_record_with_a_short_answer_changes_nothing_through_it_and_misses_nothing_after(
    shop: Shop,
) -> None:
    stock = a_shop_full()
    assert shop.take(stock).moves == {"added": SKUS}
    first = shop.follow()
    assert (first.skus, first.back) == (SKUS, 0)
    for seed, number in enumerate(CHANGES):
        before, stock = stock, changed(stock, number, seed)
        counts = shop.take(stock)
        assert counts.moved == number
        follows = shop.follow()
        assert (follows.computed, follows.back) == (number, len(risen(before, stock)))
    believed, back = shop.rows(BELIEVED), shop.back()

    short = {key: 1 for key in list(stock)[:: SKUS // 573][:573]} | {(f"OLD{n}", "060"): 1 for n in range(30)}
    counts = shop.take(short)
    assert counts.refused is not None
    assert "holds 603 SKUs, the last good one 5,390" in counts.refused
    assert f"Snapshot {counts.number}" in counts.refused
    assert shop.follow().computed == 0
    assert (shop.rows(BELIEVED), shop.back()) == (believed, back)
    assert [kind for kind, _, _ in shop.told()] == ["stock-refused"]
    assert shop.take(short).refused is not None
    assert len(shop.told()) == 1  # told once

    before, stock = stock, changed(stock, 300, 99)
    assert shop.take(stock).moved == 300
    assert shop.follow().back == len(risen(before, stock)) > 20
    assert {sku for sku, at in shop.back() if at == shop.now} == risen(before, stock)
    assert shop.told() == []


def test_an_answer_of_another_company_is_refused(shop: Shop) -> None:
    stock = a_shop_full()
    shop.take(stock)
    refused = shop.take(stock, company="2").refused
    assert refused is not None
    assert "of company 1 it lacks 5,390 of 5,390" in refused
    assert shop.take(stock).refused is None


def test_an_answer_that_is_none_is_a_refused_snapshot_and_not_a_failed_run(shop: Shop) -> None:
    shop.take({("BOOT", "075"): 1})
    shop.service.error = Disbelieved("The answer is one of company '2'.")
    counts = shop.take()
    assert counts.refused is not None
    assert "company '2'" in counts.refused
    assert [finding.kind for finding in counts.findings] == ["stock-refused"]
    assert (counts.skus, counts.available) == (1, 1)


def test_an_answer_that_was_asked_for_before_the_last_good_one_is_refused(shop: Shop) -> None:
    shop.take({("BOOT", "075"): 1})
    refused = shop.take({("BOOT", "075"): 0}, asked=timedelta(minutes=20)).refused
    assert refused is not None
    assert "older than the last good one, 1" in refused
    assert shop.take({("BOOT", "075"): 0}).moved == 1


def test_a_person_releases_a_snapshot_that_is_right(shop: Shop) -> None:
    stock = a_shop_full()
    shop.take(stock)
    half = dict(list(stock.items())[: SKUS // 2])
    assert shop.take(half).refused
    assert guard.release(shop.ledger, LANE, "Ann", "the summer range is gone") is not None
    assert shop.take(half).refused is None
    assert shop.take(half).refused is None  # what was missing is not standing any more, or is at most lacking
    assert shop.told() == []


def test_a_sku_is_out_only_after_good_snapshots_in_a_row_without_it_and_then_back_when_it_is_seen(
    either: Shop,
) -> None:
    shop = either
    both = {("BOOT", "075"): 2, ("SHOE", "080"): 1}
    shop.take(both)
    shop.follow()
    assert shop.take({("BOOT", "075"): 2}).moves == {"missing": 1}
    assert shop.take(both).moves == {"seen again": 1}
    assert shop.follow().computed == 0
    for kind in ("missing", "vanished"):
        assert shop.take({("BOOT", "075"): 2}).moves == {kind: 1}
    assert shop.follow().out == 1
    assert not shop.take({("BOOT", "075"): 2}).kept
    shop.take(both)
    assert shop.follow().back == 1
    assert [sku for sku, _ in shop.back()] == ["SHOE_F_080"]


def test_a_row_that_cannot_be_read_says_what_it_said_before(shop: Shop) -> None:
    shop.take({("BOOT", "075"): 2, ("SHOE", "080"): 1})
    unread = Finding("contract-breach", "available_stock|1|SHOE|F|080||", "available is no number")
    for _ in range(RULES.vanished_after):
        assert not shop.take({("BOOT", "075"): 2}, findings=[unread]).kept


def test_what_is_below_nothing_counts_as_0_is_flagged_and_brings_nothing_back(shop: Shop) -> None:
    """Fault matrix row 91."""
    shop.take({("BOOT", "075"): 0, ("SHOE", "080"): 1})
    shop.follow()
    counts = shop.take({("BOOT", "075"): -3, ("SHOE", "080"): 200_000})
    assert [(one.kind, one.record) for one in counts.findings] == [
        ("stock-owed", "available_stock|1|BOOT|F|075||"),
        ("stock-absurd", "available_stock|1|SHOE|F|080||"),
    ]
    assert shop.follow().back == 0
    assert counts.available == 1


def test_what_is_kept_of_snapshots_is_bounded_and_draws_the_plot(shop: Shop) -> None:
    rules = StockRules(snapshots_kept=2)
    for units in range(5):
        shop.now += timedelta(minutes=15)
        shop.service.lay({("BOOT", "075"): units})
        take_snapshot(shop.warehouse, shop.ledger, ask_service(shop.service, shop.now), rules, shop.now)
    assert sorted(row["number"] for row in shop.rows(SNAPSHOTS)) == [4, 5]
    assert sorted(row["snapshot"] for row in shop.rows(MOVES)) == [4, 5]
    assert available_over_time(shop.warehouse) == [(shop.now - timedelta(minutes=15), 1), (shop.now, 1)]


def test_computing_everything_again_changes_nothing(shop: Shop) -> None:
    shop.take({("BOOT", "075"): 0, ("SHOE", "080"): 1})
    shop.follow()
    shop.take({("BOOT", "075"): 1, ("SHOE", "080"): 0})
    once = shop.follow()
    again = shop.follow(whole=True)
    assert (once.back, once.out, once.changed) == (1, 1, 2)
    assert (again.computed, again.changed, again.back, again.out) == (2, 0, 0, 0)
    assert len(shop.back()) == 1


def test_a_day_that_has_come_is_told_no_longer(shop: Shop) -> None:
    shop.take({("BOOT", "075"): 0})
    soon = TODAY + timedelta(days=1)
    row = shop.service.pages[0].good.set_column(
        AVAILABLE.arrow_schema.get_field_index("expected_on"), AVAILABLE.arrow_schema.field("expected_on"),
        pa.array([soon], pa.date32()),
    )  # fmt: skip
    shop.service.pages = [Page(AVAILABLE, row, [], 1, 0)]
    shop.take()
    assert shop.follow().expected == 1
    later: date = soon
    assert update_availability(shop.warehouse, RULES, later).expected == 0
