"""The plan for sales data: desired lines minus sealed ones, as signed rows; and putting them into files.

`emarsys.sales_data` holds the desired lines; `emarsys.sales_sealed` and `emarsys.sales_files` mirror the ledger's
sealed lines and files, so that the plan is one comparison inside the engine. The ledger alone decides what was sealed:
a warehouse that was deleted reads it all back. And a warehouse that remembers files which the ledger does not (it was
restored from a backup) gives them back as files of unknown fate, so that nothing goes twice.

A line that nobody sealed goes as it is. Of one that was sealed the difference goes, as an adjustment dated when it was
found: no earlier day is ever rewritten. If its order id, item or currency changed, what was sealed is reversed and the
line goes anew. What was sent under a person stays there; what follows goes under whoever the person is by then.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.emarsys.sales_data import encode
from prima_emarsys.rules.sales_data import ADJUSTMENT_KIND, CREDIT_KIND, RETURN_KIND
from prima_emarsys.sync.guard import Volume
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.plan import LANE as CONTACTS
from prima_emarsys.sync.sales_files import ABSENT, LINE_COLUMNS, SalesFile, SalesFiles
from prima_emarsys.warehouse import Warehouse

LINES, SEALED, FILES, WAITING = (
    "emarsys.sales_data", "emarsys.sales_sealed", "emarsys.sales_files", "emarsys.sales_waiting",
)  # fmt: skip
FOR_CONTACT, QUARANTINED = "contact", "quarantined"
"""Why a line that could go does not: its buyer is not acknowledged yet; finance must look at its order line first."""

_MONEY, _VALUE = pa.decimal128(18, 2), pa.decimal128(18, 4)
_SHAPES: dict[str, pa.DataType] = {
    "file_id": pa.int64(),
    "version": pa.int64(),
    "quantity": pa.int64(),
    **dict.fromkeys(("price", "gross", "net", "discount"), _MONEY),
    "order_value": _VALUE,
    "happened_at": pa.timestamp("us", "UTC"),
    "ordered_on": pa.date32(),
    "posted_on": pa.date32(),
}
_LINE_SHAPE = pa.schema([(name, _SHAPES.get(name, pa.string())) for name in LINE_COLUMNS])
_SEALED_SHAPE = pa.schema([("file_id", pa.int64()), *_LINE_SHAPE])
_FILE_SHAPE = pa.schema(
    [
        ("file_id", pa.int64()),
        ("name", pa.string()),
        ("sink", pa.string()),
        ("state", pa.string()),
        ("rows", pa.int64()),
        ("value", _MONEY),
        ("currency", pa.string()),
        ("sealed_at", pa.timestamp("us", "UTC")),
        ("settled_at", pa.timestamp("us", "UTC")),
    ]
)
_WAITING_SHAPE = pa.schema([*_LINE_SHAPE, ("reason", pa.string())])
_IDENTITY = ("line_key", "order_id", "item", "currency")
_AMOUNTS = ("price", "quantity", "gross", "net", "discount", "order_value")
_KEYS_PAGE = 50_000
_STRANGE = "the ledger did not know it: was it restored from a backup?"


@dataclass(frozen=True)
class Plan:
    """Counts of a plan, in lines of the signed ledger. `rows` and `value` are what could go now."""

    lines: int
    """Desired."""
    sent: int
    """Sealed rows that may count in Emarsys, adjustments among them."""
    new: int
    adjusted: int
    removed: int
    """Sealed, and no longer desired: reversed."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Rows that could go, by the reason why they do not."""
    rows: int = 0
    value: Decimal = Decimal("0.00")

    @property
    def volume(self) -> Volume:
        """What the volume guard looks at: what would change of what was sent, never what is new."""
        return Volume(0, self.adjusted, self.removed, self.sent)


# -- the mirror of what was sealed -----------------------------------------------------------------------------------


