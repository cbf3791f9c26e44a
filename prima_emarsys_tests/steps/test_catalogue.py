"""The catalogue's file: sent whole when something differs, held when it would take much out, and sent again if lost."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from prima_emarsys.contract import Entity
from prima_emarsys.emarsys.outcome import Ambiguous, Answered, Later, Outcome, Stopped
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.prima.sql import Mark, Page
from prima_emarsys.settings import SettingsError
from prima_emarsys.site import Site
from prima_emarsys.steps.availability import update_availability
from prima_emarsys.steps.catalogue import (
    ITEMS,
    LANE,
    SENT,
    CatalogueCounts,
    CatalogueSent,
    compose_catalogue,
    explain_catalogue,
    send_catalogue,
)
from prima_emarsys.steps.stock import look_at_mirror, take_snapshot
from prima_emarsys.sync import guard, lanes
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.warehouse import Warehouse, open_warehouse
from prima_emarsys_tests.rules.tables import page
from prima_emarsys_tests.steps.conftest import HASH_KEY

TODAY = date(2026, 11, 20)
LEVELS = {"matrix_1": "F", "matrix_2": "075", "matrix_3": "", "matrix_4": ""}
SITE = Site.model_validate(
    {"site": "test", "stock": {"missing_share": 1, "vanished_after": 1}, "emarsys": {"catalogue": {"ignore_below": 10}}}
)


class SmallShop:
    """A Prima of one-size styles with so many units each, as a reader."""

    def __init__(self, units: dict[str, int]) -> None:
        self.units = units
        self.lists = ["RETAIL"]

    def everything(self, entity: Entity) -> Iterator[Page]:
        rows = {
            "warehouse": [{"warehouse": "MAIN", "is_sellable": True}],
            "stock": [LEVELS | {"warehouse": "MAIN", "product": p, "physical": n} for p, n in self.units.items()],
            "sku": [LEVELS | {"product": p} for p in self.units],
            "product": [
                {"product": p, "title": f"Shoe {p}, “plain”", "link": f"https://shop.example/{p}"} for p in self.units
            ],
            "price": [
                dict.fromkeys(LEVELS, "")
                | {"product": p, "price_list": one, "valid_from": date(2026, 1, 1), "price_incl_vat": "59.00"}
                for p in self.units
                for one in self.lists
            ],
        }[entity.name]
        yield Page(entity, page(entity.name, *rows), [], len(rows), 0)

    def changed(self, entity: Entity, since: Mark | None) -> Iterator[Page]:  # noqa: ARG002
        return self.everything(entity)


class Sink:
    """Takes files, or says what it is told to say."""

    packed = False

    def __init__(self) -> None:
        self.outcome: Outcome = Answered({})
        self.files: list[dict[str, dict[str, str]]] = []

    def send(self, file: Path) -> Outcome:
        if isinstance(self.outcome, Answered):
            with file.open(encoding="utf-8", newline="") as rows:
                self.files.append({row["item"]: row for row in csv.DictReader(rows)})
        return self.outcome


class Shop:
    """A warehouse, a ledger and a sink, which follow a small Prima."""

    def __init__(self, warehouse: Warehouse, ledger: Ledger) -> None:
        self.warehouse, self.ledger, self.sink = warehouse, ledger, Sink()
        self.prima = SmallShop({f"S{n:02}": n % 3 for n in range(20)})

    def follow(self, site: Site = SITE) -> CatalogueCounts:
        now = datetime.now(UTC)
        for name in ("warehouse", "stock", "product", "sku", "price"):
            Mirror(self.warehouse).land(self.prima, name, sweep=True, short_share=1)
        take_snapshot(self.warehouse, self.ledger, look_at_mirror(self.warehouse, [], now), site.stock, now)
        update_availability(self.warehouse, site.stock, TODAY)
        return compose_catalogue(self.warehouse, site, TODAY)

    def send(self) -> CatalogueSent:
        @contextmanager
        def opened() -> Iterator[Warehouse]:
            yield self.warehouse

        return send_catalogue(opened, self.ledger, self.sink, SITE.emarsys.catalogue)


@contextmanager
def opened_shop(warehouse: Warehouse, empty_ledger: Path, folder: Path) -> Iterator[Shop]:
    """A shop whose first file was taken."""
    shutil.copy(empty_ledger, folder / "ledger.db")
    with closing(Ledger.open(f"sqlite:///{folder / 'ledger.db'}", HASH_KEY)) as ledger:
        found = Shop(warehouse, ledger)
        found.follow()
        assert found.send().accepted
        yield found


@pytest.fixture
def shop(empty_ledger: Path, tmp_path: Path) -> Iterator[Shop]:
    with open_warehouse("duckdb://") as warehouse, opened_shop(warehouse, empty_ledger, tmp_path) as found:
        yield found


@pytest.fixture
def either(warehouse: Warehouse, empty_ledger: Path, tmp_path: Path) -> Iterator[Shop]:
    """The same on each engine."""
    with opened_shop(warehouse, empty_ledger, tmp_path) as found:
        yield found


def test_each_file_is_the_whole_and_goes_only_when_something_differs(either: Shop) -> None:
    shop = either
    [first] = shop.sink.files
    assert len(first) == 20
    assert first["S01_F_075"]["title"] == "Shoe S01, “plain”"
    assert [first[f"S0{n}_F_075"]["available"] for n in range(3)] == ["false", "true", "true"]
    shop.follow()
    assert shop.send().outcome is None
    shop.prima.units |= {"S00": 4, "S01": 0}
    shop.follow()
    plan = shop.send().plan
    assert (plan.sent, plan.new, plan.changed, plan.gone, plan.back, plan.out) == (20, 0, 2, 0, 1, 1)
    _, second = shop.sink.files
    assert len(second) == 20
    assert second["S00_F_075"]["c_stock"] == "4"


def test_a_file_that_takes_many_items_out_waits_until_a_person_releases_it(shop: Shop) -> None:
    kept = {product: units for product, units in shop.prima.units.items() if product < "S15"}
    shop.prima.units = kept
    shop.follow()
    held = shop.send()
    assert held.plan.gone == 5
    assert held.held is not None
    assert "removals" in held.held
    assert len(shop.sink.files) == 1
    assert guard.release(shop.ledger, LANE, "Ann", "the range is smaller now") is not None
    assert shop.send().accepted
    assert len(shop.sink.files[-1]) == 15


def test_after_the_warehouse_was_rebuilt_one_file_goes_and_a_short_one_does_not(shop: Shop) -> None:
    for name in (SENT, ITEMS):
        shop.warehouse.drop(name)
    shop.prima.units = {"S00": 1}
    shop.follow()
    assert shop.send().held
    assert len(shop.sink.files) == 1
    shop.prima.units = {f"S{n:02}": n % 3 for n in range(20)}
    shop.follow()
    assert shop.send().accepted
    assert shop.send().outcome is None


@pytest.mark.parametrize(
    "outcome",
    [Ambiguous("no reply"), Stopped("HTTP 401", "Check the token."), Later("HTTP 503", 0.0, counts_as_failure=True)],
)
def test_a_file_that_was_not_taken_goes_again_by_itself(shop: Shop, outcome: Outcome) -> None:
    shop.prima.units["S00"] = 9
    shop.follow()
    shop.sink.outcome = outcome
    assert shop.send().held
    assert bool(lanes.find(shop.ledger, LANE).stopped_at) is isinstance(outcome, Stopped)
    shop.sink.outcome = Answered({})
    assert shop.send().accepted
    assert shop.sink.files[-1]["S00_F_075"]["c_stock"] == "9"
    assert lanes.find(shop.ledger, LANE).stopped_at is None


def test_nothing_goes_while_another_process_sends(shop: Shop) -> None:
    shop.prima.units["S00"] = 9
    shop.follow()
    assert isinstance(lanes.take(shop.ledger, LANE, timedelta(minutes=1)), lanes.Dispatcher)
    held = shop.send().held
    assert held is not None
    assert "another process" in held


def test_differences_are_listed_column_by_column(shop: Shop) -> None:
    shop.prima.units = shop.prima.units | {"S00": 4, "S99": 1}
    del shop.prima.units["S19"]
    shop.follow()
    assert explain_catalogue(shop.warehouse, 10) == [
        ("S00_F_075", "available", "false", "true"),
        ("S00_F_075", "c_stock", "0", "4"),
        ("S99_F_075", "(new)", None, "Shoe S99, “plain”"),
        ("S19_F_075", "(gone)", "Shoe S19, “plain”", None),
    ]


def test_the_price_list_must_be_named_where_there_are_several(shop: Shop) -> None:
    shop.prima.lists.append("TRADE")
    with pytest.raises(SettingsError, match=r"RETAIL, TRADE: name the one .* emarsys\.catalogue\.price_list"):
        shop.follow()


def test_what_marketing_can_mend_is_told_a_style_at_a_time(shop: Shop) -> None:
    found = shop.follow()
    assert found.lacking == {"no-image": 20}
    assert {finding.kind for finding in found.findings} == {"item-incomplete"}
    assert len(found.findings) == 20
