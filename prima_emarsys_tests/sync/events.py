"""Facts for the outbox, and a stand-in for Emarsys's external events that processes a `trigger_id` once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from prima_emarsys.emarsys.outcome import Ambiguous, Answered, Outcome
from prima_emarsys.rules.events import Fact
from prima_emarsys.site import EventKind
from prima_emarsys.sync.deliver import Policy
from prima_emarsys.sync.drain import Drained, drain
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.outbox import Entry, Outbox
from prima_emarsys_tests.sync.remote import want

CONTACTS = "contacts"
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
"""Where `MovedClock` begins."""
CONFIRMED, DESPATCHED, RETURNED = EventKind.ORDER_CONFIRMED, EventKind.ORDER_DESPATCHED, EventKind.RETURN_RECEIPTED
OLDEST = dict.fromkeys(EventKind, timedelta(days=2))
QUICK = Policy(grace=2, lane_wait=0)

Step = Callable[["Events", Mapping[str, Mapping[str, Any]]], Outcome]


def fact(
    kind: EventKind = CONFIRMED, order: str = "1", *, version: str = "v1", at: datetime = NOW, **changes: Any
) -> Fact:
    given = {"document": f"doc|{order}|{kind}", "account": f"1-C{order}", "data": {"order_number": order}}
    return Fact(
        kind=kind, version=version, aggregate=f"1-{order}", dated_at=at, stamped_at=at, **given | changes
    )  # fmt: skip


def enter(ledger: Ledger, *facts: Fact, buyer: str | None = "p1", **decided: Any) -> Outbox:
    """Write facts down as a collector does."""
    outbox = Outbox(ledger)
    outbox.enter([Entry(one, depends_on=buyer, **decided) for one in facts], {}, ledger.clock())
    return outbox


def acknowledge_contacts(ledger: Ledger, *keys: str) -> None:
    ledger.stage(CONTACTS, [want(key, _1="Ann") for key in keys], "m1")
    while claim := ledger.claim(CONTACTS):
        ledger.acknowledge(claim, claim.records, {})


def state_of(ledger: Ledger, kind: EventKind = CONFIRMED) -> dict[str, int]:
    return Outbox(ledger).states().get(kind.value, {})


class Events:
    """What was told to whom. `script` is used up call by call, then every call succeeds."""

    def __init__(self, *script: Step) -> None:
        self.told: list[tuple[str, str]] = []
        """(contact, order) in the order of their first processing."""
        self.calls: list[list[str]] = []
        self.script = list(script)
        self._processed: set[str] = set()
        self._lock = threading.Lock()

    def send(self, batch: Mapping[str, bytes]) -> Outcome:
        records = {event_id: orjson.loads(record) for event_id, record in batch.items()}
        assert len({record["external_id"] for record in records.values()}) == len(records), "one event a contact"
        with self._lock:
            self.calls.append(list(batch))
            step = self.script.pop(0) if self.script else answer
        return step(self, records)

    def process(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        with self._lock:
            for event_id, record in records.items():
                assert record["trigger_id"] == event_id
                if event_id not in self._processed:
                    self._processed.add(event_id)
                    self.told.append((record["external_id"], record["data"]["order_number"]))

    def read_back(self, keys: Sequence[str], payloads: Mapping[str, bytes]) -> Mapping[str, bool]:  # noqa: ARG002
        raise AssertionError("events are not read back")


def answer(events: Events, records: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """Processed, and answered."""
    events.process(records)
    return Answered({})


def applied_but_lost(events: Events, records: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """Processed, and the reply lost."""
    events.process(records)
    return Ambiguous("the reply was lost")


def always(outcome: Outcome) -> Step:
    """Not processed, answered with `outcome`."""
    return lambda _events, _records: outcome


def drain_all(ledger: Ledger, events: Any, contacts: Any = None, **options: Any) -> Drained:
    """Drain with one stand-in for all kinds."""

    def unknown(keys: Sequence[str]) -> Mapping[str, str]:
        ledger.stage(CONTACTS, [want(key, _3=f"{key}@shop.example") for key in keys], "first")
        return {}

    senders = options.pop("senders", dict.fromkeys(EventKind, events))
    given = {"oldest": OLDEST, "policy": QUICK, "first_contacts": unknown}
    return drain(ledger, senders, contacts or Contactless(), **given | options)


class Contactless:
    """No contact is expected to be sent."""

    def send(self, batch: Mapping[str, bytes]) -> Outcome:
        raise AssertionError(f"sent {list(batch)}")

    def read_back(self, keys: Sequence[str], payloads: Mapping[str, bytes]) -> Mapping[str, bool]:  # noqa: ARG002
        raise AssertionError("not sent")
