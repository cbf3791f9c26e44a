"""The list of exceptions: opens once, goes on, closes itself."""

from __future__ import annotations

from decimal import Decimal

import pytest

from prima_emarsys.finding import Finding, Owner
from prima_emarsys.sync.exceptions import mark, observe, open_exceptions
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys_tests.sync.conftest import MovedClock

BAD = Finding("bad-email", "100-C1", "a…(3)")
REFUND = Finding("refund-above-sale", "100-O7/1", "2 of 1 returned", money=Decimal("12.3400"), currency="GBP")


def test_a_finding_opens_once_goes_on_and_resolves_itself(ledger: Ledger, clock: MovedClock) -> None:
    assert observe(ledger, "contract/customers", [BAD]).opened == (BAD,)
    began = clock()
    clock.sleep(60)
    again = observe(ledger, "contract/customers", [BAD])
    assert (again.opened, again.updated, again.resolved) == ((), (BAD,), ())
    (case,) = open_exceptions(ledger)
    assert (case.first_seen, case.last_seen, case.times_seen, case.state) == (began, clock(), 2, "open")
    gone = observe(ledger, "contract/customers", [])
    assert [(one.record, one.state, one.resolved_at) for one in gone.resolved] == [("100-C1", "resolved", clock())]
    assert open_exceptions(ledger) == []


def test_what_comes_back_is_a_new_episode(ledger: Ledger) -> None:
    observe(ledger, "s", [BAD])
    first = open_exceptions(ledger)[0].id
    observe(ledger, "s", [])
    assert observe(ledger, "s", [BAD]).opened == (BAD,)
    assert open_exceptions(ledger)[0].id != first


def test_a_check_closes_only_what_it_opened(ledger: Ledger) -> None:
    observe(ledger, "one", [BAD])
    observe(ledger, "two", [REFUND])
    observe(ledger, "two", [])
    assert [case.record for case in open_exceptions(ledger)] == ["100-C1"]


def test_exceptions_are_found_by_owner_with_the_money_at_stake(ledger: Ledger) -> None:
    observe(ledger, "s", [BAD, REFUND, Finding("contract-breach", "x", "y", owner=Owner.FINANCE)])
    assert {case.record for case in open_exceptions(ledger, Owner.FINANCE)} == {"100-O7/1", "x"}
    (refund,) = [case for case in open_exceptions(ledger) if case.money is not None]
    assert (refund.money, refund.currency) == (Decimal("12.3400"), "GBP")


def test_two_findings_about_one_record_are_one_exception_with_both_details(ledger: Ledger) -> None:
    observe(ledger, "s", [Finding("field-withheld", "p1", "city"), Finding("field-withheld", "p1", "phone")])
    assert [case.detail for case in open_exceptions(ledger)] == ["city; phone"]


def test_an_accepted_exception_stays_accepted_while_it_is_true(ledger: Ledger) -> None:
    observe(ledger, "s", [BAD])
    number = open_exceptions(ledger)[0].id
    assert mark(ledger, number, "accepted", "ann", "one mailbox")
    observe(ledger, "s", [BAD])
    assert open_exceptions(ledger)[0].state == "accepted"
    observe(ledger, "s", [])
    assert not mark(ledger, number, "accepted", "ann", "too late")


def test_who_accepts_gives_a_name(ledger: Ledger) -> None:
    observe(ledger, "s", [BAD])
    with pytest.raises(ValueError, match="name of the person"):
        mark(ledger, open_exceptions(ledger)[0].id, "accepted", "", "")
    assert open_exceptions(ledger)[0].state == "open"


def test_thousands_of_findings_are_one_observation(ledger: Ledger) -> None:
    many = [Finding("contract-breach", f"r{place}", "x") for place in range(2_000)]
    assert len(observe(ledger, "s", many).opened) == 2_000
    changes = observe(ledger, "s", many[1_000:])
    assert (len(changes.updated), len(changes.resolved)) == (1_000, 1_000)
