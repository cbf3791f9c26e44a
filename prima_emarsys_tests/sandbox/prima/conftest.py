"""A local Prima's web service for each test, and the barest way to ask it something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

import pytest
import requests
import sqlalchemy as sa
from defusedxml.ElementTree import fromstring

from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys.sandbox.world import build
from prima_emarsys_tests.sandbox.world.conftest import NOW

Query = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small world that each test copies."""
    file = tmp_path_factory.mktemp("world") / "prima.db"
    build(f"sqlite:///{file}", customers=300, seed=5, lines_per_customer=4, now=NOW)
    return file


@pytest.fixture
def world(built: Path, tmp_path: Path) -> str:
    """URL of a copy of the world."""
    copyfile(built, tmp_path / "prima.db")
    return f"sqlite:///{tmp_path / 'prima.db'}"


@pytest.fixture
def prima(world: str) -> Iterator[LocalPrima]:
    with LocalPrima(world) as running:
        yield running


@pytest.fixture
def sql(world: str) -> Iterator[Query]:
    """Asks or changes the world's tables."""
    engine = sa.create_engine(world)

    def run(statement: str, **values: Any) -> list[dict[str, Any]]:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

    yield run
    engine.dispose()


def request(kind: str, *content: str) -> str:
    return f'<?xml version="1.0"?><Request RequestType="{kind}">{"".join(content)}</Request>'


def everything(**ends: str) -> str:
    return request(
        "ProductAvailableToSell",
        f'<Data ProductFrom="{ends.get("first", "")}" ProductTo="{ends.get("last", "")}"/>',
    )


def post(prima: LocalPrima, body: str | bytes) -> requests.Response:
    headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}
    return requests.post(prima.url, data=body, headers=headers, timeout=20)


def call(inner: str, company: str | None = None) -> str:
    """An RPC/literal envelope around a request: for `wsomhandler`, or with a company for the other."""
    operation = "wsomhandler" if company is None else "comwsomhandler"
    parts = "" if company is None else f"<ipcCompany>{company}</ipcCompany>"
    parts += f"<iplcRequest>{escape(inner)}</iplcRequest>"
    return (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        f'<o:{operation} xmlns:o="urn:omlink">{parts}</o:{operation}></e:Body></e:Envelope>'
    )


def ask(prima: LocalPrima, inner: str, company: str | None = None) -> str:
    """The XML that the service answers to an XML, with nothing done to it."""
    reply = post(prima, call(inner, company))
    assert reply.status_code == 200, reply.text
    [answer] = fromstring(reply.content).iter("oplcResponse")
    return answer.text or ""


def asked(prima: LocalPrima, inner: str, company: str | None = None) -> Element:
    """The same, parsed."""
    return fromstring(ask(prima, inner, company))
