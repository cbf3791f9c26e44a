"""Who was mailed what: the log of mails that Emarsys's programs would send, for tests and measurements.

An external event that was accepted is a mail to its contact. What a program does beyond that (wait, branch, look at
opt-in) is not played. Our invention: Emarsys has no such log to read.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from prima_emarsys.sandbox.emarsys.account import Account


@dataclass(frozen=True)
class Mailing:
    """One mail to one contact."""

    at: str
    """When Emarsys accepted its cause: ISO 8601 in UTC, to the microsecond."""
    event: str
    """Name of the external event."""
    contact: int
    external_id: str
    """What the caller named the contact by."""
    trigger_id: str | None
    data: object
    """The event's payload."""
    to_interactions: bool
    """Whether the payload is small enough to reach Interactions as well."""


def mailings(account: Account, event: str | None = None) -> list[Mailing]:
    """All mails, oldest first; or those of one event, by name."""
    names = {one.id: one.name for one in account.store.events()}
    most = account.settings.interactions_bytes
    return [
        Mailing(
            one.at, names[one.event], one.contact, one.external_id, one.trigger_id, one.data,
            to_interactions=len(orjson.dumps(one.data)) <= most,
        )
        for one in account.store.triggers()
        if event is None or names[one.event] == event
    ]  # fmt: skip
