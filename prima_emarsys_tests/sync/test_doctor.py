"""The doctor finds what is broken, finds nothing in a sound ledger, and the ledger stays bounded."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from prima_emarsys.emarsys.outcome import Answered, Refusal, Stopped
from prima_emarsys.finding import Finding
from prima_emarsys.sync import retention
from prima_emarsys.sync.deliver import deliver
from prima_emarsys.sync.doctor import examine
from prima_emarsys.sync.exceptions import observe
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.periods import CLOCKS, POSTED, Figure, Periods, digest_of
from prima_emarsys.sync.sales_files import SalesFiles
from prima_emarsys.sync.schema import audit, closed_period, delivery_call, exception, sync_record
from prima_emarsys.sync.schema import sales_file as sales_file_table
from prima_emarsys.sync.schema import sales_line as sales_line_table
from prima_emarsys_tests.sync.conftest import MovedClock
from prima_emarsys_tests.sync.remote import Remote, always, people
from prima_emarsys_tests.sync.test_sales_files import a_line as sales_line

LANE = "contacts"


@pytest.fixture
def used(ledger: Ledger, clock: MovedClock) -> Ledger:
    """A ledger with records in most places."""
    ledger.stage(LANE, people(20), "m1")
    ledger.filter(LANE, {"x1": "staff"})
    deliver(ledger, LANE, Remote(always(Answered({"p0003": Refusal("2007", "no")}))), sleep=clock.sleep)
    ledger.stage(LANE, people(3, "Bea"), "m1")
    ledger.claim(LANE, 1)
    return ledger


def broken(ledger: Ledger, **source_counts: int) -> list[str]:
    return [check.name for check in examine(ledger, source_counts or None) if not check.ok]


def test_a_sound_ledger_passes(used: Ledger) -> None:
    assert broken(used) == []
    assert broken(used, contacts=21) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ({"acked_hash": "h", "acked_at": None}, "an acknowledgement has its time"),
        ({"quarantine_code": "2007"}, "what waits for a person has cause, owner and time"),
        ({"desired_hash": None}, "every record is desired or filtered"),
        ({"lease_token": "t"}, "a lease has its holder, its end and its content"),
    ],
)
def test_each_broken_promise_is_found(used: Ledger, damage: dict[str, Any], finding: str) -> None:
    one = sa.update(sync_record).where(sync_record.c.key == "p0010")
    used.write(lambda c: c.execute(one.values(damage)))
    assert finding in broken(used)


def test_a_record_that_is_nowhere_is_missed(used: Ledger) -> None:
    assert broken(used, contacts=22) == ["every record of contacts is in one place"]


def test_a_lease_that_nobody_takes_back_is_found(used: Ledger, clock: MovedClock) -> None:
    clock.sleep(3_600)
    assert broken(used) == ["no lease outlives its end"]


def test_a_stopped_lane_is_shown_with_its_remedy(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(3), "m1")
    deliver(ledger, LANE, Remote(always(Stopped("HTTP 403", "Switch it on."))), sleep=clock.sleep)
    (check,) = [check for check in examine(ledger) if not check.ok]
    assert "HTTP 403. Switch it on." in check.detail


def test_old_rows_are_removed_by_their_tables_rule_and_no_others(ledger: Ledger, clock: MovedClock) -> None:
    old = Finding("bad-email", "100-C1", "")
    ledger.stage(LANE, people(3), "m1")
    deliver(ledger, LANE, Remote(), sleep=clock.sleep)
    ledger.clear_acknowledgement(LANE, ["p0001"], "ann", "test")
    observe(ledger, "s", [old, Finding("bad-email", "100-C2", "")])
    observe(ledger, "s", [Finding("bad-email", "100-C2", "")])
    clock.sleep(timedelta(days=29).total_seconds())
    none = dict.fromkeys(("audit", "closed_period", "delivery_call", "exception", "outbox"), 0)
    assert retention.apply(ledger) == none
    clock.sleep(timedelta(days=372).total_seconds())
    assert {"delivery_call is bounded"} <= set(broken(ledger))
    assert retention.apply(ledger) == none | {"delivery_call": 1, "exception": 1}
    left = ledger.read(
        lambda c: [c.scalar(sa.select(sa.func.count()).select_from(t)) for t in (audit, delivery_call, exception)]
    )
    assert left == [1, 0, 1], "an open exception is kept however old it is"
    assert ledger.counts(LANE).total == 3


# -- sales data ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sold(ledger: Ledger) -> Ledger:
    """A ledger with a file of sales data in most states."""
    files = SalesFiles(ledger)
    for place, fate in enumerate((files.accept, files.put_back, files.refuse, files.lose)):
        file = files.seal("http", "GBP", [sales_line(f"{place}|1|sale"), sales_line(f"{place}|2|sale")], b"csv")
        sending = files.begin(file)
        assert sending is not None
        fate(sending, *([] if fate == files.accept else ["a reason"]))  # pyright: ignore[reportCallIssue]
    files.report()
    return ledger


def test_sound_books_of_sales_data_pass_and_say_what_is_unknown(sold: Ledger) -> None:
    assert not [name for name in broken(sold) if "file" in name or "sales" in name]
    said = {check.name: check.detail for check in examine(sold)}
    assert said["files of unknown fate are known as such"] == "1 files worth 20.00"


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (sa.update(sales_file_table).values(value=Decimal("1.00")), "a file's rows and value are those of its lines"),
        (sa.delete(sales_line_table).where(sales_line_table.c.line_key == "0|1|sale"), "a file's rows and value are"),
        (sa.update(sales_file_table).values(state="lost"), "every file is in one of six states"),
        (sa.update(sales_file_table).values(content=None), "a file that may go again has its content"),
        (sa.update(sales_file_table).values(state="sending"), "a file that is being sent has a sender"),
        (sa.update(sales_file_table).values(state="absent", content=None), "what a person decided names the person"),
        (sa.update(exception).values(resolved_at=sa.func.now()), "what waits for a person about sales is on the list"),
    ],
)
def test_each_broken_promise_about_sales_data_is_found(sold: Ledger, damage: sa.UpdateBase, finding: str) -> None:
    sold.write(lambda c: c.execute(damage))
    assert any(name.startswith(finding) for name in broken(sold))


# -- closed periods --------------------------------------------------------------------------------------------------

_DOCUMENTS = b"origin,record,base_incl_vat\n2026-09,1-100,100.00\n2026-08,1-90,-5.00\n"


@pytest.fixture
def closed(ledger: Ledger) -> Ledger:
    """A ledger with a closed period, on both clocks."""
    figures = [
        Figure("2026-09", "WEB", "GBP", 1, Decimal("100.0000"), Decimal("100.00")),
        Figure("2026-08", "WEB", "GBP", 1, Decimal("-5.0000"), Decimal("-5.00")),
    ]
    days = (date(2026, 9, 1), date(2026, 9, 30))
    content, digest = gzip.compress(_DOCUMENTS), digest_of(_DOCUMENTS)
    for clock in CLOCKS:
        Periods(ledger).freeze("1", "2026-09", clock, days, None, "GBP", figures, content, digest)
    Periods(ledger).sign("1", "2026-09", "Ann", "ties")
    return ledger


def test_a_closed_period_that_is_as_it_was_frozen_passes(closed: Ledger) -> None:
    assert broken(closed) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ({"net": Decimal("96.00")}, "a closed period's net is what its figures sum to"),
        ({"late": Decimal("0.00")}, "a closed period's net is what its figures sum to"),
        ({"content": gzip.compress(_DOCUMENTS + b"2026-09,1-101,1.00\n")}, "a closed period's documents are as frozen"),
        ({"content": b"no gzip"}, "a closed period's documents are as frozen"),
        ({"digest": "0" * 64}, "a closed period's documents are as frozen"),
        ({"signed_by": None}, "who signed a period off has a name and a time"),
        ({"reopened_at": datetime(2026, 10, 1, tzinfo=UTC)}, "a closed period counts once, on both clocks"),
    ],
)
def test_a_closed_period_that_was_tampered_with_is_found(closed: Ledger, damage: dict[str, Any], finding: str) -> None:
    one = sa.update(closed_period).where(closed_period.c.clock == POSTED)
    closed.write(lambda c: c.execute(one.values(damage)))
    assert finding in broken(closed)
