"""The local Emarsys as a web application: paths, the order of checks on a call, and the headers of every reply.

The order is: who is calling (401), the rate limit (429), the path (400, 404), permission (403), faults, the body
(413, 400), the endpoint. What endpoints do is in their own modules. Sales data and catalogue, which have a host of
their own at Emarsys, are in `hapi`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from prima_emarsys.sandbox.emarsys import admin, contacts, events, fields
from prima_emarsys.sandbox.emarsys.account import Account, Call
from prima_emarsys.sandbox.emarsys.answering import Faulty, Prepared
from prima_emarsys.sandbox.emarsys.hapi import Hapi
from prima_emarsys.sandbox.emarsys.mischief import row_fault
from prima_emarsys.sandbox.emarsys.replies import Refusal, Reply, envelope
from prima_emarsys.sandbox.emarsys.settings import Settings
from prima_emarsys.sandbox.emarsys.store import Store

LOOPBACK_NAMES = ["127.0.0.1", "localhost", "::1", "[::1]"]


def create_app(store: Store, settings: Settings | None = None) -> Starlette:
    """The application over an open store. Its running account is `app.state.account`."""
    account = Account(store, settings or Settings())

    async def health(_: Request) -> Response:
        return PlainTextResponse("OK")

    app = Starlette(
        routes=[
            Route("/healthcheck", health),
            Mount("/oauth2", TokenApi(account)),
            Mount("/sandbox", routes=admin.routes(account)),
            Mount("/api", CoreApi(account)),
            Mount("/hapi", Hapi(account)),
        ],
        # A web page in somebody's browser must not reach the open admin paths under a name of its own.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES, www_redirect=False)],
    )
    app.state.account = account
    return app


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: its name for permissions and counters, what it does, and the setting that bounds its body."""

    name: str
    handle: Callable[[Call], Any]
    most_bytes: str = "other_bytes"


def account_settings(call: Call) -> dict[str, Any]:
    """`GET settings`: what an account says about itself; the best probe of credentials."""
    return {
        "id": 1,
        "environment": "sandbox",
        "timezone": "Europe/London",
        "name": "prima-emarsys sandbox",
        "password_history_queue_size": 1,
        "country": "United Kingdom",
        "totalContacts": str(call.account.store.contact_count),
    }


# In a path, `#` stands for a number.
ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "settings"): Endpoint("settings", account_settings),
    ("GET", "field"): Endpoint("field.list", fields.list_fields),
    ("POST", "field"): Endpoint("field.create", fields.create_field),
    ("DELETE", "field/#"): Endpoint("field.delete", fields.delete_field),
    ("GET", "field/#/choice"): Endpoint("field.choices", fields.list_choices),
    ("GET", "field/choices"): Endpoint("field.choices", fields.list_choices_of_several),
    ("POST", "contact"): Endpoint("contact.create", contacts.create, "create_bytes"),
    ("PUT", "contact"): Endpoint("contact.update", contacts.update, "update_bytes"),
    ("GET", "contact"): Endpoint("contact.find", contacts.find_one),
    ("POST", "contact/getdata"): Endpoint("contact.getdata", contacts.getdata),
    ("GET", "contact/query"): Endpoint("contact.query", contacts.query),
    ("POST", "contact/checkids"): Endpoint("contact.checkids", contacts.checkids),
    ("POST", "contact/delete"): Endpoint("contact.delete", contacts.delete),
    ("POST", "contact/merge"): Endpoint("contact.merge", contacts.merge),
    ("GET", "event"): Endpoint("event.list", events.list_events),
    ("GET", "event/#"): Endpoint("event.list", events.show_event),
    ("POST", "event"): Endpoint("event.create", events.create_event),
    ("POST", "event/#/trigger"): Endpoint("event.trigger", events.trigger, "trigger_bytes"),
}
_RESOURCES = frozenset(path.partition("/")[0] for _, path in ENDPOINTS)


