"""External events are triggered once for a `trigger_id`, and never create a contact."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api


@pytest.fixture
def event(api: Api) -> int:
    api.upsert({PERSON_KEY: "P1"}, {PERSON_KEY: "P2"})
    return api.data("POST", "event", {"name": "order_confirmed"})["id"]


def contact(key: str = "P1", **rest: Any) -> dict[str, Any]:
    return {"external_id": key, "data": {"order": "W123"}} | rest


def test_events_are_created_once_for_a_name_and_listed(api: Api, event: int) -> None:
    [listed] = api.data("GET", "event")
    assert (listed["id"], listed["name"]) == (str(event), "order_confirmed")
    assert api.data("GET", f"event/{event}") == listed
    assert api.refusal("POST", "event", {"name": "order_confirmed"})[:2] == (400, 5003)
    assert api.refusal("POST", "event", {})[:2] == (400, 5002)


def test_a_trigger_id_is_processed_once(emarsys: LocalEmarsys, api: Api, event: int) -> None:
    body = {"key_id": PERSON_KEY, "contacts": [contact(trigger_id="t-1"), contact("P2", trigger_id="t-2")]}
    first = api.data("POST", f"event/{event}/trigger", body)
    assert (
        first == api.data("POST", f"event/{event}/trigger", body) == {"ids": ["100000001", "100000002"], "errors": []}
    )
    assert [(one.external_id, one.trigger_id, one.data) for one in emarsys.triggers(event)] == [
        ("P1", "t-1", {"order": "W123"}),
        ("P2", "t-2", {"order": "W123"}),
    ]
    assert (emarsys.counters.triggers_fired, emarsys.counters.triggers_repeated) == (2, 2)


def test_without_a_trigger_id_every_repeat_fires(emarsys: LocalEmarsys, api: Api, event: int) -> None:
    body = {"key_id": PERSON_KEY} | contact()
    for _ in range(2):
        assert api.data("POST", f"event/{event}/trigger", body) == {}
    assert len(emarsys.triggers()) == 2


def test_an_unknown_contact_is_refused_and_does_not_use_up_its_trigger_id(
    emarsys: LocalEmarsys, api: Api, event: int
) -> None:
    text = f"No contact found with the external id: {PERSON_KEY} - P9"
    single = {"key_id": PERSON_KEY} | contact("P9", trigger_id="t-9")
    assert api.refusal("POST", f"event/{event}/trigger", single) == (400, 2008, text)
    # One recorded client sends these two empty parameters beside a batch.
    batch = {"key_id": PERSON_KEY, "external_id": "", "data": None, "contacts": [contact(), contact("P9")]}
    reply = api.data("POST", f"event/{event}/trigger", batch)
    assert reply == {"ids": ["100000001"], "errors": {"P9": {"2008": text}}}
    api.upsert({PERSON_KEY: "P9"})
    api.data("POST", f"event/{event}/trigger", single)
    assert [one.external_id for one in emarsys.triggers()] == ["P1", "P9"]


def test_an_event_that_nothing_listens_to_is_refused_with_5005(emarsys: LocalEmarsys, api: Api, event: int) -> None:
    emarsys.connect_event(event, connected=False)
    body = {"key_id": PERSON_KEY} | contact()
    assert api.refusal("POST", f"event/{event}/trigger", body)[:2] == (400, 5005)
    assert api.refusal("POST", "event/999/trigger", body)[:2] == (400, 5001)


@pytest.mark.parametrize(
    ("rest", "code"),
    [({"event_time": "yesterday"}, 5010), ({"data": ["a list"]}, 5011), ({"event_time": "2026-01-01 10:00"}, 5010)],
)
def test_a_malformed_trigger_is_refused(api: Api, event: int, rest: dict[str, Any], code: int) -> None:
    body = {"key_id": PERSON_KEY} | contact(**rest)
    assert api.refusal("POST", f"event/{event}/trigger", body)[:2] == (400, code)


@pytest.mark.parametrize("event_time", ["2026-03-01T13:00:00Z", "2026-03-01T13:00:00.000Z"])
def test_both_forms_of_event_time_are_accepted(emarsys: LocalEmarsys, api: Api, event: int, event_time: str) -> None:
    api.data("POST", f"event/{event}/trigger", {"key_id": PERSON_KEY} | contact(event_time=event_time))
    assert emarsys.triggers()[0].event_time == event_time


def test_the_log_tells_who_was_mailed_what_and_when(emarsys: LocalEmarsys, api: Api, event: int) -> None:
    other = emarsys.add_event("order_despatched")
    before = datetime.now(UTC)
    for number in (event, other, event):
        body = {"key_id": PERSON_KEY} | contact(trigger_id=f"t-{number}")
        api.data("POST", f"event/{number}/trigger", body)
    after = datetime.now(UTC)
    first, second = emarsys.mailings()
    assert [first] == emarsys.mailings("order_confirmed")
    assert (first.contact, first.external_id, first.event) == (100_000_001, "P1", "order_confirmed")
    assert (first.trigger_id, first.data) == (f"t-{event}", {"order": "W123"})
    assert second.event == "order_despatched"
    assert before <= datetime.fromisoformat(first.at) < datetime.fromisoformat(second.at) <= after
    shown = requests.get(f"{emarsys.url}/sandbox/mailings?event=order_confirmed", timeout=10).json()
    assert shown == [asdict(first)]


def test_events_are_created_and_cut_off_from_their_program_from_outside(emarsys: LocalEmarsys, api: Api) -> None:
    api.upsert({PERSON_KEY: "P1"})
    url = f"{emarsys.url}/sandbox/events"
    created = requests.post(url, json={"name": "return_receipted", "connected": False}, timeout=10).json()
    assert requests.get(url, timeout=10).json() == [created]
    assert requests.post(url, json={"name": "return_receipted"}, timeout=10).status_code == 400
    body = {"key_id": PERSON_KEY} | contact()
    assert api.refusal("POST", f"event/{created['id']}/trigger", body)[:2] == (400, 5005)
    emarsys.connect_event(created["id"], connected=True)
    assert api.data("POST", f"event/{created['id']}/trigger", body) == {}


def test_data_above_100_kb_reaches_the_mail_and_not_interactions_or_is_refused(
    emarsys: LocalEmarsys, api: Api, event: int
) -> None:
    large = contact("P1", data={"text": "x" * 100_000})
    body = {"key_id": PERSON_KEY, "contacts": [large, contact("P2")]}
    assert api.data("POST", f"event/{event}/trigger", body)["errors"] == []
    assert [one.to_interactions for one in emarsys.mailings()] == [False, True]
    emarsys.settings.large_event_data = "refuse"
    refused = api.data("POST", f"event/{event}/trigger", body)["errors"]
    assert [(key, list(codes)) for key, codes in refused.items()] == [("P1", ["5008"])]
    assert api.refusal("POST", f"event/{event}/trigger", {"key_id": PERSON_KEY} | large)[:2] == (400, 5008)
