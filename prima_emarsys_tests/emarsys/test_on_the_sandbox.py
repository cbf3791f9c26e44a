"""The wire against the local Emarsys: what is sent arrives, is read back, and survives what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from prima_emarsys.emarsys.account import read_settings
from prima_emarsys.emarsys.auth import OAuthClient, WsseUser
from prima_emarsys.emarsys.contacts import Contacts, Found
from prima_emarsys.emarsys.events import Events, trigger_record
from prima_emarsys.emarsys.fields import Fields, FieldsUnusable, NewField
from prima_emarsys.emarsys.outcome import Ambiguous, Answered, BatchRefused, Later, NotAnswered, Stopped, TooLarge
from prima_emarsys.emarsys.transport import Account, Transport
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys


@pytest.fixture
def emarsys(tmp_path: Path) -> Iterator[LocalEmarsys]:
    with LocalEmarsys(tmp_path) as emarsys:
        yield emarsys


def by_oauth(emarsys: LocalEmarsys, deadline: float = 20) -> Transport:
    client = {"client_id": emarsys.client_id, "client_secret": emarsys.client_secret, "token_url": emarsys.token_url}
    return Transport(Account(credentials=OAuthClient.model_validate(client), url=emarsys.url, deadline=deadline))


def by_wsse(emarsys: LocalEmarsys) -> Transport:
    user = WsseUser.model_validate({"username": emarsys.wsse_user, "secret": emarsys.wsse_secret})
    return Transport(Account(credentials=user, url=emarsys.url))


def key_of(emarsys: LocalEmarsys) -> int:
    return emarsys.field_id("prima_person_key")


def people(key: int, count: int, **values: str) -> dict[str, bytes]:
    return {
        f"P{n:07}": orjson.dumps({str(key): f"P{n:07}", "3": f"person{n}@example.com", "1": "Ann", **values})
        for n in range(count)
    }


@pytest.mark.parametrize("connect", [by_oauth, by_wsse])
def test_contacts_that_are_sent_are_held_and_read_back(
    emarsys: LocalEmarsys, connect: Callable[[LocalEmarsys], Transport]
) -> None:
    """Fault 19: created and updated ids come mixed."""
    contacts, key = Contacts(connect(emarsys)), key_of(emarsys)
    assert contacts.upsert(key, people(key, 300)) == Answered({})
    assert contacts.upsert(key, people(key, 1000)) == Answered({})
    held = emarsys.contacts()
    assert len(held) == 1000
    assert held["P0000999"]["email"] == "person999@example.com"
    found = contacts.read(key, ["P0000001", "P9999999"], [3, 1, 4])
    assert found == Found(
        {"P0000001": {str(key): "P0000001", "3": "person1@example.com", "1": "Ann", "4": None}},
        frozenset({"P9999999"}),
        frozenset(),
    )


def test_the_settings_are_a_probe_of_the_credentials(emarsys: LocalEmarsys) -> None:
    assert read_settings(by_oauth(emarsys)).timezone == "Europe/London"


def test_wrong_credentials_stop(emarsys: LocalEmarsys) -> None:
    """Fault 14."""
    client = OAuthClient.model_validate({"client_id": "x", "client_secret": "wrong", "token_url": emarsys.token_url})
    outcome = Contacts(Transport(Account(credentials=client, url=emarsys.url))).upsert(1, {"P": b"{}"})
    assert isinstance(outcome, Stopped)
    user = WsseUser.model_validate({"username": emarsys.wsse_user, "secret": "wrong"})
    outcome = Contacts(Transport(Account(credentials=user, url=emarsys.url))).upsert(1, {"P": b"{}"})
    assert isinstance(outcome, Stopped)


def test_a_revoked_token_is_not_noticed(emarsys: LocalEmarsys) -> None:
    """Fault 14."""
    contacts, key = Contacts(by_oauth(emarsys)), key_of(emarsys)
    assert contacts.upsert(key, people(key, 1)) == Answered({})
    emarsys.revoke_tokens()
    assert contacts.upsert(key, people(key, 1)) == Answered({})


def test_one_closed_endpoint_stops_and_the_others_go_on(emarsys: LocalEmarsys) -> None:
    """Fault 15."""
    contacts, key = Contacts(by_oauth(emarsys)), key_of(emarsys)
    emarsys.settings.closed_endpoints = frozenset({"contact.update"})
    assert isinstance(contacts.upsert(key, people(key, 1)), Stopped)
    assert isinstance(contacts.read(key, ["P0000000"], [3]), Found)


def test_rows_with_wrong_values_are_refused_one_by_one(emarsys: LocalEmarsys) -> None:
    """Fault 17."""
    contacts, key = Contacts(by_oauth(emarsys)), key_of(emarsys)
    batch = people(key, 1000)
    for bad in ("P0000003", "P0000500", "P0000999"):
        batch[bad] = orjson.dumps({str(key): bad, "4": "31.02.1999"})
    outcome = contacts.upsert(key, batch)
    assert isinstance(outcome, Answered)
    assert {key: refusal.code for key, refusal in outcome.refused.items()} == dict.fromkeys(
        ("P0000003", "P0000500", "P0000999"), "2007"
    )
    assert len(emarsys.contacts()) == 997


def test_duplicates_are_refused_for_their_own_key_only(emarsys: LocalEmarsys) -> None:
    """Fault 23."""
    contacts, key = Contacts(by_oauth(emarsys)), key_of(emarsys)
    emarsys.seed([{"prima_person_key": "P0000001", "email": "twice@example.com"}] * 2)
    outcome = contacts.upsert(key, people(key, 3))
    assert isinstance(outcome, Answered)
    assert {key: refusal.code for key, refusal in outcome.refused.items()} == {"P0000001": "2010"}
    found = contacts.read(key, ["P0000001", "P0000002"], [3])
    assert isinstance(found, Found)
    assert found.duplicated == {"P0000001"}
    ids = contacts.ids_by_email(["twice@example.com", "person2@example.com", "nobody@example.com"])
    assert [len(ids[email]) for email in ids] == [2, 1, 0]


def test_the_race_for_a_new_key_is_run_again(emarsys: LocalEmarsys) -> None:
    """Fault 22."""
    contacts, key = Contacts(by_oauth(emarsys)), key_of(emarsys)
    emarsys.faults = Faults(Fault(kind="already-exists", rows=0.2))
    assert contacts.upsert(key, people(key, 100)) == Answered({})
    assert len(emarsys.contacts()) == 100
    assert emarsys.counters.faults["already-exists"] > 0


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind="drop"), Ambiguous),
        (Fault(kind="drop", applied=True), Ambiguous),
        (Fault(kind="cut", applied=True), Ambiguous),
        (Fault(kind="html", applied=True), Ambiguous),
        (Fault(kind="truncated", applied=True), Ambiguous),
        (Fault(kind="empty"), Ambiguous),
        (Fault(kind="zombie", seconds=0), Ambiguous),
        (Fault(kind="slow", seconds=3), Ambiguous),
        (Fault(kind="drip", seconds=0.5), Ambiguous),
        (Fault(kind="500", code=1003), Ambiguous),
        (Fault(kind="502"), Ambiguous),
        (Fault(kind="503"), Later),
        (Fault(kind="401"), Stopped),
        (Fault(kind="redirect"), Stopped),
        (Fault(kind="poison", keys=frozenset({"P0000001"})), BatchRefused),
        (Fault(kind="429", reset="good", seconds=30), Later),
        (Fault(kind="429", reset="far"), Later),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value.__name__,
)
def test_what_goes_wrong_has_the_outcome_that_is_safe(emarsys: LocalEmarsys, fault: Fault, kind: type) -> None:
    """Faults 2, 3, 8 to 11, 13, 14, 18, 21 and 28."""
    contacts, key = Contacts(by_oauth(emarsys, deadline=1.5)), key_of(emarsys)
    assert contacts.upsert(key, people(key, 1)) == Answered({})  # a token is there before the fault
    emarsys.faults = Faults(fault)
    assert type(contacts.upsert(key, people(key, 3))) is kind
    emarsys.faults = Faults()


def test_too_many_bytes_are_to_be_split_by_their_measure_too(emarsys: LocalEmarsys) -> None:
    """Fault 20."""
    contacts, key = Contacts(by_oauth(emarsys)), key_of(emarsys)
    emarsys.settings.update_bytes = 1000
    assert isinstance(contacts.upsert(key, people(key, 100)), TooLarge)


def test_all_contacts_are_walked(emarsys: LocalEmarsys) -> None:
    contacts, key = Contacts(by_oauth(emarsys)), key_of(emarsys)
    emarsys.seed([{"email": "without.key@example.com"}])
    contacts.upsert(key, people(key, 1000))
    contacts.upsert(key, dict(list(people(key, 1500).items())[1000:]))
    walked = [found for found in contacts.query(key, [3], page=600)]
    assert sum(len(found.contacts) for found in walked) == 1500
    assert {str(values["3"]) for found in walked for values in found.contacts.values()} == {
        f"person{n}@example.com" for n in range(1500)
    }


def test_fields_are_resolved_and_created(emarsys: LocalEmarsys) -> None:
    fields = Fields(by_oauth(emarsys))
    new = {"last_order_date": NewField("Last order date", "date")}
    first = fields.resolve(["email", "prima_person_key", "last_order_date"], create=new)
    assert first["email"].id == 3
    assert first["prima_person_key"].id == key_of(emarsys)
    assert fields.resolve(["last_order_date"], create=new)["last_order_date"] == first["last_order_date"]
    fields.require_index(first["prima_person_key"])
    assert fields.country_ids()["GB"] == "184"
    assert fields.choices(5)["1"] == "Male"


def test_a_field_without_a_slot_left_says_so(emarsys: LocalEmarsys) -> None:
    emarsys.settings.field_slots = 1
    with pytest.raises(FieldsUnusable, match="no slot"):
        Fields(by_oauth(emarsys)).resolve(["size"], create={"size": NewField("Size", "shorttext")})


def test_a_key_without_an_index_is_found_out_at_start_and_by_sending(tmp_path: Path) -> None:
    with LocalEmarsys(tmp_path, person_key="unindexed") as emarsys:
        fields = Fields(by_oauth(emarsys))
        key = fields.resolve(["prima_person_key"])["prima_person_key"]
        with pytest.raises(FieldsUnusable, match="Ask SAP Emarsys Support"):
            fields.require_index(key)
        outcome = Contacts(by_oauth(emarsys)).upsert(key.id, people(key.id, 2))
    assert isinstance(outcome, Stopped)
    assert "Ask SAP Emarsys Support" in outcome.remedy


def test_an_event_is_triggered_once_however_often_it_is_sent(emarsys: LocalEmarsys) -> None:
    """Fault 4, as far as the wire goes: the same `trigger_id` is sent again."""
    transport, key = by_oauth(emarsys), key_of(emarsys)
    Contacts(transport).upsert(key, people(key, 2))
    events = Events(transport)
    event = events.create("order_despatched")
    assert events.ids() == {"order_despatched": event}
    emarsys.connect_event(event, True)
    at = datetime(2026, 3, 1, 13, tzinfo=UTC)
    records = {
        "P0000000": trigger_record("P0000000", "t-1", b'{"order":"0001"}', at),
        "P0000009": trigger_record("P0000009", "t-2", b"{}", at),
    }
    for _ in range(2):
        outcome = events.trigger(event, key, records)
        assert isinstance(outcome, Answered)
        assert {key: refusal.code for key, refusal in outcome.refused.items()} == {"P0000009": "2008"}
    (triggered,) = emarsys.triggers(event)
    assert (triggered.trigger_id, triggered.event_time) == ("t-1", "2026-03-01T13:00:00Z")
    with pytest.raises(NotAnswered, match="5003"):
        events.create("order_despatched")
