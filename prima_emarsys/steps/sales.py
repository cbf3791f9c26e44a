"""`core/sales`: the signed ledger of sales in the warehouse."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import ibis
import ibis.expr.types as ir

from prima_emarsys.finding import Finding
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.rules.identity import Settle
from prima_emarsys.rules.sales import (
    COLUMNS,
    CREDIT,
    CREDIT_UNDATED,
    Books,
    credit_key,
    order_key,
    orphans,
    refunds_above_sales,
    signed_ledger,
)
from prima_emarsys.site import SalesRules
from prima_emarsys.steps.progress import Progress
from prima_emarsys.warehouse import Warehouse

ORDERS_AT_A_TIME = 100_000
"""Orders that are booked together, so that memory does not grow with the history."""

_ANEW = "core.sales_anew"
"""The ledger of a whole run, until it is complete."""

SOURCES = ("sales_order", "sales_order_line", "order_charge", "customer_return", "credit_note", "credit_note_line")


@dataclass
class SalesCounts:
    """Counts of one run. rows = counted + excluded (by rule); orders and persons are those touched by this run."""

    whole: bool
    orders: int = 0
    persons: int = 0
    rows: int = 0
    net: Decimal = Decimal("0.00")
    excluded: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list, repr=False)


def books_of(mirror: Mirror) -> Books:
    """The books as the mirror has them."""
    return Books(
        companies=mirror.live("company"),
        orders=mirror.live("sales_order"),
        lines=mirror.live("sales_order_line"),
        charges=mirror.live("order_charge"),
        returns=mirror.live("customer_return"),
        credits=mirror.live("credit_note"),
        credit_lines=mirror.live("credit_note_line"),
    )


def book_sales(warehouse: Warehouse, rules: SalesRules, *, whole: bool = False) -> SalesCounts:
    """Bring `core.sales` (see `rules.sales.COLUMNS`) up to date with the mirror: whole orders at a time."""
    mirror, progress = Mirror(warehouse), Progress(warehouse)
    cursor = None if whole else progress.cursor("sales")
    if cursor is not None and warehouse.count(mirror.above("company", cursor.at)):
        cursor = None  # a company's base currency concerns every row
    if warehouse.has("core.sales") and set(warehouse.table("core.sales").columns) != set(COLUMNS):
        cursor = None  # written by other software
    load = mirror.latest_load()
    books = books_of(mirror)
    counts = SalesCounts(whole=cursor is None)
    persons = warehouse.table("core.persons").select("account", "person_key")

    credit_orders = _credit_orders(books.credit_lines, books.credits)

    def booked(orders: ir.Table) -> ir.Table:
        only = _only(books, credit_orders, orders, warehouse.settle)
        return warehouse.settle(signed_ledger(only, rules, warehouse.settle).semi_join(orders, "order_key"))

    def persons_of(*accounts: ir.Table) -> ir.Table:
        held = ibis.union(*(table.select("account") for table in accounts), distinct=True)
        return warehouse.settle(persons.semi_join(held, "account").select("person_key").distinct())

    if cursor is None:
        credit_orders = warehouse.settle(credit_orders)  # each part asks it again
        orders = warehouse.settle(_every_order(books, credit_orders).mutate(place=ibis.row_number()))
        number = warehouse.count(orders)
        stored = warehouse.table("core.sales") if warehouse.has("core.sales") else persons.limit(0)
        before = warehouse.settle(stored.select("account").distinct())
        write = warehouse.write
        # Each part is committed beside the ledger in force: one transaction would keep the whole history in memory.
        for first in range(0, max(number, 1), ORDERS_AT_A_TIME):
            part = orders.filter(orders.place >= first, orders.place < first + ORDERS_AT_A_TIME).drop("place")
            with warehouse.settling():
                write(_ANEW, booked(warehouse.settle(part)))
            write = warehouse.append
        touched = persons_of(warehouse.table(_ANEW), before)
        with warehouse.transaction():
            warehouse.take_place(_ANEW, of="core.sales")
            progress.touch(touched)
            progress.move("sales", load)
        counts.orders = warehouse.count(warehouse.table("core.sales").select("order_key").distinct())
    else:
        stored = warehouse.table("core.sales")
        affected = warehouse.settle(_affected(mirror, credit_orders, stored, cursor.at))
        counts.orders = warehouse.count(affected)
        ledger = booked(affected)
        touched = persons_of(ledger, stored.semi_join(affected, "order_key"))
        with warehouse.transaction():
            progress.touch(touched)
            warehouse.replace("core.sales", ledger, gone=affected, on=["order_key"])
            progress.move("sales", load)
    counts.persons = warehouse.count(touched)
    _count(warehouse, counts)
    counts.findings = _findings(warehouse, books)
    return counts


def unbooked(warehouse: Warehouse) -> ir.Table:
    """Orders (order_key) that have changed in the mirror since they were booked."""
    mirror, cursor = Mirror(warehouse), Progress(warehouse).cursor("sales")
    books = books_of(mirror)
    credit_orders = _credit_orders(books.credit_lines, books.credits)
    return _affected(mirror, credit_orders, warehouse.table("core.sales"), cursor.at if cursor else 0)


def _credit_orders(lines: ir.Table, notes: ir.Table) -> ir.Table:
    """Credit lines with the order they refer to: order_key, own_key (of the note), document."""
    joined = (
        lines.select("company", "credit_number", "order_number")
        .inner_join(notes.select("company", "credit_number", note_order="order_number"), ["company", "credit_number"])
        .select("company", "credit_number", "order_number", "note_order")
    )
    number = ibis.coalesce(joined.order_number.nullif(""), joined.note_order.nullif(""))
    return joined.select(
        order_key=order_key(joined.company, number),
        own_key=credit_key(joined.company, joined.credit_number),
        document=joined.company + "|" + joined.credit_number,
    )


def _every_order(books: Books, credit_orders: ir.Table) -> ir.Table:
    """All orders, and all credits under keys of their own. Column: order_key."""
    by_order = [
        table.select(order_key=order_key(table.company, table.order_number))
        for table in (books.orders, books.lines, books.charges, books.returns)
    ]
    of_credits = [credit_orders.select("order_key"), credit_orders.select(order_key="own_key")]
    return ibis.union(*by_order, *of_credits, distinct=True).filter(ibis._.order_key.notnull())


def _affected(mirror: Mirror, credit_orders: ir.Table, stored: ir.Table, at: int) -> ir.Table:
    """Orders (and credits without an order) whose rows may differ since landing `at`. Column: order_key."""
    by_order = [
        mirror.above(name, at).select(order_key=order_key(ibis._.company, ibis._.order_number))
        for name in ("sales_order", "sales_order_line", "order_charge", "customer_return")
    ]
    changed_notes = ibis.union(
        *(
            mirror.above(name, at).select(document=ibis._.company + "|" + ibis._.credit_number)
            for name in ("credit_note", "credit_note_line")
        ),
        distinct=True,
    )
    changed_returns = mirror.above("customer_return", at).select(document=ibis._.company + "|" + ibis._.return_number)
    renewed = credit_orders.semi_join(changed_notes, "document")
    # Where a changed return or credit note stood until now.
    stood = stored.semi_join(changed_notes.union(changed_returns, distinct=True), "document").select("order_key")
    orders = ibis.union(*by_order, renewed.select("order_key"), stood, distinct=True)
    # A credit whose order was unknown stands under its own key until the order arrives.
    waiting = credit_orders.semi_join(orders, "order_key").select(order_key="own_key")
    return orders.union(renewed.select(order_key="own_key"), waiting, distinct=True).filter(ibis._.order_key.notnull())


def _only(books: Books, credit_orders: ir.Table, orders: ir.Table, settle: Settle) -> Books:
    """The books of these orders."""

    def of_orders(table: ir.Table, keys: ir.Table = orders) -> ir.Table:
        return table.filter(order_key(table.company, table.order_number).isin(keys.order_key))

    notes = settle(
        credit_orders.semi_join(orders, "order_key").union(
            credit_orders.semi_join(orders, credit_orders.own_key == orders.order_key)
        )
    )
    documents = notes.select("document").distinct()
    # A note may stand under several orders; each must be known for the note's lines to find their own.
    named = notes.select("order_key").union(orders, distinct=True)

    def of_notes(table: ir.Table) -> ir.Table:
        return table.filter((table.company + "|" + table.credit_number).isin(documents.document))

    return Books(
        companies=books.companies,
        orders=of_orders(books.orders, named),
        lines=of_orders(books.lines),
        charges=of_orders(books.charges),
        returns=of_orders(books.returns),
        credits=of_notes(books.credits),
        credit_lines=of_notes(books.credit_lines),
    )


def _count(warehouse: Warehouse, counts: SalesCounts) -> None:
    ledger = warehouse.table("core.sales")
    by_rule = warehouse.read(
        ledger.group_by("excluded").agg(rows=ibis._.count(), net=ibis._.base_incl_vat.sum()).order_by("excluded")
    )
    for row in by_rule.to_pylist():
        counts.rows += row["rows"]
        if row["excluded"] is None:
            counts.net = row["net"] or Decimal("0.00")
        else:
            counts.excluded[row["excluded"]] = row["rows"]


def _findings(warehouse: Warehouse, books: Books) -> list[Finding]:
    found = []
    for lost in orphans(books):
        for row in warehouse.read(lost.order_by("record")).to_pylist():
            name = row["record"]
            found.append(Finding("sale-without-order", name, row["detail"], None, row["money"], row["currency"]))
    ledger = warehouse.table("core.sales")
    for row in warehouse.read(refunds_above_sales(ledger).order_by("record")).to_pylist():
        found.append(
            Finding("refund-above-sale", row["record"], "refunds exceed the sale", None, row["money"], row["currency"])
        )
    unrated = ledger.filter(ledger.excluded == "missing-rate").group_by(["order_key", "currency"])
    for row in warehouse.read(unrated.agg(money=ibis._.value_incl_vat.sum()).order_by("order_key")).to_pylist():
        detail = f"has no rate from {row['currency']}"
        found.append(Finding("missing-rate", f"order|{row['order_key']}", detail, None, row["money"], row["currency"]))
    undated = ledger.filter(ledger.excluded == CREDIT_UNDATED, ledger.kind == CREDIT).group_by(["document", "currency"])
    for row in warehouse.read(undated.agg(money=-ibis._.value_incl_vat.sum()).order_by("document")).to_pylist():
        record, detail = f"credit|{row['document']}", "is finalised and has no date"
        found.append(Finding("credit-undated", record, detail, None, row["money"], row["currency"]))
    return found
