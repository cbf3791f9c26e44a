"""`core/availability`: whether each SKU can be sold, since when, and which ones came back.

Reads only the SKUs that moved, and those whose day of more has come. `core.back_in_stock` is the list of what came
back, a row a time; it is kept for a season.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import ibis
import pyarrow as pa

from prima_emarsys.rules.availability import SKU, availability, came_back
from prima_emarsys.site import StockRules
from prima_emarsys.steps.progress import Progress
from prima_emarsys.steps.stock import BELIEVED, SNAPSHOTS
from prima_emarsys.warehouse import Warehouse

AVAILABILITY, BACK = "core.availability", "core.back_in_stock"
STEP = "availability"

_KEY = [pa.field(name, pa.string()) for name in (*SKU, "sku")]
_MOMENT = pa.timestamp("us", "UTC")
_AVAILABILITY = pa.schema(
    [*_KEY, ("available", pa.int64()), ("is_available", pa.bool_()), ("expected_on", pa.date32()), ("since", _MOMENT)]
)
_BACK = pa.schema([*_KEY, ("available", pa.int64()), ("at", _MOMENT)])
_KEPT = timedelta(days=90)


@dataclass
class AvailabilityCounts:
    """Counts of one run, in SKUs; `units` are those that can be sold in all, `expected` those of which more comes."""

    whole: bool
    skus: int = 0
    computed: int = 0
    changed: int = 0
    available: int = 0
    units: int = 0
    expected: int = 0
    back: int = 0
    out: int = 0


def update_availability(
    warehouse: Warehouse, rules: StockRules, today: date, *, whole: bool = False
) -> AvailabilityCounts:
    """Bring `core.availability` up to date with what is believed, and note what came back."""
    progress = Progress(warehouse)
    before = warehouse.ensure(AVAILABILITY, _AVAILABILITY)
    warehouse.ensure(BACK, _BACK)
    cursor = None if whole else progress.cursor(STEP)
    last, at = _last_snapshot(warehouse)
    believed = warehouse.table(BELIEVED)
    if cursor is not None:
        due = before.filter(before.expected_on <= today).select(*SKU)
        believed = believed.filter(believed.snapshot > cursor.at).union(believed.semi_join(due, SKU), distinct=True)
    made = warehouse.settle(availability(believed, before, rules, today, at))
    stored = before.select(_AVAILABILITY.names)
    rows = warehouse.settle(made.select(_AVAILABILITY.names).cast(stored.schema()).difference(stored))
    counts = AvailabilityCounts(cursor is None, computed=warehouse.count(made), changed=warehouse.count(rows))
    back = warehouse.settle(came_back(made))
    counts.back = warehouse.count(back)
    counts.out = warehouse.count(made.filter(made.was_available, ~made.is_available))
    listed = warehouse.table(BACK)
    with warehouse.transaction():
        warehouse.replace(AVAILABILITY, rows, gone=rows, on=SKU)
        if counts.back:
            warehouse.append(BACK, back)
            warehouse.delete(BACK, listed.filter(listed["at"] < at - _KEPT).select("at").distinct(), on=["at"])
        progress.move(STEP, last, today)
    totals: dict[str, Any] = warehouse.read(
        before.agg(
            skus=ibis._.count(),
            available=ibis._.is_available.ifelse(1, 0).sum(),
            units=ibis._.available.sum().cast("int64"),
            expected=ibis._.expected_on.notnull().ifelse(1, 0).sum(),
        )
    ).to_pylist()[0]
    for name, number in totals.items():
        setattr(counts, name, number or 0)
    return counts


def _last_snapshot(warehouse: Warehouse) -> tuple[int, datetime]:
    """Number and time of the last good snapshot that moved something. Raises LookupError before the first."""
    snapshots = warehouse.table(SNAPSHOTS)
    good = snapshots.filter(snapshots.refused.isnull()).order_by(ibis.desc("number")).limit(1)
    found = warehouse.read(good.select("number", "taken_at")).to_pylist()
    if not found:
        raise LookupError("no snapshot of stock has been believed yet: materialise prima/stock first")
    return found[0]["number"], found[0]["taken_at"]


def available_over_time(warehouse: Warehouse) -> list[tuple[datetime, int]]:
    """When a good snapshot moved something, and how many SKUs had something to sell from then on."""
    snapshots = warehouse.table(SNAPSHOTS)
    good = snapshots.filter(snapshots.refused.isnull()).order_by("number").select("taken_at", "available")
    return [(row["taken_at"], row["available"]) for row in warehouse.read(good).to_pylist()]
