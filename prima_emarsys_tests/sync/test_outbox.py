"""The outbox keeps its promises on SQLite and on PostgreSQL: each fact is told once, in order, or has an owner."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from prima_emarsys.emarsys.outcome import Ambiguous, Answered, BatchRefused, Later, Refusal, Stopped
from prima_emarsys.site import EventKind
from prima_emarsys.sync import retention
from prima_emarsys.sync.deliver import Policy
from prima_emarsys.sync.doctor import examine
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.outbox import HOLD_AFTER, WAIT_FOR_ORDER, Entry, Outbox, lane_of
from prima_emarsys.sync.schema import audit, outbox
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock
from prima_emarsys_tests.sync.events import (
    CONFIRMED,
    CONTACTS,
    DESPATCHED,
    NOW,
    RETURNED,
    Events,
    acknowledge_contacts,
    always,
    answer,
    applied_but_lost,
    drain_all,
    enter,
    fact,
    state_of,
)
from prima_emarsys_tests.sync.remote import Remote, want

DAY = timedelta(days=1)
SOON = NOW + timedelta(minutes=1)


def row(ledger: Ledger, event_id: str) -> Any:
    return ledger.read(lambda c: c.execute(sa.select(outbox).where(outbox.c.event_id == event_id)).one())


def cases(ledger: Ledger) -> list[tuple[str, str, str]]:
    return [(case.kind, case.record, case.owner) for case in open_exceptions(ledger)]


# -- writing facts down ----------------------------------------------------------------------------------------------


def test_row_56_the_same_confirmation_seen_five_times_is_one_event(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    for _ in range(5):
        enter(ledger, fact(), fact())
    events = Events()
    drain_all(ledger, events)
    assert state_of(ledger) == {"sent": 1}
    assert events.told == [("p1", "1")]
    enter(ledger, fact())
    drain_all(ledger, events)
    assert events.told == [("p1", "1")], "and never again"


def test_an_amended_document_is_another_event(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(), fact(version="v2", at=SOON))
    events = Events()
    drain_all(ledger, events)
    assert state_of(ledger) == {"sent": 2}


def test_the_cursor_moves_with_the_facts_and_never_back(ledger: Ledger) -> None:
    kept = Outbox(ledger)
    kept.enter([Entry(fact(), depends_on="p1")], {"sales_order": "2026-11-20T09:00:00+00:00"}, NOW)
    kept.enter([], {"sales_order": "2026-11-20T08:00:00+00:00", "despatch": "2026-11-20T07:00:00+00:00"}, NOW)
    assert kept.marks() == {"sales_order": "2026-11-20T09:00:00+00:00", "despatch": "2026-11-20T07:00:00+00:00"}
    assert kept.begin("since", "a") == kept.begin("since", "b") == "a"


def test_what_was_overtaken_before_it_went_is_taken_back(ledger: Ledger) -> None:
    """A review request hangs on the despatch: it must not follow a return."""
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(DESPATCHED))
    late = fact(DESPATCHED, overtaken_by=RETURNED)
    entered = Outbox(ledger).enter([Entry(late, depends_on="p1"), Entry(fact(RETURNED), depends_on="p1")], {}, NOW)
    assert entered.overtaken == 1
    events = Events()
    drain_all(ledger, events)
    assert state_of(ledger, DESPATCHED) == {"cancelled": 1}
    assert state_of(ledger, RETURNED) == {"sent": 1}
    assert row(ledger, late.event_id).cause == "return-receipted came first"


def test_row_26_data_that_emarsys_would_not_pass_on_are_refused_before_sending_and_the_field_is_named(
    ledger: Ledger,
) -> None:
    acknowledge_contacts(ledger, "p1")
    lines = [{"sku": "x" * 50} for _ in range(2_000)]
    enter(ledger, fact(data={"order_number": "1", "lines": lines}))
    events = Events()
    drain_all(ledger, events)
    assert events.calls == []
    assert state_of(ledger) == {"quarantined": 1}
    assert "'lines'" in Outbox(ledger).unfinished()[0].reason


# -- order and contacts ----------------------------------------------------------------------------------------------


def test_events_of_one_order_go_one_after_the_other_by_their_dates(ledger: Ledger) -> None:
    """Also where the later one was seen first."""
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(DESPATCHED, at=SOON))
    enter(ledger, fact(CONFIRMED, at=NOW), fact(CONFIRMED, "2", at=SOON))
    sent: list[str] = []

    def note(kind: str) -> Any:
        class Noting(Events):
            def send(self, batch: Any) -> Any:
                sent.extend(f"{kind} {orjson.loads(record)['data']['order_number']}" for record in batch.values())
                return super().send(batch)

        return Noting()

    drain_all(ledger, None, senders={kind: note(kind.value) for kind in EventKind})
    assert sent.index("order-confirmed 1") < sent.index("order-despatched 1")
    assert sorted(sent) == ["order-confirmed 1", "order-confirmed 2", "order-despatched 1"]


def test_an_earlier_event_that_waits_for_a_person_does_not_keep_the_later_ones(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(CONFIRMED), fact(DESPATCHED, at=SOON))
    refusing = Events(always(BatchRefused("5005", "No program or campaign is triggered.")))
    listening = Events()
    drain_all(ledger, None, senders={CONFIRMED: refusing, DESPATCHED: listening})
    assert listening.told == [("p1", "1")]


def test_two_events_of_one_contact_never_share_a_call(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1", "p2")
    enter(ledger, fact(order="1"), fact(order="2"), fact(order="3"))
    enter(ledger, fact(order="4"), buyer="p2")
    events = Events()
    drain_all(ledger, events)
    assert sorted(events.told) == [("p1", "1"), ("p1", "2"), ("p1", "3"), ("p2", "4")]
    assert sorted(map(len, events.calls)) == [1, 1, 2]


def test_nothing_goes_before_its_contact_is_acknowledged_and_the_contact_goes_first(ledger: Ledger) -> None:
    enter(ledger, fact(), buyer="p7")
    events, contacts = Events(), Remote(lambda _remote, _batch: Later("HTTP 503", 1, counts_as_failure=True))
    drain_all(ledger, events, contacts)
    assert events.calls == []
    ledger.clock.sleep(600)  # type: ignore[attr-defined]
    drain_all(ledger, events, contacts)
    assert contacts.contacts == {"p7": {"3": "p7@shop.example"}}
    assert events.told == [("p7", "1")]
    sent = row(ledger, fact().event_id)
    assert sent.contact_acked_at <= sent.first_sent_at <= sent.accepted_at
    assert sent.payload is None


def test_a_contact_that_a_dead_sender_left_goes_first_too(ledger: Ledger, clock: MovedClock) -> None:
    ledger.stage(CONTACTS, [want("p1", _1="Ann")], "m1")
    assert ledger.claim(CONTACTS) is not None  # and then its process died
    enter(ledger, fact())
    events, contacts = Events(), Remote()
    drain_all(ledger, events, contacts, sleep=clock.sleep)
    assert not events.told
    clock.sleep(121)
    drain_all(ledger, events, contacts, sleep=clock.sleep)
    assert list(contacts.contacts) == ["p1"]
    assert events.told == [("p1", "1")]


def test_a_contact_with_something_newer_to_send_goes_first_too(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    ledger.stage(CONTACTS, [want("p1", _1="Bea")], "m1")
    enter(ledger, fact())
    contacts, events = Remote(), Events()
    drain_all(ledger, events, contacts)
    assert contacts.contacts["p1"] == {"1": "Bea"}
    assert events.told == [("p1", "1")]


def test_row_49_a_buyer_passes_by_whatever_waits_on_the_lane_of_contacts(ledger: Ledger) -> None:
    ledger.stage(CONTACTS, [want(f"b{place:04}", _1="Ann") for place in range(3_000)], "m1")
    ledger.stage(CONTACTS, [want("p1", _1="Ann")], "m1")
    enter(ledger, fact())
    contacts, events = Remote(), Events()
    drain_all(ledger, events, contacts)
    assert contacts.calls == [["p1"]]
    assert events.told == [("p1", "1")]
    assert ledger.counts(CONTACTS).dirty == 3_000


def test_row_49_a_sender_that_holds_the_lane_takes_the_buyer_next(ledger: Ledger) -> None:
    ledger.stage(CONTACTS, [want(f"b{place:04}", _1="Ann") for place in range(3_000)], "m1")
    claim = ledger.claim(CONTACTS, 1_000)
    ledger.stage(CONTACTS, [want("p1", _1="Ann")], "m1")
    ledger.hasten(CONTACTS, ["p1"])
    following = ledger.claim(CONTACTS, 1_000)
    assert claim is not None
    assert following is not None
    assert "p1" in following.records


def test_row_61_an_event_waits_for_a_refused_contact_and_goes_when_it_is_mended(ledger: Ledger) -> None:
    ledger.stage(CONTACTS, [want("p1", _1="Ann")], "m1")
    enter(ledger, fact())
    events, contacts = Events(), Remote(lambda _r, _b: Answered({"p1": Refusal("2007", "no")}))
    drain_all(ledger, events, contacts)
    (waiting,) = Outbox(ledger).unfinished()
    assert (waiting.reason, waiting.owner) == ("its contact was refused (2007)", "data")
    assert Outbox(ledger).oldest_unsent() is None, "it has an owner already"
    ledger.release(CONTACTS, ["p1"], "ann", "mended")
    drain_all(ledger, events, contacts)
    assert events.told == [("p1", "1")]


def test_row_61_an_event_of_somebody_who_is_never_sent_is_cancelled_and_counted(ledger: Ledger) -> None:
    ledger.filter(CONTACTS, {"p1": "internal:staff"})
    enter(ledger, fact())
    enter(ledger, fact(order="2"), buyer="p2")
    done = drain_all(ledger, Events(), first_contacts=lambda keys: dict.fromkeys(keys, "no-email:missing"))
    assert done.ended == {"filtered": 2}
    assert state_of(ledger) == {"cancelled": 2}
    assert row(ledger, fact().event_id).cause == "its buyer is not sent, by the rule internal:staff"


def test_row_57_what_names_an_unknown_order_waits_a_day_and_then_for_finance(ledger: Ledger, clock: MovedClock) -> None:
    acknowledge_contacts(ledger, "p1")
    early = fact(RETURNED, at=SOON)
    enter(ledger, early, buyer=None, code="no-order", cause="order 1 is not in Prima")
    drain_all(ledger, Events())
    assert state_of(ledger, RETURNED) == {"pending": 1}
    assert Outbox(ledger).unresolved() == ["1-1"]
    clock.now += WAIT_FOR_ORDER + timedelta(minutes=1)
    drain_all(ledger, Events())
    assert cases(ledger) == [("event-without-order", f"event|{early.event_id}", "finance")]
    enter(ledger, fact(CONFIRMED, at=NOW + DAY), early)  # its order shows at last
    events = Events()
    drain_all(ledger, events)
    assert state_of(ledger, RETURNED) == {"sent": 1}
    assert cases(ledger) == []


# -- what may go wrong on the way ------------------------------------------------------------------------------------


def test_row_04_a_lost_reply_is_repeated_with_the_same_id_and_tells_nobody_twice(
    ledger: Ledger, clock: MovedClock
) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact())
    events = Events(applied_but_lost, always(Ambiguous("the call timed out")))
    drain_all(ledger, events)
    assert state_of(ledger) == {"pending": 1}
    for _ in range(5):
        clock.sleep(10)
        drain_all(ledger, events)
    assert state_of(ledger) == {"sent": 1}
    assert len(events.calls) == 3
    assert events.told == [("p1", "1")]


def test_an_event_of_unknown_outcome_is_held_after_an_hour_until_a_person_decides(
    ledger: Ledger, clock: MovedClock
) -> None:
    acknowledge_contacts(ledger, "p1", "p2")
    enter(ledger, fact(order="1"))
    enter(ledger, fact(order="2"), buyer="p2")
    events = Events(applied_but_lost)
    drain_all(ledger, events)
    clock.now += HOLD_AFTER + timedelta(seconds=1)
    drain_all(ledger, events)
    assert len(events.calls) == 1, "it is not sent again by itself"
    assert state_of(ledger) == {"held": 2}
    assert {(kind, owner) for kind, _, owner in cases(ledger)} == {("event-held", "marketing")}
    kept = Outbox(ledger)
    assert kept.release("Ann", "nobody got it", event_ids=[fact(order="1").event_id]) == 1
    assert kept.drop("Ann", "they got it", event_ids=[fact(order="2").event_id]) == 1
    clock.now += timedelta(days=3)
    drain_all(ledger, events)
    assert state_of(ledger) == {"sent": 1, "cancelled": 1}, "what a person released goes whatever its age"
    assert cases(ledger) == []
    acts = ledger.read(lambda c: c.execute(sa.select(audit.c.who, audit.c.what).order_by(audit.c.id)).all())
    assert [tuple(act) for act in acts] == [("Ann", "release-event"), ("Ann", "drop-event")]


def test_row_24_a_contact_that_emarsys_does_not_have_is_made_again_and_then_the_event_goes(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact())
    events = Events(lambda _e, records: Answered({one: Refusal("2008", "No contact found") for one in records}))
    contacts = Remote()
    drain_all(ledger, events, contacts)
    assert contacts.contacts == {"p1": {"3": "p1@shop.example"}}
    assert events.told == [("p1", "1")]
    assert state_of(ledger) == {"sent": 1}


def test_a_contact_that_is_never_found_ends_with_its_owner(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact())
    events = Events(*[lambda _e, records: Answered({one: Refusal("2008", "No contact found") for one in records})] * 9)
    drain_all(ledger, events, Remote())
    assert len(events.calls) == 3
    assert [kind for kind, _, _ in cases(ledger)] == ["event-refused"]


def test_row_25_an_event_to_which_nothing_listens_waits_under_one_exception_for_all(ledger: Ledger) -> None:
    buyers = [f"p{place}" for place in range(40)]
    acknowledge_contacts(ledger, *buyers)
    for place, buyer in enumerate(buyers):
        enter(ledger, fact(order=str(place)), buyer=buyer)
    events = Events(always(BatchRefused("5005", "No program or campaign is triggered.")))
    drain_all(ledger, events)
    assert len(events.calls) == 1, "no culprit is looked for"
    assert cases(ledger) == [("event-not-connected", "event|order-confirmed", "marketing")]
    assert "40 events" in open_exceptions(ledger)[0].detail
    drain_all(ledger, events)
    assert len(events.calls) == 1, "and it is not tried again by itself"
    Outbox(ledger).release("Ann", "connected", kind=CONFIRMED)
    drain_all(ledger, events)
    assert len(events.told) == 40
    assert cases(ledger) == []


def test_a_refused_event_is_one_exception_and_the_others_of_its_batch_are_sent(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1", "p2")
    culprit = fact(order="1")
    enter(ledger, culprit)
    enter(ledger, fact(order="2"), buyer="p2")

    def one_refused(events: Events, records: Any) -> Answered:
        events.process({one: record for one, record in records.items() if one != culprit.event_id})
        return Answered({culprit.event_id: Refusal("5011", "Event data is not an object.")})

    drain_all(ledger, Events(one_refused))
    assert state_of(ledger) == {"sent": 1, "quarantined": 1}
    assert cases(ledger) == [("event-refused", f"event|{culprit.event_id}", "marketing")]


def test_a_name_that_emarsys_does_not_have_parks_its_kind_alone_and_goes_on_when_it_exists(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(CONFIRMED), fact(DESPATCHED, at=SOON))
    events = Events()
    drain_all(ledger, None, senders={DESPATCHED: events}, missing={CONFIRMED: "order_confirmed"})
    assert state_of(ledger) == {"quarantined": 1}
    assert state_of(ledger, DESPATCHED) == {"sent": 1}
    drain_all(ledger, events)
    assert state_of(ledger) == {"quarantined": 1}, "only a fresh look says that it exists"
    drain_all(ledger, events, names_are_fresh=True)
    assert state_of(ledger) == {"sent": 1}


def test_row_09_a_pause_holds_the_lane_and_counts_against_no_event(ledger: Ledger, clock: MovedClock) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact())
    events = Events(always(Later("HTTP 429", 20, counts_as_failure=False)))
    drain_all(ledger, events, policy=_no_waits())
    clock.sleep(19)
    drain_all(ledger, events, policy=_no_waits())
    assert len(events.calls) == 1
    clock.sleep(2)
    drain_all(ledger, events, policy=_no_waits())
    assert state_of(ledger) == {"sent": 1}


def _no_waits() -> Policy:
    return Policy(short_wait=0, lane_wait=0)


def test_row_15_a_closed_endpoint_stops_its_kind_and_not_the_others(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(CONFIRMED, "1"), fact(RETURNED, "2"))
    closed, open_ = Events(*[always(Stopped("HTTP 403", "Switch it on."))] * 9), Events()
    one_at_a_time = Policy(parallel=1, lane_wait=0)
    done = drain_all(ledger, None, senders={CONFIRMED: closed, RETURNED: open_}, policy=one_at_a_time)
    assert list(done.stopped) == [lane_of(CONFIRMED)]
    assert open_.told == [("p1", "2")]
    drain_all(ledger, None, senders={CONFIRMED: closed, RETURNED: open_}, resting=done.stopped)
    assert len(closed.calls) == 1


def test_row_36_two_drains_at_once_tell_each_fact_once(ledger_url: str) -> None:
    with Ledger.open(ledger_url, HASH_KEY) as ledger:
        buyers = [f"p{place}" for place in range(200)]
        acknowledge_contacts(ledger, *buyers)
        at = ledger.clock()
        kept = Outbox(ledger)
        kept.enter([Entry(fact(order=one, at=at), depends_on=one) for one in buyers], {}, at)
        events = Events()

        def one_drain() -> None:
            drain_all(ledger, events, policy=Policy(batch=20, lane_wait=5))

        threads = [threading.Thread(target=one_drain) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(map(len, events.calls)) == 200
    assert len(events.told) == 200


def test_row_48_an_event_that_ends_the_process_each_time_is_set_aside(ledger: Ledger, clock: MovedClock) -> None:
    acknowledge_contacts(ledger, "p1", "p2")
    kept = enter(ledger, fact(order="1"))
    enter(ledger, fact(order="2"), buyer="p2")
    poison = fact(order="1").event_id
    for _ in range(8):
        if (claim := kept.claim(lane_of(CONFIRMED))) is None:
            break
        if poison in claim.records:  # the process dies
            clock.sleep(121)
            kept.expire_leases(lane_of(CONFIRMED))
        else:
            kept.acknowledge(claim, claim.records, {})
    assert state_of(ledger) == {"sent": 1, "quarantined": 1}
    assert row(ledger, poison).code == "poison"


def test_row_37_a_late_acknowledgement_after_the_lease_changes_nothing(ledger: Ledger, clock: MovedClock) -> None:
    acknowledge_contacts(ledger, "p1")
    kept = enter(ledger, fact())
    late = kept.claim(lane_of(CONFIRMED))
    assert late is not None
    clock.sleep(121)
    events = Events()
    drain_all(ledger, events)
    assert events.told == [("p1", "1")]
    assert kept.acknowledge(late, late.records, {}).lost == 1
    assert kept.extend(late, timedelta(seconds=9)) is False


# -- age -------------------------------------------------------------------------------------------------------------


def test_what_became_too_old_while_emarsys_was_away_is_withheld(ledger: Ledger, clock: MovedClock) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact())
    events = Events(*[always(Later("HTTP 503", 1, counts_as_failure=True))] * 99)
    drain_all(ledger, events, policy=_no_waits())
    clock.now += timedelta(days=2, minutes=1)
    done = drain_all(ledger, events)
    assert done.ended == {"too-old": 1}
    assert state_of(ledger) == {"withheld": 1}
    Outbox(ledger).release("Ann", "better late than never", event_ids=[fact().event_id])
    events.script.clear()
    drain_all(ledger, events)
    assert state_of(ledger) == {"sent": 1}


def test_a_kind_that_is_switched_off_keeps_nothing_waiting(ledger: Ledger) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(CONFIRMED), fact(DESPATCHED, at=SOON))
    events = Events()
    drain_all(ledger, None, senders={DESPATCHED: events}, oldest={DESPATCHED: DAY})
    assert state_of(ledger) == {"cancelled": 1}
    assert events.told == [("p1", "1")]


def test_latency_is_stored_in_its_three_parts(ledger: Ledger, clock: MovedClock) -> None:
    acknowledge_contacts(ledger, "p1")
    clock.sleep(3)
    enter(ledger, fact())
    clock.sleep(2)

    def slowly(events: Events, records: Any) -> Any:
        clock.sleep(1)
        return answer(events, records)

    drain_all(ledger, Events(slowly))
    (one,) = Outbox(ledger).latencies(NOW)
    assert (one.source, one.queue, one.send, one.total) == (3, 2, 1, 6)


def test_the_oldest_unsent_event_is_known_by_its_age(ledger: Ledger, clock: MovedClock) -> None:
    kept = enter(ledger, fact())
    clock.sleep(130)
    assert kept.oldest_unsent() == timedelta(seconds=130)


# -- keeping -----------------------------------------------------------------------------------------------------------


def test_finished_events_are_forgotten_long_after_they_could_come_up_again(ledger: Ledger, clock: MovedClock) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact(order="1"), fact(order="2"))
    drain_all(ledger, Events(lambda e, r: (e.process(r), Answered({}))[1], always(BatchRefused("5005", "no"))))
    clock.now += timedelta(days=99)
    assert retention.apply(ledger)["outbox"] == 0
    clock.now += timedelta(days=2)
    assert retention.apply(ledger)["outbox"] == 1
    assert state_of(ledger) == {"quarantined": 1}, "what waits for a person is kept"


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ({"finished_at": None}, "every event that ended has its time, its cause and its owner"),
        ({"accepted_at": None}, "every event that ended has its time, its cause and its owner"),
        ({"version": "v9"}, "one fact has one event id"),
        ({"contact_acked_at": NOW + DAY}, "no event left before its contact was acknowledged"),
        ({"payload": b"{}"}, "events that ended as sent or cancelled hold no payload"),
    ],
)
def test_the_doctor_finds_each_broken_promise(ledger: Ledger, damage: dict[str, Any], finding: str) -> None:
    acknowledge_contacts(ledger, "p1")
    enter(ledger, fact())
    drain_all(ledger, Events())
    assert [check.name for check in examine(ledger) if not check.ok] == []
    ledger.write(lambda c: c.execute(sa.update(outbox).values(damage)))
    assert finding in [check.name for check in examine(ledger) if not check.ok]
