"""Running the local Prima's web service: an HTTP server in threads, on the loopback only.

`GET …/wsdl` lists the services, `GET …/wsdl?targetURI=urn:omlink` describes one, `POST` calls it. Beside that, and
wholly ours, `GET/PUT/DELETE /sandbox/faults` shows, switches on (a JSON list of `Fault`) and switches off what goes
wrong.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import TypeAdapter, ValidationError

from prima_emarsys.sandbox.prima.envelope import (
    NAMESPACE,
    Invocation,
    SoapFault,
    Style,
    fault,
    read_invocation,
    reply,
    unavailable,
)
from prima_emarsys.sandbox.prima.faults import Fault, Faults, spoil
from prima_emarsys.sandbox.prima.handler import handle, request_type_of
from prima_emarsys.sandbox.prima.invented import COMPANY_PART, DEFAULT_COMPANY, REQUEST_PART
from prima_emarsys.sandbox.prima.wsdl import OPERATIONS, services, wsdl
from prima_emarsys.sandbox.world.store import Store, open_world

PATH = "/wsasandbox/wsasandbox"
"""Web application and instance, which share a name."""
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_XML, _HTML = "text/xml; charset=utf-8", "text/html; charset=utf-8"
_FAULTS = TypeAdapter(list[Fault])
_REMEMBERED = 1_000


@dataclass(frozen=True)
class Call:
    """One call as it came in: entry point, company, RequestType, and the whole envelope."""

    operation: str
    company: str
    request_type: str
    envelope: bytes


@dataclass(frozen=True)
class Reply:
    """What goes out. `cut` ends the connection after half of it; no body at all ends it at once."""

    body: bytes | None
    content_type: str = _XML
    status: int = 200
    cut: bool = False


class WebService:
    """The service over an open world: what an HTTP request gets."""

    def __init__(self, store: Store, style: Style, endpoint: str, default_company: str) -> None:
        self.store = store
        self.style: Style = style
        self.endpoint = endpoint
        self.default_company = default_company
        self.faults = Faults()
        self.calls: deque[Call] = deque(maxlen=_REMEMBERED)
        self.over = threading.Event()
        self._numbers = count(1)

    def describe(self, target: str | None) -> Reply:
        """`GET …/wsdl`."""
        if target is None:
            return Reply(services(self.endpoint).encode(), _HTML)
        if target != NAMESPACE:
            return self._fault(unavailable(target))
        return Reply(wsdl(self.endpoint, self.style).encode())

    def call(self, body: bytes) -> Reply:
        """`POST`."""
        try:
            invocation = read_invocation(body)
            if invocation.operation not in OPERATIONS:
                raise SoapFault("Client.SOAP-Method", f"{NAMESPACE} has no method {invocation.operation}")
            if missing := set(OPERATIONS[invocation.operation]) - set(invocation.parts):
                raise SoapFault("Client.SOAP-Parameter", f"Parameters are missing: {', '.join(sorted(missing))}")
            return self._answer(invocation, body)
        except SoapFault as raised:
            return self._fault(raised)

    def _answer(self, invocation: Invocation, body: bytes) -> Reply:
        company = invocation.parts.get(COMPANY_PART, self.default_company)
        text = invocation.parts[REQUEST_PART]
        request_type = request_type_of(text)
        self.calls.append(Call(invocation.operation, company, request_type, body))
        struck = self.faults.strike(request_type)
        match struck.kind if struck else None:
            case "disabled":
                raise unavailable(NAMESPACE)
            case "html" if struck:
                return Reply(_tomcat(struck.status).encode(), _HTML, struck.status)
            case "drop":
                return Reply(None)
            case "slow" if struck:
                self.over.wait(struck.seconds)
            case "wrong-company":
                company = next(row["company"] for row in self._companies() if row["company"] != company)
        answer = spoil(struck, company, request_type, handle(self.store, company, text))
        code_page = "windows-1252" if struck and struck.kind == "raw-bytes" else "utf-8"
        envelope = reply(invocation.operation, answer, self.style).encode(code_page, "replace")
        return Reply(envelope, cut=struck is not None and struck.kind == "cut")

    def _companies(self) -> list[dict[str, Any]]:
        with self.store.rows() as rows:
            return rows.find("company")

    def _fault(self, raised: SoapFault) -> Reply:
        envelope = fault(raised, f"5a4d0b0c5e:-3f1c2d:f1dffbd11b:-8000#{next(self._numbers):x}")
        return Reply(envelope.encode(), status=500)


def _tomcat(status: int) -> str:
    title = f"HTTP Status {status} - {HTTPStatus(status).phrase}"
    return (
        f"<!DOCTYPE html><html><head><title>Apache Tomcat - Error report</title></head><body><h1>{title}</h1>"
        "<hr noshade><p><b>type</b> Status report</p><p><b>message</b></p><hr noshade><h3>Apache Tomcat</h3>"
        "</body></html>"
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Apache-Coyote/1.1", ""
    service: WebService

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == f"{PATH}/wsdl":
            self._send(self.service.describe(parse_qs(address.query).get("targetURI", [None])[0]))
        elif address.path == "/sandbox/faults":
            self._send_faults()
        else:
            self._send(_not_found())

    def do_POST(self) -> None:
        body = self._body()
        self._send(self.service.call(body) if urlsplit(self.path).path == PATH else _not_found())

    def do_PUT(self) -> None:
        body = self._body()
        if self.path != "/sandbox/faults":
            self._send(_not_found())
            return
        try:
            self.service.faults = Faults(*_FAULTS.validate_json(body))
            self._send_faults()
        except ValidationError as error:
            self._send(Reply(str(error).encode(), "text/plain; charset=utf-8", 400))

    def do_DELETE(self) -> None:
        if self.path == "/sandbox/faults":
            self.service.faults = Faults()
            self._send_faults()
        else:
            self._send(_not_found())

    def parse_request(self) -> bool:
        """As ever, but a web page in somebody's browser must not come in under a name of its own."""
        if not super().parse_request():
            return False
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in LOOPBACK_NAMES:
            self.send_error(403)
            return False
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002 (the interface)
        """Say nothing."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send_faults(self) -> None:
        shown = _FAULTS.dump_json(list(self.service.faults.active))
        self._send(Reply(shown, "application/json"))

    def _send(self, answer: Reply) -> None:
        if answer.body is None:
            self._hang_up()
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        with suppress(ConnectionError):  # a client may be tired of waiting
            self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
        if answer.cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _not_found() -> Reply:
    return Reply(_tomcat(404).encode(), _HTML, 404)


class LocalPrima:
    """The web service of a world, in threads: `with LocalPrima(url) as prima: prima.wsdl`.

    `world` is its database's URL. It may tick meanwhile: every call sees it as it then is. Port 0 takes a free one.
    """

    def __init__(
        self,
        world: str,
        *,
        style: Style = "rpc-literal",
        port: int = 0,
        default_company: str = DEFAULT_COMPANY,
    ) -> None:
        self._world = world
        self._style: Style = style
        self._port = port
        self._default_company = default_company

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            store = opened.enter_context(open_world(self._world))
            handler = type("_Bound", (_Handler,), {})
            server = opened.enter_context(ThreadingHTTPServer(("127.0.0.1", self._port), handler))
            server.daemon_threads = True
            self._port = server.server_address[1]
            self.service = handler.service = WebService(store, self._style, self.url, self._default_company)
            self._thread = threading.Thread(target=server.serve_forever, name="local-prima", daemon=True)
            self._thread.start()
            opened.callback(self._thread.join)
            opened.callback(server.shutdown)
            opened.callback(self.service.over.set)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def url(self) -> str:
        """The SOAP endpoint."""
        return f"http://127.0.0.1:{self._port}{PATH}"

    @property
    def wsdl(self) -> str:
        """Address of the service's description."""
        return f"{self.url}/wsdl?targetURI={NAMESPACE}"

    @property
    def calls(self) -> list[Call]:
        """What was asked since the start, oldest first; the last thousand."""
        return list(self.service.calls)

    @property
    def faults(self) -> Faults:
        """The faults that are on; assign `Faults(Fault(kind="nil"))`, or `Faults()` for none."""
        return self.service.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.service.faults = faults

    def wait(self) -> None:
        """Go on until the process is told to end."""
        with suppress(KeyboardInterrupt):
            self._thread.join()
