"""Rate limit, sizes, and the forms of address that Emarsys tolerates."""

from __future__ import annotations

import socket
import time

import pytest

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api


def test_every_reply_tells_the_rate_limit_and_carries_json_as_html(emarsys: LocalEmarsys, api: Api) -> None:
    replies = [api.send("GET", "settings"), api.send("GET", "nonsense"), api.send("PUT", "contact", [])]
    emarsys.revoke_tokens()
    replies.append(api.send("GET", "settings"))
    assert [reply.status_code for reply in replies] == [200, 404, 400, 401]
    for reply in replies:
        assert reply.headers["X-Ratelimit-Limit"] == "1000"
        assert 0 <= int(reply.headers["X-Ratelimit-Remaining"]) < 1000
        assert time.time() < int(reply.headers["X-Ratelimit-Reset"]) + 1 <= time.time() + 61
        assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
        assert reply.headers["X-Emarsys-Request-Id"]


def test_calls_above_the_limit_get_429_until_the_window_that_the_first_call_opened_ends(
    emarsys: LocalEmarsys, api: Api
) -> None:
    emarsys.settings.rate_limit = 2
    emarsys.settings.rate_window = 0.5
    statuses = [api.send("GET", "settings").status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert emarsys.counters.throttled == 2
    time.sleep(0.5)
    assert api.send("GET", "settings").status_code == 200


def test_the_429_body_can_be_an_envelope_or_plain_text(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.settings.rate_limit = 0
    assert api.refusal("GET", "settings")[:2] == (429, 7003)
    emarsys.settings.throttled_body = "text"
    assert api.send("GET", "settings").text.startswith("Too many requests")


def test_a_batch_holds_at_most_a_thousand_contacts(api: Api) -> None:
    rows = [{PERSON_KEY: str(number)} for number in range(1001)]
    body = {"key_id": PERSON_KEY, "contacts": rows}
    expected = (400, 1000, "The request exceeded the maximum batch size of 1,000")
    assert api.refusal("PUT", "contact", body) == expected
    assert api.refusal("POST", "contact", body) == expected
    values = [row[PERSON_KEY] for row in rows]
    assert api.refusal("POST", "contact/getdata", {"keyId": PERSON_KEY, "keyValues": values})[:2] == (400, 10001)
    assert api.refusal("POST", "contact/checkids", {"key_id": PERSON_KEY, "external_ids": values})[:2] == (400, 2002)


def test_a_body_above_the_size_limit_is_refused(emarsys: LocalEmarsys, api: Api) -> None:
    row = {PERSON_KEY: "1", "1": "x" * 8_000_000}
    assert api.send("PUT", "contact", {"key_id": PERSON_KEY, "contacts": [row]}).status_code == 413
    event = api.data("POST", "event", {"name": "order"})["id"]
    body = {"key_id": PERSON_KEY, "external_id": "1", "data": {"text": "x" * 1_000_000}}
    assert api.send("POST", f"event/{event}/trigger", body).status_code == 413
    assert emarsys.counters.contacts_accepted == 0


def test_parameters_may_stand_in_the_path_and_slashes_may_be_doubled(api: Api) -> None:
    row = {"key_id": "3", "contacts": [{"3": "ann@example.com"}]}
    assert api.data("PUT", "contact/create_if_not_exists=1", row)["ids"]
    plain = api.data("GET", "contact/query/?return=3&limit=10&offset=0")
    assert plain == api.data("GET", "contact/query/return=3&limit=10&offset=0")
    assert plain == api.data("GET", "contact//query/?return=3")
    assert plain == api.data("GET", "contact/query/?return=3", body={})
    assert plain["result"][0]["3"] == "ann@example.com"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("DELETE", "contact/getdata", (400, 1009)),
        ("POST", "contact/nonsense", (400, 1)),
        ("GET", "nonsense", (404, 1)),
    ],
)
def test_a_wrong_path_or_method_is_named(api: Api, method: str, path: str, expected: tuple[int, int]) -> None:
    assert api.refusal(method, path)[:2] == expected


def test_a_body_that_is_no_json_object_is_refused(emarsys: LocalEmarsys, api: Api) -> None:
    reply = api.session.post(f"{emarsys.url}/api/v3/contact", data="{not json", timeout=10)
    assert (reply.status_code, reply.json()["replyCode"]) == (400, 1010)
    assert api.refusal("POST", "contact", ["a list"])[:2] == (400, 1010)


def test_a_reply_arrives_in_one_piece(emarsys: LocalEmarsys, api: Api) -> None:
    token = api.session.headers["Authorization"]
    request = f"GET /api/v3/settings HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token!s}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(emarsys.url.rpartition(":")[2])), timeout=10) as connection:
        for _ in range(20):
            connection.sendall(request.encode())
            head, _, body = connection.recv(65_536).partition(b"\r\n\r\n")
            assert b"200 OK" in head
            assert body.endswith(b"}")
