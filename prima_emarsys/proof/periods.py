"""Accounting periods: freeze what Prima closed, and find what changed of it since.

On each clock a document belongs to the period of its day. When Prima closes a period, its documents are frozen in the
ledger. What differs from them later is a late adjustment: it counts in the first period that is still open, and is
frozen with that one when it is closed in turn. So the periods, late adjustments included, always add up to the books,
and a closed period's figures never change.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import chain, groupby
from operator import itemgetter

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from pyarrow import csv

from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.sync.periods import CLOCKS, KEPT_DAYS, POSTED, ClosedPeriod, Figure, Periods
from prima_emarsys.warehouse import Warehouse

LATE = "proof.sales_late"
_FROZEN = "proof.sales_frozen"
"""Frozen documents for as long as they are compared."""

Key = tuple[str, str]
"""Company and period."""

_DOCUMENT = ("record", "refund", "channel", "currency", "ordered_on", "posted_on")
_SUMS = ("documents", "value", "base_incl_vat", "base_excl_vat")
_VALUE, _BASE = pa.decimal128(18, 4), pa.decimal128(18, 2)
_TYPES = {
    "refund": pa.bool_(), "ordered_on": pa.date32(), "posted_on": pa.date32(), "counts_from": pa.date32(),
    "documents": pa.int64(), "value": _VALUE, "base_incl_vat": _BASE, "base_excl_vat": _BASE,
}  # fmt: skip
_CONTENT = pa.schema([(name, _TYPES.get(name, pa.string())) for name in ("origin", *_DOCUMENT, *_SUMS)])
"""A frozen document. `origin` is the period of its own day; `documents` is 0 where only its amounts changed."""

_TOTALS = {"documents": ibis._.documents.sum(), "value": ibis._.value.sum(), "base": ibis._.base_incl_vat.sum()}
_ROW = ("company", "base_currency", "origin", *_DOCUMENT)
_PLACED = pa.schema([(name, _TYPES.get(name, pa.string())) for name in (*_ROW, *_SUMS, "counts_in", "counts_from")])


@dataclass(frozen=True)
class Span:
    """One period of one company's books, as Prima has it now. Spans of a company do not overlap."""

    company: str
    period: str
    starts_on: date
    ends_on: date
    closed: bool
    closed_at: datetime | None
    currency: str

    @property
    def key(self) -> Key:
        """Company and period."""
        return self.company, self.period


@dataclass(frozen=True)
class Closing:
    """What became of the periods. Tables have the columns of a document, and where it counts.

    `late`: documents of closed periods that differ from what was frozen, on both clocks (column `clock`).
    `moved`: on finance's clock, everything that counts in another period (from `counts_from`) than that of its day.
    """

    spans: Sequence[Span]
    frozen: Sequence[ClosedPeriod]
    reopened: Sequence[Key]
    late: ir.Table
    moved: ir.Table


def spans(warehouse: Warehouse) -> list[Span]:
    """The periods of Prima, by company and first day; a period that begins within another one is cut short."""
    mirror = Mirror(warehouse)
    rows = mirror.live("accounting_period").left_join(
        mirror.live("company").select("company", "base_currency"), "company"
    )
    found: list[Span] = []
    for row in warehouse.read(rows.order_by("company", "starts_on", "period")).to_pylist():
        earlier = found[-1].ends_on if found and found[-1].company == row["company"] else date.min
        begins = max(row["starts_on"], earlier + timedelta(days=1))
        if begins <= row["ends_on"]:
            closed, currency = row["status"] == "closed", row["base_currency"] or ""
            found.append(
                Span(row["company"], row["period"], begins, row["ends_on"], closed, row["closed_at"], currency)
            )
    return found


def close_periods(warehouse: Warehouse, periods: Periods, documents: ir.Table, today: date) -> Closing:
    """Freeze what Prima has closed since, forget what it opened again, and find the late adjustments.

    `documents` are those of `rules.reconciliation`, settled. Writes `proof.sales_late`.
    """
    now = spans(warehouse)
    opened = {span.key for span in now if not span.closed}
    reopened = sorted({one.key for one in periods.active()} & opened)
    for company, period in reopened:
        periods.reopen(company, period)
    counted = documents.mutate(documents=ibis.literal(1, type="int64"))
    frozen: list[ClosedPeriod] = []
    late: list[ir.Table] = []
    moved: list[ir.Table] = []
    for clock in CLOCKS:
        books = _Books(warehouse, periods, clock, now, counted, today)
        carried = books.carried() if clock == POSTED else None
        placed = books.placed()
        made = books.freeze(placed)
        away = placed.filter((placed.counts_in != placed.origin).fill_null(True))
        settled = warehouse.settle(_keys(one.key for one in made).rename_columns(["company", "counts_in"]))
        late.append(away.anti_join(settled, ["company", "counts_in"]).mutate(clock=ibis.literal(clock)))
        if carried is not None:
            moved = [carried, away.filter(away.counts_in.notnull())]
        frozen += made
    listed = warehouse.write(LATE, ibis.union(*late))
    return Closing(now, frozen, reopened, listed, warehouse.settle(ibis.union(*moved)))


