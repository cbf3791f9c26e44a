"""A local Emarsys for each test, and a bare client that only knows how to send JSON with a token."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
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


def upload(
    emarsys: LocalEmarsys, content: str | bytes, *, kind: str = "sales-data", packed: bool = False, **headers: str
) -> requests.Response:
    """Post a file as a client of Emarsys would; headers by name with `_` for `-`, empty ones are left out."""
    body = content.encode() if isinstance(content, str) else content
    token = emarsys.sales_token if kind == "sales-data" else emarsys.catalogue_token
    sent = {"Authorization": f"bearer {token}", "Content-Type": "text/csv", "Accept": "text/plain"}
    sent |= {"Content-Encoding": "gzip"} if packed else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(
        f"{emarsys.sales_url}/hapi/merchant/{emarsys.merchant_id}/{kind}/api",
        data=gzip.compress(body) if packed else body,
        headers={name: value for name, value in sent.items() if value},
        timeout=10,
        allow_redirects=False,
    )


def wait_until(happened: Callable[[], object], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
