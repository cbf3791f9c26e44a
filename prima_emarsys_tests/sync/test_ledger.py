"""The ledger keeps its promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest

from prima_emarsys.emarsys.outcome import Refusal
from prima_emarsys.sync.ledger import Claim, Ledger, Staged
from prima_emarsys_tests.sync.conftest import MovedClock
from prima_emarsys_tests.sync.remote import people, want

LANE = "contacts"
A, B = want("p1", _1="Ann"), want("p1", _1="Bea")


def take(ledger: Ledger, limit: int = 1_000) -> Claim:
    claim = ledger.claim(LANE, limit)
    assert claim is not None
    return claim


def settle(ledger: Ledger) -> None:
    while claim := ledger.claim(LANE):
        ledger.acknowledge(claim, claim.records, {})


def payload(ledger: Ledger, key: str = "p1") -> dict[str, object]:
    return orjson.loads(take(ledger).records[key])


def test_staging_counts_every_record_once(ledger: Ledger) -> None:
    assert ledger.stage(LANE, people(3), "m1") == Staged(new=3)
    assert ledger.stage(LANE, people(3), "m1") == Staged(still_dirty=3)
    settle(ledger)
    assert ledger.stage(LANE, [*people(3), want("p0001", _1="Bea"), want("p9")], "m1") == Staged(
        new=1, changed=1, unchanged=2, repeated=1
    )


def test_a_record_that_is_as_acknowledged_is_not_written_and_not_sent(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    settle(ledger)
    ledger.stage(LANE, [A], "m1")
    assert ledger.claim(LANE) is None
    assert list(ledger.settled(LANE)) == ["p1"]


def test_a_new_mapping_makes_every_record_due(ledger: Ledger) -> None:
    ledger.stage(LANE, people(3), "m1")
    settle(ledger)
    assert ledger.stage(LANE, people(3), "m2") == Staged(changed=3)
    assert len(take(ledger).records) == 3


def test_row_38_a_value_that_went_there_and_back_while_the_reply_was_lost_is_sent_again(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    settle(ledger)
    ledger.stage(LANE, [B], "m1")
    lost = take(ledger)
    ledger.stage(LANE, [A], "m1")
    ledger.doubt(lost, timedelta(0))
    assert payload(ledger) == {"1": "Ann"}


def test_a_value_that_went_there_and_back_before_it_was_sent_is_not_sent(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    settle(ledger)
    ledger.stage(LANE, [B], "m1")
    ledger.stage(LANE, [A], "m1")
    assert ledger.claim(LANE) is None
    assert ledger.counts(LANE).acknowledged == 1


def test_row_39_an_edit_while_the_record_is_on_its_way_is_sent_next(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    first = take(ledger)
    ledger.stage(LANE, [B], "m1")
    assert ledger.claim(LANE) is None, "the record is on its way; nobody else sends it"
    ledger.acknowledge(first, first.records, {})
    assert list(ledger.unsettled(LANE)) == ["p1"]
    assert payload(ledger) == {"1": "Bea"}


def test_claims_are_disjoint(ledger: Ledger) -> None:
    ledger.stage(LANE, people(10), "m1")
    first, second = take(ledger, 6), take(ledger, 6)
    assert len(first.records) == 6
    assert len(second.records) == 4
    assert not first.records.keys() & second.records.keys()
    assert ledger.claim(LANE) is None


def test_a_claim_counts_as_unacknowledged_until_it_is_answered(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    settle(ledger)
    ledger.stage(LANE, [B], "m1")
    take(ledger)
    assert list(ledger.settled(LANE)) == []
    assert list(ledger.unsettled(LANE)) == ["p1"]


def test_the_payload_is_dropped_with_the_acknowledgement(ledger: Ledger) -> None:
    from sqlalchemy import select

    from prima_emarsys.sync.schema import sync_record

    ledger.stage(LANE, [A], "m1")
    settle(ledger)
    assert ledger.read(lambda c: c.execute(select(sync_record.c.payload)).scalar_one()) is None


def test_row_17_refused_records_wait_for_their_owner_and_the_rest_is_acknowledged(ledger: Ledger) -> None:
    ledger.stage(LANE, people(1_000), "m1")
    claim = take(ledger)
    refused = {"p0003": Refusal("2007", "not valid"), "p0005": Refusal("2010", "more contacts")}
    done = ledger.acknowledge(claim, claim.records.keys() - refused.keys(), refused)
    assert (done.acknowledged, done.quarantined, done.lost) == (998, 2, 0)
    assert [(one.key, one.code, one.owner) for one in ledger.quarantined(LANE)] == [
        ("p0003", "2007", "data"),
        ("p0005", "2010", "marketing"),
    ]
    assert ledger.claim(LANE) is None


def test_a_record_that_moved_while_it_was_refused_does_not_wait(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    claim = take(ledger)
    ledger.stage(LANE, [B], "m1")
    done = ledger.acknowledge(claim, [], {"p1": Refusal("2007", "not valid")})
    assert (done.quarantined, done.again) == (0, 1)
    assert payload(ledger) == {"1": "Bea"}


def test_a_new_value_releases_a_quarantined_record_and_the_same_does_not(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    ledger.acknowledge(take(ledger), [], {"p1": Refusal("2007", "not valid")})
    ledger.stage(LANE, [A], "m1")
    assert ledger.counts(LANE).quarantined == 1
    ledger.stage(LANE, [B], "m1")
    assert ledger.counts(LANE).quarantined == 0
    assert payload(ledger) == {"1": "Bea"}


def test_a_person_releases_a_record_by_name_and_it_is_written_down(ledger: Ledger) -> None:
    from sqlalchemy import select

    from prima_emarsys.sync.schema import audit

    ledger.stage(LANE, people(3), "m1")
    claim = take(ledger)
    ledger.acknowledge(claim, [], dict.fromkeys(claim.records, Refusal("2007", "not valid")))
    assert ledger.release(LANE, ["p0000", "p0002"], "ann", "corrected") == 2
    assert take(ledger).records.keys() == {"p0000", "p0002"}
    row = ledger.read(lambda c: c.execute(select(audit)).one())
    assert (row.who, row.what, row.subject, row.detail) == ("ann", "release", LANE, "corrected (2 records)")
    with pytest.raises(ValueError, match="name of the person"):
        ledger.release(LANE, None, " ", "")


def test_row_22_already_exists_is_tried_again_and_waits_for_a_person_the_third_time(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    race = {"p1": Refusal("2009", "already exists")}
    outcomes = [ledger.acknowledge(take(ledger), [], race) for _ in range(3)]
    assert [(one.again, one.quarantined) for one in outcomes] == [(1, 0), (1, 0), (0, 1)]


def test_a_deferred_record_is_due_at_its_time_and_not_before(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, [A], "m1")
    assert ledger.defer(take(ledger), clock() + timedelta(seconds=30), counts_attempt=True) == 1
    assert ledger.claim(LANE) is None
    assert ledger.next_due(LANE) == clock() + timedelta(seconds=30)
    clock.sleep(30)
    assert take(ledger).attempts == 1


def test_row_07_doubt_is_kept_through_a_change_and_marks_the_next_claim(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, [A], "m1")
    ledger.doubt(take(ledger), timedelta(seconds=120))
    ledger.stage(LANE, [B], "m1")
    assert ledger.counts(LANE).in_doubt == 1
    assert ledger.claim(LANE) is None, "other content must not overtake a write that may still come"
    clock.sleep(120)
    assert take(ledger).doubtful == {"p1"}


def test_a_read_back_that_differs_three_times_waits_for_a_person(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    for _ in range(3):
        ledger.doubt(take(ledger), timedelta(0), differs=True)
    assert [one.code for one in ledger.quarantined(LANE)] == ["differs"]


def test_row_37_whoever_lost_its_lease_changes_nothing(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(3), "m1")
    late = take(ledger)
    clock.sleep(121)
    assert ledger.expire_leases(LANE) == 3
    current = take(ledger)
    assert current.doubtful == current.records.keys(), "what the lost sender did is unknown"
    done = ledger.acknowledge(late, late.records, {})
    assert (done.acknowledged, done.lost) == (0, 3)
    assert ledger.defer(late, clock(), counts_attempt=True) == 0
    assert not ledger.extend(late, timedelta(minutes=1))
    assert ledger.counts(LANE).leased == 3
    assert ledger.acknowledge(current, current.records, {}).acknowledged == 3


def test_a_part_of_a_claim_is_acknowledged_by_itself(ledger: Ledger) -> None:
    ledger.stage(LANE, people(4), "m1")
    claim = take(ledger)
    half = claim.part(["p0000", "p0001"])
    assert ledger.acknowledge(half, half.records, {}).acknowledged == 2
    assert ledger.counts(LANE).leased == 2


def test_row_48_a_record_that_ends_the_process_is_sent_alone_and_then_set_aside(
    ledger: Ledger, clock: MovedClock
) -> None:
    ledger.stage(LANE, people(5), "m1")
    poison = "p0002"
    for _ in range(30):
        claim = ledger.claim(LANE)
        if claim is None:
            break
        if poison in claim.records:
            clock.sleep(121)
            ledger.expire_leases(LANE)
        else:
            ledger.acknowledge(claim, claim.records, {})
    assert ledger.counts(LANE).acknowledged == 4
    assert [(one.key, one.code) for one in ledger.quarantined(LANE)] == [(poison, "poison")]


def test_what_a_lost_payload_may_have_set_is_cleared_by_the_next(ledger: Ledger) -> None:
    ledger.stage(LANE, [want("p1", _1="Ann", _11="York")], "m1")
    ledger.doubt(take(ledger), timedelta(0))
    ledger.stage(LANE, [A], "m1")
    assert payload(ledger) == {"1": "Ann", "11": None}


def test_what_was_acknowledged_and_overtaken_meanwhile_is_cleared_too(ledger: Ledger) -> None:
    ledger.stage(LANE, [want("p1", _1="Ann", _11="York")], "m1")
    claim = take(ledger)
    ledger.stage(LANE, [want("p1", _1="Bea", _11="Hull")], "m1")
    ledger.acknowledge(claim, claim.records, {})
    ledger.stage(LANE, [want("p1", _1="Bea")], "m1")
    assert payload(ledger) == {"1": "Bea", "11": None}


def test_what_never_left_is_left_alone_by_the_next_payload(ledger: Ledger) -> None:
    ledger.stage(LANE, [want("p1", _1="Ann", _15="no phone")], "m1")
    ledger.acknowledge(take(ledger), [], {"p1": Refusal("2007", "not valid")})
    ledger.stage(LANE, [A], "m1")
    assert payload(ledger) == {"1": "Ann"}


def test_a_withdrawal_of_consent_outlives_the_payload_that_carried_it(ledger: Ledger) -> None:
    ledger.stage(LANE, [want("p1", _1="Ann", _31=2)], "m1")
    ledger.doubt(take(ledger), timedelta(0))
    ledger.stage(LANE, [B], "m1")
    assert payload(ledger) == {"1": "Bea", "31": 2}


def test_filtered_records_are_counted_by_rule_and_not_sent(ledger: Ledger) -> None:
    ledger.stage(LANE, people(4), "m1")
    assert ledger.filter(LANE, {"p0001": "staff", "p0002": "no-email", "x1": "staff"}) == 3
    assert ledger.filter(LANE, {"p0001": "staff", "p0002": "no-email", "x1": "staff"}) == 0
    assert take(ledger).records.keys() == {"p0000", "p0003"}
    counts = ledger.counts(LANE)
    assert counts.filtered == {"staff": 2, "no-email": 1}
    assert counts.total == 5


def test_staging_a_filtered_record_sends_it_again(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    ledger.filter(LANE, {"p1": "staff"})
    assert ledger.stage(LANE, [A], "m1") == Staged(changed=1)
    assert payload(ledger) == {"1": "Ann"}


def test_every_record_is_in_one_place(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(6), "m1")
    claim = take(ledger, 5)
    ledger.acknowledge(claim.part(["p0000"]), ["p0000"], {})
    ledger.acknowledge(claim.part(["p0001"]), [], {"p0001": Refusal("2007", "")})
    ledger.doubt(claim.part(["p0002"]), timedelta(minutes=2))
    ledger.filter(LANE, {"f1": "staff"})
    clock.sleep(90)
    counts = ledger.counts(LANE)
    assert (counts.acknowledged, counts.quarantined, counts.in_doubt, counts.leased, counts.dirty) == (1, 1, 1, 2, 1)
    assert counts.filtered == {"staff": 1}
    assert counts.total == 7
    assert counts.oldest_dirty == timedelta(seconds=90)


def test_a_withdrawn_acknowledgement_is_sent_again_once_it_is_staged(ledger: Ledger) -> None:
    ledger.stage(LANE, people(2), "m1")
    settle(ledger)
    assert ledger.clear_acknowledgement(LANE, ["p0000"], "proof", "differs") == 1
    assert list(ledger.unsettled(LANE)) == ["p0000"]
    assert ledger.stage(LANE, people(2), "m1") == Staged(unchanged=1, still_dirty=1)
    assert take(ledger).records.keys() == {"p0000"}


def test_lanes_do_not_see_each_other(ledger: Ledger) -> None:
    ledger.stage(LANE, [A], "m1")
    ledger.stage("catalogue", [B], "m1")
    assert take(ledger).records.keys() == {"p1"}
    assert ledger.counts("catalogue").dirty == 1


def test_keys_are_walked_in_order_over_many_pages(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prima_emarsys.sync.ledger.KEY_PAGE", 7)
    ledger.stage(LANE, people(50), "m1")
    assert list(ledger.unsettled(LANE)) == [one.key for one in people(50)]
    settle(ledger)
    assert list(ledger.settled(LANE, [one.key for one in people(20)] + ["unknown"])) == [one.key for one in people(20)]


def test_nasty_keys_and_payloads_come_back_as_they_went(ledger: Ledger) -> None:
    nasty = want('"; DROP TABLE sync_record; --', _1='O\'Neil "Ω" \\ \x01 😀 \u2028', _2="00123")
    ledger.stage(LANE, [nasty], "m1")
    assert take(ledger).records == {nasty.key: nasty.payload}


def test_hashes_are_keyed(ledger: Ledger) -> None:
    import hashlib

    assert ledger.digest(b"{}") != hashlib.sha256(b"{}").hexdigest()
    assert ledger.digest(b"{}", "m1") != ledger.digest(b"{}", "m2")
