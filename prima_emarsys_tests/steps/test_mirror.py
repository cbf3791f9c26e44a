"""The mirror lands what a reader hands out: nothing is lost, whatever stops it, and nothing is taken out in haste."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.prima.mirror import Landing, Mirror
from prima_emarsys.prima.pages import type_page
from prima_emarsys.prima.sql import Mark, Page
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import rows_of

LONDON = ZoneInfo("Europe/London")
START = datetime(2026, 11, 20, 9, tzinfo=UTC)
OVERLAP = timedelta(minutes=15)


class LineBreaks(Exception):
    """What a lost connection is to whoever reads."""


class Desk:
    """Orders as raw text in a list, read in pages that the real door judges. It may break off after some pages."""

    def __init__(self, page_rows: int = 2) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.page_rows = page_rows
        self.breaks_after: int | None = None

    def write(self, number: str, minute: int, **given: Any) -> None:
        """Write an order, stamped so many minutes after the start."""
        self.rows[number] = {
            "company": "1",
            "order_number": number,
            "customer_code": "A",
            "status": "confirmed",
            "currency": "GBP",
            "ordered_at": "2026-11-01 10:00",
            "changed_at": START + timedelta(minutes=minute),
        } | given

    def changed(self, entity: Entity, since: Mark | None) -> Iterator[Page]:
        """Rows from a little before the mark on, oldest first."""
        start = since.at - OVERLAP if since else START - timedelta(days=999)
        rows = sorted(self.rows.values(), key=lambda row: (row["changed_at"], row["order_number"]))
        yield from self._pages(entity, [row for row in rows if row["changed_at"] >= start], marked=True)

    def everything(self, entity: Entity) -> Iterator[Page]:
        """All rows, by key."""
        yield from self._pages(entity, [self.rows[number] for number in sorted(self.rows)], marked=False)

    def _pages(self, entity: Entity, rows: list[dict[str, Any]], *, marked: bool) -> Iterator[Page]:
        for number, first in enumerate(range(0, len(rows), self.page_rows)):
            if number == self.breaks_after:
                raise LineBreaks
            part = rows[first : first + self.page_rows]
            typed = type_page(entity, pa.Table.from_pylist(part), LONDON)
            mark = Mark(max(row["changed_at"] for row in part)) if marked else None
            yield Page(entity, typed.good, typed.findings, len(part), typed.quarantined, mark=mark)


ORDERS = ENTITIES["sales_order"]


def land(mirror: Mirror, desk: Desk, *, sweep: bool = False, share: float = 0.02) -> Landing:
    return mirror.land(desk, "sales_order", sweep=sweep, short_share=share)


def held(warehouse: Warehouse, mirror: Mirror) -> list[tuple[str, str]]:
    return rows_of(warehouse, mirror.live("sales_order"), "order_number", "status")


def test_a_first_landing_reads_all_and_the_next_only_what_changed_since(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    for number in range(5):
        desk.write(f"O{number}", minute=number * 60)
    first = land(mirror, desk)
    assert (first.read, first.changed, first.quarantined, first.gone) == (5, 5, 0, 0)
    assert mirror.mark("sales_order") == Mark(START + timedelta(minutes=240))
    desk.write("O1", minute=300, status="despatched")
    second = land(mirror, desk)
    assert (second.read, second.changed) == (2, 1)
    assert held(warehouse, mirror)[:2] == [("O0", "confirmed"), ("O1", "despatched")]
    assert rows_of(warehouse, mirror.above("sales_order", first.load), "order_number") == ["O1"]


def test_rows_within_the_overlap_are_read_again_and_change_nothing(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    for number in range(4):
        desk.write(f"O{number}", minute=number)
    land(mirror, desk)
    load = mirror.latest_load()
    again = land(mirror, desk)
    assert (again.read, again.changed) == (4, 0)
    assert rows_of(warehouse, mirror.above("sales_order", load)) == []


def test_a_row_committed_late_behind_the_overlap_waits_for_the_sweep(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    for number in range(3):
        desk.write(f"O{number}", minute=120)
    land(mirror, desk)
    desk.write("LATE", minute=100)
    desk.write("OLD", minute=110)
    assert land(mirror, desk).changed == 1
    swept = land(mirror, desk, sweep=True)
    assert (swept.read, swept.changed, swept.gone) == (5, 1, 0)
    assert ("LATE", "confirmed") in held(warehouse, mirror)
    assert mirror.mark("sales_order") == Mark(START + timedelta(minutes=120))


def test_a_sweep_finds_rows_that_are_gone_and_that_come_back(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk(page_rows=50)
    for number in range(60):
        desk.write(f"O{number:02}", minute=0)
    land(mirror, desk)
    lost = desk.rows.pop("O07")
    load = mirror.latest_load()
    swept = land(mirror, desk, sweep=True)
    assert (swept.read, swept.changed, swept.gone, swept.refused) == (59, 0, 1, None)
    assert rows_of(warehouse, mirror.above("sales_order", load), "order_number", "gone") == [("O07", True)]
    assert len(held(warehouse, mirror)) == 59
    desk.rows["O07"] = lost
    back = land(mirror, desk, sweep=True)
    assert (back.changed, back.gone) == (1, 0)
    assert len(held(warehouse, mirror)) == 60
    assert land(mirror, desk, sweep=True).changed == 0


def test_a_short_read_takes_nothing_out_and_is_reported_until_the_read_is_whole_again(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk(page_rows=50)
    for number in range(100):
        desk.write(f"O{number:02}", minute=0)
    land(mirror, desk)
    whole = dict(desk.rows)
    desk.rows = {number: row for number, row in whole.items() if number < "O60"}
    desk.write("O01", minute=0, status="invoiced")
    short = land(mirror, desk, sweep=True)
    assert (short.gone, short.changed) == (0, 1)
    assert short.refused == "the read holds 60 of the 100 rows that the mirror has"
    assert [(finding.kind, finding.record) for finding in short.findings] == [("short-read", "sales_order")]
    assert len(held(warehouse, mirror)) == 100
    assert ("O01", "invoiced") in held(warehouse, mirror)
    desk.rows = {number: row for number, row in whole.items() if number != "O99"}
    good = land(mirror, desk, sweep=True)
    assert (good.gone, good.refused, good.findings) == (1, None, [])
    # A person who knows that the rows are gone may accept the read.
    desk.rows = {"O01": whole["O01"]}
    assert land(mirror, desk, sweep=True, share=1.0).gone == 98


def test_a_small_table_may_lose_any_share(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    for number in range(5):
        desk.write(f"O{number}", minute=0)
    land(mirror, desk)
    desk.rows = {}
    assert land(mirror, desk, sweep=True).gone == 5


def test_a_row_that_breaks_the_contract_stands_in_quarantine_until_it_keeps_it_and_its_last_good_state_stays(
    warehouse: Warehouse,
) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    desk.write("O1", minute=0)
    desk.write("O2", minute=0)
    land(mirror, desk)
    desk.write("O1", minute=1, status="Lost in the post")
    desk.write("O2", minute=1, status="despatched")
    bad = land(mirror, desk)
    assert (bad.read, bad.changed, bad.quarantined) == (2, 1, 1)
    assert [(finding.kind, finding.record) for finding in bad.findings] == [("unknown-status", "sales_order|1|O1")]
    assert held(warehouse, mirror) == [("O1", "confirmed"), ("O2", "despatched")]
    # It is still wrong when read again, by a landing or a sweep, and one finding remains.
    assert len(land(mirror, desk).findings) == 1
    still = land(mirror, desk, sweep=True)
    assert (len(still.findings), still.gone) == (1, 0)
    desk.write("O1", minute=2, status="despatched")
    cured = land(mirror, desk)
    assert (cured.changed, cured.quarantined, cured.findings) == (1, 0, [])
    assert held(warehouse, mirror) == [("O1", "despatched"), ("O2", "despatched")]


def test_a_broken_row_that_prima_deletes_leaves_quarantine_and_mirror_with_the_next_sweep(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    desk.write("O1", minute=0)
    desk.write("O2", minute=0)
    land(mirror, desk)
    desk.write("O1", minute=1, status="Lost in the post")
    land(mirror, desk)
    del desk.rows["O1"]
    assert len(land(mirror, desk).findings) == 1
    swept = land(mirror, desk, sweep=True)
    assert (swept.gone, swept.findings) == (1, [])
    assert held(warehouse, mirror) == [("O2", "confirmed")]


@pytest.mark.parametrize("sweep", [False, True])
def test_a_crash_between_pages_loses_nothing(warehouse: Warehouse, sweep: bool) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    for number in range(6):
        desk.write(f"O{number}", minute=number * 60)
    desk.breaks_after = 2
    with pytest.raises(LineBreaks):
        land(mirror, desk, sweep=sweep)
    # What was read is there, the mark covers that and no more, and nobody is taken for gone.
    assert len(held(warehouse, mirror)) == 4
    assert mirror.mark("sales_order") == (None if sweep else Mark(START + timedelta(minutes=180)))
    known = mirror.latest_load()
    desk.breaks_after = None
    rest = land(mirror, desk, sweep=sweep)
    assert (rest.changed, rest.gone) == (2, 0)
    assert len(held(warehouse, mirror)) == 6
    # Whoever derived in between finds the rest above its cursor.
    assert rows_of(warehouse, mirror.above("sales_order", known), "order_number") == ["O4", "O5"]


def test_leading_zeros_and_the_surname_na_survive_the_mirror(warehouse: Warehouse) -> None:
    mirror, desk = Mirror(warehouse), Desk()
    desk.write("00123", minute=0, customer_code="NA", exchange_rate="0.86123456")
    land(mirror, desk)
    [row] = warehouse.read(mirror.live("sales_order")).to_pylist()
    assert (row["order_number"], row["customer_code"], str(row["exchange_rate"])) == ("00123", "NA", "0.86123456")
    assert row["ordered_at"] == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert str(row["ordered_on"]) == "2026-11-01"
