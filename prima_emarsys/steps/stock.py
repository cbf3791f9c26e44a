"""`prima/stock`: one snapshot after the other of what can be sold, believed only if it can be.

Both ways of reading end in one `Sighting`: the web service's answers, or the mirror's stock under the rule of available
to sell. What is believed stands in `mirror.believed_stock`, a row a SKU, with the number of the snapshot that last
moved it, so that whoever follows reads only what moved. A snapshot that is refused changes nothing but its own line in
`mirror.stock_snapshots`. One that says what the last good one said is not kept.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.contract import ENTITIES
from prima_emarsys.finding import Finding
from prima_emarsys.prima.mirror import Landing, Mirror, Reader, record_of
from prima_emarsys.prima.webservice import Disbelieved
from prima_emarsys.rules.availability import (
    ADDED,
    CHANGED,
    MISSING,
    SEEN,
    SKU,
    VANISHED,
    available_stock,
    moves,
    owed_stock,
)
from prima_emarsys.site import StockRules
from prima_emarsys.sync import guard
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.warehouse import Warehouse

LANE = "stock"
"""Under this name a person releases a snapshot that was refused."""

BELIEVED, SNAPSHOTS, MOVES = "mirror.believed_stock", "mirror.stock_snapshots", "mirror.stock_moves"
SQL, WEB_SERVICE = "sql", "web service"

_AVAILABLE = ENTITIES["available_stock"]
_KEY = [pa.field(name, pa.string()) for name in SKU]
_BELIEVED = pa.schema(
    [*_KEY, ("available", pa.int64()), ("expected_on", pa.date32()), ("absent", pa.int64()), ("snapshot", pa.int64())]
)
_MOVES = pa.schema(
    [*_KEY, ("available", pa.int64()), ("was", pa.int64()), ("kind", pa.string()), ("snapshot", pa.int64())]
)
_SNAPSHOTS = pa.schema(
    [("number", pa.int64()), ("source", pa.string()), ("as_of", pa.timestamp("us", "UTC")),
     ("taken_at", pa.timestamp("us", "UTC")), ("skus", pa.int64()), ("available", pa.int64()), ("refused", pa.string())]
)  # fmt: skip
_SMALLEST_GUARDED = 20
"""A company with fewer SKUs may lose any share of them."""
_OLDER = timedelta(hours=1)
"""So much older than the last good one must the newest change be: the newest row may have been deleted."""
_MOST_FINDINGS = 50


@dataclass
class Sighting:
    """What was read, before anybody believes it."""

    source: str
    as_of: datetime | None
    """When it was true: the web service's answers, when they were asked for; SQL's, the newest change in them."""
    rows: pa.Table | ir.Table | None
    """In the columns of the contract's `available_stock`; None if there was an answer that is none."""
    read: int = 0
    quarantined: int = 0
    findings: list[Finding] = field(default_factory=list)
    landings: list[Landing] = field(default_factory=list)
    disbelieved: str | None = None


@dataclass
class StockCounts:
    """Counts of one snapshot. `skus` is what is believed after it; the moves count SKUs."""

    source: str
    number: int
    taken_at: datetime
    read: int = 0
    quarantined: int = 0
    skus: int = 0
    available: int = 0
    moves: dict[str, int] = field(default_factory=dict)
    kept: bool = False
    """Whether it is a snapshot of its own: it moved something, or was refused."""
    refused: str | None = None
    findings: list[Finding] = field(default_factory=list, repr=False)
    landings: list[Landing] = field(default_factory=list, repr=False)

    @property
    def moved(self) -> int:
        """SKUs of which something follows."""
        return sum(self.moves.get(kind, 0) for kind in (ADDED, CHANGED, VANISHED))


def ask_service(reader: Reader, now: datetime) -> Sighting:
    """The web service's whole stock. Takes as long as Prima takes, so no warehouse is open meanwhile.

    Raises `WebServiceError`, but not for an answer that is none: that is a snapshot to be refused.
    """
    try:
        pages = list(reader.everything(_AVAILABLE))
    except Disbelieved as error:
        return Sighting(WEB_SERVICE, now, None, disbelieved=str(error))
    rows = pa.concat_tables([_AVAILABLE.arrow_schema.empty_table(), *(page.good for page in pages)])
    return Sighting(
        WEB_SERVICE,
        now,
        rows,
        sum(page.read for page in pages),
        sum(page.quarantined for page in pages),
        [finding for page in pages for finding in page.findings],
    )


