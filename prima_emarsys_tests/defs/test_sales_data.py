"""`emarsys/sales_data`, run as Dagster runs it, against the local Emarsys: its turnover is what the books say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from prima_emarsys.defs.automation import sales_data_schedule
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.sales_files import ACCEPTED, UNKNOWN, SalesFiles
from prima_emarsys_tests.defs.house import COMPUTING, SWEEPING, House, checks, in_step, metadata

UPLOAD = "hapi/*/sales-data/api"
SALES = (*SWEEPING, *COMPUTING)
PROOF = "proof/sales"


def desired(house: House) -> dict[str, Decimal]:
    """Person → net of the desired lines that do not wait."""
    waiting = {row["line_key"] for row in house.table("emarsys.sales_waiting")}
    net: dict[str, Decimal] = {}
    for row in house.table("emarsys.sales_data"):
        if row["excluded"] is None and row["line_key"] not in waiting:
            net[row["customer"]] = net.get(row["customer"], Decimal(0)) + row["price"]
    return net


def held(house: House) -> dict[str, Decimal]:
    """The same as the local Emarsys adds it up, once it has loaded its files."""
    house.emarsys.load_sales()
    return house.emarsys.turnover()


def people(house: House) -> dict[str, set[str]]:
    """Person → accounts."""
    found: dict[str, set[str]] = {}
    for row in house.table("core.persons"):
        found.setdefault(row["person_key"], set()).add(row["account"])
    return found


def lines(house: House) -> dict[str, Decimal]:
    """Line key → what the local Emarsys holds of it."""
    found: dict[str, Decimal] = {}
    for sale in house.emarsys.sales():
        key = sale.custom["s_line"].rpartition("/")[0]
        found[key] = found.get(key, Decimal(0)) + sale.price
    return found


@dataclass
class Seen:
    """What tests look at after things happened and one more sync."""

    house: House
    result: dg.ExecuteInProcessResult
    before: dict[str, Decimal]
    people: dict[str, set[str]]
    """As `people` gave them before."""


@pytest.fixture(scope="module")
def seen(first_sync: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with in_step(first_sync, tmp_path_factory.mktemp("sales") / "house") as house:
        before, accounts = held(house), people(house)
        house.tick(changes=30, seed=5)
        yield Seen(house, house.run(*SALES), before, accounts)


def test_turnover_is_the_books_to_the_penny_in_all_and_by_buyer(seen: Seen) -> None:
    assert seen.result.success
    now = held(seen.house)
    assert now != seen.before
    wanted = desired(seen.house)
    assert sum(now.values()) == sum(wanted.values())
    # What was sent of somebody whose accounts went to another person since (a merge, another e-mail) stays where it is.
    after = people(seen.house)
    moved = {person for person in seen.people.keys() | after.keys() if seen.people.get(person) != after.get(person)}
    assert {person: worth for person, worth in now.items() if person not in moved} == {
        person: worth for person, worth in wanted.items() if person not in moved
    }


def test_emarsys_had_to_invent_no_buyer_and_rejected_no_row(seen: Seen) -> None:
    held(seen.house)
    assert [buyer for buyer in seen.house.emarsys.buyers() if buyer.contact is None] == []
    assert [report.rejects for report in seen.house.emarsys.load_reports() if report.rejects] == []


def test_every_line_is_there_once(seen: Seen) -> None:
    held(seen.house)
    waiting = {row["line_key"] for row in seen.house.table("emarsys.sales_waiting")}
    wanted = {
        row["line_key"]: row["price"]
        for row in seen.house.table("emarsys.sales_data")
        if row["excluded"] is None and row["line_key"] not in waiting and (row["price"] or row["quantity"])
    }
    assert {key: price for key, price in lines(seen.house).items() if key in wanted or price} == wanted


def test_the_counts_of_a_run_add_up_and_its_checks_are_green(seen: Seen) -> None:
    counts = metadata(seen.result, "emarsys/sales_data")
    assert counts["read"] == counts["dagster/row_count"] + counts["excluded"]
    assert counts["sent"] == counts["accepted"] == counts["put into files"] > 0
    assert (counts["refused"], counts["unknown"], counts["left to the next run"]) == (0, 0, 0)
    own = {name: passed for name, passed in checks(seen.result).items() if name.startswith("emarsys/sales_data")}
    assert len(own) == 5
    assert all(own.values())


def test_the_schedule_asks_for_a_run_only_if_something_came_after_the_last(seen: Seen) -> None:
    context = dg.build_schedule_context(instance=seen.house.instance)
    assert isinstance(sales_data_schedule(context), dg.SkipReason)
    assert seen.house.run("core/sales").success
    assert isinstance(sales_data_schedule(context), dg.RunRequest)
    assert seen.house.run("emarsys/sales_data").success
    assert isinstance(sales_data_schedule(context), dg.SkipReason)


def test_a_second_run_sends_nothing(seen: Seen) -> None:
    calls = seen.house.emarsys.counters.calls["sales.upload"]
    result = seen.house.run("emarsys/sales_data")
    assert metadata(result, "emarsys/sales_data")["sent"] == 0
    assert seen.house.emarsys.counters.calls["sales.upload"] == calls


def test_row_5_a_lost_reply_is_settled_by_a_person_and_the_turnover_ties_again(house: House) -> None:
    house.emarsys.faults = Faults(Fault(kind="drop", applied=True, path=UPLOAD))
    house.tick("order", changes=6, seed=3)
    result = house.run(*SALES, PROOF)
    counts = metadata(result, "emarsys/sales_data")
    assert counts["unknown"] == counts["sent"] > 0
    assert checks(result)[f"{PROOF}:causes_add_up"]
    house.emarsys.faults = Faults()
    again = metadata(house.run("emarsys/sales_data"), "emarsys/sales_data")
    assert again["sent"] == 0
    with house.project() as project:
        files = SalesFiles(project.ledger)
        [file] = files.all(UNKNOWN)
        cases: list[Any] = [case for case in open_exceptions(project.ledger) if case.kind == "sales-file-unknown"]
        assert [(case.record, case.money, case.owner) for case in cases] == [(file.name, file.value, "marketing")]
        assert f"| unknown | {file.name} | GBP |" in metadata(result, PROOF)["why they differ"]
        files.resolve(file.name, "arrived", "Ann", "it is on the page")
    settled = house.run("emarsys/sales_data", PROOF)
    assert sum(held(house).values()) == sum(desired(house).values())
    assert "| unknown |" not in metadata(settled, PROOF)["why they differ"]
    with house.project() as project:
        assert {file.state for file in SalesFiles(project.ledger).all()} == {ACCEPTED}