def mirror_sealed(warehouse: Warehouse, files: SalesFiles) -> int:
    """Bring the mirror of sealed lines up to the ledger; returns how many files the ledger had forgotten.

    Those are given to it as unknown: whether they were sent, nobody knows.
    """
    mirrored = warehouse.ensure(FILES, _FILE_SHAPE)
    warehouse.ensure(SEALED, _SEALED_SHAPE)
    known = {(file.id, file.name) for file in files.all()}
    held = warehouse.read(mirrored).to_pylist()
    strange = [row for row in held if (row["file_id"], row["name"]) not in known]
    for row in strange:
        sealed = warehouse.table(SEALED)
        lines = warehouse.read(sealed.filter(sealed.file_id == row["file_id"])).to_pylist()
        files.adopt(row, lines, reason=f"{_STRANGE}; the warehouse last saw it {row['state']}")
        _forget(warehouse, row["file_id"])
    mine = {row["file_id"] for row in held} - {row["file_id"] for row in strange}
    now = files.all()
    missing = [file for file in now if file.id not in mine]
    for file, lines in zip(missing, files.lines(file.id for file in missing), strict=True):
        _mirror(warehouse, file, lines)
    warehouse.write(FILES, _file_rows(now))
    return len(strange)


def _forget(warehouse: Warehouse, file_id: int) -> None:
    gone = pa.table({"file_id": pa.array([file_id], pa.int64())})
    with warehouse.transaction():
        warehouse.delete(SEALED, gone, on=["file_id"])
        warehouse.delete(FILES, gone, on=["file_id"])


def _mirror(warehouse: Warehouse, file: SalesFile, lines: Sequence[Mapping[str, Any]]) -> None:
    rows = [{name: one[name] for name in LINE_COLUMNS} | {"file_id": file.id} for one in lines]
    with warehouse.transaction():
        warehouse.append(SEALED, pa.Table.from_pylist(rows, schema=_SEALED_SHAPE))
        warehouse.append(FILES, _file_rows([file]))


def _file_rows(files: Sequence[SalesFile]) -> pa.Table:
    rows = [
        {name: getattr(file, name, None) for name in _FILE_SHAPE.names if name != "file_id"} | {"file_id": file.id}
        for file in files
    ]
    return pa.Table.from_pylist(rows, schema=_FILE_SHAPE)


def sealed_lines(warehouse: Warehouse) -> ir.Table:
    """Every sealed line that may count in Emarsys, with its file's `state`: all but those of absent files."""
    files = warehouse.table(FILES)
    counting = files.filter(files.state != ABSENT).select("file_id", "state")
    return warehouse.table(SEALED).inner_join(counting, "file_id")


# -- the plan --------------------------------------------------------------------------------------------------------


