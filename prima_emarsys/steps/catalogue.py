"""`emarsys/catalogue`: the desired items in the warehouse, and the file that replaces the one that Emarsys has.

`emarsys.catalogue` holds every item with the rule that keeps it out; `emarsys.catalogue_sent` what stood in the last
file that was taken. A file goes only when they differ, and is always the whole.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import sqlalchemy as sa

from prima_emarsys.emarsys.catalogue import CatalogueSink, write_file
from prima_emarsys.emarsys.outcome import Answered, Later, Outcome, Stopped, explain
from prima_emarsys.finding import Finding
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.rules.availability import SKU
from prima_emarsys.rules.catalogue import (
    COLUMNS,
    DIFFERS_BY_CASE,
    INCOMPLETE,
    Goods,
    catalogue_items,
    colliding_items,
    items_lacking,
    twin_items,
)
from prima_emarsys.settings import SettingsError
from prima_emarsys.site import CatalogueData, Site
from prima_emarsys.steps.availability import AVAILABILITY
from prima_emarsys.sync import guard, lanes
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_plan import LINES
from prima_emarsys.sync.schema import delivery_call
from prima_emarsys.warehouse import Warehouse

LANE = "catalogue"
ITEMS, SENT = "emarsys.catalogue", "emarsys.catalogue_sent"
_SENT = pa.schema([(name, pa.string()) for name in COLUMNS])
_MOST_FINDINGS = 50
_AT_ONCE = 20_000


@dataclass
class CatalogueCounts:
    """Counts of one run. read = items + excluded (by rule)."""

    read: int = 0
    items: int = 0
    available: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, int] = field(default_factory=dict)
    """Items that are sent although something is missing, by what."""
    colliding: int = 0
    findings: list[Finding] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class CataloguePlan:
    """What the next file would change: items new, gone, and changed; of the changed ones those that come back or go
    out. `sent` is what Emarsys has."""

    sent: int
    new: int
    changed: int
    gone: int
    back: int
    out: int

    @property
    def differs(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.new or self.changed or self.gone)


@dataclass
class CatalogueSent:
    """One round. `outcome` is None where no file went; `held` says why, unless there was nothing to send."""

    plan: CataloguePlan
    held: str | None = None
    items: int = 0
    bytes: int = 0
    outcome: Outcome | None = None

    @property
    def accepted(self) -> bool:
        """Whether Emarsys, or its folder, took the file."""
        return isinstance(self.outcome, Answered)


def compose_catalogue(warehouse: Warehouse, site: Site, today: date) -> CatalogueCounts:
    """Bring `emarsys.catalogue` up to date."""
    mirror = Mirror(warehouse)
    settings = site.emarsys.catalogue
    prices = mirror.live("price")
    _check_price_list(warehouse, prices, settings)
    goods = Goods(mirror.live("product"), mirror.live("sku"), prices, warehouse.table(AVAILABILITY))
    made = catalogue_items(goods, settings, site.emarsys.sales, site.sales.excluded_products, today)
    items = warehouse.write(ITEMS, made)
    twins = warehouse.settle(twin_items(items))
    if warehouse.count(twins):
        kept_out = items.semi_join(twins, SKU).mutate(excluded=ibis.literal(DIFFERS_BY_CASE))
        with warehouse.transaction():
            warehouse.replace(ITEMS, kept_out, gone=twins, on=SKU)
    counts = CatalogueCounts()
    by_rule = items.group_by("excluded").agg(
        items=ibis._.count(), available=(ibis._.available == "true").ifelse(1, 0).sum()
    )
    for row in warehouse.read(by_rule.order_by("excluded")).to_pylist():
        counts.read += row["items"]
        if row["excluded"] is None:
            counts.items, counts.available = row["items"], row["available"]
        else:
            counts.excluded[row["excluded"]] = row["items"]
    sent = items.filter(items.excluded.isnull())
    lacking = warehouse.read(sent.filter(sent.lacks.notnull()).group_by("lacks").agg(items=ibis._.count()))
    counts.lacking = {row["lacks"]: row["items"] for row in lacking.to_pylist()}
    colliding = warehouse.read(colliding_items(items).order_by("item")).to_pylist()
    counts.colliding = len(colliding)
    counts.findings = [
        Finding(
            "item-collision",
            f"item|{row['item']}",
            f"stands for {row['skus']} SKUs, of companies {row['company']} and {row['other']}",
        )
        for row in colliding[:_MOST_FINDINGS]
    ] + _findings(warehouse, items)
    return counts


def _check_price_list(warehouse: Warehouse, prices: ir.Table, settings: CatalogueData) -> None:
    lists = sorted(warehouse.read(prices.select("price_list").distinct())["price_list"].to_pylist())
    chosen = settings.price_list
    if chosen not in lists and (chosen is not None or len(lists) > 1):
        raise SettingsError(
            f"Prima has the price lists {', '.join(lists) or 'none'}: name the one that shoppers pay by in the site "
            "file as emarsys.catalogue.price_list."
        )


def _findings(warehouse: Warehouse, items: ir.Table) -> list[Finding]:
    """What marketing can do something about, a style at a time."""
    what = ibis.coalesce(items.excluded, items.lacks)
    open_ones = items.mutate(what=what).filter(ibis._.what.isin([*INCOMPLETE, DIFFERS_BY_CASE]))
    styles = open_ones.group_by("company", "product", "what").agg(
        items=ibis._.count(), one=ibis._.item.min(), kept_out=ibis._.excluded.notnull().ifelse(1, 0).max()
    )
    rows = warehouse.read(styles.order_by("company", "product", "what").limit(_MOST_FINDINGS)).to_pylist()
    found = [
        Finding(
            "item-case" if row["what"] == DIFFERS_BY_CASE else "item-incomplete",
            f"product|{row['company']}|{row['product']}",
            f"{row['what']}: {row['items']:,} items {'are kept out' if row['kept_out'] else 'go without'}, for example "
            f"{row['one']}",
        )
        for row in rows
    ]
    if warehouse.has(LINES):
        lacking = items_lacking(warehouse.table(LINES), warehouse.table("core.sales"), items)
        found += [
            Finding("item-unknown", f"item|{row['item']}", f"{row['lines']:,} rows of sales data name it")
            for row in warehouse.read(lacking.order_by("item").limit(_MOST_FINDINGS)).to_pylist()
        ]
    return found


# -- sending ---------------------------------------------------------------------------------------------------------


def desired_items(warehouse: Warehouse) -> ir.Table:
    """The items of the next file, in the columns of the file."""
    items = warehouse.table(ITEMS)
    return items.filter(items.excluded.isnull()).select(*COLUMNS)


def plan_catalogue(warehouse: Warehouse) -> CataloguePlan:
    """Compare desired with sent. Sends nothing."""
    desired, sent = desired_items(warehouse), warehouse.ensure(SENT, _SENT)
    changed = desired.difference(sent.select(*COLUMNS)).select("item", "available")
    before = sent.select("item", was=sent.available)
    compared = changed.left_join(before, "item").select("item", "available", "was")
    counted = warehouse.read(
        compared.agg(
            new=compared.was.isnull().ifelse(1, 0).sum(),
            changed=compared.was.notnull().ifelse(1, 0).sum(),
            back=((compared.was == "false") & (compared.available == "true")).ifelse(1, 0).sum(),
            out=((compared.was == "true") & (compared.available == "false")).ifelse(1, 0).sum(),
        )
    ).to_pylist()[0]
    gone = warehouse.count(sent.anti_join(desired, "item"))
    return CataloguePlan(warehouse.count(sent), gone=gone, **{name: int(n or 0) for name, n in counted.items()})


def explain_catalogue(warehouse: Warehouse, limit: int) -> list[tuple[str, str, str | None, str | None]]:
    """The first differences: item, column, what Emarsys has, what it would have."""
    desired, sent = desired_items(warehouse), warehouse.ensure(SENT, _SENT).select(*COLUMNS)
    ours = desired.difference(sent).order_by("item").limit(limit)
    theirs = {row["item"]: row for row in warehouse.read(sent.semi_join(ours, "item")).to_pylist()}
    found: list[tuple[str, str, str | None, str | None]] = []
    for row in warehouse.read(ours.order_by("item")).to_pylist():
        before = theirs.get(row["item"])
        if before is None:
            found.append((row["item"], "(new)", None, row["title"]))
            continue
        found += [(row["item"], name, before[name], row[name]) for name in COLUMNS if before[name] != row[name]]
    gone = warehouse.read(sent.anti_join(desired, "item").order_by("item").limit(limit)).to_pylist()
    return (found + [(row["item"], "(gone)", row["title"], None) for row in gone])[:limit]


def send_catalogue(
    warehouse: Callable[[], AbstractContextManager[Warehouse]],
    ledger: Ledger,
    sink: CatalogueSink,
    settings: CatalogueData,
) -> CatalogueSent:
    """Send the whole catalogue if anything of it differs from what was sent. The warehouse is given back meanwhile."""
    lease = timedelta(seconds=2 * settings.call_deadline_seconds + 60)
    dispatcher = lanes.take(ledger, LANE, lease)
    with warehouse() as opened:
        sent = CatalogueSent(plan_catalogue(opened))
    if isinstance(dispatcher, lanes.HeldBy):
        sent.held = f"another process is sending ({dispatcher.holder})"
        return sent
    try:
        with tempfile.TemporaryDirectory() as folder:
            with warehouse() as opened:
                sent.held = _held(opened, ledger, settings, sent.plan)
                if sent.held or not sent.plan.differs:
                    return sent
                items = opened.settle(desired_items(opened))
                file = Path(folder) / "catalogue"
                parts = opened.batches(items.order_by("item"), _AT_ONCE)
                sent.items = write_file(file, parts, COLUMNS, packed=sink.packed)
                opened.write(_PLANNED, items)
            sent.bytes = file.stat().st_size
            _carry(ledger, sink, file, sent)
        if sent.accepted:
            with warehouse() as opened:
                opened.write(SENT, opened.table(_PLANNED))
                opened.drop(_PLANNED)
    finally:
        lanes.give_back(ledger, dispatcher)
        lanes.report(ledger, LANE)
    return sent


_PLANNED = "emarsys.catalogue_planned"
"""What stands in the file that is on its way."""


def _held(warehouse: Warehouse, ledger: Ledger, settings: CatalogueData, plan: CataloguePlan) -> str | None:
    """Why no file may go; None if nothing is in the way. A stopped lane is tried with one file."""
    state, now = lanes.find(ledger, LANE), ledger.clock()
    closed = [moment for moment in (state.paused_until, state.breaker.open_until) if moment and moment > now]
    if closed:
        return f"the lane rests until {max(closed):%H:%M:%S} UTC"
    colliding = warehouse.count(colliding_items(warehouse.table(ITEMS)))
    if colliding:
        return f"{colliding:,} items would stand for several SKUs each; see emarsys.catalogue.companies"
    known, gone = plan.sent, plan.gone
    if not known and (once := _items_of_last_file(ledger)):
        # The warehouse was rebuilt: of what Emarsys has we know the number only.
        known, gone = once, max(once - plan.new, 0)
    limits = guard.Limits(settings.flips_share, 1.0, settings.removals_share, settings.ignore_below)
    verdict = guard.check(ledger, LANE, guard.Volume(0, plan.back + plan.out, gone, known), limits)
    return verdict.reason if isinstance(verdict, guard.Held) else None


def _items_of_last_file(ledger: Ledger) -> int:
    """Items of the last file that was taken, as the ledger remembers it; 0 if it remembers none."""
    calls = delivery_call.c
    taken = sa.select(calls.acknowledged).where(calls.lane == LANE, calls.acknowledged > 0)
    last = taken.order_by(calls.id.desc()).limit(1)
    return ledger.read(lambda connection: connection.execute(last).scalar()) or 0


def _carry(ledger: Ledger, sink: CatalogueSink, file: Path, sent: CatalogueSent) -> None:
    """Send the file, and write down how that went. A lost reply is no doubt to settle: the next file replaces it."""
    started = ledger.clock()
    sent.outcome = outcome = sink.send(file)
    if isinstance(outcome, Stopped):
        lanes.stop(ledger, LANE, outcome.reason, outcome.remedy)
    if isinstance(outcome, Later):
        lanes.pause(ledger, LANE, ledger.clock() + timedelta(seconds=outcome.wait))
    if not sent.accepted:
        sent.held = explain(outcome)
    taken = sent.items if sent.accepted else 0
    lanes.note_call(ledger, LANE, started, sent.items, outcome, acknowledged=taken, refused=0)
