"""`emarsys/sales_data`: the desired lines in the warehouse, and sending what is not sealed yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
import sqlalchemy as sa

from prima_emarsys.finding import Finding
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.rules.sales_data import colliding_orders, sales_lines, uncastable_orders
from prima_emarsys.settings import SettingsError
from prima_emarsys.site import SalesData
from prima_emarsys.steps.contacts import EXCLUDED
from prima_emarsys.steps.progress import Progress
from prima_emarsys.steps.sales import unbooked
from prima_emarsys.sync import guard, lanes
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_files import ABSENT, SEALED, SalesFile, SalesFiles
from prima_emarsys.sync.sales_plan import LINES, Plan, Planned, make_plan, mirror_sealed, seal
from prima_emarsys.sync.upload import LANE, Pace, Sink, Uploaded, upload
from prima_emarsys.warehouse import Warehouse

STEP = "sales_data"
_MOST_COLLISIONS = 50


@dataclass
class LinesCounts:
    """Counts of one run. read = lines + excluded (by rule); `composed` were taken in hand."""

    whole: bool
    read: int = 0
    composed: int = 0
    lines: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    colliding: int = 0
    """Order ids under which several orders would go; while there are any, nothing is sent."""
    uncastable: int = 0
    """Order ids that an integer cannot hold."""
    findings: list[Finding] = field(default_factory=list, repr=False)


def account_currency(warehouse: Warehouse, settings: SalesData) -> str:
    """The Emarsys account's currency. Raises SettingsError if only the site file could say it and does not."""
    if settings.currency is not None:
        return settings.currency
    books = warehouse.read(Mirror(warehouse).live("company").select("base_currency").distinct())
    found = sorted(books["base_currency"].to_pylist())
    if len(found) > 1:
        raise SettingsError(
            f"The companies keep their books in {', '.join(found)}, and an Emarsys account has one currency: name it "
            "in the site file as emarsys.sales.currency, and give emarsys.sales.rates for the others."
        )
    return found[0] if found else ""


def compose_sales(warehouse: Warehouse, settings: SalesData, *, whole: bool = False) -> LinesCounts:
    """Bring `emarsys.sales_data` (see `rules.sales_data.COLUMNS`) up to date: touched persons, or all.

    Accounts that belong to no person are few and are always taken in hand.
    """
    progress = Progress(warehouse)
    cursor = None if whole or not warehouse.has(LINES) else progress.cursor(STEP)
    log = progress.last()
    ledger, persons = warehouse.table("core.sales"), warehouse.table("core.persons")
    affected: ir.Table | None = None
    if cursor is not None:
        affected = warehouse.settle(_affected(warehouse, progress.touched_since(cursor.at)))
        ledger = ledger.semi_join(affected, "account")
    made = sales_lines(
        ledger,
        warehouse.table("core.accounts"),
        persons,
        warehouse.table(EXCLUDED),
        settings,
        account_currency(warehouse, settings),
    )
    made = warehouse.settle(made)
    with warehouse.transaction():
        if affected is None:
            warehouse.write(LINES, made)
        else:
            warehouse.replace(LINES, made, gone=affected, on=["account"])
        progress.move(STEP, log)
        progress.forget()
    counts = LinesCounts(whole=cursor is None, composed=warehouse.count(made))
    _count(warehouse, counts)
    return counts


def orders_behind(warehouse: Warehouse) -> ir.Table:
    """Orders (order_key) of which the mirror, or the persons, say more than the lines do yet."""
    progress, books = Progress(warehouse), warehouse.table("core.sales")
    cursor = progress.cursor(STEP)
    touched = progress.touched_since(cursor.at if cursor else 0)
    accounts = warehouse.table("core.persons").semi_join(touched, "person_key").select("account")
    return unbooked(warehouse).union(books.semi_join(accounts, "account").select("order_key"), distinct=True)


def _affected(warehouse: Warehouse, touched: ir.Table) -> ir.Table:
    """Accounts whose lines may differ: those that belong or belonged to touched persons, and those of nobody."""
    ledger, persons, stored = warehouse.table("core.sales"), warehouse.table("core.persons"), warehouse.table(LINES)
    return ibis.union(
        persons.semi_join(touched, "person_key").select("account"),
        stored.semi_join(touched, stored.customer == touched.person_key).select("account"),
        stored.filter(stored.customer.isnull()).select("account"),
        ledger.select("account").anti_join(persons, "account"),
        distinct=True,
    )


def _count(warehouse: Warehouse, counts: LinesCounts) -> None:
    lines = warehouse.table(LINES)
    by_rule = lines.group_by("excluded").agg(rows=ibis._.count()).order_by("excluded")
    for row in warehouse.read(by_rule).to_pylist():
        counts.read += row["rows"]
        if row["excluded"] is None:
            counts.lines = row["rows"]
        else:
            counts.excluded[row["excluded"]] = row["rows"]
    colliding = warehouse.read(colliding_orders(lines).order_by("order_id")).to_pylist()
    counts.colliding = len(colliding)
    counts.findings = [
        Finding("order-id-collision", f"order-id|{row['order_id']}", f"stands for {row['orders']} orders of Prima")
        for row in colliding[:_MOST_COLLISIONS]
    ]
    uncastable = uncastable_orders(lines)
    found = warehouse.read(uncastable.agg(orders=ibis._.count(), example=ibis._.order_id.min())).to_pylist()[0]
    counts.uncastable = found["orders"]
    if counts.uncastable:
        detail = f"{counts.uncastable:,} order ids are no whole numbers, for example {found['example']}"
        counts.findings.append(Finding("order-id-no-integer", "sales-data", detail))


