"""External events: which of them Emarsys has, and what carries a batch of order events to one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import orjson

from prima_emarsys.emarsys.contacts import Contacts, Found
from prima_emarsys.emarsys.events import Events
from prima_emarsys.emarsys.outcome import Answered, Later, Outcome, Refusal, Stopped
from prima_emarsys.finding import Finding
from prima_emarsys.site import EventKind, EventMap
from prima_emarsys.sync.deliver import Sender
from prima_emarsys.sync.refusals import NO_OPT_IN

OPT_IN_FIELD = 31
OPTED_IN = "1"
LOOK_AGAIN_SECONDS = 60.0
"""How long what Emarsys said about a name is believed."""


class EventSender:
    """Carries batches of one kind of order event to its external event."""

    def __init__(self, events: Events, contacts: Contacts, event: int, key_field: int, purpose: str) -> None:
        self._events, self._contacts = events, contacts
        self._event, self._key_field, self._purpose = event, key_field, purpose

    def send(self, batch: Mapping[str, bytes]) -> Outcome:
        """Trigger the event for each; one that serves marketing only for contacts who opted in."""
        event_of = {orjson.loads(record)["external_id"]: event_id for event_id, record in batch.items()}
        keys = list(event_of)
        if self._purpose == "marketing":
            opted_in = self._opted_in(keys)
            if not isinstance(opted_in, set):
                return opted_in
            keys = [key for key in keys if key in opted_in]
        refused = {
            event_of[key]: Refusal(NO_OPT_IN, "the contact's opt-in in Emarsys is not yes")
            for key in event_of.keys() - set(keys)
        }
        outcome = self._events.trigger(self._event, self._key_field, {key: batch[event_of[key]] for key in keys})
        if isinstance(outcome, Answered):
            return Answered(refused | {event_of[key]: refusal for key, refusal in outcome.refused.items()})
        return outcome

    def read_back(self, keys: Sequence[str], payloads: Mapping[str, bytes]) -> Mapping[str, bool]:  # noqa: ARG002
        """Nothing: a repeat with the same `trigger_id` is harmless, so that no event need be looked up."""
        return {}

    def _opted_in(self, keys: Sequence[str]) -> set[str] | Outcome:
        found = self._contacts.read(self._key_field, keys, [OPT_IN_FIELD])
        if isinstance(found, Found):
            # Who is not there is refused by the trigger itself, which has the contact made.
            agreed = {key for key, contact in found.contacts.items() if contact.get(str(OPT_IN_FIELD)) == OPTED_IN}
            return agreed | found.missing
        if isinstance(found, Later | Stopped):
            return found
        return Later("the opt-in of the contacts could not be read", 1.0, counts_as_failure=True)


class ExternalEvents:
    """The site's external events as Emarsys has them."""

    def __init__(
        self, events: Events, contacts: Contacts, key_field: int, mapped: Mapping[EventKind, EventMap]
    ) -> None:
        self._events, self._contacts, self._key_field, self._mapped = events, contacts, key_field, mapped
        self._ids: dict[str, int] = {}
        self._looked_at: float | None = None

    def look(self, *, again: bool = False) -> bool:
        """Look the names up: at first, and every minute while one is missing, or `again` is asked for.

        Returns whether they were looked up. Raises NotAnswered.
        """
        now = time.monotonic()
        stale = self._looked_at is not None and now - self._looked_at >= LOOK_AGAIN_SECONDS
        if self._looked_at is not None and not (stale and (self.missing or again)):
            return False
        self._ids = self._events.ids()
        self._looked_at = now
        return True

    @property
    def missing(self) -> dict[EventKind, str]:
        """Kinds whose external event Emarsys does not have, with its name in the site file; none before a look."""
        if self._looked_at is None:
            return {}
        return {kind: one.name for kind, one in self._mapped.items() if one.name not in self._ids}

    @property
    def senders(self) -> dict[EventKind, Sender]:
        """What carries each kind whose external event exists."""
        return {
            kind: EventSender(self._events, self._contacts, self._ids[one.name], self._key_field, one.purpose)
            for kind, one in self._mapped.items()
            if one.name in self._ids
        }

    @property
    def findings(self) -> list[Finding]:
        """What marketing must do about names."""
        return [
            Finding("event-missing", f"event|{kind}", f"Emarsys has no external event {name!r}")
            for kind, name in self.missing.items()
        ]
