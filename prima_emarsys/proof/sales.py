"""`proof/sales`: what Prima says was sold, what Emarsys accepted, and one cause for each piece of the difference.

Sums are compared first, in the engine: by day on both clocks, company, channel and currency. Only where two sums differ
are records looked at, so ten million lines cost a few scans. What cancels out within one such place is no difference
here; the plan, which compares line by line, finds it.

    Prima ── rounding, not booked yet ──▶ lines ── excluded by a rule ──▶ desired
      ── not sealed yet, waiting, quarantined, merged ──▶ sealed
      ── in a file unknown, refused, on its way ──▶ accepted

On finance's clock a closed period shows its frozen figures, and what changed of them stands, as late, on the first day
of the period in which it counts. A receipted return without its credit note is not posted; it stands in a column of its
own, on the day of its receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.finding import Finding, Owner
from prima_emarsys.proof.periods import Closing, close_periods
from prima_emarsys.rules.exact import in_base
from prima_emarsys.rules.reconciliation import (
    ABOVE_SALE,
    EXCLUDED,
    LATE,
    MERGED,
    NOT_YET_DUE,
    PLACE,
    QUARANTINED,
    REFUSED,
    ROUNDING,
    UNDATED,
    UNEXPLAINED,
    UNKNOWN,
    WAITING,
    cause_of_rule,
    documents,
    owner_of,
    waiting_returns,
)
from prima_emarsys.rules.sales import Books
from prima_emarsys.rules.sales_data import SALE_KIND, account_rate
from prima_emarsys.site import SalesData
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.periods import CLOCKS, POSTED, Periods
from prima_emarsys.sync.plan import LANE as CONTACTS
from prima_emarsys.sync.sales_files import ABSENT, ACCEPTED, SalesFiles
from prima_emarsys.sync.sales_files import REFUSED as FILE_REFUSED
from prima_emarsys.sync.sales_files import UNKNOWN as FILE_UNKNOWN
from prima_emarsys.sync.sales_plan import FILES, FOR_CONTACT, LINES, SEALED, mirror_sealed
from prima_emarsys.sync.sales_plan import QUARANTINED as DISPUTED
from prima_emarsys.sync.sales_plan import WAITING as WAITING_LINES
from prima_emarsys.warehouse import Warehouse

PROVED, CAUSES = "proof.sales", "proof.sales_causes"

PARTS = ("orders", "refunds", "returns_waiting", "desired", "accepted")
FIGURES = ("orders", "refunds", "returns_waiting", "net", "desired", "accepted", "difference")
"""Columns of `proof.sales` after clock, day (null: Prima gives none), company, channel and currency: in the Emarsys
account's currency, with or without VAT as the site sends it; `value_…` the same with VAT in the order's currency.
net = orders + refunds + returns_waiting is what Prima says; difference = net − accepted."""

NO_DATE = "no date"
Months = dict[str, dict[str, dict[str, Decimal]]]
"""Month (`2026-03`, or `NO_DATE`), the oldest first → clock → figure → amount in the account's currency."""

GROUP = ("company", "channel", "currency")
_MEASURES = {"value": "decimal(18,4)", "amount": "decimal(18,2)"}
_ENTRY = ("cause", "detail", "record", *PLACE, *_MEASURES)
_HALF_PENNY = Decimal("0.005")
_MOST_FINDINGS = 500


@dataclass(frozen=True)
class CauseTotal:
    """All of one cause and detail (a rule, a file …) in an order currency: `value` in it, `amount` in the account's."""

    cause: str
    detail: str
    currency: str
    records: int
    value: Decimal
    amount: Decimal
    size: Decimal
    """As `amount`, refunds not set off against sales."""

    @property
    def owner(self) -> Owner | None:
        """Whose turn it is, if somebody's."""
        return owner_of(self.cause, self.detail)