def look_at_mirror(warehouse: Warehouse, landings: Sequence[Landing], now: datetime) -> Sighting:
    """What follows of the stock and the warehouses in the mirror, which `landings` brought up to date."""
    mirror = Mirror(warehouse)
    rows = warehouse.settle(available_stock(mirror.live("stock"), mirror.live("warehouse")))
    newest = warehouse.read(rows.agg(newest=ibis._.changed_at.max()))["newest"][0].as_py()
    return Sighting(
        SQL,
        min(newest, now) if newest else None,
        rows,
        sum(landing.read for landing in landings),
        sum(landing.quarantined for landing in landings),
        [finding for landing in landings for finding in landing.findings] + _owed(warehouse, mirror),
        list(landings),
        next((f"{one.entity}: {one.refused}" for one in landings if one.refused), None),
    )


def take_snapshot(
    warehouse: Warehouse, ledger: Ledger, sighting: Sighting, rules: StockRules, now: datetime
) -> StockCounts:
    """Believe a sighting, or refuse it and change nothing; see the module."""
    believed = warehouse.ensure(BELIEVED, _BELIEVED)
    warehouse.ensure(MOVES, _MOVES)
    snapshots = warehouse.ensure(SNAPSHOTS, _SNAPSHOTS)
    number = (warehouse.read(snapshots.agg(last=ibis._.number.max()))["last"][0].as_py() or 0) + 1
    counts = StockCounts(sighting.source, number, now, sighting.read, sighting.quarantined)
    counts.findings, counts.landings = list(sighting.findings), sighting.landings
    if sighting.rows is None or sighting.disbelieved:
        counts.refused = f"Snapshot {number} of {now:%Y-%m-%d %H:%M} UTC is none: {sighting.disbelieved}"
        counts.findings.append(Finding("stock-refused", "stock", counts.refused))
        skus = 0
    else:
        snapshot = _with_unread(warehouse, sighting, believed)
        skus = warehouse.count(snapshot)
        counts.refused = _refusal(warehouse, ledger, sighting, snapshot, rules, counts)
        if counts.refused is None:
            counts.findings += _strange(warehouse, snapshot, rules)
            _believe(warehouse, snapshot, rules, counts)
    counts.skus = warehouse.count(believed.filter(believed.absent < rules.vanished_after))
    counts.available = warehouse.count(believed.filter(believed.available > 0))
    counts.kept = counts.refused is not None or bool(counts.moves)
    if counts.kept:
        row = [number, counts.source, sighting.as_of, now, skus, counts.available, counts.refused]
        warehouse.append(SNAPSHOTS, pa.Table.from_pylist([dict(zip(_SNAPSHOTS.names, row, strict=True))], _SNAPSHOTS))
        _forget(warehouse, number - rules.snapshots_kept)
    return counts


def _with_unread(warehouse: Warehouse, sighting: Sighting, believed: ir.Table) -> ir.Table:
    """The sighting's rows; a row that was there but could not be read says what it said before."""
    snapshot = warehouse.settle(sighting.rows).select(*SKU, "available", "expected_on")
    unread = sorted({one.record for one in sighting.findings if one.record.startswith(f"{_AVAILABLE.name}|")})
    if not unread:
        return snapshot
    before = believed.filter(record_of(_AVAILABLE, believed).isin(unread)).anti_join(snapshot, SKU)
    return warehouse.settle(snapshot.union(before.select(snapshot.columns)))


# -- the snapshot guard ----------------------------------------------------------------------------------------------


