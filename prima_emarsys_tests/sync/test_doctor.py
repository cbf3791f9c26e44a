"""The doctor finds what is broken, finds nothing in a sound ledger, and the ledger stays bounded."""

from __future__ import annotations

from datetime import timedelta
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
from prima_emarsys.sync.schema import audit, delivery_call, exception, sync_record
from prima_emarsys_tests.sync.conftest import MovedClock
from prima_emarsys_tests.sync.remote import Remote, always, people

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
    assert retention.apply(ledger) == {"audit": 0, "delivery_call": 0, "exception": 0, "outbox": 0}
    clock.sleep(timedelta(days=372).total_seconds())
    assert {"delivery_call is bounded"} <= set(broken(ledger))
    assert retention.apply(ledger) == {"audit": 0, "delivery_call": 1, "exception": 1, "outbox": 0}
    left = ledger.read(
        lambda c: [c.scalar(sa.select(sa.func.count()).select_from(t)) for t in (audit, delivery_call, exception)]
    )
    assert left == [1, 0, 1], "an open exception is kept however old it is"
    assert ledger.counts(LANE).total == 3