@dataclass(frozen=True)
class SalesProof:
    """What the proof found. `totals` are `FIGURES` over all days, in the account's `currency`; they are the same on
    both clocks."""

    currency: str
    lines: int
    """Lines that should be in Emarsys."""
    rows: int
    """Rows of `proof.sales`."""
    totals: dict[str, Decimal]
    causes: list[CauseTotal]
    unequal: int
    """Days of a company, channel and currency (on either clock) whose causes do not add up to the difference."""
    months: Months = field(repr=False)
    closing: Closing = field(repr=False)
    late: list[LateTotal] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list, repr=False)

    def amount_of(self, *causes: str) -> Decimal:
        """Sum of these causes in the account's currency."""
        return sum((one.amount for one in self.causes if one.cause in causes), Decimal("0.00"))

    @property
    def unexplained(self) -> list[CauseTotal]:
        """What has no cause."""
        return [one for one in self.causes if one.cause == UNEXPLAINED]

    @property
    def waiting_for_people(self) -> Decimal:
        """What somebody must settle, refunds not set off against sales, in the account's currency."""
        return sum((one.size for one in self.causes if one.owner), Decimal("0.00"))

    @property
    def sentence(self) -> str:
        """What was found, in a sentence."""
        difference = f"Difference {self.totals['difference']:,} {self.currency}"
        if not self.holds:
            lost = self.amount_of(UNEXPLAINED)
            return f"{difference}: {lost:,} has no cause, and on {self.unequal:,} days the causes do not add up."
        if not self.causes:
            return f"{difference}: Emarsys has accepted exactly what Prima says, day by day."
        return f"{difference}, and every penny of it has its cause."

    @property
    def holds(self) -> bool:
        """Whether every penny of the difference, day by day on both clocks, has its cause."""
        return not self.unequal and not self.unexplained


@dataclass(frozen=True)
class LateTotal:
    """Late adjustments of one closed period that are not frozen yet. `base` in the company's base currency."""

    clock: str
    company: str
    period: str
    counts_in: str | None
    records: int
    base: Decimal
    currency: str


def prove_sales(
    warehouse: Warehouse,
    ledger: Ledger,
    books: Books,
    settings: SalesData,
    currency: str,
    today: date,
    behind: Callable[[], ir.Table],
) -> SalesProof:
    """Compare Prima's books with what Emarsys accepted, and freeze the periods that Prima has closed.

    `currency` is the Emarsys account's, `today` the site's day. `behind` gives the orders (column order_key) that have
    changed since the lines were made. Writes `proof.sales`, `proof.sales_causes` and `proof.sales_late`.
    """
    mirror_sealed(warehouse, SalesFiles(ledger))
    made = documents(books, warehouse.settle)
    rate = account_rate(made.base_currency, settings, currency)
    made = warehouse.settle(made.mutate(amount=in_base(made[f"base_{settings.vat}_vat"], rate).fill_null(0)))
    closing = close_periods(warehouse, Periods(ledger), made, today)
    found = _Reconciliation(warehouse, ledger, settings, currency, made, closing, behind)
    found.write()
    return _summary(warehouse, found, closing, currency)


