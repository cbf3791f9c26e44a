"""A local Emarsys for each test, and a bare client that only knows how to send JSON with a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from prima_emarsys.sandbox.emarsys.server import LocalEmarsys

PERSON_KEY = "10001"


@pytest.fixture
def emarsys(tmp_path: Path) -> Iterator[LocalEmarsys]:
    with LocalEmarsys(tmp_path / "emarsys") as running:
        yield running


class Api:
    """Calls `/api/v3` with a bearer token, and returns status and parsed reply."""

    def __init__(self, emarsys: LocalEmarsys) -> None:
        self.emarsys = emarsys
        self.session = requests.Session()
        self.new_token()

    def new_token(self) -> None:
        reply = requests.post(
            self.emarsys.token_url,
            data={"grant_type": "client_credentials"},
            auth=(self.emarsys.client_id, self.emarsys.client_secret),
            timeout=10,
        )
        self.session.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"

    def send(self, method: str, path: str, body: Any = None, timeout: float = 10) -> requests.Response:
        url = f"{self.emarsys.url}/api/v3/{path}"
        return self.session.request(method, url, json=body, timeout=timeout, allow_redirects=False)

    def data(self, method: str, path: str, body: Any = None) -> Any:
        reply = self.send(method, path, body)
        assert reply.status_code == 200, reply.text
        content = reply.json()
        assert (content["replyCode"], content["replyText"]) == (0, "OK")
        return content["data"]

    def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, int, str]:
        reply = self.send(method, path, body)
        content = reply.json()
        assert content["data"] == ""
        return reply.status_code, content["replyCode"], content["replyText"]

    def upsert(self, *contacts: dict[str, Any], key: str = PERSON_KEY) -> Any:
        return self.data("PUT", "contact/?create_if_not_exists=1", {"key_id": key, "contacts": list(contacts)})


@pytest.fixture
def api(emarsys: LocalEmarsys) -> Iterator[Api]:
    client = Api(emarsys)
    yield client
    client.session.close()