class _Books:
    """The books on one clock."""

    def __init__(
        self, warehouse: Warehouse, periods: Periods, clock: str, now: Sequence[Span], documents: ir.Table, today: date
    ) -> None:
        self.warehouse, self.periods, self.clock, self.documents = warehouse, periods, clock, documents
        self.active = {one.key: one for one in periods.active() if one.clock == clock}
        known = {span.key: span for span in now}
        for key, one in self.active.items():
            known.setdefault(key, _span(one))  # Prima has forgotten the period; we have not
        self.spans = known
        oldest = today - timedelta(days=KEPT_DAYS)
        self.due = [
            span for key, span in known.items() if span.closed and key not in self.active and span.ends_on >= oldest
        ]
        self.day = f"{clock}_on"

    def placed(self) -> ir.Table:
        """Documents that are not frozen as they are, with the period in which they count; settled.

        They are those of periods that are to be frozen now, and what changed of those that are frozen.
        """
        wanted = self._changed() | {span.key for span in self.due}
        if not wanted:
            return self.warehouse.settle(_PLACED.empty_table())
        sources = [
            one for one in self.active.values() if any((one.company, sum_.origin) in wanted for sum_ in one.sums)
        ]
        of_wanted = self.warehouse.settle(_keys(wanted))
        frozen = self._frozen(sources).semi_join(of_wanted, ["company", "origin"])
        here = self._in_spans(self.documents, wanted).select(*_ROW, *_SUMS)
        both = here.union(frozen.select(*_ROW, *((-frozen[name]).name(name) for name in _SUMS)))
        sums = {name: both[name].sum().cast(here[name].type()) for name in _SUMS}
        rest = both.group_by(list(_ROW)).agg(**sums)
        rest = rest.filter(ibis.or_(*(rest[name] != 0 for name in _SUMS)))
        targets = self.warehouse.settle(self._targets(wanted))
        return self.warehouse.settle(rest.left_join(targets, ["company", "origin"]).select(*_PLACED.names))

    def freeze(self, placed: ir.Table) -> list[ClosedPeriod]:
        """Write the periods that are due down, each with what counts in it."""
        due = {span.key: span for span in self.due}
        if not due:
            return []
        figures = self._figures(placed)
        made = {key: self._freeze(due[key], parts, figures) for key, parts in self._by_period(placed, due)}
        made |= {key: self._freeze(due[key], [], figures) for key in due if key not in made}
        return [made[key] for key in due]

    def _freeze(self, span: Span, parts: Iterable[pa.Table], figures: Mapping[Key, Sequence[Figure]]) -> ClosedPeriod:
        content, digest = _packed(parts)
        days = (span.starts_on, span.ends_on)
        return self.periods.freeze(
            *span.key, self.clock, days, span.closed_at, span.currency, figures.get(span.key, ()), content, digest
        )

    def _by_period(self, placed: ir.Table, due: Iterable[Key]) -> Iterator[tuple[Key, Iterator[pa.Table]]]:
        """The rows of each period that is due, in parts: a period may hold a million orders."""
        keys = self.warehouse.settle(_keys(due).rename_columns(["company", "counts_in"]))
        mine = placed.semi_join(keys, ["company", "counts_in"])
        order = ("company", "counts_in", "origin", *_DOCUMENT)

        def pieces() -> Iterator[tuple[Key, pa.Table]]:
            for batch in self.warehouse.batches(mine, order=order):
                first = 0
                for key, rows in groupby(
                    zip(batch["company"].to_pylist(), batch["counts_in"].to_pylist(), strict=True)
                ):
                    size = sum(1 for _ in rows)
                    yield key, batch.slice(first, size)
                    first += size

        for key, parts in groupby(pieces(), key=itemgetter(0)):
            yield key, (part for _, part in parts)

    def carried(self) -> ir.Table:
        """Late adjustments that were frozen with a later period than that of their day."""
        rows = self._frozen([one for one in self.active.values() if any(s.origin != one.period for s in one.sums)])
        return rows.filter(rows.origin != rows.counts_in)

    def _changed(self) -> set[Key]:
        """Frozen periods whose documents do not add up to the frozen figures any more."""
        if not self.active:
            return set()
        here = self._in_spans(self.documents, self.active)
        totals = here.group_by(["company", "origin", "channel", "currency"]).agg(**_TOTALS)
        found: dict[tuple[str, str, str, str], list[Decimal | int]] = {}
        for row in self.warehouse.read(totals).to_pylist():
            place = (row["company"], row["origin"], row["channel"], row["currency"])
            found[place] = [row["documents"], row["value"], row["base"]]
        for period in self.active.values():
            for one in period.sums:
                place = (period.company, one.origin, one.channel, one.currency)
                before = found.get(place, [0, Decimal(0), Decimal(0)])
                held = (one.documents, one.value, one.base)
                found[place] = [was - is_ for was, is_ in zip(before, held, strict=True)]
        return {(company, origin) for (company, origin, _, _), rest in found.items() if any(rest)} & self.active.keys()

    def _targets(self, wanted: Iterable[Key]) -> pa.Table:
        """Where documents of a period count: in it, or, once it is frozen, in the first one that is not."""
        due = {span.key for span in self.due}
        free = [s for key, s in self.spans.items() if key not in self.active and (not s.closed or key in due)]
        rows = []
        for company, origin in sorted(wanted):
            span = self.spans[company, origin]
            mine = sorted((one for one in free if one.company == company), key=lambda one: one.starts_on)
            after = [one for one in mine if one.starts_on > span.ends_on]
            target = span if span in mine else (after or mine[-1:] or [None])[0]
            if target is not None:
                rows.append((company, origin, target.period, target.starts_on))
        names = ("company", "origin", "counts_in", "counts_from")
        schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in names])
        return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)

    def _in_spans(self, documents: ir.Table, wanted: Iterable[Key]) -> ir.Table:
        """Documents of these periods, with the period as `origin`."""
        chosen = [self.spans[key] for key in sorted(wanted)]
        table = self.warehouse.settle(
            pa.table(
                {
                    "of": pa.array([one.company for one in chosen], pa.string()),
                    "origin": pa.array([one.period for one in chosen], pa.string()),
                    "begins": pa.array([one.starts_on for one in chosen], pa.date32()),
                    "ends": pa.array([one.ends_on for one in chosen], pa.date32()),
                }
            )
        )
        day = documents[self.day]
        return documents.inner_join(
            table, [documents.company == table.of, day >= table.begins, day <= table.ends]
        ).drop("of", "begins", "ends")

    def _frozen(self, sources: Sequence[ClosedPeriod]) -> ir.Table:
        """The documents of closed periods, with their company and the period that they were frozen with."""
        self.warehouse.drop(_FROZEN)
        rows = self.warehouse.ensure(_FROZEN, _PLACED)
        options = csv.ConvertOptions(column_types=_CONTENT)
        for one in sources:
            read = csv.read_csv(BytesIO(self.periods.content(one)), convert_options=options)
            here = {"company": one.company, "base_currency": one.currency, "counts_in": one.period}
            columns = {name: pa.array([value] * read.num_rows, pa.string()) for name, value in here.items()}
            columns["counts_from"] = pa.array([one.starts_on] * read.num_rows, pa.date32())
            self.warehouse.append(_FROZEN, pa.table(columns | {name: read[name] for name in _CONTENT.names}))
        settled = self.warehouse.settle(rows)
        self.warehouse.drop(_FROZEN)
        return settled

    def _figures(self, placed: ir.Table) -> dict[Key, list[Figure]]:
        """What counts in each period, summed by period of origin, channel and currency."""
        by = ["company", "counts_in", "origin", "channel", "currency"]
        summed = placed.group_by(by).agg(**_TOTALS).order_by(by)
        found: dict[Key, list[Figure]] = {}
        for row in self.warehouse.read(summed).to_pylist():
            found.setdefault((row.pop("company"), row.pop("counts_in")), []).append(Figure(**row))
        return found


def _packed(parts: Iterable[pa.Table]) -> tuple[bytes, str]:
    """The rows as CSV by gzip, and the CSV's SHA-256."""
    digest, packed = hashlib.sha256(), BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as file:
        for number, part in enumerate(chain([_CONTENT.empty_table()], parts)):
            text = BytesIO()
            csv.write_csv(part.select(_CONTENT.names).cast(_CONTENT), text, csv.WriteOptions(include_header=not number))
            digest.update(text.getvalue())
            file.write(text.getvalue())
    return packed.getvalue(), digest.hexdigest()


def _span(period: ClosedPeriod) -> Span:
    return Span(
        period.company, period.period, period.starts_on, period.ends_on, True, period.closed_at, period.currency
    )  # fmt: skip


def _keys(keys: Iterable[Key]) -> pa.Table:
    listed = sorted(keys)
    return pa.table(
        {
            "company": pa.array([company for company, _ in listed], pa.string()),
            "origin": pa.array([period for _, period in listed], pa.string()),
        }
    )