def _refusal(
    warehouse: Warehouse, ledger: Ledger, sighting: Sighting, snapshot: ir.Table, rules: StockRules, counts: StockCounts
) -> str | None:
    """Why the snapshot is not to be believed, in an operator's words; None if it is, or a person released it."""
    snapshots, believed = warehouse.table(SNAPSHOTS), warehouse.table(BELIEVED)
    good = snapshots.filter(snapshots.refused.isnull()).order_by(ibis.desc("number")).limit(1)
    last = next(iter(warehouse.read(good).to_pylist()), None)
    standing = warehouse.settle(believed.filter(believed.absent == 0))
    lacking = standing.anti_join(snapshot, SKU)
    there = standing.group_by("company").agg(skus=ibis._.count())
    lost = lacking.group_by("company").agg(lost=ibis._.count())
    shares = warehouse.read(there.left_join(lost, "company").select("company", "skus", "lost")).to_pylist()
    named = f"Snapshot {counts.number} of {counts.taken_at:%Y-%m-%d %H:%M} UTC ({sighting.source})"
    reason = None
    short = [
        one for one in shares
        if one["skus"] >= _SMALLEST_GUARDED and (one["lost"] or 0) > rules.missing_share * one["skus"]
    ]  # fmt: skip
    if last is not None and _is_older(sighting, last):
        reason = (
            f"{named} is as of {sighting.as_of:%Y-%m-%d %H:%M} UTC, older than the last good one, {last['number']} "
        )
        reason += f"({last['as_of']:%Y-%m-%d %H:%M} UTC)."
    elif short:
        worst = max(short, key=lambda one: one["lost"])
        reason = (
            f"{named} holds {warehouse.count(snapshot):,} SKUs, the last good one {sum(s['skus'] for s in shares):,}"
        )
        reason += (
            f"; of company {worst['company']} it lacks {worst['lost']:,} of {worst['skus']:,}. Nothing was changed."
        )
    held = guard.hold(
        ledger,
        LANE,
        guard.Volume(0, 0, sum(one["lost"] or 0 for one in shares), sum(one["skus"] for one in shares)),
        reason,
        kind="stock-refused",
    )
    return held.reason if isinstance(held, guard.Held) else None


def _is_older(sighting: Sighting, last: dict) -> bool:
    if sighting.as_of is None or last["as_of"] is None or sighting.source != last["source"]:
        return False
    return sighting.as_of < last["as_of"] - (_OLDER if sighting.source == SQL else timedelta(0))


# -- believing it ----------------------------------------------------------------------------------------------------


def _believe(warehouse: Warehouse, snapshot: ir.Table, rules: StockRules, counts: StockCounts) -> None:
    """Write down what moved."""
    believed, number = warehouse.table(BELIEVED), counts.number
    moved = warehouse.settle(moves(believed, snapshot, rules.vanished_after))
    by_kind = moved.group_by("kind").agg(skus=ibis._.count()).order_by("kind")
    counts.moves = {row["kind"]: row["skus"] for row in warehouse.read(by_kind).to_pylist()}
    if not counts.moves:
        return
    before = believed.select(*SKU, last="snapshot")
    placed = moved.left_join(before, SKU).select(*moved.columns, "last")
    follows = ~placed.kind.isin([MISSING, SEEN])
    rows = placed.mutate(snapshot=follows.ifelse(number, placed.last).cast("int64"))
    with warehouse.transaction():
        warehouse.replace(BELIEVED, rows.select(_BELIEVED.names), gone=moved, on=SKU)
        warehouse.append(MOVES, moved.mutate(snapshot=ibis.literal(number, "int64")).select(_MOVES.names))


def _forget(warehouse: Warehouse, last: int) -> None:
    for name, column in ((SNAPSHOTS, "number"), (MOVES, "snapshot")):
        table = warehouse.table(name)
        old = table.filter(table[column] <= last).select(column).distinct()
        if warehouse.count(old):
            warehouse.delete(name, old, on=[column])


# -- what somebody should look at ------------------------------------------------------------------------------------


def _owed(warehouse: Warehouse, mirror: Mirror) -> list[Finding]:
    owed = owed_stock(mirror.live("stock"), mirror.live("warehouse"))
    named = owed.select("free", record=record_of(ENTITIES["stock"], owed)).order_by("free", "record")
    return [
        Finding("stock-owed", row["record"], f"{-row['free']:,} more are promised or held than there are")
        for row in warehouse.read(named.limit(_MOST_FINDINGS)).to_pylist()
    ]


def _strange(warehouse: Warehouse, snapshot: ir.Table, rules: StockRules) -> list[Finding]:
    strange = snapshot.filter((snapshot.available < 0) | (snapshot.available > rules.absurd))
    named = strange.select("available", record=record_of(_AVAILABLE, strange)).order_by("available", "record")
    return [
        Finding("stock-owed" if row["available"] < 0 else "stock-absurd", row["record"], f"{row['available']:,} units")
        for row in warehouse.read(named.limit(_MOST_FINDINGS)).to_pylist()
    ]
