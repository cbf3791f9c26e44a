"""Sending contacts: plan, guard, hand to the ledger, deliver, note what was acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import orjson

from prima_emarsys.emarsys.contacts import Contacts, Found
from prima_emarsys.emarsys.outcome import Outcome
from prima_emarsys.finding import Finding
from prima_emarsys.site import VolumeLimits
from prima_emarsys.sync import guard
from prima_emarsys.sync.deliver import Delivered, Policy, deliver
from prima_emarsys.sync.exceptions import observe
from prima_emarsys.sync.ledger import Ledger, Staged
from prima_emarsys.sync.plan import LANE, Plan, Route, changes, make_plan, note_acknowledged, stage, withdraw
from prima_emarsys.warehouse import Warehouse


class ContactSender:
    """Carries batches of the contacts lane to Emarsys."""

    def __init__(self, contacts: Contacts, route: Route) -> None:
        self._contacts = contacts
        self._route = route

    def send(self, batch: Mapping[str, bytes]) -> Outcome:
        """Create or update these contacts in one call."""
        return self._contacts.upsert(self._route.key_field, batch)

    def read_back(self, keys: Sequence[str], payloads: Mapping[str, bytes]) -> Mapping[str, bool]:
        """Whether Emarsys holds each payload; a key that could not be read is left out."""
        found = self._contacts.read(self._route.key_field, keys, list(self._route.fields.values()))
        if not isinstance(found, Found):
            return {}
        held = dict.fromkeys(found.missing | found.duplicated, False)
        for key, contact in found.contacts.items():
            wanted = orjson.loads(payloads[key])
            held[key] = all((contact.get(name) or None) == value for name, value in wanted.items())
        return held


@dataclass
class Sent:
    """One round of sending. `held` says why the volume guard let nothing out."""

    plan: Plan
    staged: Staged = field(default_factory=Staged)
    withdrawn: int = 0
    delivered: Delivered | None = None
    noted: int = 0
    held: str | None = None


def send_contacts(
    warehouse: Callable[[], AbstractContextManager[Warehouse]],
    ledger: Ledger,
    sender: ContactSender,
    route: Route,
    limits: VolumeLimits,
    policy: Policy,
    *,
    settle_seconds: float = 0.0,
) -> Sent:
    """Send every contact that differs from what Emarsys acknowledged, and only those.

    The warehouse is given back while the network is at work. `settle_seconds`: how long to wait for records that
    become due again (doubt, back-off) before the rest is left to the next run.
    """
    with warehouse() as open_warehouse:
        changed = open_warehouse.settle(changes(open_warehouse))
        sent = Sent(make_plan(open_warehouse, changed))
        verdict = guard.check(ledger, LANE, sent.plan.volume, _limits(limits))
        if isinstance(verdict, guard.Held):
            sent.held = verdict.reason
            return sent
        sent.withdrawn = withdraw(open_warehouse, ledger)
        sent.staged = stage(open_warehouse, ledger, route, changed)
    sent.delivered = deliver(ledger, LANE, sender, policy, until_settled_for=settle_seconds)
    with warehouse() as open_warehouse:
        sent.noted = note_acknowledged(open_warehouse, ledger)
    observe(
        ledger,
        f"withdrawn/{LANE}",
        [
            Finding("no-longer-sent", f"person|{key}", f"rule: {rule}")
            for key, rule in ledger.filtered(LANE, acknowledged=True).items()
        ],
    )
    return sent


def _limits(limits: VolumeLimits) -> guard.Limits:
    return guard.Limits(limits.updates_share, limits.creates_share, limits.removals_share, limits.ignore_below)
