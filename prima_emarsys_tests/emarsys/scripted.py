"""A loopback HTTP server that does exactly what a test's script says, down to the bytes: for faults of the transport.

What Emarsys *means* is the sandbox's matter; here replies are canned.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType

import orjson

Step = Callable[[socket.socket], None]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def reply(
    body: bytes | str | object = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    date: float | None = None,
) -> Step:
    """A whole reply; anything but text and bytes is made JSON. `date`: the server's Unix time (default: now)."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else orjson.dumps(body)

    def answer(sock: socket.socket) -> None:
        fields = {
            "Date": formatdate(time.time() if date is None else date, usegmt=True),
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(content)),
        } | dict(headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        sock.sendall(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + content)

    return answer


def ok(data: object, **headers: str) -> Step:
    """Emarsys's envelope with reply code 0."""
    return reply({"replyCode": 0, "replyText": "OK", "data": data}, headers=headers)


def refusal(status: int, code: int, text: str = "no", **headers: str) -> Step:
    """Emarsys's envelope with another reply code."""
    return reply({"replyCode": code, "replyText": text, "data": ""}, status, headers)


def accepted(keys: Iterable[object], errors: object = None) -> Step:
    """An upsert's reply: ids by turns as text and integer, as Emarsys mixes them."""
    ids = [str(n) if n % 2 else n for n, _ in enumerate(keys)]
    return ok({"ids": ids} | ({} if errors is None else {"errors": errors}))


def token(name: str = "tok-1234567890", life: float = 3600) -> Step:
    return reply({"access_token": name, "token_type": "bearer", "expires_in": life, "scope": ""})


def drip(content: bytes, gap: float) -> Step:
    """The reply byte by byte, `gap` seconds apart."""

    def answer(sock: socket.socket) -> None:
        for byte in content:
            sock.sendall(bytes([byte]))
            time.sleep(gap)

    return answer


def raw(content: bytes) -> Step:
    """These bytes, then the connection is closed."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(content)
        raise ConnectionAbortedError

    return answer


def hang(seconds: float) -> Step:
    """No reply for a while, then the end of the connection."""

    def answer(_: socket.socket) -> None:
        time.sleep(seconds)
        raise ConnectionAbortedError

    return answer


@dataclass
class Scripted:
    """Plays its steps in order, one a request (the last for ever). Token requests have a script of their own."""

    steps: list[Step]
    tokens: list[Step] = field(default_factory=lambda: [token()])
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Scripted:
        outer = self
        lock = threading.Lock()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                sock: socket.socket = self.request
                try:
                    if outer.tls is not None:
                        sock = outer.tls.wrap_socket(sock, server_side=True)
                    while (request := _read(sock)) is not None:
                        with lock:
                            outer.seen.append(request)
                            script = outer.tokens if request.target == "/oauth2/token" else outer.steps
                            step = script.pop(0) if len(script) > 1 else script[0]
                        step(sock)
                except OSError:
                    pass
                finally:
                    sock.close()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def token_url(self) -> str:
        return f"{self.url}/oauth2/token"

    @property
    def calls(self) -> list[Seen]:
        """The requests other than for tokens."""
        return [request for request in self.seen if request.target != "/oauth2/token"]


def _read(sock: socket.socket) -> Seen | None:
    received = b""
    while b"\r\n\r\n" not in received:
        part = sock.recv(65536)
        if not part:
            return None
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    request_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    parts, missing = [body], int(headers.get("content-length", 0)) - len(body)
    while missing > 0:
        part = sock.recv(1 << 20)
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    method, target, _ = request_line.split(" ")
    return Seen(method, target, headers, b"".join(parts))
