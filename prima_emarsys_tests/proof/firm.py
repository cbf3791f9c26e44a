"""A small firm for the proof of sales: Prima's books by hand, an endpoint that takes files, real steps between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.proof.sales import CAUSES, PROVED, SalesProof, prove_sales
from prima_emarsys.site import IdentityRules, InternalRule, SalesData, SalesRules
from prima_emarsys.steps.contacts import EXCLUDED
from prima_emarsys.steps.persons import resolve_persons
from prima_emarsys.steps.sales import book_sales, books_of
from prima_emarsys.steps.sales_data import SalesSent, compose_sales, orders_behind, send_sales
from prima_emarsys.sync.exceptions import observe
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.people import People
from prima_emarsys.sync.plan import LANE as CONTACTS
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.steps.small_prima import SmallPrima
from prima_emarsys_tests.sync.remote import want
from prima_emarsys_tests.sync.shop import Endpoint

IDENTITY = IdentityRules(internal=[InternalRule(name="staff", account_types=["STAFF"])])
RULES = SalesRules(excluded_order_types=["SAMPLE"], excluded_products=["VOUCHER"])
TODAY = date(2026, 11, 20)
D = Decimal


@dataclass(frozen=True)
class Line:
    """One row of `proof.sales`, in the account's currency."""

    net: Decimal
    accepted: Decimal
    difference: Decimal


class Firm:
    """Books, stores and an endpoint."""

    def __init__(self, warehouse: Warehouse, ledger: Ledger, prima: SmallPrima | None = None, **settings: Any) -> None:
        self.warehouse, self.ledger = warehouse, ledger
        self.prima = prima or SmallPrima(0, empty=True)
        self.settings = SalesData(sink="http", currency="GBP", **settings)
        self.endpoint = Endpoint()
        self.sink: Any = self.endpoint
        self.today = TODAY
        self.kept_out: dict[str, str] = {}

    # -- what happens ------------------------------------------------------------------------------------------------

    def customer(self, code: str, email: str | None = None, **given: Any) -> None:
        """An account; its own e-mail address unless another is given."""
        self.prima.put("customer", {"customer_code": code, "email": email or f"{code}@shop.example"} | given)

    def order(self, number: str, *values: str, on: date = date(2026, 3, 1), line: Any = None, **given: Any) -> None:
        """An order with a line of one unit for each value."""
        head = {"order_number": number, "customer_code": "A", "channel": "WEB", "ordered_at": on} | given
        company = {"company": head.get("company", "1")}
        self.prima.put("sales_order", head)
        for place, value in enumerate(values, 1):
            row = {"order_number": number, "line_number": str(place), "value": value} | company | (line or {})
            self.prima.put("sales_order_line", row)

    def credit(
        self, number: str, order: str | None, value: str, on: date | None, goods: bool = True, **given: Any
    ) -> None:
        """A finalised credit note of one line, for the first line of the order, or for no goods."""
        company = {"company": given.get("company", "1")}
        head = {"credit_number": number, "customer_code": "A", "order_number": order, "finalised_at": on} | given
        self.prima.put("credit_note", head)
        of_goods = {"order_line_number": "1", "product": "BOOT", "quantity": 1} if goods else {"product": None}
        self.prima.put("credit_note_line", {"credit_number": number, "value": value} | company | of_goods)

    def period(self, name: str, first: date, last: date, status: str = "open", company: str = "1") -> None:
        """An accounting period."""
        row = {"company": company, "period": name, "starts_on": first, "ends_on": last, "status": status}
        self.prima.put("accounting_period", row)

    def know(self, *persons: str) -> None:
        """Emarsys acknowledges these contacts."""
        self.ledger.stage(CONTACTS, [want(person, _1="Ann") for person in persons], "m1")
        if claim := self.ledger.claim(CONTACTS):
            self.ledger.acknowledge(claim, list(claim.records), {})

    def compute(self, *, whole: bool = False) -> None:
        """Read what changed, book it, and make the lines."""
        self.prima.land(self.warehouse)
        resolve_persons(self.warehouse, People(self.ledger), IDENTITY, whole=whole)
        booked = book_sales(self.warehouse, RULES, whole=whole)
        observe(self.ledger, "core/sales", booked.findings)
        shape = pa.schema([("person_key", pa.string()), ("rule", pa.string())])
        rows = [{"person_key": key, "rule": rule} for key, rule in self.kept_out.items()]
        self.warehouse.write(EXCLUDED, pa.Table.from_pylist(rows, schema=shape))
        compose_sales(self.warehouse, self.settings, whole=whole)

    def send(self, **changes: Any) -> SalesSent:
        """Seal what is due and upload it."""

        @contextmanager
        def opened() -> Iterator[Warehouse]:
            yield self.warehouse

        settings = self.settings.model_copy(update={"sink": self.sink.name} | changes)
        sleep = getattr(self.ledger.clock, "sleep", lambda _seconds: None)
        return send_sales(opened, self.ledger, self.sink, settings, self.today, sleep=sleep)

    # -- looking -----------------------------------------------------------------------------------------------------

    def prove(self) -> SalesProof:
        """The proof of sales."""
        return prove_sales(
            self.warehouse,
            self.ledger,
            books_of(Mirror(self.warehouse)),
            self.settings,
            "GBP",
            self.today,
            behind=lambda: orders_behind(self.warehouse),
        )

    def causes(self, *columns: str) -> list[tuple[Any, ...]]:
        """Rows of the table of causes: cause, detail, record and amount, or these columns; sorted."""
        names = columns or ("cause", "detail", "record", "amount")
        rows = self._read(self.warehouse.table(CAUSES).select(*names))
        return sorted((tuple(row[name] for name in names) for row in rows), key=repr)

    def on(self, clock: str, day: date | None, **place: str) -> Line:
        """Net in Prima, accepted and difference of a day, over what `place` leaves open."""
        table = self.warehouse.table(PROVED)
        rows = self._read(table.filter(table.clock == clock))
        chosen = [row for row in rows if row["day"] == day and place.items() <= row.items()]
        return Line(*(sum((row[name] for row in chosen), D(0)) for name in ("net", "accepted", "difference")))

    def days(self, clock: str) -> dict[date | None, Decimal]:
        """Day → difference, where there is one."""
        table = self.warehouse.table(PROVED)
        found: dict[date | None, Decimal] = {}
        for row in self._read(table.filter(table.clock == clock)):
            found[row["day"]] = found.get(row["day"], D(0)) + row["difference"]
        return {day: rest for day, rest in found.items() if rest}

    def _read(self, rows: ir.Table) -> list[dict[str, Any]]:
        return self.warehouse.read(rows).to_pylist()
