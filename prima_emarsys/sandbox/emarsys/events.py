"""The external event endpoints: list, create, and trigger for one contact or for up to 1000.

A `trigger_id` is processed once for an event: a repeat answers as the first did and triggers nobody. The window within
which Emarsys remembers it is not published; here it is for ever, and it is kept for each event by itself (our choice).
Triggering never creates a contact. What was triggered is seen in `mailings`.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from prima_emarsys.sandbox.emarsys.account import Call
from prima_emarsys.sandbox.emarsys.contacts import MOST_ROWS, Errors
from prima_emarsys.sandbox.emarsys.replies import Refusal
from prima_emarsys.sandbox.emarsys.store import Event, Key, Trigger, now
from prima_emarsys.sandbox.emarsys.system_fields import EMAIL

_EVENT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")


def list_events(call: Call) -> list[dict[str, str]]:
    """`GET event`: all external events."""
    return [_shown(event) for event in call.account.store.events()]


def show_event(call: Call) -> dict[str, str]:
    """`GET event/{id}`: one external event."""
    return _shown(_event(call))


def create_event(call: Call) -> dict[str, Any]:
    """`POST event`: a new external event under a name of its own."""
    name = call.body.get("name")
    if not name or not isinstance(name, str):
        raise Refusal(400, 5002, "Parameter name is required.")
    event = call.account.store.add_event(name)
    if event is None:
        raise Refusal(400, 5003, "An external event with this name already exists.")
    return {"id": event.id, "name": event.name}


def trigger(call: Call) -> dict[str, Any]:
    """`POST event/{id}/trigger`: start what listens to the event, for one contact or for each of a batch."""
    event = _event(call)
    key, body = call.key("key_id", EMAIL), call.body
    if not event.connected:
        raise Refusal(400, 5005, "No program or campaign is triggered.")
    if "contacts" not in body:
        [refused] = _trigger(call, event, key, [body])[1] or [None]
        if refused:
            raise Refusal(400, refused[1], refused[2])
        return {}
    contacts = body["contacts"]
    if not isinstance(contacts, list) or not all(isinstance(one, dict) for one in contacts):
        raise Refusal(400, 10001, "Invalid data format for contacts. Array expected")
    if len(contacts) > MOST_ROWS:
        raise Refusal(400, 1000, "The request exceeded the maximum batch size of 1,000")
    ids, refusals = _trigger(call, event, key, contacts)
    errors: Errors = {}
    for external_id, code, text in refusals:
        errors.setdefault(external_id, {})[str(code)] = text
        call.account.counters.rows_refused[str(code)] += 1
    return {"ids": ids, "errors": errors or []}


def _trigger(
    call: Call, event: Event, key: Key, rows: list[dict[str, Any]]
) -> tuple[list[str], list[tuple[str, int, str]]]:
    """Numbers of the contacts that were triggered (or had been), and (external id, code, text) of the others."""
    account, settings = call.account, call.account.settings
    ids: list[str] = []
    refused: list[tuple[str, int, str]] = []
    with account.store.transaction():
        found = account.store.find(key, [str(row.get("external_id", "")) for row in rows])
        for row in rows:
            external_id, event_time = str(row.get("external_id", "")), row.get("event_time")
            there = found.get(external_id, [])
            if not external_id:
                refused.append(("", 2005, f"No value provided for key field: {key}"))
            elif call.row_fault is not None and (fault := call.row_fault(external_id, bool(there))):
                refused.append((external_id, *fault))
            elif event_time is not None and not _EVENT_TIME.fullmatch(str(event_time)):
                refused.append((external_id, 5010, "Invalid event time format."))
            elif not isinstance(data := row.get("data") or {}, dict):
                refused.append((external_id, 5011, "Event data is not an object."))
            elif settings.large_event_data == "refuse" and len(orjson.dumps(data)) > settings.interactions_bytes:
                refused.append((external_id, 5008, "Event data is too large for Interactions."))
            elif not there:
                refused.append((external_id, 2008, f"No contact found with the external id: {key} - {external_id}"))
            elif len(there) > 1:
                refused.append((external_id, 2010, f"More contacts found with the external id: {key} - {external_id}"))
            else:
                number = there[0][0]
                trigger_id = str(row["trigger_id"]) if row.get("trigger_id") else None
                ids.append(str(number))
                if account.store.log_trigger(
                    Trigger(now(), event.id, number, external_id, trigger_id, event_time, data)
                ):
                    account.counters.triggers_fired += 1
                else:
                    account.counters.triggers_repeated += 1
    return ids, refused


def _shown(event: Event) -> dict[str, str]:
    return {"id": str(event.id), "name": event.name, "created": event.created}


def _event(call: Call) -> Event:
    event = call.account.store.event(call.path_number)
    if event is None:
        raise Refusal(400, 5001, "No event found with the specified ID.")
    return event
