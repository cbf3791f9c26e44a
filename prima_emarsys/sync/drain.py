"""Draining the outbox: first the contacts that events wait for, then the events, order by order.

One function, called by the relay a few times a second and by Dagster's asset as its safety net; leases make both safe
at once. How a lane is worked is in `deliver`, the states of events are in `outbox`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from prima_emarsys.emarsys.outcome import Stopped
from prima_emarsys.site import EventKind
from prima_emarsys.sync.deliver import Delivered, Policy, Sender, Tally, deliver, report
from prima_emarsys.sync.lanes import CONTACTS
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.outbox import Outbox, lane_of

FirstContacts = Callable[[Sequence[str]], Mapping[str, str]]
"""Stages the contacts of these keys as far as they can be known at once; returns key → rule of those never sent."""


@dataclass
class Drained:
    """What one call did. `stopped` lanes stand still until a person acts; try them rarely."""

    contacts: Tally = field(default_factory=Tally)
    events: dict[EventKind, Tally] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    """Events that ended unsent, by code."""
    stopped: dict[str, Stopped] = field(default_factory=dict)

    @property
    def tally(self) -> Tally:
        """What became of the events of all kinds."""
        return sum(self.events.values(), Tally())

    def __add__(self, other: Drained) -> Drained:
        events = {kind: self.events.get(kind, Tally()) + other.events.get(kind, Tally())
                  for kind in self.events | other.events}  # fmt: skip
        ended = dict(Counter(self.ended) + Counter(other.ended))
        return Drained(self.contacts + other.contacts, events, ended, self.stopped | other.stopped)


def drain(
    ledger: Ledger,
    senders: Mapping[EventKind, Sender],
    contacts: Sender,
    first_contacts: FirstContacts,
    oldest: Mapping[EventKind, timedelta],
    policy: Policy,
    *,
    contact_policy: Policy | None = None,
    missing: Mapping[EventKind, str] | None = None,
    names_are_fresh: bool = False,
    resting: Collection[str] = (),
    until_settled_for: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Drained:
    """Send every event that may go, and before it the contact that it waits for.

    `senders`: kinds whose external event exists; `missing`: kinds whose event does not, with its name; with
    `names_are_fresh`, what was set aside for want of its external event is tried again. `oldest`: all kinds that are
    on, with their age limit. Lanes that are `resting` are left alone. `contact_policy`: how the lane of contacts is
    worked, if not as the lanes of events. Goes on while events become due within `until_settled_for` seconds.
    """
    outbox = Outbox(ledger)
    done = Drained(ended=outbox.age(oldest))
    for kind, name in (missing or {}).items():
        outbox.park(kind, name)
    for kind in outbox.parked() & senders.keys() if names_are_fresh else ():
        outbox.unpark(kind)
    if done.ended:
        for kind in EventKind:
            report(ledger, lane_of(kind), outbox)
    until = time.monotonic() + until_settled_for
    idle: set[EventKind] = set()
    while True:
        _send_contacts(ledger, outbox, contacts, first_contacts, contact_policy or policy, resting, done, sleep)
        kinds = [kind for kind in outbox.due() if kind in senders.keys() - idle and lane_of(kind) not in resting]
        for kind in kinds:
            left = max(until - time.monotonic(), 0.0)
            lane = lane_of(kind)
            sent = deliver(ledger, lane, senders[kind], policy, stock=outbox, until_settled_for=left, sleep=sleep)
            done.events[kind] = done.events.get(kind, Tally()) + sent.tally
            if _stands_still(lane, sent, done):
                idle.add(kind)
        if not kinds:
            return done


def _send_contacts(
    ledger: Ledger,
    outbox: Outbox,
    sender: Sender,
    first_contacts: FirstContacts,
    policy: Policy,
    resting: Collection[str],
    done: Drained,
    sleep: Callable[[float], None],
) -> None:
    """Let the contacts go first that events wait for; those that the ledger does not know are made first."""
    buyers = outbox.buyers()
    never = {one.key: one.filtered_rule for one in buyers if one.filtered_rule is not None}
    unknown = [one.key for one in buyers if one.key not in never and not one.payload]
    if unknown:
        never |= first_contacts(unknown)
    if never:
        done.ended["filtered"] = done.ended.get("filtered", 0) + outbox.exclude(never)
    wanted = [one.key for one in buyers if one.key not in never]
    if wanted and CONTACTS not in resting and CONTACTS not in done.stopped:
        ledger.expire_leases(CONTACTS)  # a dead sender may have left them
        ledger.hasten(CONTACTS, wanted)
        sent = deliver(ledger, CONTACTS, sender, policy, stock=ledger.hastened(), sleep=sleep)
        done.contacts += sent.tally
        _stands_still(CONTACTS, sent, done)


def _stands_still(lane: str, sent: Delivered, done: Drained) -> bool:
    """Whether another try would come to nothing now; a stop is noted."""
    if sent.stopped is not None:
        done.stopped[lane] = sent.stopped
    return sent.stopped is not None or not sent.tally.calls
