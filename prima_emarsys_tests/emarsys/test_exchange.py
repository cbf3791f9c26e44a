"""One exchange: its deadline, its certificates, and whether a failed one may have had an effect."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme

from prima_emarsys.emarsys.exchange import Line, Lost, NotSent, Untrusted
from prima_emarsys_tests.emarsys.scripted import Scripted, Step, drip, hang, ok, raw, reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (hang(5), "within 0.4 s"),
        (drip(HEAD + b"x" * 400, 0.1), "within 0.4 s"),
        (raw(HEAD + b'{"replyCode":0'), "broke"),
        (drip(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 400, 0.05), "within 0.4 s"),
        (raw(b""), "broke"),
    ],
    ids=["2 no reply", "8 drip from the first header on", "reset mid-body", "8 drip of no stated length", "closed"],
)
def test_a_reply_that_does_not_come_whole_in_time_leaves_the_effect_open(step: Step, why: str) -> None:
    """Faults 2 and 8. Every byte of a drip comes in time for the socket: only their sum is too late."""
    with Scripted([step]) as server, pytest.raises(Lost, match=why):
        Line().exchange("PUT", server.url, body=b"{}", seconds=0.4)


def test_a_body_that_drips_after_whole_headers_is_cut_at_the_same_deadline() -> None:
    """Fault 8: the deadline is that of the exchange, not of a read. The drip would take forty seconds."""

    def body_drips(sock: socket.socket) -> None:
        sock.sendall(HEAD)
        drip(b"x" * 400, 0.1)(sock)

    began = time.monotonic()
    with Scripted([body_drips]) as server, pytest.raises(Lost, match=r"within 0\.4 s"):
        Line().exchange("PUT", server.url, body=b"{}", seconds=0.4)
    assert time.monotonic() - began < 20


def test_a_refused_port_is_certainly_without_effect() -> None:
    """Fault 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        with pytest.raises(NotSent, match="no connection"):
            Line().exchange("PUT", f"http://127.0.0.1:{taken.getsockname()[1]}", body=b"{}", seconds=2)


def test_a_name_that_cannot_be_resolved_is_certainly_without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 1. The resolver is the one thing replaced: a real one would ask the network."""

    def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(NotSent):
        Line().exchange("PUT", "https://api.emarsys.invalid", body=b"{}", seconds=2)


def test_redirects_are_handed_back_not_followed() -> None:
    """Fault 28."""
    with Scripted([ok({})]) as elsewhere, Scripted([reply(b"", 307, {"Location": elsewhere.url})]) as server:
        assert Line().exchange("GET", server.url, seconds=5).status == 307
        assert elsewhere.seen == []


def test_cookies_are_neither_kept_nor_sent() -> None:
    with Scripted([reply(b"{}", headers={"Set-Cookie": "session=1; Path=/"})]) as server:
        line = Line()
        for _ in range(2):
            line.exchange("GET", server.url, seconds=5)
        assert "cookie" not in server.seen[1].headers


def test_eight_threads_share_one_line() -> None:
    with Scripted([ok({"n": 1})]) as server:
        line, statuses = Line(8), []

        def ask() -> None:
            statuses.extend(line.exchange("GET", server.url, seconds=10).status for _ in range(20))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 160


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_certificate_that_nobody_signed_is_refused_even_on_this_machine(tls: ssl.SSLContext) -> None:
    """Fault 29."""
    with Scripted([ok({})], tls=tls) as server, pytest.raises(Untrusted, match="certificate"):
        Line().exchange("GET", server.url, seconds=5)
    assert server.seen == []


def test_a_companys_own_authority_is_taken_from_the_environment(
    tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Scripted([ok({}), hang(5)], tls=tls) as server:
        line = Line()
        assert line.exchange("GET", server.url, seconds=5).status == 200
        with pytest.raises(Lost, match=r"within 0\.4 s"):  # the deadline cuts TLS too
            line.exchange("PUT", server.url, body=b"{}", seconds=0.4)
