"""The external event calls: list, create, and trigger for a batch of contacts.

Which business fact becomes which event, and when, is decided elsewhere. Triggering never creates a contact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from prima_emarsys.emarsys.batch import read_batch
from prima_emarsys.emarsys.outcome import Ambiguous, Answered, NotAnswered, Outcome, TooLarge
from prima_emarsys.emarsys.transport import Reply, Transport

MAX_TRIGGERS = 1000
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Trigger:
    """One occurrence of an event for one contact.

    `trigger_id` is derived from the business fact: Emarsys processes an id once, which makes repeats harmless.
    `data` is what templates read; `event_time` (aware) is when it happened.
    """

    trigger_id: str
    data: Mapping[str, Any]
    event_time: datetime | None = None


class Events:
    """The external events of one account."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ids(self) -> dict[str, int]:
        """Event name -> its id. Raises NotAnswered."""
        rows = self._transport.fetch("GET", "event")
        if not isinstance(rows, list):
            raise NotAnswered(Ambiguous("Emarsys answered something else than a list of events"))
        return {str(row["name"]): int(row["id"]) for row in rows}

    def create(self, name: str) -> int:
        """The id of a new event. Raises NotAnswered, also where the name is taken; after doubt ask `ids`."""
        reply = self._transport.call("POST", "event", body=orjson.dumps({"name": name}))
        if not isinstance(reply, Reply):
            raise NotAnswered(reply)
        return int(reply.data["id"])

    def trigger(self, event_id: int, key_field: int, triggers: Mapping[str, Trigger]) -> Outcome:
        """Trigger the event for up to 1,000 contacts. `triggers`: the contact's key value -> what happened to it.

        A reply tells records apart by their key value, hence one occurrence a contact in each call.
        """
        if not triggers:
            return Answered({})
        if len(triggers) > MAX_TRIGGERS:
            return TooLarge(f"{len(triggers)} events; a call takes {MAX_TRIGGERS}")
        records = {key: orjson.dumps(_record(key, trigger)) for key, trigger in triggers.items()}
        body = b'{"key_id":"%d","contacts":[%b]}' % (key_field, b",".join(records.values()))
        if len(body) > MAX_BYTES:
            return TooLarge(f"{len(body)} bytes; a call takes {MAX_BYTES}")
        reply = self._transport.call("POST", f"event/{event_id}/trigger", body=body)
        return read_batch(reply, records) if isinstance(reply, Reply) else reply


def _record(key: str, trigger: Trigger) -> dict[str, Any]:
    record: dict[str, Any] = {"external_id": key, "trigger_id": trigger.trigger_id, "data": dict(trigger.data)}
    if trigger.event_time is not None:
        record["event_time"] = trigger.event_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return record