@dataclass
class Address:
    """What a request's line says, tidied: no doubled or trailing slashes, path-style parameters beside the others."""

    method: str
    version: str
    path: str
    query: dict[str, str]

    @classmethod
    def of(cls, scope: Scope) -> Address:
        """Read the address from a request below `/api`."""
        _, version, *segments = [part for part in scope["raw_path"].decode("ascii").split("/") if part] + [""]
        query = dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True))
        plain: list[str] = []
        for segment in filter(None, segments):
            if "=" in segment:
                query |= parse_qsl(segment, keep_blank_values=True)
            else:
                plain.append(unquote(segment))
        return cls(scope["method"], version, "/".join(plain), query)

    def endpoint(self) -> tuple[Endpoint, int | None]:
        """The endpoint and the number in its path; a refusal if there is none."""
        parts = self.path.split("/")
        if len(parts) > 2 and parts[-2] == "translate":
            del parts[-2:]
        number = next((int(part) for part in parts if part.isascii() and part.isdigit()), None)
        pattern = "/".join("#" if part.isascii() and part.isdigit() else part for part in parts)
        if endpoint := ENDPOINTS.get((self.method, pattern)):
            return endpoint, number
        if any(known == pattern for _, known in ENDPOINTS):
            raise Refusal(400, 1009, "Invalid HTTP method.")
        if parts[0] in _RESOURCES:
            raise Refusal(400, 1, f"Action {parts[1] if len(parts) > 1 else parts[0]} is invalid.")
        raise Refusal(404, 1, "Not found")


class CoreApi(Faulty):
    """`/api/v2` and `/api/v3`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        prepared = self._prepare(Address.of(scope), Headers(scope=scope))
        prepared.headers |= {
            "Cache-Control": "max-age=0, no-cache, no-store, must-revalidate",
            "Via": "kong/sandbox",
            "X-Emarsys-Request-Id": uuid.uuid4().hex,
            "X-Suite-Response-Time": str(int(1000 * (time.perf_counter() - began))),
        }
        await self.answer(prepared, scope, receive, send)

    def _prepare(self, address: Address, headers: Headers) -> Prepared:
        account, settings = self.account, self.account.settings
        rate_headers: dict[str, str] = {}
        try:
            if address.version not in ("v2", "v3"):
                raise Refusal(404, 1, "Not found")
            user = account.gate.user(address.version, headers, settings)
            within, rate_headers = account.rate_limit.count(user, settings.rate_limit, settings.rate_window)
            if not within:
                return Prepared(lambda _: _throttled(settings), headers=rate_headers)
            endpoint, number = address.endpoint()
        except Refusal as refusal:
            reply = refusal.reply()
            if not rate_headers:
                # Callers that are nobody share a window of their own: every reply carries the headers.
                _, rate_headers = account.rate_limit.count("", settings.rate_limit, settings.rate_window)
            return Prepared(lambda _: reply, headers=rate_headers)
        account.counters.calls[endpoint.name] += 1
        if endpoint.name in settings.closed_endpoints:
            return Prepared(lambda _: Reply(b"Forbidden", 403), headers=rate_headers)
        struck = account.faults.strike(address.method, address.path)

        def apply(body: bytes) -> Reply:
            try:
                if len(body) > getattr(settings, endpoint.most_bytes):
                    return Reply(b"Request Entity Too Large", settings.too_large_status)
                carries_json = address.method in ("POST", "PUT")
                call = Call(account, _parsed(body) if carries_json else {}, address.query, number)
                call.row_fault = row_fault(account, struck)
                return envelope(endpoint.handle(call))
            except Refusal as refusal:
                return refusal.reply()

        return Prepared(apply, struck, rate_headers)


class TokenApi(Faulty):
    """`/oauth2/token`, which is on a host of its own at Emarsys."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or scope["path"].rstrip("/") != "/oauth2/token":
            prepared = Prepared(lambda _: Reply(b"Not found", 404))
        else:
            gate, headers, settings = self.account.gate, Headers(scope=scope), self.account.settings
            struck = self.account.faults.strike("POST", "oauth2/token")
            prepared = Prepared(lambda body: gate.token(headers, body, settings), struck)
        await self.answer(prepared, scope, receive, send)


def _throttled(settings: Settings) -> Reply:
    text = "Too many requests for this account and resource within the last minute."
    if settings.throttled_body == "text":
        return Reply(text.encode(), 429, "text/plain")
    return envelope("", 7003, text, 429)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, 1010, "Invalid request payload.") from None
    if not isinstance(parsed, dict):
        raise Refusal(400, 1010, "Invalid request payload.")
    return parsed
