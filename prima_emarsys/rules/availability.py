"""What can be sold, what a new snapshot of stock changes about it, and which SKUs came back.

Prima's web service answers the figure itself; of the stock that SQL reads it follows by `available_stock`. Both ways
end in the contract's `available_stock`, and everything after that is the same.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from datetime import date, datetime

import ibis
import ibis.expr.types as ir

from prima_emarsys.contract import ENTITIES
from prima_emarsys.rules.sales import sku_id
from prima_emarsys.site import StockRules

_AVAILABLE = ENTITIES["available_stock"]
SKU = list(_AVAILABLE.key)
"""What a SKU is known by: company, style and all matrix levels."""

ADDED, CHANGED, MISSING, VANISHED, SEEN = "added", "changed", "missing", "vanished", "seen again"
"""What a snapshot says of a SKU that is not as it was believed. Of `missing` and `seen again` nothing follows."""


def available_stock(stock: ir.Table, warehouses: ir.Table) -> ir.Table:
    """Available to sell of each SKU, in the columns of the contract's `available_stock`.

    In each sellable warehouse: physical − allocated − held − buffer, never below 0; then the sum over them. The day on
    which more is expected is the earliest of them, and is told only while nothing is available. A SKU that no sellable
    warehouse stocks has no row; a warehouse that nobody calls sellable is not.
    """
    stocked = _sellable(stock, warehouses)
    summed = (
        stocked.mutate(free=ibis.greatest(_free(stocked), 0))
        .group_by(SKU)
        .agg(
            available=ibis._.free.sum().cast("int64"),
            expected=ibis._.expected_on.min(),
            changed_at=ibis._.changed_at.max(),
            changed_on=ibis._.changed_on.max(),
        )
    )
    return summed.mutate(expected_on=(summed.available == 0).ifelse(summed.expected, ibis.null("date"))).select(
        _AVAILABLE.arrow_schema.names
    )


def owed_stock(stock: ir.Table, warehouses: ir.Table) -> ir.Table:
    """Stock of sellable warehouses of which more is promised or held than there is: key of the stock, free (below 0).

    It counts as 0; Prima's own figures contradict each other there, and somebody should look.
    """
    stocked = _sellable(stock, warehouses)
    free = stocked.physical - stocked.allocated - stocked.held
    return stocked.filter(free < 0).select(*ENTITIES["stock"].key, free=free)


def _sellable(stock: ir.Table, warehouses: ir.Table) -> ir.Table:
    return stock.semi_join(warehouses.filter(warehouses.is_sellable.fill_null(False)), ["company", "warehouse"])


def _free(stock: ir.Table) -> ir.IntegerValue:
    return stock.physical - stock.allocated - stock.held - stock.buffer.fill_null(0)


def moves(before: ir.Table, snapshot: ir.Table, patience: int) -> ir.Table:
    """What a good snapshot changes about what is believed: SKU, available, expected_on, absent, was, kind.

    `before`: SKU, available, expected_on, absent (good snapshots in a row without it). A SKU that is missing is
    believed as it was until `patience` good snapshots in a row lack it; then it has vanished, and nothing of it is
    available. Quantities below 0 count as 0. `was` is the quantity believed before, null for a SKU that is new.
    """
    now = snapshot.select(*SKU, available=ibis.greatest(snapshot.available, 0), expected_on=snapshot.expected_on)
    known = before.select(
        *SKU, was=before.available, was_expected=before.expected_on, was_absent=before.absent, known=ibis.literal(True)
    )
    joined = now.left_join(known, SKU).select(
        *SKU, "available", "expected_on", "was", "was_expected", "was_absent", "known"
    )
    same = (joined.available == joined.was) & joined.expected_on.identical_to(joined.was_expected)
    there = joined.mutate(
        absent=ibis.literal(0, "int64"),
        kind=ibis.cases((joined.known.isnull(), ADDED), (~same, CHANGED), else_=SEEN),
    ).filter(joined.known.isnull() | ~same | (joined.was_absent > 0))
    lacking = before.filter(before.absent < patience).anti_join(now, SKU)
    absent = lacking.absent + 1
    over = absent >= patience
    gone = lacking.select(
        *SKU,
        available=over.ifelse(0, lacking.available).cast("int64"),
        expected_on=over.ifelse(ibis.null("date"), lacking.expected_on),
        absent=absent.cast("int64"),
        was=lacking.available,
        kind=over.ifelse(VANISHED, MISSING),
    )
    return there.select(gone.columns).union(gone)


def availability(believed: ir.Table, before: ir.Table, rules: StockRules, today: date, at: datetime) -> ir.Table:
    """Whether each SKU can be sold: SKU, sku, available, is_available, expected_on, since, was_available.

    Out is what has `out_at` units or fewer, available what has `back_at` or more; in between a SKU stays what it was
    (`before`: is_available, since), so that a single unit which comes and goes does not flicker. A new SKU is
    available above `out_at`. The day of more is told while it lies ahead (after `today`). `was_available` is null for
    a new SKU: what nobody knew is not back.
    """
    known = before.select(*SKU, was_available=before.is_available, was_since=before.since)
    joined = believed.left_join(known, SKU).select(*SKU, "available", "expected_on", "was_available", "was_since")
    units = joined.available
    is_available = ibis.cases(
        (units >= rules.back_at, True),
        (units <= rules.out_at, False),
        else_=joined.was_available.fill_null(True),
    )
    stays = joined.was_available.fill_null(~is_available) == is_available
    moment = ibis.literal(at, "timestamp('UTC')")
    return joined.select(
        *SKU,
        sku=sku_id(joined),
        available=units,
        is_available=is_available,
        expected_on=(joined.expected_on > today).ifelse(joined.expected_on, ibis.null("date")),
        since=stays.ifelse(joined.was_since, moment),
        was_available=joined.was_available,
    )


def came_back(available: ir.Table) -> ir.Table:
    """SKUs that were out and are available now: SKU, sku, available, at."""
    back = available.filter(available.is_available, ~available.was_available.fill_null(True))
    return back.select(*SKU, "sku", "available", at=back.since)
