"""A plan of unusual size waits for a person, and a first load never does."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.guard import Held, Limits, Released, Volume, check, release
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import audit

LANE = "contacts"


@pytest.mark.parametrize(
    ("planned", "held"),
    [
        (Volume(1_000_000, 0, 0, 0), False),
        (Volume(900, 999, 999, 999), False),
        (Volume(5_000, 2_000, 200, 10_000), False),
        (Volume(5_001, 0, 0, 10_000), True),
        (Volume(0, 2_001, 0, 10_000), True),
        (Volume(0, 0, 201, 10_000), True),
    ],
)
def test_a_plan_is_held_above_its_share_of_what_is_acknowledged(ledger: Ledger, planned: Volume, held: bool) -> None:
    assert isinstance(check(ledger, LANE, planned), Held) is held


def test_row_50_a_mapping_that_changes_everybody_is_held_with_its_count(ledger: Ledger) -> None:
    verdict = check(ledger, LANE, Volume(0, 50_000, 0, 50_000))
    assert verdict == Held("50,000 updates (100.0%, limit 20%) against 50,000 acknowledged records")
    assert [(case.kind, case.owner) for case in open_exceptions(ledger)] == [("plan-held", "marketing")]


def test_a_released_plan_goes_once(ledger: Ledger) -> None:
    planned = Volume(0, 3_000, 0, 10_000)
    check(ledger, LANE, planned)
    assert release(ledger, LANE, "ann", "new loyalty field") == planned
    assert open_exceptions(ledger) == []
    assert check(ledger, LANE, Volume(0, 3_100, 0, 10_000)) == Released()
    assert isinstance(check(ledger, LANE, planned), Held)
    assert ledger.read(lambda c: c.scalar(sa.select(audit.c.who))) == "ann"


def test_a_release_does_not_cover_a_plan_that_grew(ledger: Ledger) -> None:
    check(ledger, LANE, Volume(0, 3_000, 0, 10_000))
    release(ledger, LANE, "ann", "")
    assert isinstance(check(ledger, LANE, Volume(0, 3_301, 0, 10_000)), Held)
    release(ledger, LANE, "ann", "")
    assert isinstance(check(ledger, LANE, Volume(0, 3_301, 1_000, 10_000)), Held)


def test_a_small_plan_closes_the_exception_and_keeps_the_release(ledger: Ledger) -> None:
    check(ledger, LANE, Volume(0, 3_000, 0, 10_000))
    release(ledger, LANE, "ann", "")
    assert check(ledger, LANE, Volume(0, 3, 0, 10_000)) == Released()
    assert check(ledger, LANE, Volume(0, 3_000, 0, 10_000)) == Released()


def test_there_is_nothing_to_release_where_nothing_is_held(ledger: Ledger) -> None:
    assert release(ledger, LANE, "ann", "") is None


def test_limits_are_the_sites_own(ledger: Ledger) -> None:
    assert check(ledger, LANE, Volume(0, 3_000, 0, 10_000), Limits(updates=0.5)) == Released()
