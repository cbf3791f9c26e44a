"""A shop's desired sales lines, which a test writes itself, and an endpoint that adds up whatever it is given."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from prima_emarsys.emarsys.outcome import Ambiguous, Answered, BatchRefused, Later, Outcome
from prima_emarsys.rules.sales_data import COLUMNS
from prima_emarsys.site import SalesData
from prima_emarsys.steps.sales_data import SalesSent, send_sales
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.plan import LANE as CONTACTS
from prima_emarsys.sync.sales_plan import LINES
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.sync.remote import want

_MONEY = ("price", "gross", "net", "discount")
_SHAPE = pa.schema(
    [
        (
            name,
            pa.decimal128(18, 2) if name in _MONEY
            else pa.decimal128(18, 4) if name == "order_value"
            else pa.int64() if name == "quantity"
            else pa.timestamp("us", "UTC") if name == "happened_at"
            else pa.date32() if name in ("ordered_on", "posted_on")
            else pa.string(),
        )
        for name in COLUMNS
    ]
)  # fmt: skip
TODAY = date(2026, 11, 20)


def a_line(key: str, price: str = "10.00", **given: Any) -> dict[str, Any]:
    """A desired line: `ORDER|LINE|KIND`, price with VAT; net is five sixths of it."""
    amount = Decimal(price)
    order, number, kind = key.split("|")
    day = given.pop("day", date(2026, 3, 1))
    return {
        "line_key": key,
        "order_key": order,
        "order_line": f"{order}|{number}",
        "order_id": order,
        "item": "BOOT",
        "customer": "P1",
        "account": "1-A",
        "company": "1",
        "channel": "WEB",
        "kind": kind,
        "price": amount,
        "quantity": 1 if amount > 0 else -1,
        "gross": amount,
        "net": (amount * 5 / 6).quantize(Decimal("0.01")),
        "discount": Decimal("0.00"),
        "currency": "GBP",
        "order_value": amount,
        "happened_at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
        "ordered_on": day,
        "posted_on": day,
        "excluded": None,
    } | given


class Endpoint:
    """What Emarsys adds up. `script` is used up call by call; then every upload is accepted."""

    name = "http"
    repeatable = False

    def __init__(self, *script: Callable[[Endpoint, bytes], Outcome]) -> None:
        self.script = list(script)
        self.uploads: list[bytes] = []
        self.loaded: list[bytes] = []
        self.rows: list[dict[str, str]] = []

    def send(self, name: str, content: bytes) -> Outcome:  # noqa: ARG002
        """One upload."""
        self.uploads.append(content)
        step = self.script.pop(0) if self.script else accept
        return step(self, content)

    def load(self, content: bytes) -> None:
        """Add the file's rows, whatever was there."""
        self.loaded.append(content)
        self.rows += read(content)

    def turnover(self, column: str = "price") -> Decimal:
        """Sum of a column."""
        return sum((Decimal(row[column]) for row in self.rows), Decimal("0.00"))

    def by_line(self) -> dict[str, Decimal]:
        """Line key → what Emarsys holds of it."""
        found: dict[str, Decimal] = {}
        for row in self.rows:
            key = row["s_line"].rpartition("/")[0]
            found[key] = found.get(key, Decimal(0)) + Decimal(row["price"])
        return found


class BatchLoad(Endpoint):
    """The other way: the last image of an order replaces the one before."""

    name = "files"
    repeatable = True

    def load(self, content: bytes) -> None:
        """Replace the orders that the file holds."""
        self.loaded.append(content)
        fresh = read(content)
        orders = {row["order"] for row in fresh}
        self.rows = [row for row in self.rows if row["order"] not in orders] + fresh


def read(content: bytes) -> list[dict[str, str]]:
    """Rows of a file."""
    return list(csv.DictReader(io.StringIO(gzip.decompress(content).decode())))


def accept(endpoint: Endpoint, content: bytes) -> Outcome:
    """Taken in, and answered."""
    endpoint.load(content)
    return Answered({})


def accept_silently(endpoint: Endpoint, content: bytes) -> Outcome:
    """Taken in, and the reply lost."""
    endpoint.load(content)
    return Ambiguous("the reply was lost")


def lose(_endpoint: Endpoint, _content: bytes) -> Outcome:
    """Never arrived, which the sender cannot know."""
    return Ambiguous("the connection broke")


def refuse(_endpoint: Endpoint, _content: bytes) -> Outcome:
    """The content is not wanted."""
    return BatchRefused("400", "unexpected header")


def busy(_endpoint: Endpoint, _content: bytes) -> Outcome:
    """Not now."""
    return Later("HTTP 429", 20.0, counts_as_failure=False)


class Shop:
    """A warehouse with desired lines, a ledger, and buyers that Emarsys knows."""

    def __init__(self, warehouse: Warehouse, ledger: Ledger, **settings: Any) -> None:
        self.warehouse, self.ledger = warehouse, ledger
        self.settings = SalesData(sink="http", currency="GBP", **settings)
        self.today = TODAY
        for name, columns in {"core.sales": ("sale_key", "account"), "core.accounts": ("account", "excluded")}.items():
            warehouse.ensure(name, pa.schema([(column, pa.string()) for column in columns]))
        warehouse.ensure(LINES, _SHAPE)
        self.know("P1", "P2")

    def know(self, *persons: str) -> None:
        """Emarsys acknowledges these contacts."""
        self.ledger.stage(CONTACTS, [want(person, _1="Ann") for person in persons], "m1")
        if claim := self.ledger.claim(CONTACTS):
            self.ledger.acknowledge(claim, list(claim.records), {})

    def want(self, *lines: Mapping[str, Any]) -> None:
        """These, and no others, are the desired lines."""
        self.warehouse.write(LINES, pa.Table.from_pylist(list(lines), schema=_SHAPE))

    def send(self, endpoint: Endpoint, **changes: Any) -> SalesSent:
        """One run."""

        @contextmanager
        def opened() -> Iterator[Warehouse]:
            yield self.warehouse

        settings = self.settings.model_copy(update={"sink": endpoint.name} | changes)
        sleep = getattr(self.ledger.clock, "sleep", lambda _seconds: None)
        return send_sales(opened, self.ledger, endpoint, settings, self.today, sleep=sleep)

    def desired(self) -> Decimal:
        """Net of the desired lines."""
        lines = self.warehouse.table(LINES)
        counted = self.warehouse.read(lines.filter(lines.excluded.isnull()))
        return sum(counted["price"].to_pylist(), Decimal("0.00"))
