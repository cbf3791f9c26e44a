"""Sales summed the other way round, straight from the mirror, and the causes for which two sums may differ.

The signed ledger is made line by line. Here the books are added up order by order and credit note by credit note, so
that a line which the ledger lost, doubled or dated wrongly shows as a difference. Comparing the sums, and finding the
records behind a difference, is the proof's matter (`proof/sales.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import ibis
import ibis.expr.types as ir

from prima_emarsys.finding import Owner
from prima_emarsys.rules.exact import first_units, in_base
from prima_emarsys.rules.identity import Settle
from prima_emarsys.rules.sales import (
    CREDIT_UNDATED,
    RETURN,
    RETURN_CREDITED,
    Books,
    credit_key,
    exchange_rate,
    order_key,
)

PLACE = ("company", "channel", "currency", "ordered_on", "posted_on")
"""Where an amount stands: on both clocks at once (`ordered_on` is marketing's, `posted_on` finance's)."""

UNDATED = date(1970, 1, 1)
"""Stands for a day that Prima does not give, since an empty one equals no other."""

DOCUMENT_COLUMNS = (
    "record", "refund", *PLACE, "base_currency", "value", "base_incl_vat", "base_excl_vat", "rows",
)  # fmt: skip
"""Columns of a document: all that happened to one order on one day, sales apart from refunds. `record` is the
`order_key` of the signed ledger; `value` is with VAT in the order's currency, `base_…` in the company's base currency,
converted for the document at once (0 without a rate); `rows` counts the rows of the signed ledger that make it up."""

_MONEY = ("value", "base_incl_vat", "base_excl_vat")


# -- the books, document by document ---------------------------------------------------------------------------------


def documents(books: Books, settle: Settle) -> ir.Table:
    """Every order with its charges, cancellation and finalised credit note of the mirror. See `DOCUMENT_COLUMNS`."""
    heads = settle(_heads(books))
    made = ibis.union(*(settle(part(books, heads)) for part in (_sold, _cancelled, _credited)))
    unit = [name for name in DOCUMENT_COLUMNS if name not in (*_MONEY, "rows")]
    sums = {name: made[name].sum().cast(f"decimal(18,{4 if name == 'value' else 2})") for name in _MONEY}
    return made.group_by(unit).agg(**sums, rows=made["rows"].sum().cast("int64")).select(*DOCUMENT_COLUMNS)


def _heads(books: Books) -> ir.Table:
    orders = books.orders.left_join(books.companies.select("company", "base_currency"), "company")
    return orders.select(
        "company",
        "order_number",
        "currency",
        "base_currency",
        record=order_key(orders.company, orders.order_number),
        channel=orders.channel.fill_null(""),
        rate=exchange_rate(orders.currency, orders.base_currency, orders.exchange_rate),
        ordered_on=orders.ordered_on.fill_null(UNDATED),
        cancelled=orders.status == "cancelled",
        cancelled_on=orders.cancelled_on,
    )


def _document(rows: ir.Table, *, refund: bool) -> ir.Table:
    """Sums of rows of one order, day and rate, converted at once: what the books say of a document as a whole."""
    facts = ["record", *PLACE, "base_currency", "rate"]
    sums = {name: rows[name].sum().cast("decimal(18,4)") for name in ("incl", "excl")}
    summed = rows.group_by(facts).agg(**sums, rows=rows["rows"].sum())
    return summed.select(
        "record",
        refund=ibis.literal(refund),
        **{name: summed[name] for name in PLACE},
        base_currency=summed.base_currency,
        value=summed.incl,
        base_incl_vat=in_base(summed.incl, summed.rate).fill_null(0),
        base_excl_vat=in_base(summed.excl, summed.rate).fill_null(0),
        rows=summed["rows"],
    )


def _sold(books: Books, heads: ir.Table) -> ir.Table:
    """Orders as they were placed; lines whose order the mirror does not hold make one that has no day."""
    order = ["company", "order_number"]
    rows = books.lines.select(*order, incl=books.lines.value_incl_vat, excl=books.lines.value_excl_vat).union(
        books.charges.select(*order, incl=books.charges.value_incl_vat, excl=books.charges.value_excl_vat)
    )
    # Summed before they are joined: ten million lines are two million orders.
    totals = rows.group_by(order).agg(incl=rows.incl.sum(), excl=rows.excl.sum(), rows=ibis._.count())
    joined = totals.left_join(heads, order)
    placed = joined.select(
        "company",
        "incl",
        "excl",
        "rows",
        "base_currency",
        "rate",
        record=order_key(totals.company, totals.order_number),
        channel=joined.channel.fill_null(""),
        currency=joined.currency.fill_null(""),
        ordered_on=joined.ordered_on.fill_null(UNDATED),
        posted_on=joined.ordered_on.fill_null(UNDATED),
    )
    return _document(placed, refund=False)


def _cancelled(books: Books, heads: ir.Table) -> ir.Table:
    """What was cancelled of orders, on the day of the cancellation."""
    order = ["company", "order_number"]
    facts = [name for name in heads.columns if name != "cancelled_on"]
    lines = books.lines
    touched = lines.filter((lines.status == "cancelled") | (lines.quantity_cancelled > 0))
    of_lines = touched.inner_join(heads.filter(~heads.cancelled).rename(order_cancelled_on="cancelled_on"), order)
    of_orders = lines.inner_join(heads.filter(heads.cancelled).rename(order_cancelled_on="cancelled_on"), order)
    charges = books.charges.inner_join(heads.filter(heads.cancelled), order)
    pieces = []
    for joined in (of_lines, of_orders):
        wholly = joined.cancelled | (joined.status == "cancelled")
        units = wholly.ifelse(joined.quantity, ibis.least(joined.quantity_cancelled, joined.quantity))
        gone = joined.mutate(units=units).filter(ibis._.units > 0)
        pieces.append(
            gone.select(
                *facts,
                incl=-first_units(gone.value_incl_vat, gone.units, gone.quantity),
                excl=-first_units(gone.value_excl_vat, gone.units, gone.quantity),
                posted_on=ibis.coalesce(gone.cancelled_on, gone.order_cancelled_on, gone.ordered_on),
            )
        )
    pieces.append(
        charges.select(
            *facts,
            incl=-charges.value_incl_vat,
            excl=-charges.value_excl_vat,
            posted_on=charges.cancelled_on.fill_null(charges.ordered_on),
        )
    )
    return _document(ibis.union(*pieces).mutate(rows=ibis.literal(1, type="int64")), refund=True)


def _credited(books: Books, heads: ir.Table) -> ir.Table:
    """Finalised credit notes, under their order where the mirror holds it, on the day on which they were finalised."""
    notes = books.credits.filter(books.credits.status == "finalised")
    notes = notes.left_join(books.companies.select("company", "base_currency"), "company").select(
        "company",
        "credit_number",
        "currency",
        "base_currency",
        note_order=notes.order_number.nullif(""),
        rate=exchange_rate(notes.currency, ibis._.base_currency, notes.exchange_rate),
        posted_on=notes.finalised_on.fill_null(UNDATED),
    )
    lines = books.credit_lines.select(
        "company",
        "credit_number",
        "value_incl_vat",
        "value_excl_vat",
        line_order=books.credit_lines.order_number.nullif(""),
    )
    joined = lines.inner_join(notes, ["company", "credit_number"]).mutate(
        order_number=ibis.coalesce(ibis._.line_order, ibis._.note_order)
    )
    known = heads.select("company", "order_number", "channel", "ordered_on", order_record="record")
    found = joined.left_join(known, ["company", "order_number"])
    rows = found.select(
        "company",
        "credit_number",
        "currency",
        "base_currency",
        "rate",
        "posted_on",
        record=ibis.coalesce(found.order_record, credit_key(found.company, found.credit_number)),
        channel=found.channel.fill_null(""),
        ordered_on=found.ordered_on.fill_null(found.posted_on),
        incl=-found.value_incl_vat,
        excl=-found.value_excl_vat,
        rows=ibis.literal(1, type="int64"),
    )
    return _document(rows, refund=True)


def waiting_returns(ledger: ir.Table) -> ir.Table:
    """What of each return still waits for its credit, as negative amounts on the day of its receipt.

    Columns: document, order_key, line_number, excluded, company, channel, currency, base_currency, ordered_on,
    posted_on, value, base_incl_vat, base_excl_vat. Credits settle the returns of a line in the order of receipt.
    """
    line = ["order_key", "line_number"]
    money = {"value": "value_incl_vat", "base_incl_vat": "base_incl_vat", "base_excl_vat": "base_excl_vat"}
    back = ledger.filter(ledger.kind == RETURN)
    credited = ledger.filter(ledger.kind == RETURN_CREDITED)
    settled = credited.group_by(line).agg(**{f"settled_{name}": credited[of].sum() for name, of in money.items()})
    so_far = {
        f"until_{name}": back[of].sum().over(group_by=line, order_by=["posted_at", "sale_key"], rows=(None, 0))
        for name, of in money.items()
    }
    joined = back.mutate(**so_far).left_join(settled, line)
    facts = ("document", *line, "excluded", "company", "currency", "base_currency", "posted_on")
    waiting = joined.select(
        *facts,
        channel=joined.channel.fill_null(""),
        ordered_on=joined.ordered_on.fill_null(UNDATED),
        **{name: _beyond(joined, name, of) for name, of in money.items()},
    )
    return waiting.filter((waiting.value != 0) | (waiting.base_incl_vat != 0))


def _beyond(back: ir.Table, name: str, of: str) -> ir.DecimalValue:
    """The part of a return's amount that lies beyond what was settled of its line. A line's amounts have one sign."""
    settled = back[f"settled_{name}"].fill_null(0).abs()
    until, amount = back[f"until_{name}"].abs(), back[of].abs()
    zero = ibis.literal(0).cast("decimal(38,4)")
    part = ibis.greatest(until - settled, zero) - ibis.greatest(until - amount - settled, zero)
    return (back[of].sign() * part).cast(back[of].type()).fill_null(0)


# -- causes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cause:
    """Why Prima and Emarsys differ by an amount. `owner` is whose turn it is; None: nobody's, it is right or settles
    itself."""

    name: str
    meaning: str
    owner: Owner | None = None
    what_to_do: str = ""


NOT_YET_DUE, WAITING, QUARANTINED, REFUSED, UNKNOWN, EXCLUDED, ROUNDING, CURRENCY, MERGED, LATE, UNEXPLAINED = (
    "not yet due", "waiting for its contact", "quarantined", "refused", "unknown", "excluded", "rounding", "currency",
    "merged", "late", "unexplained",
)  # fmt: skip

_CATALOGUE = (
    Cause(NOT_YET_DUE, "On its way: the next runs send it, or the return waits for its credit note."),
    Cause(WAITING, "The buyer is not an acknowledged contact yet; the line follows."),
    Cause(
        MERGED,
        "The order has moved to another person by a merge, and that person is no acknowledged contact yet; the line "
        "follows.",
    ),
    Cause(
        QUARANTINED,
        "A record is set aside: its buyer was refused, or finance or data must look at it first.",
        Owner.DATA,
        "Work off the list of exceptions: `prima-emarsys exceptions`.",
    ),
    Cause(
        REFUSED,
        "Emarsys refused the file that the line is in.",
        Owner.DATA,
        "See what the exception says, then `prima-emarsys sales release FILE` or `sales resolve FILE --absent`.",
    ),
    Cause(
        UNKNOWN,
        "The file was sent and no answer came: it may be in Emarsys.",
        Owner.MARKETING,
        "Look on the Sales Data page of Emarsys, then `prima-emarsys sales resolve FILE --arrived` or `--absent`.",
    ),
    Cause(EXCLUDED, "A rule of the site keeps it out of Emarsys: internal accounts, samples, held orders …"),
    Cause(
        CURRENCY,
        "There is no rate, so the amount cannot be said in the account's currency. It counts in its own.",
        Owner.FINANCE,
        "Enter the rate on the order or credit note in Prima, or give the site file a rate (`emarsys.sales.rates`).",
    ),
    Cause(ROUNDING, "Emarsys adds up lines in pennies; the books convert a document as a whole."),
    Cause(
        LATE,
        "Posted or changed after its day was closed or sent: one side counts it on an earlier day than the other. "
        "Over all days it adds up to nothing.",
    ),
    Cause(
        UNEXPLAINED,
        "Prima's books and what was computed from them disagree, and no cause is known.",
        Owner.DATA,
        "Report the records to the engineers of this project; run the nightly truth to compute everything again.",
    ),
)
CAUSES: dict[str, Cause] = {cause.name: cause for cause in _CATALOGUE}

ABOVE_SALE = "refunded above its sale"
_FINANCES = frozenset({ABOVE_SALE, "order-unknown", CREDIT_UNDATED})
"""Details that finance must look at, whoever the cause's owner is."""


def owner_of(cause: str, detail: str) -> Owner | None:
    """Whose turn it is to settle a piece of a difference; None: nobody's."""
    return Owner.FINANCE if detail in _FINANCES else CAUSES[cause].owner


def owners(cause: ir.StringValue, detail: ir.StringValue) -> ir.StringValue:
    """As `owner_of`, of columns; empty for nobody."""
    named = [(cause == one.name, one.owner.value) for one in CAUSES.values() if one.owner]
    return ibis.cases((detail.isin(sorted(_FINANCES)), Owner.FINANCE.value), *named, else_="")


_CAUSE_OF_RULE = {
    "account-unknown": QUARANTINED,
    "order-unknown": QUARANTINED,
    CREDIT_UNDATED: QUARANTINED,
    "missing-rate": CURRENCY,
    "foreign-currency": CURRENCY,
}


def cause_of_rule(rule: ir.StringValue) -> ir.StringValue:
    """The cause behind the rule that keeps a line out of Emarsys (`excluded` of `rules.sales_data.COLUMNS`)."""
    return ibis.cases(*((rule == name, cause) for name, cause in _CAUSE_OF_RULE.items()), else_=EXCLUDED)