class _Reconciliation:
    """Sums by place, and the entries that explain why they differ."""

    def __init__(
        self,
        warehouse: Warehouse,
        ledger: Ledger,
        settings: SalesData,
        currency: str,
        made: ir.Table,
        closing: Closing,
        behind: Callable[[], ir.Table],
    ) -> None:
        self.warehouse, self.ledger, self.settings, self.currency = warehouse, ledger, settings, currency
        self.documents, self.closing, self.behind = made, closing, behind
        lines = warehouse.table(LINES)
        dated = {name: lines[name].fill_null(UNDATED) for name in ("ordered_on", "posted_on")}
        self.lines = lines.mutate(
            **dated, value=lines.order_value, amount=lines.price.fill_null(0), refund=lines.kind != SALE_KIND
        )
        self.desired = self.lines.filter(self.lines.excluded.isnull())
        files = warehouse.table(FILES).select("file_id", "name", "state")
        sealed = warehouse.table(SEALED).inner_join(files.filter(files.state != ABSENT), "file_id")
        self.sealed = sealed.mutate(value=sealed.order_value, amount=sealed.price)
        self.entries: list[ir.Table] = []
        self.parts: list[ir.Table] = []

    def write(self) -> None:
        """Compute everything and write the tables."""
        self._books()
        self._excluded()
        self._unsealed()
        self._files()
        self._write_causes()
        self._write_sums()

    # -- Prima against the lines -------------------------------------------------------------------------------------

    def _books(self) -> None:
        """Prima's figures, and what of them the lines do not have."""
        unit = [*PLACE, "refund"]
        sums = {name: self.documents[name].sum() for name in (*_MEASURES, "rows")}
        books = self.warehouse.settle(self.documents.group_by(unit).agg(**sums))
        lines = self.lines.mutate(rows=ibis.literal(1, type="int64"))
        self._part(books.mutate(part=books.refund.ifelse("refunds", "orders")))
        differing = self._differing(books, lines, unit, (*_MEASURES, "rows"))
        if differing is not None:
            mine = self.documents.semi_join(differing, unit).mutate(size=ibis._.rows)
            theirs = lines.semi_join(differing, unit).mutate(record=ibis._.order_key, size=ibis.literal(0))
            units = _minus(mine, theirs, ["record", *unit], (*_MEASURES, "rows"), ("size",))
            self._explain_documents(units.filter(_any_of(units, (*_MEASURES, "rows"))))
        self._waiting_returns()
        self._moved()

    def _explain_documents(self, units: ir.Table) -> None:
        most = max([Decimal(1), *self.settings.rates.values()])
        rounding = ibis.literal(_HALF_PENNY * (1 + most), type="decimal(18,8)") * (units["size"] + 1)
        behind = self.warehouse.settle(self.behind()).select(record="order_key").distinct().mutate(behind=True)
        joined = units.left_join(behind, "record")
        same = (joined.value == 0) & (joined.rows == 0)
        no_order = (joined.ordered_on == UNDATED) & (joined.currency == "")
        self._entries(
            joined.mutate(
                cause=ibis.cases(
                    (same & (joined.amount.abs() <= rounding), ROUNDING),
                    (joined.behind.notnull(), NOT_YET_DUE),
                    (no_order, QUARANTINED),
                    else_=UNEXPLAINED,
                ),
                detail=ibis.cases(
                    (same, ""), (joined.behind.notnull(), "not booked yet"), (no_order, "its order cannot be read"),
                    else_="books and lines disagree",
                ),
            )
        )  # fmt: skip

    def _waiting_returns(self) -> None:
        waiting = self.warehouse.settle(waiting_returns(self.warehouse.table("core.sales")))
        waiting = waiting.mutate(amount=self._in_account(waiting))
        self._part(waiting.mutate(part=ibis.literal("returns_waiting")))
        sales = self.lines.select(line_key="line_key", rule="excluded")
        key = waiting.order_key + "|" + waiting.line_number + f"|{SALE_KIND}"
        known = waiting.mutate(line_key=key).left_join(sales, "line_key")
        self._entries(
            known.mutate(
                record=known.document,
                cause=known.rule.isnull().ifelse(NOT_YET_DUE, EXCLUDED),
                detail=known.rule.fill_null("a return waits for its credit note"),
            )
        )

    def _moved(self) -> None:
        """Late adjustments count in their open period, not on their day."""
        moved = self.closing.moved
        if not self.warehouse.count(moved):
            return
        there = moved.mutate(amount=self._in_account(moved))
        away = there.mutate(value=(-there.value).cast(_MEASURES["value"]), amount=-there.amount)
        facts = ["record", "refund", "company", "channel", "currency", "ordered_on", *_MEASURES]
        both = there.select(*facts, "origin", posted_on="counts_from").union(away.select(*facts, "origin", "posted_on"))
        both = self.warehouse.settle(both)
        self._part(both.mutate(part=both.refund.ifelse("refunds", "orders")))
        self._entries(both.mutate(cause=ibis.literal(LATE), detail=ibis.literal("closed period ") + both.origin))

    def _in_account(self, rows: ir.Table) -> ir.DecimalValue:
        """The rows' base amount in the account's currency."""
        rate = account_rate(rows.base_currency, self.settings, self.currency)
        return in_base(rows[f"base_{self.settings.vat}_vat"], rate).fill_null(0)

    # -- lines against what is desired -------------------------------------------------------------------------------

    def _excluded(self) -> None:
        out = self.lines.filter(self.lines.excluded.notnull())
        out = out.mutate(cause=cause_of_rule(out.excluded), detail=out.excluded, record=out.line_key)
        self._entries(out.filter(_any_of(out, _MEASURES)))
        self._part(self.desired.mutate(part=ibis.literal("desired")))

    # -- desired against sealed --------------------------------------------------------------------------------------

    def _unsealed(self) -> None:
        """What no file holds yet, and what a file holds under another day than the line has now."""
        sums = (*_MEASURES, "quantity", "size")
        desired, sealed = (rows.mutate(size=rows.value.abs()) for rows in (self.desired, self.sealed))
        places = self._differing(desired, sealed, list(PLACE), sums)
        if places is None:
            return
        touched = desired.semi_join(places, PLACE).select("line_key").union(
            sealed.semi_join(places, PLACE).select("line_key"), distinct=True
        )  # fmt: skip
        touched = self.warehouse.settle(touched)
        wanted = desired.semi_join(touched, "line_key").mutate(home=ibis.literal(1))
        held = sealed.semi_join(touched, "line_key").mutate(home=ibis.literal(0))
        by_place = _minus(wanted, held, ["line_key", *PLACE], tuple(_MEASURES), ("home",))
        by_place = self.warehouse.settle(by_place.filter(_any_of(by_place, (*_MEASURES, "home"))))
        whole = by_place.group_by("line_key").agg(
            homed=ibis._.home.max(), **{f"all_{name}": by_place[name].sum() for name in _MEASURES}
        )
        rows = by_place.semi_join(places, PLACE).inner_join(whole, "line_key")
        due = {
            name: ibis.cases(
                (rows.homed == 0, rows[name]), (rows.home == 1, rows[f"all_{name}"]), else_=0
            ).cast(kind)
            for name, kind in _MEASURES.items()
        }  # fmt: skip
        rest = {name: (rows[name] - due[name]).cast(kind) for name, kind in _MEASURES.items()}
        orders = wanted.select("line_key", record="order_key")
        late = rows.mutate(**rest).inner_join(orders, "line_key")
        late = self.warehouse.settle(late.filter(_any_of(late, _MEASURES)).select("record", *PLACE, *_MEASURES))
        if self.settings.sink == "files":
            # There an order's last image replaces the earlier ones, and every line stands on its own day.
            self._part(late.mutate(part=ibis.literal("accepted")))
        else:
            self._entries(late.mutate(cause=ibis.literal(LATE), detail=ibis.literal("changed after it had been sent")))
        due_rows = rows.mutate(**due)
        due_rows = due_rows.filter(_any_of(due_rows, _MEASURES)).select("line_key", *PLACE, *_MEASURES)
        self._explain_unsealed(self.warehouse.settle(due_rows))

    def _explain_unsealed(self, rows: ir.Table) -> None:
        waits = self._waiting_lines()
        accounts = self.warehouse.table("core.accounts").select("account", rule="excluded")
        erased = self.lines.inner_join(accounts.filter(accounts.rule == "erased"), "account").select("line_key", "rule")
        joined = rows.left_join(waits, "line_key").left_join(erased, "line_key", rname="erased_{name}")
        self._entries(
            joined.mutate(
                record=joined.line_key,
                cause=ibis.cases(
                    (joined.rule.notnull(), EXCLUDED),
                    (joined.waits.notnull(), joined.waits),
                    else_=NOT_YET_DUE,
                ),
                detail=ibis.cases(
                    (joined.rule.notnull(), joined.rule),
                    (joined.why.notnull(), joined.why),
                    else_="to be put into a file",
                ),
            )
        )

    def _waiting_lines(self) -> ir.Table:
        """Why the latest plan let a line wait: line_key, waits (the cause), why (its detail)."""
        shape = pa.schema([(name, pa.string()) for name in ("line_key", "customer", "reason")])
        known = self.warehouse.has(WAITING_LINES)
        planned = self.warehouse.table(WAITING_LINES) if known else self.warehouse.settle(shape.empty_table())
        planned = planned.group_by("line_key").agg(customer=planned.customer.max(), reason=planned.reason.max())
        refused = pa.table({"customer": pa.array([one.key for one in self.ledger.quarantined(CONTACTS)], pa.string())})
        refused = self.warehouse.settle(refused).distinct().mutate(refused=True)
        persons = self.warehouse.table("core.persons")
        merged = persons.filter(persons.reason == "merge").select("account").mutate(merged=True)
        accounts = self.lines.select("line_key", "account").inner_join(merged, "account").select("line_key", "merged")
        joined = planned.left_join(refused, "customer").left_join(accounts, "line_key", rname="m_{name}")
        contact = joined.reason == FOR_CONTACT
        return joined.select(
            "line_key",
            waits=ibis.cases(
                (joined.reason == DISPUTED, QUARANTINED),
                (contact & joined.refused.notnull(), QUARANTINED),
                (contact & joined.merged.notnull(), MERGED),
                (contact, WAITING),
                else_=ibis.null("string"),
            ),
            why=ibis.cases(
                (joined.reason == DISPUTED, ABOVE_SALE),
                (contact & joined.refused.notnull(), "its contact was refused"),
                else_="",
            ),
        )

    # -- sealed against accepted -------------------------------------------------------------------------------------

    def _files(self) -> None:
        accepted = self.sealed.filter(self.sealed.state == ACCEPTED)
        self._part(accepted.mutate(part=ibis.literal("accepted")))
        out = self.sealed.filter(self.sealed.state != ACCEPTED)
        causes = {FILE_UNKNOWN: UNKNOWN, FILE_REFUSED: REFUSED}
        cause = ibis.cases(*((out.state == state, cause) for state, cause in causes.items()), else_=NOT_YET_DUE)
        self._entries(out.mutate(cause=cause, detail=out.name, record=out.line_key))

    # -- adding up ---------------------------------------------------------------------------------------------------

    def _differing(self, ours: ir.Table, theirs: ir.Table, by: Sequence[str], of: Sequence[str]) -> ir.Table | None:
        """Places at which two sums differ, in any of these columns; None if they agree."""
        rest = _minus(ours, theirs, by, of)
        found = self.warehouse.settle(rest.filter(_any_of(rest, of)).select(*by))
        return found if self.warehouse.count(found) else None

    def _part(self, rows: ir.Table) -> None:
        """Rows that are summed into the figure that their column `part` names."""
        sums = {name: rows[name].sum().cast(kind) for name, kind in _MEASURES.items()}
        self.parts.append(self.warehouse.settle(rows.group_by(["part", *PLACE]).agg(**sums)))

    def _entries(self, rows: ir.Table) -> None:
        kinds = {name: rows[name].cast(kind) for name, kind in _MEASURES.items()}
        rows = rows.mutate(**kinds).select(*_ENTRY)
        self.entries.append(self.warehouse.settle(rows.filter(_any_of(rows, _MEASURES))))

    def _write_causes(self) -> None:
        every = ibis.union(*self.entries)
        # One record may be late for two reasons that cancel each other out.
        every = every.mutate(of=(every.cause == LATE).ifelse("", every.detail))
        sums = {name: every[name].sum().cast(kind) for name, kind in _MEASURES.items()}
        summed = every.group_by(["cause", "of", "record", *PLACE]).agg(detail=every.detail.max(), **sums)
        summed = summed.filter(_any_of(summed, _MEASURES))
        dated = {name: summed[name].nullif(UNDATED) for name in ("ordered_on", "posted_on")}
        self.warehouse.write(CAUSES, summed.mutate(**dated).select(*_ENTRY))

    def _write_sums(self) -> None:
        every = ibis.union(*self.parts)
        sums = {
            f"{prefix}{part}": (every.part == part).ifelse(every[name], 0).sum().cast(kind)
            for prefix, (name, kind) in zip(("", "value_"), reversed(_MEASURES.items()), strict=True)
            for part in PARTS
        }
        placed = self.warehouse.settle(every.group_by(list(PLACE)).agg(**sums))
        self.warehouse.write(PROVED, ibis.union(*(self.warehouse.settle(_on_clock(placed, clock)) for clock in CLOCKS)))


