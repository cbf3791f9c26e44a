"""The list of exceptions: opens once, goes on, closes itself."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from prima_emarsys.finding import Finding, Owner
from prima_emarsys.sync.exceptions import assign, find, mark, observe, open_exceptions
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock

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


def test_an_accepted_exception_opens_again_when_it_is_no_longer_what_was_accepted(ledger: Ledger) -> None:
    observe(ledger, "s", [REFUND])
    number = open_exceptions(ledger)[0].id
    mark(ledger, number, "accepted", "fay", "goodwill")
    assert observe(ledger, "s", [REFUND]).reopened == ()
    more = replace(REFUND, money=Decimal("24.6800"))
    assert observe(ledger, "s", [more]).reopened == (more,)
    (case,) = open_exceptions(ledger)
    assert (case.id, case.state, case.money) == (number, "open", Decimal("24.6800"))
    mark(ledger, number, "acknowledged", "fay", "on it")
    assert observe(ledger, "s", [REFUND]).reopened == ()
    assert open_exceptions(ledger)[0].state == "acknowledged"


def test_who_gets_an_exception_assigned_keeps_it_while_it_lasts(ledger: Ledger) -> None:
    observe(ledger, "s", [BAD])
    number = open_exceptions(ledger)[0].id
    assert assign(ledger, number, Owner.MARKETING, "ann", "they typed it")
    observe(ledger, "s", [BAD])
    assert [case.id for case in open_exceptions(ledger, Owner.MARKETING)] == [number]
    observe(ledger, "s", [])
    assert not assign(ledger, number, Owner.DATA, "ann", "too late")


def test_what_a_person_closed_is_a_new_episode_if_it_is_found_again(ledger: Ledger) -> None:
    observe(ledger, "s", [BAD])
    number = open_exceptions(ledger)[0].id
    assert mark(ledger, number, "resolved", "ann", "mended in Prima")
    assert open_exceptions(ledger) == []
    closed = find(ledger, number)
    assert closed is not None
    assert (closed.state, closed.resolved_at is None) == ("resolved", False)
    assert observe(ledger, "s", [BAD]).opened == (BAD,)
    assert open_exceptions(ledger)[0].id != number


def test_the_site_says_who_owns_a_kind(ledger_url: str) -> None:
    with Ledger.open(ledger_url, HASH_KEY, owners={"bad-email": Owner.MARKETING}) as ledger:
        observe(ledger, "s", [BAD, REFUND])
        assert [case.record for case in open_exceptions(ledger, Owner.MARKETING)] == [BAD.record]
        assert [case.record for case in open_exceptions(ledger, Owner.FINANCE)] == [REFUND.record]


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
