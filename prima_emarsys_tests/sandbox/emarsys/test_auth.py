"""Both authentication schemes answer as Emarsys does, for good callers and for bad ones."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
import requests

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys_tests.sandbox.emarsys.conftest import Api


def wsse(emarsys: LocalEmarsys, created: str, nonce: str = "0123456789abcdef" * 2, shape: str = "usual") -> str:
    digest = hashlib.sha1(f"{nonce}{created}{emarsys.wsse_secret}".encode()).hexdigest()  # noqa: S324
    password = base64.b64encode(digest.encode()).decode()
    if shape == "postman":
        return (
            f'UsernameToken Username="{emarsys.wsse_user}",PasswordDigest="{password}",'
            f'Created="{created}",nonce="{nonce}"'
        )
    return (
        f'UsernameToken Username="{emarsys.wsse_user}", PasswordDigest="{password}", '
        f'Nonce="{nonce}", Created="{created}"'
    )


def settings_v2(emarsys: LocalEmarsys, header: str, name: str = "X-WSSE") -> requests.Response:
    return requests.get(f"{emarsys.url}/api/v2/settings", headers={name: header}, timeout=10)


@pytest.mark.parametrize("pattern", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S.123Z"])
@pytest.mark.parametrize("shape", ["usual", "postman"])
@pytest.mark.parametrize("header_name", ["X-WSSE", "WSSE"])
def test_wsse_is_accepted_in_every_spelling_that_was_seen(
    emarsys: LocalEmarsys, pattern: str, shape: str, header_name: str
) -> None:
    header = wsse(emarsys, datetime.now(UTC).strftime(pattern), shape=shape)
    assert settings_v2(emarsys, header, header_name).status_code == 200


def test_a_wsse_time_without_offset_is_read_in_vienna(emarsys: LocalEmarsys) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert settings_v2(emarsys, wsse(emarsys, now)).status_code == 401


@pytest.mark.parametrize(("minutes", "status"), [(4, 200), (-4, 200), (6, 401), (-6, 401)])
def test_a_wsse_clock_may_be_five_minutes_off(emarsys: LocalEmarsys, minutes: int, status: int) -> None:
    created = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    reply = settings_v2(emarsys, wsse(emarsys, created))
    assert reply.status_code == status
    if status == 401:
        assert reply.json() == {"replyCode": 1, "replyText": "Unauthorized Time frame is invalid", "data": ""}


@pytest.mark.parametrize("header", ["", "nonsense", 'UsernameToken Username="sandbox001", PasswordDigest="x"'])
def test_bad_wsse_credentials_are_unauthorised(emarsys: LocalEmarsys, header: str) -> None:
    reply = settings_v2(emarsys, header)
    assert (reply.status_code, reply.json()) == (401, {"replyCode": 1, "replyText": "Unauthorized", "data": ""})


def test_a_replayed_nonce_is_refused_only_when_that_is_switched_on(emarsys: LocalEmarsys) -> None:
    header = wsse(emarsys, datetime.now(UTC).isoformat())
    assert [settings_v2(emarsys, header).status_code for _ in range(2)] == [200, 200]
    emarsys.settings.refuse_replayed_nonce = True
    assert [settings_v2(emarsys, header).status_code for _ in range(2)] == [200, 401]


def test_a_token_is_given_to_the_client_and_to_nobody_else(emarsys: LocalEmarsys) -> None:
    grant = {"grant_type": "client_credentials"}
    good = requests.post(
        emarsys.token_url, data=grant, auth=(emarsys.client_id, emarsys.client_secret), timeout=10
    ).json()
    assert (good["token_type"], good["expires_in"], good["scope"]) == ("bearer", 3600, "")
    bad = requests.post(emarsys.token_url, data=grant, auth=(emarsys.client_id, "wrong"), timeout=10)
    assert (bad.status_code, bad.json()["error"]) == (401, "invalid_client")
    nobody = requests.post(emarsys.token_url, data=grant, timeout=10)
    assert (nobody.status_code, nobody.json()["error"]) == (401, "invalid_client")


def test_a_token_ends_with_its_lifetime_and_when_it_is_revoked(emarsys: LocalEmarsys, api: Api) -> None:
    assert api.send("GET", "settings").status_code == 200
    emarsys.revoke_tokens()
    assert api.refusal("GET", "settings") == (401, 1, "Unauthorized")
    emarsys.settings.token_lifetime = 0
    api.new_token()
    assert api.send("GET", "settings").status_code == 401


def test_each_version_of_the_api_takes_only_its_own_scheme(emarsys: LocalEmarsys, api: Api) -> None:
    bearer = api.session.headers["Authorization"]
    crossed = requests.get(f"{emarsys.url}/api/v2/settings", headers={"Authorization": bearer}, timeout=10)
    assert crossed.status_code == 401
    header = wsse(emarsys, datetime.now(UTC).isoformat())
    assert requests.get(f"{emarsys.url}/api/v3/settings", headers={"X-WSSE": header}, timeout=10).status_code == 401


def test_the_health_probe_needs_no_credentials(emarsys: LocalEmarsys) -> None:
    assert requests.get(f"{emarsys.url}/healthcheck", timeout=10).status_code == 200


def test_an_endpoint_without_permission_says_forbidden_and_others_go_on(emarsys: LocalEmarsys, api: Api) -> None:
    emarsys.settings.closed_endpoints = frozenset({"contact.update"})
    reply = api.send("PUT", "contact", {"key_id": "3", "contacts": []})
    assert (reply.status_code, reply.text) == (403, "Forbidden")
    assert api.send("GET", "field").status_code == 200


def test_secrets_are_not_shown(emarsys: LocalEmarsys) -> None:
    shown = repr(emarsys.settings) + requests.get(f"{emarsys.url}/sandbox/settings", timeout=10).text
    assert emarsys.client_secret not in shown
    assert emarsys.wsse_secret not in shown