def _on_clock(placed: ir.Table, clock: str) -> ir.Table:
    """The sums by day of one clock, with what follows from them."""
    dated = placed.mutate(clock=ibis.literal(clock), day=placed[f"{clock}_on"].nullif(UNDATED))
    kinds = {name: kind for name, kind in placed.schema().items() if name not in PLACE}
    rows = dated.group_by(["clock", "day", *GROUP]).agg(**{name: dated[name].sum().cast(kinds[name]) for name in kinds})
    for prefix in ("", "value_"):
        net = rows[f"{prefix}orders"] + rows[f"{prefix}refunds"] + rows[f"{prefix}returns_waiting"]
        kind = kinds[f"{prefix}orders"]
        difference = (net - rows[f"{prefix}accepted"]).cast(kind)
        rows = rows.mutate(**{f"{prefix}net": net.cast(kind), f"{prefix}difference": difference})
    return rows.select("clock", "day", *GROUP, *(f"{prefix}{name}" for prefix in ("", "value_") for name in FIGURES))


def _any_of(rows: ir.Table, names: Sequence[str]) -> ir.BooleanValue:
    """Whether any of these columns is not nought."""
    return ibis.or_(*(rows[name] != 0 for name in names))


def _minus(
    ours: ir.Table, theirs: ir.Table, by: Sequence[str], of: Sequence[str], added: Sequence[str] = ()
) -> ir.Table:
    """Sums of `ours` less sums of `theirs`; columns of `added` are summed over both."""
    mine = ours.select(*by, *of, *added)
    kinds = mine.schema()
    negative = {name: (-theirs[name]).cast(kinds[name]) for name in of}
    same = {name: theirs[name].cast(kinds[name]) for name in added}
    both = mine.union(theirs.select(*by, **negative, **same))
    return both.group_by(list(by)).agg(**{name: both[name].sum().cast(kinds[name]) for name in (*of, *added)})


