"""One HTTP exchange with a total deadline: connections, certificates, no redirects, no cookies.

Knows nothing of Emarsys but that its replies are small. Whether a failed exchange may have had an effect is known here
and nowhere else, since only the connection knows whether a byte of the request was put on it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from importlib import metadata
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from prima_emarsys.emarsys.redaction import RedactingFilter, redact

# urllib3 logs request lines, and a query may hold an e-mail address.
logging.getLogger("urllib3.connectionpool").addFilter(RedactingFilter())

_CONNECT_SECONDS = 10.0
_HEADERS = {"User-Agent": f"prima-emarsys/{metadata.version('prima-emarsys')}", "Accept-Encoding": "gzip"}


class NotSent(Exception):
    """Nothing of the request was sent: no connection, no name, a refused port."""


class Untrusted(NotSent):
    """The server's certificate does not prove that it is the server we mean."""


class Lost(Exception):
    """The request was sent, at least in part, and no whole reply came back."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole reply, whatever its status. `authorization` is the credential that the request carried."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    authorization: str
    seconds: float


class _Call:
    """One exchange under its deadline: knows whether it has begun to send, and cuts the connection when time is up.

    A timeout on a socket bounds each read, not their sum: a server that sends a byte a second can hold a reader for
    ever. So a timer shuts the connection down. (A name look-up and a TLS handshake are outside: nothing is sent yet.)
    """

    def __init__(self, seconds: float) -> None:
        self.sent = False
        self.cut = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def on(self, sock: socket.socket) -> None:
        """The request goes out on `sock` from here on."""
        with self._lock:
            self.sent, self._socket = True, sock
        if self.cut:
            raise TimeoutError("the deadline has passed")

    def _cut(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self.cut = True
            if self._socket is not None:
                # Not SSLSocket.shutdown, which would take the TLS state away under the thread that is reading.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __enter__(self) -> _Call:
        _here.call = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None
        _here.call = None


class _Here(threading.local):
    call: _Call | None = None


_here = _Here()


class _Noting(HTTPConnection):
    """A connection that tells the call of its thread when bytes go out."""

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if _here.call is not None and self.sock is not None:
            _here.call.on(self.sock)
        super().send(data)


class _NotingTls(_Noting, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Noting  # pyright: ignore[reportAssignmentType]


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _NotingTls  # pyright: ignore[reportAssignmentType]


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


class Line:
    """Kept-alive connections for `threads` threads at once. Certificates are always checked.

    Proxies and a company's own certificate authority come from the environment (`HTTPS_PROXY`, `REQUESTS_CA_BUNDLE`).
    """

    def __init__(self, threads: int = 8) -> None:
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # No retries down there: they would repeat a write without the ledger's knowledge.
        adapter = _Adapter(pool_connections=4, pool_maxsize=threads, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def exchange(
        self,
        method: str,
        url: str,
        *,
        auth: AuthBase | None = None,
        seconds: float,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpReply:
        """Send one request and read its whole reply within `seconds`, all told.

        Raises NotSent, Untrusted (certain: without effect) or Lost (perhaps with effect). Messages hold no secrets.
        """
        # Prepared without the session, which would add cookies and what a netrc file holds.
        request = requests.Request(method, url, headers={**_HEADERS, **(headers or {})}, data=body, auth=auth).prepare()
        surroundings: dict[str, Any] = {"proxies": {}}  # no proxy on the way to oneself
        if not url.startswith("http://"):
            surroundings = {**self._session.merge_environment_settings(url, {}, None, None, None)}
        with _Call(seconds) as call:
            try:
                response = self._session.send(
                    request, timeout=(min(_CONNECT_SECONDS, seconds), seconds), allow_redirects=False, **surroundings
                )
            except (OSError, urllib3.exceptions.HTTPError) as error:
                raise _failure(error, call, seconds) from None
            if call.cut:  # a reply without a length ends with its connection, so a cut one looks whole
                raise Lost(f"no whole reply within {seconds:.1f} s")
        return HttpReply(
            response.status_code,
            response.headers,
            response.content,
            response.request.headers.get("Authorization", ""),
            response.elapsed.total_seconds(),
        )


def _failure(error: Exception, call: _Call, seconds: float) -> NotSent | Lost:
    cause = _root(error)
    words = redact(str(cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Untrusted(f"the server's certificate is not valid: {cause.verify_message}")
    if not call.sent:
        return NotSent(f"no connection: {words}")
    if call.cut or isinstance(cause, TimeoutError):
        return Lost(f"no whole reply within {seconds:.1f} s")
    return Lost(f"the connection broke before the reply was whole: {words}")


def _root(error: BaseException) -> BaseException:
    """The first fault in a chain of wrappers (requests wraps urllib3, which wraps the socket's own)."""
    while True:
        wrapped = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
        inner = next((one for one in wrapped if isinstance(one, BaseException)), None)
        if inner is None:
            return error
        error = inner
