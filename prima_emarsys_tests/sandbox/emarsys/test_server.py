"""The local Emarsys keeps its state, binds to the loopback only, and can be looked at and set up from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys, listen
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api


def test_a_restart_keeps_contacts_fields_events_and_triggers(tmp_path: Path) -> None:
    with LocalEmarsys(tmp_path) as emarsys:
        api = Api(emarsys)
        number = api.data("POST", "field", {"name": "Score", "application_type": "numeric"})["id"]
        first = api.upsert({PERSON_KEY: "P1", str(number): "5"})["ids"][0]
        event = api.data("POST", "event", {"name": "order"})["id"]
        trigger = {"key_id": PERSON_KEY, "external_id": "P1", "trigger_id": "t-1"}
        api.data("POST", f"event/{event}/trigger", trigger)
        before = emarsys.contacts()
    with LocalEmarsys(tmp_path) as emarsys:
        api = Api(emarsys)
        assert emarsys.contacts() == before
        assert before["P1"]["score"] == "5"
        api.data("POST", f"event/{event}/trigger", trigger)
        assert len(emarsys.triggers()) == 1
        assert api.upsert({PERSON_KEY: "P2"})["ids"][0] > first
        assert api.data("POST", "field", {"name": "Other", "application_type": "date"})["id"] == number + 1
        assert emarsys.counters.contacts_accepted == 1


def test_a_killed_process_loses_nothing_that_it_answered(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    program = (
        "import sys; from pathlib import Path; from prima_emarsys.sandbox.emarsys.server import serve;"
        "serve(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(port)])  # noqa: S603 (our program)
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 30
        while True:
            try:
                token = requests.post(
                    f"{url}/oauth2/token",
                    data={"grant_type": "client_credentials"},
                    auth=("sandbox-client", "sandbox-client-secret"),
                    timeout=10,
                ).json()["access_token"]
                break
            except requests.ConnectionError:
                assert time.monotonic() < end
                time.sleep(0.05)
        body = {"key_id": PERSON_KEY, "contacts": [{PERSON_KEY: f"P{number}"} for number in range(1000)]}
        reply = requests.put(
            f"{url}/api/v3/contact/?create_if_not_exists=1",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        )
        assert len(reply.json()["data"]["ids"]) == 1000
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with LocalEmarsys(tmp_path) as emarsys:
        assert len(emarsys.contacts()) == 1000


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.10", "::"])  # noqa: S104 (refused)
def test_only_the_loopback_can_be_bound(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        listen(host, 0)


def test_a_page_under_another_host_name_reaches_nothing(emarsys: LocalEmarsys) -> None:
    reply = requests.get(f"{emarsys.url}/sandbox/contacts", headers={"Host": "evil.example"}, timeout=10)
    assert reply.status_code == 400


def test_the_admin_paths_seed_and_show_contacts_doubles_included(emarsys: LocalEmarsys) -> None:
    url = f"{emarsys.url}/sandbox"
    doubles = [
        {"prima_person_key": "P1", "email": "a@example.com"},
        {"prima_person_key": "P2", "email": "a@example.com"},
    ]
    assert len(requests.post(f"{url}/contacts", json=doubles, timeout=10).json()["ids"]) == 2
    assert set(requests.get(f"{url}/contacts?by=prima_person_key", timeout=10).json()) == {"P1", "P2"}
    shared = requests.get(f"{url}/contacts?by=email", timeout=10)
    assert shared.status_code == 400
    assert "several contacts" in shared.json()["error"]
    requests.delete(f"{url}/contacts", timeout=10)
    assert requests.get(f"{url}/contacts", timeout=10).json() == []


def test_the_admin_paths_add_fields_and_index_them(emarsys: LocalEmarsys, api: Api) -> None:
    url = f"{emarsys.url}/sandbox"
    wanted = {"string_id": "segment", "application_type": "singlechoice", "choices": {"1": "Champions"}}
    number = requests.post(f"{url}/fields", json=wanted, timeout=10).json()["id"]
    api.upsert({PERSON_KEY: "P1", str(number): "1"})
    assert api.refusal("GET", f"contact/query/?return=1&{number}=1")[:2] == (400, 2015)
    requests.patch(f"{url}/fields/segment", json={"indexed": True, "choices": {"1": "Best"}}, timeout=10)
    assert len(api.data("GET", f"contact/query/?return=1&{number}=1")["result"]) == 1
    assert api.data("GET", f"field/{number}/choice")[0]["choice"] == "Best"
    assert requests.patch(f"{url}/fields/nonsense", json={"indexed": True}, timeout=10).status_code == 400


def test_the_admin_paths_count_and_begin_again(emarsys: LocalEmarsys, api: Api) -> None:
    api.upsert({PERSON_KEY: "P1"}, {PERSON_KEY: "P2", "5": "9"})
    api.upsert({PERSON_KEY: "P1"})
    counters = requests.get(f"{emarsys.url}/sandbox/counters", timeout=10).json()
    assert counters["calls"] == {"contact.update": 2}
    counted = [counters[name] for name in ("contacts_created", "contacts_updated", "contacts_accepted", "throttled")]
    assert counted == [1, 1, 2, 0]
    assert counters["rows_refused"] == {"2007": 1}
    requests.delete(f"{emarsys.url}/sandbox/counters", timeout=10)
    assert emarsys.counters.contacts_accepted == 0


def test_the_admin_paths_change_settings_events_and_tokens(emarsys: LocalEmarsys, api: Api) -> None:
    url = f"{emarsys.url}/sandbox"
    changed = requests.patch(f"{url}/settings", json={"rate_limit": 5, "closed_endpoints": ["settings"]}, timeout=10)
    assert changed.json()["rate_limit"] == 5
    assert api.send("GET", "settings").status_code == 403
    assert requests.patch(f"{url}/settings", json={"rate_limt": 5}, timeout=10).status_code == 400
    event = api.data("POST", "event", {"name": "order"})["id"]
    assert requests.patch(f"{url}/events/{event}", json={"connected": False}, timeout=10).json()["connected"] is False
    assert requests.get(f"{url}/triggers?event={event}", timeout=10).json() == []
    requests.delete(f"{url}/tokens", timeout=10)
    assert api.send("GET", "field").status_code == 401