class Planned:
    """A plan and its rows, which stay in the engine. Valid while the warehouse is open."""

    def __init__(self, warehouse: Warehouse, plan: Plan, rows: ir.Table, desired: ir.Table) -> None:
        self.plan = plan
        self._warehouse, self._rows, self._desired = warehouse, rows, desired

    def first(self, limit: int) -> list[dict[str, Any]]:
        """The first rows that could go, in their order."""
        return self._warehouse.read(self._rows.order_by("place").limit(limit)).to_pylist() if self.plan.rows else []

    def cut(self, rows_per_file: int, most: int) -> Iterator[list[dict[str, Any]]]:
        """The rows file by file: oldest orders first, whole orders together, no file begun beyond `most` rows."""
        if not self.plan.rows:
            return
        numbered = self._rows.mutate(file=self._rows.before // rows_per_file)
        wanted = self._warehouse.settle(numbered.filter(numbered.before < most))
        for number in self._warehouse.read(wanted.select("file").distinct().order_by("file"))["file"].to_pylist():
            yield self._warehouse.read(wanted.filter(wanted.file == number).order_by("place")).to_pylist()

    def whole_orders(self, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """All desired lines of the orders that `lines` belong to. An order without any is all its lines at zero."""
        wanted = pa.table({"order_id": pa.array(sorted({one["order_id"] for one in lines}), pa.string())})
        of_orders = self._desired.semi_join(self._warehouse.settle(wanted), "order_id")
        last = self._warehouse.table(SEALED).group_by("line_key").agg(version=ibis._.version.max())
        found = of_orders.left_join(last, "line_key").mutate(version=ibis._.version.fill_null(0))
        rows = self._warehouse.read(found.order_by("order_id", "happened_at", "line_key")).to_pylist()
        full = {row["order_id"] for row in rows}
        said = {one["line_key"]: one["version"] for one in lines}
        for row in rows:
            row["version"] = said.get(row["line_key"], row["version"])
        return rows + [{**one, **_NOTHING} for one in lines if one["order_id"] not in full]


_NOTHING: dict[str, Any] = {name: Decimal("0.00") for name in ("price", "gross", "net", "discount")}
_NOTHING |= {"quantity": 0, "order_value": Decimal("0.0000")}


def make_plan(
    warehouse: Warehouse,
    ledger: Ledger,
    now: datetime,
    today: date,
    disputed: Sequence[str] = (),
    *,
    whole_orders: bool = False,
) -> Planned:
    """Compare desired with sealed. `now` and `today` (the site's day) date the adjustments.

    `disputed` order lines (`order_key|line_number`) get no further refund until finance has looked. With
    `whole_orders` an order waits as a whole. Writes `emarsys.sales_waiting`; sends nothing.
    """
    lines, sealed = warehouse.table(LINES), sealed_lines(warehouse)
    desired = lines.filter(lines.excluded.isnull())
    changed = warehouse.settle(_differences(desired, sealed))
    if not warehouse.count(changed):
        warehouse.write(WAITING, _WAITING_SHAPE.empty_table())
        return Planned(warehouse, Plan(warehouse.count(desired), warehouse.count(sealed), 0, 0, 0), changed, desired)
    rows = warehouse.settle(_rows(warehouse, changed, desired, sealed, now, today))
    rows = _reasoned(warehouse, ledger, rows, disputed)
    if whole_orders:
        rows = rows.mutate(reason=rows.reason.max().over(group_by="order_id"))
    rows = warehouse.settle(rows)
    waiting = rows.filter(rows.reason.notnull())
    warehouse.write(WAITING, waiting.select(*_WAITING_SHAPE.names))
    going = warehouse.settle(_placed(rows.filter(rows.reason.isnull())))
    return Planned(warehouse, _counted(warehouse, desired, sealed, rows, going), going, desired)


def _differences(desired: ir.Table, sealed: ir.Table) -> ir.Table:
    """Desired minus sealed for each line under its identity, where any amount differs."""
    columns = {name: ibis._[name] for name in _IDENTITY}
    wanted = desired.select(**columns, **{name: desired[name] for name in _AMOUNTS})
    held = sealed.select(**columns, **{name: (-sealed[name]).cast(desired[name].type()) for name in _AMOUNTS})
    summed = wanted.union(held).group_by(list(_IDENTITY)).agg(**{name: ibis._[name].sum() for name in _AMOUNTS})
    return summed.filter(reduce(lambda one, other: one | other, [summed[name] != 0 for name in _AMOUNTS]))


def _rows(
    warehouse: Warehouse, changed: ir.Table, desired: ir.Table, sealed: ir.Table, now: datetime, today: date
) -> ir.Table:
    """The differences as lines (`LINE_COLUMNS`), with order_line, and the account if the line is still in the books."""
    every = warehouse.table(SEALED)
    versions = every.semi_join(changed, "line_key").group_by("line_key").agg(last=ibis._.version.max())
    of_changed = sealed.semi_join(changed, "line_key")
    counting = of_changed.select("line_key").distinct().mutate(counts=True)
    facts = ("customer", "company", "channel", "kind", "happened_at", "ordered_on", "posted_on")
    wanted = desired.semi_join(changed, "line_key").select(*_IDENTITY, "order_line", *facts)
    latest = ibis.row_number().over(group_by=list(_IDENTITY), order_by=ibis.desc("version"))
    held = of_changed.mutate(age=latest).filter(ibis._.age == 0).select(*_IDENTITY, *facts)
    joined = (
        changed.left_join(wanted, list(_IDENTITY))
        .select(*changed.columns, "order_line", *facts)
        .left_join(held.rename({f"was_{name}": name for name in facts}), list(_IDENTITY))
        .left_join(versions, "line_key")
        .left_join(counting, "line_key")
    )
    identities = [joined[name] for name in _IDENTITY]
    place = ibis.row_number().over(group_by=identities[0], order_by=identities[1:])
    first = joined.counts.isnull()
    return joined.select(
        *_IDENTITY,
        version=(joined["last"].fill_null(0) + place + 1).cast("int64"),
        **{name: joined[name].cast(changed[name].type()) for name in _AMOUNTS},
        **{name: ibis.coalesce(joined[name], joined[f"was_{name}"]) for name in ("customer", "company", "channel")},
        kind=first.ifelse(joined.kind, ADJUSTMENT_KIND),
        happened_at=first.ifelse(joined.happened_at, ibis.literal(now, type="timestamp('UTC')")),
        ordered_on=ibis.coalesce(joined.ordered_on, joined.was_ordered_on),
        posted_on=first.ifelse(joined.posted_on, ibis.literal(today)),
        order_line=joined.order_line,
        first=first,
        desired=joined.kind.notnull(),
    )


def _reasoned(warehouse: Warehouse, ledger: Ledger, rows: ir.Table, disputed: Sequence[str]) -> ir.Table:
    """The rows that may go some day, with the reason for which one does not go now.

    What an erased person bought stays as it was sent: to name the person again would bring the contact back.
    """
    books, accounts = warehouse.table("core.sales"), warehouse.table("core.accounts")
    erased = books.semi_join(accounts.filter(accounts.excluded == "erased"), "account").select(line_key="sale_key")
    rows = warehouse.settle(rows.anti_join(erased, "line_key"))
    buyers = set()
    for page in warehouse.batches(rows.select("customer").distinct(), _KEYS_PAGE):
        buyers.update(ledger.acknowledged(CONTACTS, page["customer"].to_pylist()))
    known = warehouse.settle(pa.table({"customer": pa.array(sorted(buyers), pa.string())}))
    refund = rows.first & rows.kind.isin([RETURN_KIND, CREDIT_KIND]) & rows.order_line.isin(list(disputed))
    with_known = rows.left_join(known.mutate(acknowledged=True), "customer").drop("customer_right")
    reason = ibis.cases(
        (refund.fill_null(False), QUARANTINED), (ibis._.acknowledged.isnull(), FOR_CONTACT), else_=ibis.null("string")
    )
    return with_known.mutate(reason=reason).drop("acknowledged")


def _placed(rows: ir.Table) -> ir.Table:
    """The rows with their `place`, and how many rows stand `before` their order: oldest orders first, each together."""
    orders = rows.group_by("order_id").agg(begins=ibis._.happened_at.min(), size=ibis._.count())
    upto = orders["size"].sum().over(order_by=[orders.begins, orders.order_id], rows=(None, 0))
    before = orders.select("order_id", "begins", before=(upto - orders["size"]).cast("int64"))
    joined = rows.inner_join(before, "order_id")
    place = ibis.row_number().over(
        order_by=[joined.begins, joined.order_id, joined.happened_at, joined.line_key, joined.version]
    )
    return joined.mutate(place=place).drop("begins")


def _counted(warehouse: Warehouse, desired: ir.Table, sealed: ir.Table, rows: ir.Table, going: ir.Table) -> Plan:
    by_line = rows.group_by("line_key").agg(first=ibis._.first.all(), desired=ibis._.desired.any())
    kinds = by_line.agg(
        new=by_line["first"].sum(),
        adjusted=(~by_line["first"] & by_line.desired).sum(),
        removed=(~by_line["first"] & ~by_line.desired).sum(),
    )
    counts = warehouse.read(kinds).to_pylist()[0]
    sums = warehouse.read(going.agg(rows=ibis._.count(), value=ibis._.price.sum())).to_pylist()[0]
    waiting = rows.filter(rows.reason.notnull()).group_by("reason").agg(rows=ibis._.count()).order_by("reason")
    return Plan(
        lines=warehouse.count(desired),
        sent=warehouse.count(sealed),
        new=int(counts["new"] or 0),
        adjusted=int(counts["adjusted"] or 0),
        removed=int(counts["removed"] or 0),
        waiting={row["reason"]: row["rows"] for row in warehouse.read(waiting).to_pylist()},
        rows=sums["rows"],
        value=sums["value"] or Decimal("0.00"),
    )


# -- sealing ---------------------------------------------------------------------------------------------------------


def seal(
    warehouse: Warehouse, files: SalesFiles, sink: str, currency: str, lines: Sequence[Mapping[str, Any]],
    content: Sequence[Mapping[str, Any]] | None = None,
) -> SalesFile:  # fmt: skip
    """Put rows of a plan into a file; `content` is what the file says, if it is more than the rows (whole orders)."""
    written = encode(lines if content is None else content, offset=content is not None)
    file = files.seal(sink, currency, lines, written)
    _mirror(warehouse, file, lines)
    return file
