"""Who was mailed what: the log of mails that Emarsys's programs would send, for tests and measurements.

An external event that was accepted is a mail to its contact; what a program does beyond that (wait, branch, look at
opt-in) is not played. An item that came back into stock is a mail to those whom `catalogue` mailed. Our invention:
Emarsys has no such log to read.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from prima_emarsys.sandbox.emarsys.account import Account

BACK_IN_STOCK = "back in stock"


@dataclass(frozen=True)
class Mailing:
    """One mail to one contact."""

    at: str
    """When Emarsys accepted its cause: ISO 8601 in UTC, to the microsecond."""
    event: str
    """Name of the external event, or `BACK_IN_STOCK`."""
    contact: int
    external_id: str
    """By what the caller, or the list of those who wait, named the contact."""
    trigger_id: str | None
    data: object
    """The event's payload, or the item."""
    to_interactions: bool
    """Whether the payload is small enough to reach Interactions as well."""


def mailings(account: Account, event: str | None = None) -> list[Mailing]:
    """All mails, oldest first; or those of one event, by name."""
    names = {one.id: one.name for one in account.store.events()}
    most = account.settings.interactions_bytes
    by_event = [
        Mailing(
            one.at, names[one.event], one.contact, one.external_id, one.trigger_id, one.data,
            to_interactions=len(orjson.dumps(one.data)) <= most,
        )
        for one in account.store.triggers()
    ]  # fmt: skip
    by_stock = [
        Mailing(one.at, BACK_IN_STOCK, one.contact, one.external_id, None, {"item": one.item}, to_interactions=False)
        for one in account.catalogue.mails()
    ]
    mailed = sorted(by_event + by_stock, key=lambda one: one.at)
    return [one for one in mailed if event is None or one.event == event]
