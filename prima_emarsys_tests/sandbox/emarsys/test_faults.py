"""Each fault does what it says, to the calls it names, and repeatably."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from prima_emarsys.sandbox.emarsys.faults import NAMED, Fault, Faults
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api, wait_until

UPSERT = "contact/?create_if_not_exists=1"


def put(api: Api, *keys: str, timeout: float = 10) -> requests.Response:
    body = {"key_id": PERSON_KEY, "contacts": [{PERSON_KEY: key} for key in keys]}
    return api.send("PUT", UPSERT, body, timeout=timeout)


@pytest.mark.parametrize("applied", [True, False])
def test_a_dropped_call_has_no_reply_and_was_applied_or_not(emarsys: LocalEmarsys, api: Api, applied: bool) -> None:
    emarsys.faults = Faults(Fault(kind="drop", applied=applied, calls=1))
    with pytest.raises(requests.ConnectionError):
        put(api, "P1")
    assert len(emarsys.all_contacts()) == int(applied)
    assert put(api, "P1").status_code == 200
    assert emarsys.counters.faults == {"drop": 1}


def test_a_cut_reply_breaks_off_in_the_middle(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="cut", calls=1))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        put(api, "P1")
    assert "P1" in emarsys.contacts()


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"kind": "500", "code": 2011}, 500, 2011),
        ({"kind": "500", "code": 1003}, 500, 1003),
        ({"kind": "502"}, 502, None),
        ({"kind": "503"}, 503, None),
        ({"kind": "429"}, 429, 7003),
    ],
)
def test_a_false_status_is_sent_with_or_without_applying(
    emarsys: LocalEmarsys, api: Api, fault: dict[str, Any], status: int, code: int | None, applied: bool
) -> None:
    emarsys.faults = Faults(Fault(**fault, applied=applied))
    reply = put(api, "P1")
    assert reply.status_code == status
    if code is not None:
        assert reply.json()["replyCode"] == code
    assert len(emarsys.all_contacts()) == int(applied)


def test_503_carries_html(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="503"))
    assert put(api, "P1").text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("reset", "low", "high"), [("good", 15, 25), ("past", -120, -1), ("far", 10**9, 10**10), ("missing", 0, 0)]
)
def test_429_can_tell_a_good_a_past_a_far_or_no_reset(
    emarsys: LocalEmarsys, api: Api, reset: Any, low: float, high: float
) -> None:
    emarsys.faults = Faults(Fault(kind="429", reset=reset, seconds=20))
    headers = put(api, "P1").headers
    if reset == "missing":
        assert "X-Ratelimit-Reset" not in headers
    else:
        assert low <= int(headers["X-Ratelimit-Reset"]) - time.time() <= high
    assert emarsys.counters.throttled == 1


@pytest.mark.parametrize("kind", ["html", "truncated", "empty"])
def test_a_reply_under_200_can_be_no_envelope(emarsys: LocalEmarsys, api: Api, kind: Any) -> None:
    emarsys.faults = Faults(Fault(kind=kind, applied=True))
    reply = put(api, "P1")
    assert reply.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        reply.json()
    assert "P1" in emarsys.contacts()


def test_a_revoked_token_is_refused_until_a_new_one_is_fetched(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults.named("token-revoked")
    assert [put(api, "P1").status_code for _ in range(2)] == [401, 401]
    api.new_token()
    assert put(api, "P1").status_code == 200


def test_a_redirect_points_to_another_host(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="redirect", location="http://127.0.0.2:9/"))
    reply = put(api, "P1")
    assert (reply.status_code, reply.headers["Location"]) == (302, "http://127.0.0.2:9/")


def test_a_slow_reply_comes_late_and_a_client_that_waits_less_has_been_served(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="slow", seconds=0.3))
    began = time.monotonic()
    assert put(api, "P1").status_code == 200
    assert time.monotonic() - began >= 0.3
    with pytest.raises(requests.ReadTimeout):
        put(api, "P2", timeout=0.05)
    assert "P2" in emarsys.contacts()


def test_a_dripping_reply_arrives_byte_by_byte(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="drip", seconds=0.002))
    body = {"key_id": PERSON_KEY, "contacts": [{PERSON_KEY: "P1"}]}
    reply = api.session.put(f"{emarsys.url}/api/v3/{UPSERT}", json=body, timeout=10, stream=True)
    assert reply.raw.read(1) == b"{"
    assert reply.raw.read() == b'"replyCode":0,"replyText":"OK","data":{"ids":[100000001]}}'


def test_a_zombie_applies_the_call_after_the_client_has_gone(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="zombie", seconds=0.2, calls=1))
    with pytest.raises(requests.ReadTimeout):
        put(api, "P1", timeout=0.05)
    assert emarsys.contacts() == {}
    api.session.close()
    wait_until(emarsys.contacts)


def test_row_errors_strike_the_same_share_of_rows_until_they_are_off(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="row-errors", rows=0.1, code=2007), seed=3)
    keys = [f"P{number}" for number in range(1000)]
    first, second = put(api, *keys).json()["data"], put(api, *keys).json()["data"]
    assert 60 <= len(first["errors"]) <= 140
    assert first["errors"] == second["errors"]
    assert len(first["ids"]) + len(first["errors"]) == 1000
    assert all(list(codes) == ["2007"] for codes in first["errors"].values())
    assert emarsys.counters.rows_refused["2007"] == 2 * len(first["errors"])
    emarsys.faults = Faults()
    assert "errors" not in put(api, *keys).json()["data"]


def test_a_poisoned_batch_is_refused_as_a_whole_and_names_nobody(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="poison", keys=frozenset({"P7"}), code=1001))
    reply = put(api, *(f"P{number}" for number in range(10)))
    assert (reply.status_code, reply.json()["replyCode"]) == (400, 1001)
    assert "P7" not in reply.text
    assert emarsys.all_contacts() == []
    assert put(api, "P1", "P2").status_code == 200
    assert api.data("GET", "settings")["totalContacts"] == "2"


def test_the_race_refuses_a_new_key_once_although_nothing_exists(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="already-exists", rows=1))
    assert list(put(api, "P1").json()["data"]["errors"]["P1"]) == ["2009"]
    assert emarsys.contacts() == {}
    assert "errors" not in put(api, "P1").json()["data"]


def test_a_fault_keeps_to_its_method_and_path(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.faults = Faults(Fault(kind="502", method="PUT", path="contact*"))
    assert put(api, "P1").status_code == 502
    assert api.send("GET", "field").status_code == 200
    assert api.send("POST", "contact/getdata", {"keyId": "3", "keyValues": []}).status_code == 200
    emarsys.faults = Faults(Fault(kind="503", path="oauth2/token"))
    assert put(api, "P1").status_code == 200
    token = requests.post(emarsys.token_url, auth=(emarsys.client_id, emarsys.client_secret), timeout=10)
    assert token.status_code == 503


def test_the_same_seed_meets_the_same_calls() -> None:
    def struck(seed: int) -> list[bool]:
        faults = Faults(Fault(kind="502", share=0.3), Fault(kind="row-errors"), seed=seed)
        return [any(fault.kind == "502" for fault in faults.strike("PUT", "contact")) for _ in range(1000)]

    assert struck(1) == struck(1) != struck(2)
    assert 240 <= sum(struck(1)) <= 360


def test_every_named_set_can_be_switched_on_by_one_word_from_outside(emarsys: LocalEmarsys) -> None:
    assert {"row-errors", "lost-replies", "rate-limit", "server-errors", "slow"} <= set(NAMED)
    for name, faults in NAMED.items():
        switched = requests.put(f"{emarsys.url}/sandbox/faults", json={"named": [name]}, timeout=10).json()
        assert len(switched["faults"]) == len(faults)
        assert emarsys.faults.active == tuple(faults)
    requests.delete(f"{emarsys.url}/sandbox/faults", timeout=10)
    assert emarsys.faults.active == ()


def test_an_unknown_word_names_the_known_ones(emarsys: LocalEmarsys) -> None:
    reply = requests.put(f"{emarsys.url}/sandbox/faults", json={"named": ["gremlins"]}, timeout=10)
    assert reply.status_code == 400
    assert "lost-replies" in reply.json()["error"]