# -- what was found --------------------------------------------------------------------------------------------------


def residuals(warehouse: Warehouse) -> ir.Table:
    """For each clock, day, company, channel and currency: the difference less its causes, where that is not nought.

    Columns: clock, day, company, channel, currency, amount, value. What is unexplained is no cause.
    """
    proved, causes = warehouse.table(PROVED), warehouse.table(CAUSES)
    causes = causes.filter(causes.cause != UNEXPLAINED)
    facts = ["clock", "day", *GROUP]
    known = [
        causes.select(
            *GROUP, clock=ibis.literal(clock), day=causes[f"{clock}_on"], **{name: -causes[name] for name in _MEASURES}
        )
        for clock in CLOCKS
    ]
    differences = proved.select(*GROUP, "clock", "day", value="value_difference", amount="difference")
    columns = [*facts, *_MEASURES]
    casts = {name: ibis._[name].cast(kind) for name, kind in _MEASURES.items()}
    every = ibis.union(*(part.mutate(**casts).select(*columns) for part in (differences, *known)))
    rest = every.group_by(facts).agg(**{name: every[name].sum() for name in _MEASURES})
    return rest.filter(_any_of(rest, _MEASURES))


def _by_month(warehouse: Warehouse) -> Months:
    proved = warehouse.table(PROVED)
    month = proved.day.strftime("%Y-%m").fill_null(NO_DATE)
    sums = proved.group_by(month=month, clock=proved.clock).agg(**{name: proved[name].sum() for name in FIGURES})
    found: Months = {}
    for row in warehouse.read(sums.order_by("month", "clock")).to_pylist():
        found.setdefault(row["month"], {})[row["clock"]] = {name: row[name] for name in FIGURES}
    return found


