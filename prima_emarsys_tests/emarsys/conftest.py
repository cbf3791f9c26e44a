"""Fixtures of the wire's tests: repeats without waiting, and an account on a scripted server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import stamina

from prima_emarsys.emarsys.auth import OAuthClient, WsseUser
from prima_emarsys.emarsys.transport import Account, Transport
from prima_emarsys_tests.emarsys.scripted import Scripted

OAUTH_SECRET = "oauth-secret-9f8e7d"
WSSE_SECRET = "wsse-secret-1a2b3c"


@pytest.fixture(autouse=True)
def _repeat_at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def by_oauth(server: Scripted, deadline: float = 20.0) -> Transport:
    client = OAuthClient(client_id="client", client_secret=OAUTH_SECRET, token_url=server.token_url)  # pyright: ignore[reportArgumentType]
    return Transport(Account(credentials=client, url=server.url, deadline=deadline))


def by_wsse(server: Scripted, deadline: float = 20.0) -> Transport:
    user = WsseUser(username="customer001", secret=WSSE_SECRET)  # pyright: ignore[reportArgumentType]
    return Transport(Account(credentials=user, url=server.url, deadline=deadline))


@pytest.fixture(params=[by_oauth, by_wsse], ids=["oauth", "wsse"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Transport]:
    """Both ways to sign, for what must hold under either."""
    return request.param
