"""The external event calls: list, create, and trigger for a batch of contacts.

Which business fact becomes which event, and when, is decided elsewhere. Triggering never creates a contact.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from prima_emarsys.emarsys.batch import read_batch
from prima_emarsys.emarsys.outcome import Ambiguous, Answered, NotAnswered, Outcome, TooLarge
from prima_emarsys.emarsys.transport import Reply, Transport

MAX_TRIGGERS = 1000
MAX_BYTES = 1_000_000
MAX_DATA_BYTES = 100_000
"""Data of one occurrence; Emarsys does not pass more on to everything that may listen."""


def trigger_record(key: str, trigger_id: str, data: bytes, event_time: datetime) -> bytes:
    """One occurrence of an event for the contact with this key value, as a batch carries it.

    `trigger_id` is derived from the business fact: Emarsys processes an id once, which makes repeats harmless.
    `data` is the JSON object that templates read; `event_time` (aware) is when it happened.
    """
    return orjson.dumps(
        {
            "external_id": key,
            "trigger_id": trigger_id,
            "event_time": event_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "data": orjson.Fragment(data),
        }
    )


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

    def trigger(self, event_id: int, key_field: int, records: Mapping[str, bytes]) -> Outcome:
        """Trigger the event for up to 1,000 contacts. `records`: the contact's key value -> `trigger_record`.

        A reply tells records apart by their key value, hence one occurrence a contact in each call.
        """
        if not records:
            return Answered({})
        if len(records) > MAX_TRIGGERS:
            return TooLarge(f"{len(records)} events; a call takes {MAX_TRIGGERS}")
        body = b'{"key_id":"%d","contacts":[%b]}' % (key_field, b",".join(records.values()))
        if len(body) > MAX_BYTES:
            return TooLarge(f"{len(body)} bytes; a call takes {MAX_BYTES}")
        reply = self._transport.call("POST", f"event/{event_id}/trigger", body=body)
        return read_batch(reply, records) if isinstance(reply, Reply) else reply
