"""Closed periods keep their figures; what changes them later counts in the open one, with its records."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy as sa

from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.proof.periods import LATE, Closing, close_periods
from prima_emarsys.proof.sales import SalesProof
from prima_emarsys.rules.reconciliation import documents
from prima_emarsys.steps.sales import books_of
from prima_emarsys.sync.periods import ORDERED, POSTED, NotSignable, Periods, digest_of
from prima_emarsys.sync.schema import audit
from prima_emarsys_tests.proof.firm import Firm

D = Decimal
MONTHS = {
    "2026-09": (date(2026, 9, 1), date(2026, 9, 30)),
    "2026-10": (date(2026, 10, 1), date(2026, 10, 31)),
    "2026-11": (date(2026, 11, 1), date(2026, 11, 30)),
    "2026-12": (date(2026, 12, 1), date(2026, 12, 31)),
}


def close(firm: Firm, *months: str) -> None:
    """Prima's periods: these are closed, the others open."""
    for month, days in MONTHS.items():
        firm.period(month, *days, status="closed" if month in months else "open")


def booked(firm: Firm, clock: str) -> dict[str, tuple[Decimal, Decimal]]:
    """Period → net and the late part of it, of what is frozen."""
    return {one.period: (one.net, one.late) for one in Periods(firm.ledger).active() if one.clock == clock}


def late(firm: Firm, clock: str) -> list[tuple[str, str, str | None, Decimal]]:
    """Late adjustments that are not frozen yet: record, its period, the period in which it counts, amount."""
    rows = firm.warehouse.read(firm.warehouse.table(LATE)).to_pylist()
    mine = [row for row in rows if row["clock"] == clock]
    return sorted((row["record"], row["origin"], row["counts_in"], row["base_incl_vat"]) for row in mine)


def prove(firm: Firm) -> SalesProof:
    """A nightly run."""
    firm.compute()
    firm.know("P1-A")
    firm.send()
    proof = firm.prove()
    assert proof.holds
    return proof


def settle(firm: Firm) -> Closing:
    """What a nightly run does about periods, and no more."""
    firm.prima.land(firm.warehouse)
    books = documents(books_of(Mirror(firm.warehouse)), firm.warehouse.settle)
    return close_periods(firm.warehouse, Periods(firm.ledger), firm.warehouse.settle(books), firm.today)


def moved(firm: Firm, closing: Closing) -> list[tuple[date, Decimal]]:
    """What counts from which day, on finance's clock, instead of on its own."""
    rows = firm.warehouse.read(closing.moved).to_pylist()
    return sorted((row["counts_from"], row["base_incl_vat"]) for row in rows)


def test_a_closed_periods_figures_stay_and_what_comes_late_counts_in_the_open_one(firm_of_either: Firm) -> None:
    firm = firm_of_either
    firm.customer("A")
    close(firm, "2026-09")
    firm.order("901", "100.00", on=date(2026, 9, 5))
    firm.order("1001", "200.00", on=date(2026, 10, 5))
    firm.credit("K1", "901", "30.00", date(2026, 10, 6))
    proof = prove(firm)
    assert [(one.period, one.clock, one.version) for one in proof.closing.frozen] == [
        ("2026-09", ORDERED, 1),
        ("2026-09", POSTED, 1),
    ]
    # Marketing's September lost 30.00 to a refund before it was closed; finance's did not.
    assert booked(firm, POSTED) == {"2026-09": (D("100.00"), D("0.00"))}
    assert booked(firm, ORDERED) == {"2026-09": (D("70.00"), D("0.00"))}
    assert settle(firm).frozen == []

    # A credit note is posted into September after it was closed, and an order of it is amended in place.
    firm.credit("K2", "901", "5.00", date(2026, 9, 28), goods=False)
    firm.order("901", "90.00", on=date(2026, 9, 5))
    proof = prove(firm)
    assert late(firm, POSTED) == [
        ("1-901", "2026-09", "2026-10", D("-10.00")),
        ("1-901", "2026-09", "2026-10", D("-5.00")),
    ]
    assert booked(firm, POSTED) == {"2026-09": (D("100.00"), D("0.00"))}
    [summed] = [one for one in proof.late if one.clock == POSTED]
    assert (summed.company, summed.period, summed.counts_in, summed.records) == ("1", "2026-09", "2026-10", 1)
    assert summed.base == D("-15.00")
    # The finance clock shows September as it was closed, and the adjustments on October's first day. Emarsys has the
    # credit on its own day, and the amendment on the day on which it was found.
    assert firm.on(POSTED, date(2026, 9, 5)).net == D("100.00")
    assert firm.on(POSTED, date(2026, 9, 28)).net == D("0.00")
    assert firm.on(POSTED, date(2026, 10, 1)).net == D("-15.00")
    assert firm.days(POSTED) == {
        date(2026, 9, 28): D("5.00"),
        date(2026, 10, 1): D("-15.00"),
        firm.today: D("10.00"),
    }
    assert firm.causes("cause", "record", "posted_on", "amount") == [
        ("late", "1-901", date(2026, 10, 1), D("-15.00")),
        ("late", "1-901", date(2026, 11, 20), D("10.00")),
        ("late", "1-901", date(2026, 9, 28), D("5.00")),
    ]
    assert firm.days(ORDERED) == {}
    assert proof.totals["difference"] == 0
    assert [(one.kind, one.record, one.money) for one in proof.findings] == [
        ("closed-period-changed", "period|1|2026-09", D("-15.00"))
    ]


