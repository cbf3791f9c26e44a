"""Clients that others wrote for the real Emarsys work against the local one."""

from __future__ import annotations

import requests
from emarsysauthenticator import create_xwsse_header
from pymarsys import Emarsys, SyncConnection

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys


def test_pymarsys_does_all_its_calls(emarsys: LocalEmarsys) -> None:
    client = Emarsys(SyncConnection(emarsys.wsse_user, emarsys.wsse_secret, emarsys.url + "/"))
    number = client.contacts.create({"3": "a@example.com", "1": "A"})["data"]["id"]
    many = client.contacts.create_many([{"3": "b@example.com"}, {"3": "c@example.com"}], key_id=3)
    assert len(many["data"]["ids"]) == 2
    updated = client.contacts.update_many(3, [{"3": "a@example.com", "31": 1}], upsert=True)
    assert updated == {"replyCode": 0, "replyText": "OK", "data": {"ids": [str(number)]}}
    assert client.contacts.update({"3": "b@example.com", 31: 2}, 3)["data"]["id"]
    [found] = client.contacts.get_data(3, ["a@example.com"], [1, 2, 3, 31])["data"]["result"]
    assert (found["1"], found["2"], found["3"], found["31"]) == ("A", None, "a@example.com", "1")
    assert len(client.contacts.query(3, limit=10, offset=0, exclude_empty="true")["data"]["result"]) == 3
    ids = client.contacts.check_ids(3, ["a@example.com"])["data"]["ids"]
    assert ids == {"a@example.com": str(number)}
    client.contacts.delete({"3": "a@example.com"})
    assert set(emarsys.contacts(by="email")) == {"b@example.com", "c@example.com"}
    assert client.contact_fields.create("squirrel", "shorttext")["data"]["id"] > 10_000
    assert "squirrel" in {one["string_id"] for one in client.contact_fields.list("en")["data"]}
    assert [one["id"] for one in client.contact_fields.list_choice(31)["data"]] == ["1", "2"]


def test_the_header_of_emarsysauthenticator_is_accepted(emarsys: LocalEmarsys) -> None:
    url = f"{emarsys.url}/api/v2/settings"
    good = requests.get(url, headers=create_xwsse_header(emarsys.wsse_user, emarsys.wsse_secret), timeout=10)
    assert good.json()["data"]["environment"] == "sandbox"
    bad = requests.get(url, headers=create_xwsse_header(emarsys.wsse_user, "wrong"), timeout=10)
    assert bad.status_code == 401
