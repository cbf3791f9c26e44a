"""Who we are to Emarsys: credentials, and the two ways to sign a request.

OAuth 2 client credentials speak to `/api/v3`; WSSE speaks to `/api/v2` until the vendor ends it with the year 2026.
Secrets live in `SecretStr` and in the registry of `redaction`; nothing here prints, logs or raises one.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from datetime import UTC, datetime
from typing import ClassVar

import orjson
import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from requests.auth import AuthBase, HTTPBasicAuth

from prima_emarsys.addresses import secure
from prima_emarsys.emarsys.exchange import Line, Lost, NotSent, Untrusted
from prima_emarsys.emarsys.outcome import Later, NotAnswered, Stopped
from prima_emarsys.emarsys.redaction import forget, redact, remember

_TOKEN_SECONDS = 15.0
_MARGIN = 60.0  # a token is renewed this many seconds before its end (or in the last tenth of a shorter life)


class OAuthClient(BaseModel):
    """OAuth 2 client credentials of an API user ("OpenID Connect" in Emarsys's words)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    token_url: str = Field(
        default="https://auth.emarsys.net/oauth2/token",
        description="Customers of SAP Cloud Identity Services have an address of their own.",
    )

    @field_validator("token_url")
    @classmethod
    def _secure(cls, url: str) -> str:
        return secure(url, "token_url")


class WsseUser(BaseModel):
    """User name and secret of a WSSE API user."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    username: str = Field(min_length=1)
    secret: SecretStr = Field(min_length=1)


Credentials = OAuthClient | WsseUser


class BearerAuth(AuthBase):
    """Puts an access token on each request. One token serves all threads and is renewed before it ends."""

    api: ClassVar = "api/v3"

    def __init__(self, client: OAuthClient, line: Line) -> None:
        self._client = client
        self._line = line
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0
        remember(client.client_secret.get_secret_value())

    def ready(self, seconds: float) -> None:
        """Have a token that is good for the next call, within `seconds`. Raises NotAnswered (Later or Stopped)."""
        if time.monotonic() >= self._renew_at:
            with self._lock:
                if time.monotonic() >= self._renew_at:
                    self._fetch(seconds)

    def renew(self, rejected: str, seconds: float) -> None:
        """Replace the token of the `Authorization` header that was rejected, unless another thread already has."""
        with self._lock:
            if rejected == f"Bearer {self._token}":
                self._fetch(seconds)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _fetch(self, seconds: float) -> None:
        asked = time.monotonic()
        client = self._client
        try:
            reply = self._line.exchange(
                "POST",
                client.token_url,
                body="grant_type=client_credentials",
                headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
                auth=HTTPBasicAuth(client.client_id, client.client_secret.get_secret_value()),
                seconds=min(seconds, _TOKEN_SECONDS),
            )
        except Untrusted as fault:
            raise NotAnswered(Stopped(f"Access token: {fault}", "Check token_url and the certificates here.")) from None
        except (NotSent, Lost) as fault:
            raise NotAnswered(Later(f"Access token: {fault}", 1.0, counts_as_failure=True)) from None
        token, life = _token(reply.body)
        if reply.status == 200 and token:
            if self._token:
                forget(self._token)
            remember(token)
            self._token = token
            self._renew_at = asked + life - min(_MARGIN, life / 10)
            return
        if reply.status in (200, 408, 429) or reply.status >= 500:
            reason = f"Access token: HTTP {reply.status} without a token"
            raise NotAnswered(Later(reason, 5.0, counts_as_failure=reply.status != 429))
        raise NotAnswered(
            Stopped(
                f"Access token: HTTP {reply.status} {_oauth_error(reply.body)}".rstrip(),
                "Check client_id, client_secret and token_url in the settings.",
            )
        )


def _token(body: bytes) -> tuple[str, float]:
    """Access token and its life in seconds; an empty token if the body holds none."""
    try:
        reply = orjson.loads(body)
        return str(reply["access_token"]), float(reply.get("expires_in", 3600))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return "", 0.0


def _oauth_error(body: bytes) -> str:
    try:
        return redact(str(orjson.loads(body)["error"]))[:100]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


class WsseAuth(AuthBase):
    """Signs each request with a digest of a nonce, the time and the secret.

    Source: Emarsys docs: authentication. The server accepts a time within five minutes of its own.
    """

    api: ClassVar = "api/v2"

    def __init__(self, user: WsseUser) -> None:
        self._user = user
        remember(user.secret.get_secret_value())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        nonce = secrets.token_hex(16)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        digest = password_digest(nonce, created, self._user.secret.get_secret_value())
        request.headers["X-WSSE"] = (
            f'UsernameToken Username="{self._user.username}", PasswordDigest="{digest}", '
            f'Nonce="{nonce}", Created="{created}"'
        )
        return request


def password_digest(nonce: str, created: str, secret: str) -> str:
    """Base64 of SHA-1(nonce + created + secret) as *hexadecimal text*; generic WSSE takes the bytes."""
    text = hashlib.sha1(f"{nonce}{created}{secret}".encode(), usedforsecurity=False).hexdigest()
    return base64.b64encode(text.encode("ascii")).decode("ascii")