def _summary(warehouse: Warehouse, found: _Reconciliation, closing: Closing, currency: str) -> SalesProof:
    proved, causes = warehouse.table(PROVED), warehouse.table(CAUSES)
    posted = proved.filter(proved.clock == POSTED)
    totals = warehouse.read(posted.agg(**{name: posted[name].sum().fill_null(0) for name in FIGURES})).to_pylist()[0]
    by_cause = causes.group_by(["cause", "detail", "currency"]).agg(
        records=causes.record.nunique(),
        value=causes.value.sum(),
        amount=causes.amount.sum(),
        size=causes.amount.abs().sum(),
    )
    rows = warehouse.read(by_cause.order_by("cause", ibis.desc(ibis._.amount.abs()), "detail", "currency")).to_pylist()
    late = closing.late.group_by(["clock", "company", "origin", "counts_in", "base_currency"]).agg(
        records=closing.late.record.nunique(), base=closing.late.base_incl_vat.sum()
    )
    lates = [
        LateTotal(
            row["clock"], row["company"], row["origin"], row["counts_in"], row["records"], row["base"],
            row["base_currency"],
        )
        for row in warehouse.read(late.order_by("company", "origin", "clock")).to_pylist()
    ]  # fmt: skip
    return SalesProof(
        currency=currency,
        lines=warehouse.count(found.desired),
        rows=warehouse.size(PROVED),
        totals=totals,
        causes=[CauseTotal(**row) for row in rows],
        unequal=warehouse.count(residuals(warehouse)),
        months=_by_month(warehouse),
        closing=closing,
        late=lates,
        findings=_findings(warehouse, lates),
    )


def _findings(warehouse: Warehouse, late: Sequence[LateTotal]) -> list[Finding]:
    causes = warehouse.table(CAUSES)
    lost = causes.filter(causes.cause == UNEXPLAINED).group_by(["record", "currency"]).agg(value=ibis._.value.sum())
    found = [
        Finding(
            "sales-unexplained",
            f"order|{row['record']}",
            "books and lines disagree",
            None,
            row["value"],
            row["currency"],
        )
        for row in warehouse.read(lost.order_by("record").limit(_MOST_FINDINGS)).to_pylist()
    ]
    found += [
        Finding(
            "closed-period-changed",
            f"period|{one.company}|{one.period}",
            f"{one.records:,} records; counts in {one.counts_in or 'no period, since none is open'}",
            None,
            one.base,
            one.currency,
        )
        for one in late
        if one.clock == POSTED
    ]
    return found
