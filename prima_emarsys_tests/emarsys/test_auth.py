"""Signing: tokens and digests, judged by what arrives at a server."""

from __future__ import annotations

import logging
import re
import threading

import emarsysauthenticator
import pytest
from pydantic import ValidationError

from prima_emarsys.emarsys.auth import OAuthClient, WsseUser, password_digest
from prima_emarsys.emarsys.outcome import Later, Stopped
from prima_emarsys.emarsys.transport import Account, Reply, Transport
from prima_emarsys_tests.emarsys.conftest import OAUTH_SECRET, WSSE_SECRET, by_oauth, by_wsse
from prima_emarsys_tests.emarsys.scripted import Scripted, Step, ok, refusal, reply, token

UNAUTHORISED = refusal(401, 1, "Unauthorized")


def test_a_token_is_fetched_once_and_serves_all_threads() -> None:
    with Scripted([ok({})]) as server:
        transport = by_oauth(server)
        threads = [threading.Thread(target=transport.call, args=("GET", "settings")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    asked = [request for request in server.seen if request.target == "/oauth2/token"]
    assert len(asked) == 1
    assert asked[0].body == b"grant_type=client_credentials"
    assert asked[0].headers["authorization"].startswith("Basic ")
    assert {request.headers["authorization"] for request in server.calls} == {"Bearer tok-1234567890"}
    assert {request.target for request in server.calls} == {"/api/v3/settings"}


def test_a_token_near_its_end_is_renewed_before_it_is_used() -> None:
    with Scripted([ok({})], tokens=[token("tok-first", life=0.0), token("tok-second")]) as server:
        transport = by_oauth(server)
        transport.call("GET", "settings")
        transport.call("GET", "settings")
        transport.call("GET", "settings")
    assert [request.headers["authorization"] for request in server.calls] == [
        "Bearer tok-first",
        "Bearer tok-second",
        "Bearer tok-second",
    ]


def test_a_rejected_token_is_replaced_once_and_the_call_made_again() -> None:
    """Fault 14."""
    with Scripted([UNAUTHORISED, ok({"a": 1})], tokens=[token("tok-old"), token("tok-new")]) as server:
        reply = by_oauth(server).call("GET", "settings")
    assert isinstance(reply, Reply)
    assert [request.headers["authorization"] for request in server.calls] == ["Bearer tok-old", "Bearer tok-new"]


def test_a_second_rejection_stops_and_names_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Fault 14."""
    caplog.set_level(logging.DEBUG)
    with Scripted([UNAUTHORISED], tokens=[token("tok-old"), token("tok-new")]) as server:
        transport = by_oauth(server)
        outcome = transport.call("PUT", "contact/", body=b"{}")
    assert isinstance(outcome, Stopped)
    assert "credentials" in outcome.remedy
    assert len(server.calls) == 2
    shown = f"{outcome!r} {transport!r} {caplog.text}"
    for secret in (OAUTH_SECRET, "tok-old", "tok-new"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (reply({"error": "invalid_client"}, 401), Stopped),
        (reply(b"", 302, {"Location": "http://127.0.0.1:9/"}), Stopped),
        (reply("<html>be right back</html>", 503), Later),
        (reply("<html>hello</html>", 200), Later),
        (reply(b"", 429), Later),
    ],
    ids=["wrong client", "redirect", "overloaded", "a page instead of a token", "too often"],
)
def test_without_a_token_nothing_is_sent(step: Step, kind: type) -> None:
    with Scripted([ok({})], tokens=[step]) as server:
        outcome = by_oauth(server).call("PUT", "contact/", body=b"{}")
    assert type(outcome) is kind
    assert server.calls == []


def test_a_wsse_digest_is_that_of_a_client_that_others_wrote() -> None:
    header = emarsysauthenticator.create_xwsse_header("user", WSSE_SECRET)["X-WSSE"]
    parts = dict(re.findall(r'(\w+)="([^"]*)"', header))
    assert password_digest(parts["Nonce"], parts["Created"], WSSE_SECRET) == parts["PasswordDigest"]


def test_each_wsse_request_is_signed_afresh_with_utc_time() -> None:
    with Scripted([ok({})]) as server:
        transport = by_wsse(server)
        transport.call("GET", "settings")
        transport.call("GET", "settings")
    first, second = [request for request in server.calls if request.target == "/api/v2/settings"]
    parts = dict(re.findall(r'(\w+)="([^"]*)"', first.headers["x-wsse"]))
    assert parts["Username"] == "customer001"
    assert re.fullmatch(r"[0-9a-f]{32}", parts["Nonce"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", parts["Created"])
    assert len(parts["PasswordDigest"]) == 56
    assert first.headers["x-wsse"] != second.headers["x-wsse"]


def test_settings_show_no_secret_in_repr_or_in_errors() -> None:
    account = Account.model_validate(
        {"credentials": {"client_id": "id", "client_secret": OAUTH_SECRET, "token_url": "https://login.example/token"}}
    )
    assert OAUTH_SECRET not in f"{account!r} {account} {account.model_dump()} {account.model_dump_json()}"
    with pytest.raises(ValidationError) as refused:
        Account.model_validate({"credentials": {"username": "u", "secret": WSSE_SECRET, "surplus": 1}})
    assert WSSE_SECRET not in str(refused.value)


@pytest.mark.parametrize("url", ["http://api.emarsys.net", "https://api.emarsys.net/api/v3"])
def test_an_account_off_this_machine_is_spoken_to_by_https_at_its_host_alone(url: str) -> None:
    """Fault 29."""
    with pytest.raises(ValidationError, match="Emarsys url"):
        Account(credentials=WsseUser(username="u", secret=WSSE_SECRET), url=url)  # pyright: ignore[reportArgumentType]


def test_the_token_address_must_be_https_too() -> None:
    """Fault 29."""
    with pytest.raises(ValidationError, match="token_url must begin with https"):
        OAuthClient(client_id="id", client_secret=OAUTH_SECRET, token_url="http://login.example/token")  # pyright: ignore[reportArgumentType]


def test_wsse_that_was_switched_off_names_the_credentials_to_give_instead() -> None:
    """Fault 31."""
    for gone in (UNAUTHORISED, refusal(403, 0), reply(b"gone", 410), reply(b"", 404)):
        with Scripted([ok({}), gone]) as server:
            outcome = by_wsse(server).call("GET", "settings")
        assert isinstance(outcome, Stopped)
        assert "client_id, client_secret" in outcome.remedy


def test_transport_takes_either_kind_of_credentials() -> None:
    with Scripted([ok({"x": 1})]) as server:
        for connect in (by_oauth, by_wsse):
            transport: Transport = connect(server)
            assert transport.fetch("GET", "settings") == {"x": 1}
