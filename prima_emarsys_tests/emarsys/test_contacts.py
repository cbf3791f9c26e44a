"""The contact calls on canned replies: who is accepted, who is refused, and that everybody is accounted for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from prima_emarsys.emarsys.contacts import MAX_BYTES, Contacts, Found
from prima_emarsys.emarsys.outcome import (
    Ambiguous,
    Answered,
    BatchRefused,
    Later,
    NotAnswered,
    Refusal,
    Stopped,
    TooLarge,
)
from prima_emarsys_tests.emarsys.conftest import by_oauth
from prima_emarsys_tests.emarsys.scripted import Scripted, accepted, ok, raw, refusal, reply

KEY = 4427


def people(count: int) -> dict[str, bytes]:
    return {
        f"P{n:07}": orjson.dumps({str(KEY): f"P{n:07}", "3": f"person{n}@example.com", "1": "Ann"})
        for n in range(count)
    }


def upsert(contacts: Mapping[str, bytes], *steps: Any) -> tuple[object, Scripted]:
    with Scripted(list(steps)) as server:
        return Contacts(by_oauth(server)).upsert(KEY, contacts), server


def test_an_upsert_is_one_call_with_the_bytes_it_was_given() -> None:
    contacts = people(3)
    outcome, server = upsert(contacts, accepted(contacts))
    assert outcome == Answered({})
    (call,) = server.calls
    assert (call.method, call.target) == ("PUT", "/api/v3/contact/?create_if_not_exists=1")
    assert call.headers["content-type"] == "application/json"
    assert all(record in call.body for record in contacts.values())
    assert orjson.loads(call.body) == {
        "key_id": str(KEY),
        "contacts": [orjson.loads(record) for record in contacts.values()],
    }


def test_one_contact_alone_is_sent_as_a_batch_of_one() -> None:
    outcome, server = upsert(people(1), accepted(["P"]))
    assert outcome == Answered({})
    assert len(orjson.loads(server.calls[0].body)["contacts"]) == 1


def test_nobody_to_send_is_no_call() -> None:
    outcome, server = upsert({}, ok({}))
    assert outcome == Answered({})
    assert server.seen == []


def test_three_of_a_thousand_refused_are_named_and_the_others_accepted() -> None:
    """Faults 17, 19 and 23."""
    contacts = people(1000)
    errors = {
        "P0000007": {"2010": "More contacts found with the external id: 4427 - P0000007"},
        "P0000500": {"2007": "Invalid date format for field id: 4"},
        "P0000999": {"2007": "Not a valid address: person999@example.com"},
    }
    outcome, _ = upsert(contacts, accepted(range(997), errors))
    assert isinstance(outcome, Answered)
    assert outcome.refused == {
        "P0000007": Refusal("2010", "More contacts found with the external id: 4427 - P…(8)"),
        "P0000500": Refusal("2007", "Invalid date format for field id: 4"),
        "P0000999": Refusal("2007", "Not a valid address: p…(21)"),
    }


@pytest.mark.parametrize("errors", [None, [], {}], ids=["absent", "list", "object"])
def test_no_errors_come_in_three_shapes(errors: object) -> None:
    """Fault 19."""
    contacts = people(4)
    assert upsert(contacts, accepted(contacts, errors))[0] == Answered({})


@pytest.mark.parametrize("code", ["2009", "2006"])
def test_already_exists_without_a_creation_is_sent_once_more(code: str) -> None:
    """Fault 22: only those that met the race, and at once."""
    contacts = people(10)
    race = {"P0000004": {code: "Contact with the external id already exists: 4427"}}
    outcome, server = upsert(contacts, accepted(range(9), race), accepted(range(1)))
    assert outcome == Answered({})
    again = orjson.loads(server.calls[1].body)["contacts"]
    assert [contact[str(KEY)] for contact in again] == ["P0000004"]


def test_already_exists_twice_is_a_refusal() -> None:
    """Fault 22."""
    contacts = people(10)
    race = {"P0000004": {"2009": "Contact with the external id already exists: 4427"}}
    other = {"P0000005": {"2010": "More contacts found"}}
    outcome, server = upsert(contacts, accepted(range(8), race | other), accepted((), race))
    assert isinstance(outcome, Answered)
    assert {key: refused.code for key, refused in outcome.refused.items()} == {"P0000004": "2009", "P0000005": "2010"}
    assert len(server.calls) == 2


def test_a_lost_reply_to_the_repeat_leaves_the_whole_batch_in_doubt() -> None:
    """Fault 22 with 3: to send accepted contacts again changes nothing."""
    race = {"P0000004": {"2009": "Contact with the external id already exists: 4427"}}
    outcome, _ = upsert(people(10), accepted(range(9), race), raw(b""))
    assert isinstance(outcome, Ambiguous)


@pytest.mark.parametrize(
    ("key", "code", "words", "remedy"),
    [
        ("<NO_KEY_ID>", "2004", "Invalid key field id: 4427", "key field does not exist"),
        ("P0000001", "2006", "Invalid field id: 9999", "field is missing"),
        ("P0000001", "2015", "No index on column", "Ask SAP Emarsys Support"),
    ],
    ids=["no such key field", "27 a field was deleted", "no index"],
)
def test_a_refusal_that_every_record_would_meet_stops(key: str, code: str, words: str, remedy: str) -> None:
    """Fault 27."""
    outcome, _ = upsert(people(3), accepted((), {key: {code: words}}))
    assert isinstance(outcome, Stopped)
    assert words in outcome.reason
    assert remedy in outcome.remedy


def test_an_error_under_no_known_key_is_nobodys_until_the_batch_is_halved() -> None:
    """Fault 21."""
    error = {"": {"2005": "No value provided for key field: 4427"}}
    outcome, _ = upsert(people(3), accepted(range(2), error))
    assert outcome == BatchRefused("2005", "No value provided for key field: 4427")
    alone, _ = upsert(people(1), accepted((), error))
    assert alone == Answered({"P0000000": Refusal("2005", "No value provided for key field: 4427")})


def test_a_whole_refusal_of_one_contact_does_not_quote_its_values() -> None:
    """Fault 21."""
    contact = {"P1": orjson.dumps({str(KEY): "P1", "2": "Featherstone"})}
    outcome, _ = upsert(contact, refusal(400, 2007, "Featherstone is no valid name"))
    assert outcome == BatchRefused("2007", "F…(12) is no valid name")


@pytest.mark.parametrize(
    "data", ["", [], {}, {"ids": False}, {"ids": [1], "errors": "x"}, {"ids": [], "errors": {"P0000000": []}}]
)
def test_a_reply_of_another_shape_is_no_success(data: object) -> None:
    """Fault 18."""
    assert isinstance(upsert(people(1), ok(data))[0], Ambiguous)


def test_contacts_that_are_neither_accepted_nor_refused_are_in_doubt() -> None:
    """Fault 16: nothing is lost silently."""
    outcome, _ = upsert(people(10), accepted(range(8)))
    assert isinstance(outcome, Ambiguous)
    assert "2 of 10" in outcome.reason


def test_more_than_a_call_takes_is_to_be_split_before_it_is_sent() -> None:
    """Fault 20: by count and by bytes."""
    heavy = {f"P{n}": orjson.dumps({"1": "x" * (MAX_BYTES // 10)}) for n in range(10)}
    for contacts in (people(1001), heavy):
        outcome, server = upsert(contacts, ok({}))
        assert isinstance(outcome, TooLarge)
        assert server.seen == []


@pytest.mark.parametrize("step", [refusal(400, 1000, "maximum batch size"), reply(b"", 413)])
def test_too_large_by_emarsys_measure_is_to_be_split(step: Any) -> None:
    """Fault 20."""
    assert isinstance(upsert(people(2), step)[0], TooLarge)


def test_contacts_read_back_are_sorted_by_key() -> None:
    found = {
        "errors": [
            {"key": "P2", "errorCode": 2008, "errorMsg": "No contact found with the external id: 4427"},
            {"key": "P3", "errorCode": "2010", "errorMsg": "More contacts found"},
        ],
        "result": [
            {"id": "11", "uid": "u", str(KEY): "P1", "1": "Ann", "4": None, "0": ["1", 2], "surplus": {}},
            {"id": 12, str(KEY): "00123", "1": "", "4": "1980-02-29", "0": []},
        ],
    }
    with Scripted([ok(found)]) as server:
        outcome = Contacts(by_oauth(server)).read(KEY, ["P1", "00123", "P2", "P3", "P1"], [1, 4, 0])
    assert outcome == Found(
        {
            "P1": {str(KEY): "P1", "1": "Ann", "4": None, "0": ["1", "2"]},
            "00123": {str(KEY): "00123", "1": "", "4": "1980-02-29", "0": []},
        },
        missing=frozenset({"P2"}),
        duplicated=frozenset({"P3"}),
    )
    assert orjson.loads(server.calls[0].body) == {
        "keyId": str(KEY),
        "keyValues": ["P1", "00123", "P2", "P3"],
        "fields": [str(KEY), "1", "4", "0"],
    }


def test_nobody_found_comes_as_a_false_result() -> None:
    nobody = {"errors": [{"key": "P1", "errorCode": 2008, "errorMsg": "No contact found"}], "result": False}
    with Scripted([ok(nobody)]) as server:
        assert Contacts(by_oauth(server)).read(KEY, ["P1"], [1]) == Found({}, frozenset({"P1"}), frozenset())


def test_an_address_that_comes_back_in_another_case_is_still_the_one_asked_for() -> None:
    with Scripted([ok({"errors": [], "result": [{"3": "ann@example.com", "1": "Ann"}]})]) as server:
        outcome = Contacts(by_oauth(server)).read(3, ["Ann@Example.com"], [1])
    assert isinstance(outcome, Found)
    assert set(outcome.contacts) == {"Ann@Example.com"}


@pytest.mark.parametrize(
    "data", ["", {}, {"result": [{}], "errors": []}, {"result": ["x"]}, {"result": False, "errors": []}]
)
def test_a_read_that_leaves_a_key_out_is_not_taken_for_missing(data: object) -> None:
    """Fault 18."""
    with Scripted([ok(data)]) as server:
        assert isinstance(Contacts(by_oauth(server)).read(KEY, ["P1"], [1]), Ambiguous)


@pytest.mark.parametrize(
    ("step", "kind"),
    [(reply(b"", 502), Later), (raw(b""), Later), (reply(b"", 403), Stopped), (refusal(400, 2007), Stopped)],
)
def test_a_read_is_found_later_or_stopped(step: Any, kind: type) -> None:
    with Scripted([step]) as server:
        assert type(Contacts(by_oauth(server)).read(KEY, ["P1"], [1])) is kind


def test_all_contacts_are_walked_page_by_page_each_key_once() -> None:
    def listed(*keys: str) -> Any:
        return ok({"errors": [], "result": [{"id": "1", str(KEY): key} for key in keys]})

    def held(*keys: str) -> Any:
        return ok({"errors": [], "result": [{"id": "1", str(KEY): key, "1": f"name of {key}"} for key in keys]})

    # A contact deleted meanwhile moves the border: P2 is listed twice.
    script = [listed("P1", "P2"), held("P1", "P2"), listed("P2", "P3"), held("P3"), listed("")]
    with Scripted(script) as server:
        parts = list(Contacts(by_oauth(server)).query(KEY, [1], page=2))
    walked = [(key, values["1"]) for part in parts for key, values in part.contacts.items()]
    assert walked == [("P1", "name of P1"), ("P2", "name of P2"), ("P3", "name of P3")]
    targets = [call.target for call in server.calls if call.method == "GET"]
    assert targets[1] == f"/api/v3/contact/query/?return={KEY}&limit=2&offset=2&excludeempty=true"


def test_a_walk_that_is_refused_says_so() -> None:
    with Scripted([refusal(400, 2015, "No index on column")]) as server, pytest.raises(NotAnswered, match="index"):
        list(Contacts(by_oauth(server)).query(KEY, [1]))


def test_duplicates_are_found_by_address() -> None:
    data = {
        "ids": {"ann@example.com": ["11", 12], "bob@example.com": "13"},
        "errors": {"eve@example.com": {"2008": "No contact found with the external id: 3"}},
    }
    with Scripted([ok(data)]) as server:
        emails = ["ann@example.com", "bob@example.com", "eve@example.com"]
        ids = Contacts(by_oauth(server)).ids_by_email(emails)
    assert ids == {"ann@example.com": ("11", "12"), "bob@example.com": ("13",), "eve@example.com": ()}
    assert orjson.loads(server.calls[0].body)["get_multiple_ids"] == 1


def test_eight_threads_upsert_at_once() -> None:
    contacts = people(50)
    with Scripted([accepted(contacts)]) as server:
        sender, outcomes = Contacts(by_oauth(server)), []
        threads = [
            threading.Thread(target=lambda: outcomes.extend(sender.upsert(KEY, contacts) for _ in range(5)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == [Answered({})] * 40