# -- sending ---------------------------------------------------------------------------------------------------------


@dataclass
class SalesSent:
    """One round of sending. Without a `plan`, another process was sending (`held_by`)."""

    plan: Plan | None = None
    sealed: list[SalesFile] = field(default_factory=list)
    uploaded: Uploaded | None = None
    held: str | None = None
    """Why nothing was put into files."""
    held_by: str | None = None
    forgotten: int = 0
    """Files that the ledger did not know any more; they are unknown now."""
    disputed: int = 0
    """Order lines that get no further refund until finance has looked."""

    @property
    def rows_sealed(self) -> int:
        """Rows put into files."""
        return sum(file.rows for file in self.sealed)

    @property
    def to_go(self) -> int:
        """Rows that could go and were left to the next run."""
        return (self.plan.rows if self.plan else 0) - self.rows_sealed


def disputed_lines(ledger: Ledger) -> list[str]:
    """Order lines (`order_key|line_number`) of which more was refunded than sold, unless somebody accepted that."""
    cases = [case for case in open_exceptions(ledger) if case.kind == "refund-above-sale" and case.state != "accepted"]
    return [case.record.removeprefix("order-line|") for case in cases]


def plan_sales(warehouse: Warehouse, ledger: Ledger, settings: SalesData, today: date) -> Planned:
    """Compare desired with sealed. Sends nothing."""
    return make_plan(
        warehouse, ledger, ledger.clock(), today, disputed_lines(ledger), whole_orders=settings.sink == "files"
    )


def send_sales(
    warehouse: Callable[[], AbstractContextManager[Warehouse]],
    ledger: Ledger,
    sink: Sink,
    settings: SalesData,
    today: date,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> SalesSent:
    """Put what is not sealed yet into files, and send what is sealed. The warehouse is given back in between.

    Raises SettingsError where files were sealed for another sink, since this one would send everything again.
    """
    files = SalesFiles(ledger)
    deadline = settings.call_deadline_seconds
    pace = Pace(lease=2 * deadline, between=60 / settings.files_per_minute)
    dispatcher = lanes.take(ledger, LANE, timedelta(seconds=pace.lease))
    if isinstance(dispatcher, lanes.HeldBy):
        return SalesSent(held_by=dispatcher.holder)
    sent = SalesSent()
    try:
        files.recover(sink.name, repeatable=sink.repeatable)
        with warehouse() as opened:
            sent.forgotten = mirror_sealed(opened, files)
            _one_sink(files, sink)
            _seal(opened, files, sink, settings, today, dispatcher, sent)
        sent.uploaded = upload(ledger, dispatcher, sink, pace, sleep=sleep)
        if sent.uploaded.files:
            with warehouse() as opened:
                mirror_sealed(opened, files)
    finally:
        lanes.give_back(ledger, dispatcher)
        files.report()
        lanes.report(ledger, LANE)
    return sent


def _one_sink(files: SalesFiles, sink: Sink) -> None:
    others = {file.sink for file in files.all() if file.state != ABSENT} - {sink.name}
    if others:
        raise SettingsError(
            f"Sales data went to the sink {', '.join(sorted(others))} so far; by {sink.name} all of it would go again. "
            "Set emarsys.sales.sink back, or have Emarsys delete what it holds and begin with a new ledger."
        )


def _seal(
    warehouse: Warehouse,
    files: SalesFiles,
    sink: Sink,
    settings: SalesData,
    today: date,
    dispatcher: lanes.Dispatcher,
    sent: SalesSent,
) -> None:
    """Put the plan's rows into files, as many as a run may, unless something holds them."""
    ledger = files.ledger
    planned = plan_sales(warehouse, ledger, settings, today)
    sent.plan, sent.disputed = planned.plan, len(disputed_lines(ledger))
    limits = guard.Limits(settings.adjusted_share, 1.0, settings.adjusted_share, settings.ignore_below)
    verdict = guard.check(ledger, LANE, planned.plan.volume, limits)
    colliding = warehouse.count(colliding_orders(warehouse.table(LINES)))
    if isinstance(verdict, guard.Held):
        sent.held = verdict.reason
    elif colliding:
        sent.held = f"{colliding:,} order ids would stand for several orders each; see emarsys.sales.order_id"
    if sent.held:
        return
    currency = account_currency(warehouse, settings)
    most = settings.rows_per_run - files.by_state()[SEALED][1]
    for rows in planned.cut(settings.rows_per_file, most):
        if not lanes.renew(ledger, dispatcher, timedelta(seconds=2 * settings.call_deadline_seconds)):
            return
        content = planned.whole_orders(rows) if sink.repeatable else None
        try:
            sent.sealed.append(seal(warehouse, files, sink.name, currency, rows, content))
        except sa.exc.IntegrityError:  # somebody who took the lane from us has sealed one of them
            return
