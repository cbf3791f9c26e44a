"""Delivery: whatever a call comes to, every record ends where it belongs, and the remote ends equal."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from prima_emarsys.emarsys.outcome import (
    Ambiguous,
    Answered,
    BatchRefused,
    Later,
    Outcome,
    Refusal,
    Stopped,
    TooLarge,
)
from prima_emarsys.sync import lanes
from prima_emarsys.sync.deliver import Delivered, Policy, deliver
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.lanes import Dispatcher
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import delivery_call
from prima_emarsys_tests.sync.conftest import MovedClock
from prima_emarsys_tests.sync.remote import Remote, always, answer, applied_but_lost, lost, people, want

LANE = "contacts"
POLICY = Policy(grace=5)
UNAVAILABLE = always(Later("HTTP 503", 1, counts_as_failure=True))


def run(ledger: Ledger, remote: Any, clock: MovedClock, policy: Policy = POLICY, seconds: float = 0) -> Delivered:
    return deliver(ledger, LANE, remote, policy, until_settled_for=seconds, sleep=clock.sleep)


def names(remote: Remote) -> dict[str, str | None]:
    return {key: contact.get("1") for key, contact in remote.contacts.items()}


def everybody(number: int, value: str = "Ann") -> dict[str, str]:
    return {one.key: value for one in people(number)}


def test_everything_due_is_sent_in_full_batches_and_acknowledged(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(2_500), "m1")
    remote = Remote()
    done = run(ledger, remote, clock)
    assert done.settled
    assert done.tally.acknowledged == 2_500
    assert sorted(map(len, remote.calls)) == [500, 1_000, 1_000]
    assert names(remote) == everybody(2_500)
    assert run(ledger, remote, clock).tally.calls == 0


def test_every_call_is_kept_for_the_record(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(3), "m1")
    run(ledger, Remote(always(BatchRefused("2007", "")), answer), clock)
    select = sa.select(delivery_call.c.records, delivery_call.c.outcome).order_by(delivery_call.c.id)
    calls = [tuple(row) for row in ledger.read(lambda c: c.execute(select).all())]
    assert calls[:2] == [(3, "BatchRefused"), (1, "Answered")]


def test_row_01_a_refused_connection_is_tried_again_and_nothing_counts_as_sent(
    ledger: Ledger, clock: MovedClock
) -> None:
    ledger.stage(LANE, people(3), "m1")
    refused = always(Later("connection refused", 1, counts_as_failure=True))
    remote = Remote(*[refused] * 40)
    done = run(ledger, remote, clock)
    assert done.counts.dirty == 3
    assert not done.settled
    assert len(remote.calls) <= 6, "the waits without an answer are few"
    assert done.next_due is not None


@pytest.mark.parametrize("fault", [lost, applied_but_lost], ids=["row_02_not_applied", "row_03_applied"])
def test_after_a_lost_reply_the_record_is_sent_again_and_read_back(
    ledger: Ledger, clock: MovedClock, fault: Any
) -> None:
    ledger.stage(LANE, people(3), "m1")
    remote = Remote(fault)
    first = run(ledger, remote, clock)
    assert first.counts.in_doubt == 3
    done = run(ledger, remote, clock, seconds=10)
    assert done.settled
    assert names(remote) == everybody(3)


def test_row_07_a_late_write_of_an_older_state_is_found_by_the_read_back(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(1, "old"), "m1")
    late: list[Mapping[str, bytes]] = []

    def held_by_the_server(_remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
        late.append(batch)
        return Ambiguous("the call timed out")

    def overtaken(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
        remote.apply(batch)
        remote.apply(late.pop())
        return Answered({})

    remote = Remote(held_by_the_server, overtaken)
    run(ledger, remote, clock)
    ledger.stage(LANE, people(1, "new"), "m1")
    assert run(ledger, remote, clock, seconds=60).settled
    assert names(remote) == {"p0000": "new"}


def test_a_read_back_that_fails_leaves_the_record_in_doubt(ledger: Ledger, clock: MovedClock) -> None:
    class Unreadable(Remote):
        def read_back(self, keys: Any, payloads: Any) -> Mapping[str, bool]:  # noqa: ARG002
            return {}

    ledger.stage(LANE, people(2), "m1")
    remote = Unreadable(lost)
    done = run(ledger, remote, clock, seconds=12)
    assert done.counts.in_doubt == 2
    assert done.counts.quarantined == 0


def test_row_08_a_reply_that_drips_past_the_deadline_is_treated_as_lost(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(2), "m1")

    def cut(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
        clock.sleep(60)
        remote.apply(batch)
        return Ambiguous("cut at the deadline")

    assert run(ledger, Remote(cut), clock, seconds=120).settled


def test_row_09_a_used_up_rate_limit_is_sat_out_and_counts_against_nobody(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(3), "m1")
    began = clock()
    done = run(ledger, Remote(always(Later("429", 20, counts_as_failure=False))), clock)
    assert done.settled
    assert clock() - began >= timedelta(seconds=20)
    assert lanes.find(ledger, LANE).breaker.window == ""


def test_a_long_wait_is_left_to_a_later_run_which_respects_it(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(3), "m1")
    began = clock()
    remote = Remote(always(Later("429", 600, counts_as_failure=False)))
    assert run(ledger, remote, clock).next_due == began + timedelta(seconds=600)
    assert run(ledger, remote, clock).tally.calls == 0
    clock.sleep(600)
    assert run(ledger, remote, clock).settled


def test_row_13_a_storm_of_failures_opens_the_breaker_and_one_small_probe_closes_it(
    ledger: Ledger, clock: MovedClock
) -> None:
    ledger.stage(LANE, people(5_000), "m1")
    remote = Remote(*[lost] * 6)
    done = run(ledger, remote, clock, Policy(parallel=1, grace=1))
    assert len(remote.calls) == 5, "the fifth failure opens it"
    assert done.tally.in_doubt == 5_000
    breaker = lanes.find(ledger, LANE).breaker
    assert breaker.open_until == clock() + timedelta(seconds=60)
    clock.sleep(30)
    assert run(ledger, remote, clock).tally.calls == 0
    clock.sleep(30)
    run(ledger, remote, clock)
    assert len(remote.calls[-1]) == 10, "a probe is small"
    assert lanes.find(ledger, LANE).breaker.open_seconds == 120
    clock.sleep(120)
    assert run(ledger, remote, clock, seconds=60).settled
    assert lanes.find(ledger, LANE).breaker == lanes.Breaker()


def test_several_threads_open_the_breaker_hardly_later(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(400), "m1")
    remote = Remote(*[lost] * 100)
    run(ledger, remote, clock, Policy(parallel=4, batch=10, grace=1))
    assert 5 <= len(remote.calls) <= 8


def test_row_17_a_refused_record_is_listed_for_its_owner_until_it_is_accepted(
    ledger: Ledger, clock: MovedClock
) -> None:
    ledger.stage(LANE, people(1_000), "m1")

    def three_refused(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
        refused = {"p0001": Refusal("2007", "no"), "p0002": Refusal("2010", "more"), "p0003": Refusal("2007", "no")}
        remote.apply({key: payload for key, payload in batch.items() if key not in refused})
        return Answered(refused)

    remote = Remote(three_refused)
    done = run(ledger, remote, clock)
    assert (done.tally.acknowledged, done.tally.refused) == (997, 3)
    listed = {(case.kind, case.record, case.owner) for case in open_exceptions(ledger)}
    assert listed == {
        ("contact-refused", "p0001", "data"),
        ("duplicate-in-emarsys", "p0002", "marketing"),
        ("contact-refused", "p0003", "data"),
    }
    ledger.stage(LANE, [want("p0001", _1="Bea")], "m1")
    ledger.release(LANE, ["p0003"], "ann", "corrected")
    run(ledger, remote, clock)
    assert [case.record for case in open_exceptions(ledger)] == ["p0002"]


def test_row_20_what_is_too_large_is_split_and_all_of_it_is_sent(ledger: Ledger, clock: MovedClock) -> None:
    def at_most_100(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
        return answer(remote, batch) if len(batch) <= 100 else TooLarge("over 8 MB")

    ledger.stage(LANE, people(500), "m1")
    remote = Remote(*[at_most_100] * 100)
    assert run(ledger, remote, clock).tally.acknowledged == 500
    assert names(remote) == everybody(500)


def test_one_record_that_is_too_large_waits_for_its_owner(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(1), "m1")
    run(ledger, Remote(always(TooLarge("over 8 MB"))), clock)
    assert [one.code for one in ledger.quarantined(LANE)] == ["too-large"]


def refusing(*culprits: str) -> Any:
    def whole_batch(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
        return BatchRefused("2003", "bad data") if batch.keys() & set(culprits) else answer(remote, batch)

    return whole_batch


@pytest.mark.parametrize("culprit", ["p0000", "p0637", "p0999"])
def test_row_21_the_culprit_of_a_refused_batch_is_found_in_20_calls(
    ledger: Ledger, clock: MovedClock, culprit: str
) -> None:
    ledger.stage(LANE, people(1_000), "m1")
    remote = Remote(*[refusing(culprit)] * 100)
    done = run(ledger, remote, clock)
    assert (done.tally.acknowledged, done.tally.refused) == (999, 1)
    assert [one.key for one in ledger.quarantined(LANE)] == [culprit]
    assert len(remote.calls) <= 21


def test_many_culprits_are_found_one_after_the_other(ledger: Ledger, clock: MovedClock) -> None:
    culprits = ["p0000", "p0050", "p0051", "p0199"]
    ledger.stage(LANE, people(200), "m1")
    run(ledger, Remote(*[refusing(*culprits)] * 100), clock)
    assert [one.key for one in ledger.quarantined(LANE)] == culprits
    assert ledger.counts(LANE).acknowledged == 196


def test_a_refusal_that_names_no_record_of_ours_is_never_taken_for_success(ledger: Ledger, clock: MovedClock) -> None:
    def stranger(remote: Remote, batch: Mapping[str, bytes]) -> Outcome:
        if "p0002" not in batch:
            return answer(remote, batch)
        return Answered({"": Refusal("2005", "No value provided for key field")})

    ledger.stage(LANE, people(8), "m1")
    run(ledger, Remote(*[stranger] * 50), clock)
    assert [(one.key, one.code) for one in ledger.quarantined(LANE)] == [("p0002", "2005")]
    assert ledger.counts(LANE).acknowledged == 7


def test_row_22_the_already_exists_race_ends_acknowledged(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(2), "m1")
    race = always(Answered(dict.fromkeys(["p0000", "p0001"], Refusal("2009", "already exists"))))
    done = run(ledger, Remote(race), clock)
    assert (done.tally.again, done.tally.acknowledged) == (2, 2)
    assert done.settled


def test_a_stop_lets_nothing_go_until_a_probe_succeeds(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(3_000), "m1")
    forbidden = always(Stopped("HTTP 403", "Switch the endpoint on."))
    remote = Remote(forbidden, forbidden)
    done = run(ledger, remote, clock, Policy(parallel=1))
    assert done.stopped == Stopped("HTTP 403", "Switch the endpoint on.")
    assert len(remote.calls) == 1
    assert [(case.kind, case.detail) for case in open_exceptions(ledger)] == [
        ("lane-stopped", "HTTP 403. Switch the endpoint on.")
    ]
    clock.sleep(60)
    assert run(ledger, remote, clock).stopped is not None
    assert len(remote.calls[-1]) == 10
    clock.sleep(60)
    done = run(ledger, remote, clock)
    assert done.stopped is None
    assert done.settled
    assert open_exceptions(ledger) == []


def test_a_person_resumes_a_lane_by_name(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(30), "m1")
    run(ledger, Remote(always(Stopped("HTTP 403", "Switch it on."))), clock, Policy(parallel=1))
    lanes.resume(ledger, LANE, "ann", "switched on")
    remote = Remote()
    assert run(ledger, remote, clock).settled
    assert len(remote.calls[0]) == 30, "no probe is needed"


def test_row_36_a_second_run_sends_nothing_and_says_who_sends(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(10), "m1")
    assert isinstance(lanes.take(ledger, LANE, timedelta(seconds=60)), Dispatcher)
    remote = Remote()
    done = run(ledger, remote, clock)
    assert done.held_by is not None
    assert "process" in done.held_by.holder
    assert remote.calls == []
    clock.sleep(61)
    assert run(ledger, remote, clock).settled


def test_row_36_two_runs_at_once_never_send_a_record_twice(ledger_url: str) -> None:
    from prima_emarsys_tests.sync.conftest import HASH_KEY

    with Ledger.open(ledger_url, HASH_KEY) as ledger:
        ledger.stage(LANE, people(2_000), "m1")
        remote = Remote()
        results: list[Delivered] = []

        def one_run() -> None:
            results.append(deliver(ledger, LANE, remote, Policy(batch=50)))

        threads = [threading.Thread(target=one_run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert remote.sent == 2_000
    assert sum(done.tally.acknowledged for done in results) == 2_000


def test_a_sender_that_raises_stops_the_run_and_loses_nothing(ledger: Ledger, clock: MovedClock) -> None:
    def broken(_remote: Remote, _batch: Mapping[str, bytes]) -> Outcome:
        raise ZeroDivisionError("nobody foresaw this")

    ledger.stage(LANE, people(3), "m1")
    remote = Remote(broken)
    with pytest.raises(ZeroDivisionError):
        run(ledger, remote, clock)
    assert ledger.counts(LANE).in_doubt == 3
    assert run(ledger, remote, clock).settled


def test_ten_per_cent_of_the_replies_lost_and_still_all_is_equal_in_one_run(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(200), "m1")
    script = [applied_but_lost if place % 10 == 3 else answer for place in range(200)]
    remote = Remote(*script)
    assert run(ledger, remote, clock, Policy(batch=10, grace=5), seconds=60).settled
    assert names(remote) == everybody(200)


def test_row_45_a_ledger_restored_from_yesterday_ends_equal(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(LANE, people(20, "Ann"), "m1")
    remote = Remote()
    run(ledger, remote, clock)
    # What the lost day did: some changed and were acknowledged; in Prima they are now as they were yesterday.
    remote.apply({one.key: one.payload for one in people(5, "Bea")})
    ledger.clear_acknowledgement(LANE, None, "ops", "restored from the backup of yesterday")
    ledger.stage(LANE, people(20, "Ann"), "m1")
    assert run(ledger, remote, clock).settled
    assert names(remote) == everybody(20)