def test_an_adjustment_is_frozen_with_its_period_and_changes_again_in_the_next(firm: Firm) -> None:
    firm.customer("A")
    close(firm, "2026-09")
    firm.order("901", "100.00", on=date(2026, 9, 5))
    firm.order("1001", "200.00", on=date(2026, 10, 5))
    firm.credit("K1", "901", "30.00", date(2026, 10, 6))
    settle(firm)
    firm.order("901", "85.00", on=date(2026, 9, 5))
    # October closes: it takes the adjustments with it, for ever.
    close(firm, "2026-09", "2026-10")
    closing = settle(firm)
    assert booked(firm, POSTED) == {
        "2026-09": (D("100.00"), D("0.00")),
        "2026-10": (D("155.00"), D("-15.00")),
    }
    assert late(firm, POSTED) == []
    assert moved(firm, closing) == [(date(2026, 10, 1), D("-15.00"))]
    # What goes back to its earlier value is an adjustment too: the next open period's.
    firm.order("901", "100.00", on=date(2026, 9, 5))
    closing = settle(firm)
    assert late(firm, POSTED) == [("1-901", "2026-09", "2026-11", D("15.00"))]
    assert moved(firm, closing) == [(date(2026, 10, 1), D("-15.00")), (date(2026, 11, 1), D("15.00"))]

    # Prima opens October again: its version counts no more, until it is closed again.
    close(firm, "2026-09")
    assert settle(firm).reopened == [("1", "2026-10")]
    assert booked(firm, POSTED) == {"2026-09": (D("100.00"), D("0.00"))}
    assert late(firm, POSTED) == []
    close(firm, "2026-09", "2026-10")
    settle(firm)
    assert booked(firm, POSTED)["2026-10"] == (D("170.00"), D("0.00"))
    versions = [one.version for one in Periods(firm.ledger).all() if (one.period, one.clock) == ("2026-10", POSTED)]
    assert versions == [1, 2]


def test_without_an_open_period_a_late_adjustment_stays_on_its_day_and_is_listed(firm: Firm) -> None:
    firm.customer("A")
    close(firm, *MONTHS)
    firm.order("901", "100.00", on=date(2026, 9, 5))
    settle(firm)
    firm.order("902", "50.00", on=date(2026, 9, 6))
    proof = prove(firm)
    assert late(firm, POSTED) == [("1-902", "2026-09", None, D("50.00"))]
    assert firm.on(POSTED, date(2026, 9, 6)).net == D("50.00")
    assert "no period, since none is open" in proof.findings[0].detail


def test_a_person_signs_the_figures_off_once(firm: Firm) -> None:
    firm.customer("A")
    close(firm, "2026-09")
    firm.order("901", "100.00", on=date(2026, 9, 5), channel='a,"b"')
    settle(firm)
    periods = Periods(firm.ledger)
    with pytest.raises(NotSignable, match="period 2026-10 of company 1 is not closed"):
        periods.sign("1", "2026-10", "Ann", "looked")
    signed = periods.sign("1", "2026-09", "Ann", "ties to the trial balance")
    assert [(one.clock, one.signed_by, one.note) for one in signed] == [
        (ORDERED, "Ann", "ties to the trial balance"),
        (POSTED, "Ann", "ties to the trial balance"),
    ]
    with pytest.raises(NotSignable, match="was signed by Ann already"):
        periods.sign("1", "2026-09", "Bob", "me too")
    acts = firm.ledger.read(lambda c: c.execute(sa.select(audit).where(audit.c.what == "sign-period")).all())
    assert [(act.who, act.subject) for act in acts] == [("Ann", "1|2026-09")] * 2
    assert signed[1].digest in acts[1].detail
    content = periods.content(signed[1])
    assert digest_of(content) == signed[1].digest
    assert content.decode().splitlines()[1] == (
        '"2026-09","1-901",false,"a,""b""","GBP",2026-09-05,2026-09-05,1,100.0000,100.00,83.33'
    )
