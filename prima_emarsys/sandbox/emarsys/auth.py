"""Who is calling: WSSE for `/api/v2`, bearer tokens by OAuth 2 client credentials for `/api/v3`.

Tokens and nonces live in memory, so a restart ends all tokens, as an expiry would. What a known caller may do is
decided elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import orjson

from prima_emarsys.sandbox.emarsys.replies import Reply, unauthorised
from prima_emarsys.sandbox.emarsys.settings import Settings

_WSSE_PART = re.compile(r'(\w+)="([^"]*)"')
_SERVER_ZONE = ZoneInfo("Europe/Vienna")


class Gate:
    """Knows the account's two API users, the tokens given out, and the nonces seen."""

    def __init__(self) -> None:
        self._expiry: dict[str, float] = {}
        self._nonces: dict[str, float] = {}
        self.tokens_issued = 0

    def user(self, version: str, headers: Mapping[str, str], settings: Settings) -> str:
        """Name of the API user behind a request to `/api/v2` (WSSE) or `/api/v3` (bearer); refuses with 401."""
        if version == "v3":
            return self._bearer(headers.get("authorization", ""), settings)
        return self._wsse(headers.get("x-wsse") or headers.get("wsse") or "", settings)

    def _bearer(self, header: str, settings: Settings) -> str:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or self._expiry.get(token, 0) <= time.time():
            raise unauthorised()
        return settings.client_id

    def _wsse(self, header: str, settings: Settings) -> str:
        parts = {name.lower(): value for name, value in _WSSE_PART.findall(header)}
        nonce, created = parts.get("nonce", ""), parts.get("created", "")
        digest = hashlib.sha1((nonce + created + settings.wsse_secret).encode()).hexdigest()  # noqa: S324 (WSSE's own)
        expected = base64.b64encode(digest.encode())
        if parts.get("username") != settings.wsse_user or not hmac.compare_digest(
            expected, parts.get("passworddigest", "").encode()
        ):
            raise unauthorised()
        try:
            moment = datetime.fromisoformat(created)
        except ValueError:
            raise unauthorised() from None
        # A time without an offset is read in the server's zone.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=_SERVER_ZONE)
        if abs((datetime.now(UTC) - moment).total_seconds()) > settings.clock_tolerance:
            raise unauthorised("Unauthorized Time frame is invalid")
        if settings.refuse_replayed_nonce:
            self._refuse_replay(nonce, settings.clock_tolerance)
        return settings.wsse_user

    def _refuse_replay(self, nonce: str, tolerance: int) -> None:
        now = time.time()
        self._nonces = {seen: at for seen, at in self._nonces.items() if now - at <= 2 * tolerance}
        if nonce in self._nonces:
            raise unauthorised()
        self._nonces[nonce] = now

    def token(self, headers: Mapping[str, str], body: bytes, settings: Settings) -> Reply:
        """`POST /oauth2/token`: a bearer token for the client that names itself by basic authentication."""
        try:
            scheme, _, encoded = headers.get("authorization", "").partition(" ")
            client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            scheme = client = secret = ""
        known = client == settings.client_id and hmac.compare_digest(secret.encode(), settings.client_secret.encode())
        if scheme.lower() != "basic" or not known:
            return _token_reply({"error": "invalid_client", "error_description": "Client authentication failed"}, 401)
        if parse_qs(body.decode("utf-8", "replace")).get("grant_type") != ["client_credentials"]:
            return _token_reply({"error": "unsupported_grant_type"}, 400)
        # Looks like a JWT, as the real one does; nobody but this gate needs to read it.
        token = ".".join(secrets.token_urlsafe(size) for size in (24, 48, 32))
        now = time.time()
        self._expiry = {given: expiry for given, expiry in self._expiry.items() if expiry > now}
        self._expiry[token] = now + settings.token_lifetime
        self.tokens_issued += 1
        return _token_reply(
            {"access_token": token, "token_type": "bearer", "expires_in": settings.token_lifetime, "scope": ""}, 200
        )

    def revoke_tokens(self) -> None:
        """End all tokens given out so far."""
        self._expiry.clear()


def _token_reply(content: dict[str, object], status: int) -> Reply:
    return Reply(orjson.dumps(content), status, "application/json")
