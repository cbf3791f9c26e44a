"""The signed ledger of sales: each order line, cancellation, return, credit and charge as a row; net is their sum.

Two dates on each row: `ordered_on`, the day of the order (marketing's clock), and `posted_on`, the day on which this
row happened (finance's clock: a credit counts when its note is finalised). Amounts with and without VAT, in the
order's currency and, by the order's own rate, in the company's base currency.

A return counts from the day it is receipted; when its credit note is finalised the credit takes its place, so the same
goods are never refunded twice. Credit used as payment (exchange) is tender: the first sale, its credit and the second
sale add up by themselves. Which person a row belongs to is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import ibis
import ibis.expr.types as ir

from prima_emarsys.rules.exact import first_units, in_base
from prima_emarsys.rules.identity import Settle, account_id
from prima_emarsys.site import SalesRules

COLUMNS = (
    "sale_key", "order_key", "document", "company", "order_number", "line_number", "channel", "kind", "nature",
    "account", "product", "sku", "quantity", "currency", "base_currency", "value_incl_vat", "value_excl_vat",
    "base_incl_vat", "base_excl_vat", "base_discount", "ordered_at", "ordered_on", "posted_at", "posted_on", "excluded",
)  # fmt: skip
"""Columns of the signed ledger. `document` is the order, return or credit note that the row is made from, as
`company|number`; `channel` is the order's; `base_discount` (with VAT) is already taken off the amounts; `…_at` is the
moment, `…_on` its day at the site; `excluded` names the rule that keeps the row out of every figure, or is null."""

SALE, CANCELLATION, RETURN, RETURN_CREDITED, CREDIT = "sale", "cancellation", "return", "return-credited", "credit"
GOODS, CHARGE, GOODWILL = "goods", "charge", "goodwill"
_ONE = ibis.literal(Decimal(1), type="decimal(18,8)")
_AMOUNTS = ("value_incl_vat", "value_excl_vat", "base_incl_vat", "base_excl_vat", "base_discount")
_NOTHING = ibis.literal(Decimal(0), type="decimal(18,2)")

CREDIT_UNDATED = "credit-undated"
"""The rule that keeps a finalised credit note without a date out: no day's figures could hold it. A return that it
would settle counts on."""


@dataclass(frozen=True)
class Books:
    """The mirror's tables that sales are made of, as Ibis tables with the contract's columns."""

    companies: ir.Table
    orders: ir.Table
    lines: ir.Table
    charges: ir.Table
    returns: ir.Table
    credits: ir.Table
    credit_lines: ir.Table


def order_key(company: ir.StringValue, order_number: ir.StringValue) -> ir.StringValue:
    """`company-order`: groups all rows that one order, or one credit without an order, brought about."""
    return company + "-" + order_number


def credit_key(company: ir.StringValue, credit_number: ir.StringValue) -> ir.StringValue:
    """The order_key of credits whose order is not known."""
    return company + "-credit-" + credit_number


def sku_id(table: ir.Table) -> ir.StringValue:
    """Style and its matrix codes, all levels, `_` between them; empty levels at the end fall away."""
    whole = ibis.literal("_").join(
        [table[name].fill_null("") for name in ("product", *(f"matrix_{n}" for n in "1234"))]
    )
    return whole.re_replace("_+$", "")


def exchange_rate(currency: ir.StringValue, base_currency: ir.StringValue, rate: ir.DecimalValue) -> ir.DecimalValue:
    """Base currency for one unit of `currency`, by the rate on the document; null if it carries none."""
    return (currency == base_currency).ifelse(_ONE, rate)


def priced_orders(books: Books, rules: SalesRules) -> ir.Table:
    """Order headers with what their rows share: order_key, account, rate (null if missing), excluded, ordered_on …"""
    orders = books.orders.left_join(books.companies, "company")
    rate = exchange_rate(orders.currency, orders.base_currency, orders.exchange_rate)
    return orders.select(
        order_key=order_key(orders.company, orders.order_number),
        company=orders.company,
        order_number=orders.order_number,
        account=account_id(orders.company, orders.customer_code),
        channel=orders.channel,
        currency=orders.currency,
        base_currency=orders.base_currency,
        rate=rate,
        ordered_at=orders.ordered_at,
        ordered_on=orders.ordered_on,
        order_cancelled=orders.status == "cancelled",
        order_cancelled_at=orders.cancelled_at,
        order_cancelled_on=orders.cancelled_on,
        excluded=ibis.cases(
            (orders.status == "held", "order-held"),
            (orders.order_type.lower().isin([word.lower() for word in rules.excluded_order_types]), "order-type"),
            (rate.isnull(), "missing-rate"),
            else_=ibis.null("string"),
        ),
    )


def _priced_lines(books: Books, orders: ir.Table, rules: SalesRules) -> ir.Table:
    """Order lines with their order's facts, base amounts and the quantity really cancelled."""
    joined = books.lines.mutate(order_key=order_key(books.lines.company, books.lines.order_number)).inner_join(
        orders, "order_key"
    )
    wholly = joined.order_cancelled | (joined.status == "cancelled")
    return joined.select(
        "order_key",
        "company",
        "order_number",
        "line_number",
        "channel",
        "account",
        "currency",
        "base_currency",
        "product",
        "quantity",
        "ordered_at",
        "ordered_on",
        "value_incl_vat",
        "value_excl_vat",
        line_key=joined.order_key + "|" + joined.line_number,
        document=joined.company + "|" + joined.order_number,
        sku=sku_id(joined),
        base_incl_vat=in_base(joined.value_incl_vat, joined.rate),
        base_excl_vat=in_base(joined.value_excl_vat, joined.rate),
        base_discount=in_base(joined.discount_incl_vat.fill_null(0), joined.rate),
        cancelled=ibis.least(wholly.ifelse(joined.quantity, joined.quantity_cancelled), joined.quantity),
        cancelled_at=ibis.coalesce(joined.cancelled_at, joined.order_cancelled_at, joined.ordered_at),
        cancelled_on=ibis.coalesce(joined.cancelled_on, joined.order_cancelled_on, joined.ordered_on),
        excluded=ibis.coalesce(
            joined.excluded,
            joined["product"].isin(rules.excluded_products).ifelse("not-merchandise", ibis.null("string")),
        ),
    )


def _cut(pieces: ir.Table) -> dict[str, ir.Value]:
    """Quantity and amounts of the units from `start` to `end` of a line, times `sign`."""
    amounts: dict[str, ir.Value] = {"quantity": (pieces.end - pieces.start) * pieces.sign}
    for name in _AMOUNTS:
        digits = 2 if name.startswith("base") else 4
        value = pieces[name].cast("decimal(18,4)")
        piece = _worth(value, pieces.end, pieces, digits) - _worth(value, pieces.start, pieces, digits)
        amounts[name] = (piece * pieces.sign).cast(f"decimal(18,{digits})")
    return amounts


def _worth(value: ir.DecimalValue, units: ir.IntegerValue, lines: ir.Table, digits: int) -> ir.DecimalValue:
    return first_units(value, units, lines.quantity).round(digits)


def _piece(
    lines: ir.Table,
    *,
    kind: str,
    key: ir.StringValue,
    document: ir.StringValue,
    posted_at: ir.TimestampValue,
    posted_on: ir.DateValue,
    start: ir.IntegerValue,
    end: ir.IntegerValue,
    sign: int,
) -> ir.Table:
    """Units `start` to `end` of order lines as they come to be rows of the ledger. See `_cut`."""
    facts = [name for name in COLUMNS if name in lines.columns and name != "document"]
    return lines.select(
        *facts,
        kind=ibis.literal(kind),
        sale_key=key + f"|{kind}",
        document=document,
        posted_at=posted_at,
        posted_on=posted_on,
        start=start.cast("int64"),
        end=end.cast("int64"),
        sign=ibis.literal(sign, type="int64"),
    )


def _row(
    source: ir.Table,
    *,
    sale_key: ir.StringValue,
    kind: str | ir.StringValue,
    nature: str | ir.StringValue,
    posted_at: ir.TimestampValue,
    posted_on: ir.DateValue,
    amounts: dict[str, ir.Value],
    **given: ir.Value,
) -> ir.Table:
    columns: dict[str, ir.Value] = {name: source[name] for name in COLUMNS if name in source.columns}
    columns |= {"sale_key": sale_key, "posted_at": posted_at, "posted_on": posted_on, **amounts, **given}
    columns["kind"] = ibis.literal(kind) if isinstance(kind, str) else kind
    columns["nature"] = ibis.literal(nature) if isinstance(nature, str) else nature
    return source.select(**{name: columns[name] for name in COLUMNS})


def signed_ledger(books: Books, rules: SalesRules, settle: Settle) -> ir.Table:
    """All rows of the signed ledger for the given books (a whole mirror, or the rows of some orders). See `COLUMNS`.

    Each part is settled by itself: to compile one large expression takes longer than to compute several small ones.
    """
    orders = settle(priced_orders(books, rules))
    lines = settle(_priced_lines(books, orders, rules))
    finalised = settle(_finalised(books))
    sales = _row(
        lines,
        sale_key=lines.line_key + "|sale",
        kind=SALE,
        nature=GOODS,
        posted_at=lines.ordered_at,
        posted_on=lines.ordered_on,
        amounts={"quantity": lines.quantity, **{name: lines[name] for name in _AMOUNTS}},
    )
    gone = lines.filter(lines.cancelled > 0)
    returned = settle(_returned(books, lines))
    settled = settle(_settled(finalised, lines, returned))
    pieces = settle(
        ibis.union(
            _piece(
                gone,
                kind=CANCELLATION,
                key=gone.line_key,
                document=gone.document,
                posted_at=gone.cancelled_at,
                posted_on=gone.cancelled_on,
                start=ibis.literal(0),
                end=gone.cancelled,
                sign=-1,
            ),
            _piece(
                returned,
                kind=RETURN,
                key=returned.key,
                document=returned.return_document,
                posted_at=returned.receipted_at,
                posted_on=returned.receipted_on,
                start=returned.start,
                end=returned.end,
                sign=-1,
            ),
            _piece(
                settled,
                kind=RETURN_CREDITED,
                key=settled.key,
                document=settled.credit_document,
                posted_at=settled.finalised_at,
                posted_on=settled.finalised_on,
                start=settled.start,
                end=settled.end,
                sign=1,
            ),
        )
    )
    cuts = _row(
        pieces,
        sale_key=pieces.sale_key,
        kind=pieces.kind,
        nature=GOODS,
        posted_at=pieces.posted_at,
        posted_on=pieces.posted_on,
        amounts=_cut(pieces),
    )
    credits = _credits(finalised, books.companies, orders, lines)
    return ibis.union(*map(settle, [sales, cuts, credits, *_charges(books, orders)]))


def _returned(books: Books, lines: ir.Table) -> ir.Table:
    """Return lines with the units of their order line that they bring back, never more than were left."""
    returns = books.returns.select(
        key=books.returns.company + "|" + books.returns.return_number + "|" + books.returns.line_number,
        return_document=books.returns.company + "|" + books.returns.return_number,
        line_key=order_key(books.returns.company, books.returns.order_number) + "|" + books.returns.order_line_number,
        units=books.returns.quantity,
        receipted_at=books.returns.receipted_at,
        receipted_on=books.returns.receipted_on,
    )
    so_far = returns.units.sum().over(group_by="line_key", order_by=["receipted_at", "key"], rows=(None, 0))
    joined = returns.mutate(until=so_far).inner_join(lines, "line_key")
    left = joined.quantity - joined.cancelled
    return joined.mutate(
        start=(joined.cancelled + ibis.least(joined.until - joined.units, left)).cast("int64"),
        end=(joined.cancelled + ibis.least(joined.until, left)).cast("int64"),
    ).filter(ibis._.end > ibis._.start)


def _finalised(books: Books) -> ir.Table:
    """Lines of finalised credit notes with their note's facts."""
    notes = books.credits.filter(books.credits.status == "finalised").select(
        "company",
        "credit_number",
        "customer_code",
        "currency",
        "exchange_rate",
        "finalised_at",
        "finalised_on",
        note_order=books.credits.order_number,
    )
    joined = books.credit_lines.inner_join(notes, ["company", "credit_number"])
    number = _order_of_credit(joined)
    return joined.mutate(
        key=joined.company + "|" + joined.credit_number + "|" + joined.line_number,
        credit_document=joined.company + "|" + joined.credit_number,
        for_order=number,
        line_key=order_key(joined.company, number) + "|" + joined.order_line_number,
    )


def _order_of_credit(lines: ir.Table) -> ir.StringValue:
    """Number of the order that a credit line refers to: its own, else its note's (`note_order`); null for none."""
    return ibis.coalesce(lines.order_number.nullif(""), lines.note_order.nullif(""))


def _settled(finalised: ir.Table, lines: ir.Table, returned: ir.Table) -> ir.Table:
    """Credit lines that take the place of returns already counted, with the units whose return they undo."""
    credits = finalised.filter(finalised.charge_code.nullif("").isnull(), finalised.quantity > 0).select(
        "key", "line_key", "credit_document", "finalised_at", "finalised_on", units="quantity"
    )
    so_far = credits.units.sum().over(group_by="line_key", order_by=["finalised_at", "key"], rows=(None, 0))
    back = returned.group_by("line_key").agg(first=returned.start.min(), last=returned.end.max())
    joined = credits.mutate(until=so_far).inner_join(back, "line_key").inner_join(lines, "line_key")
    room = joined.last - joined.first
    return joined.mutate(
        start=(joined.first + ibis.least(joined.until - joined.units, room)).cast("int64"),
        end=(joined.first + ibis.least(joined.until, room)).cast("int64"),
        excluded=ibis.coalesce(joined.excluded, _undated(joined)),
    ).filter(ibis._.end > ibis._.start)


def _undated(credits: ir.Table) -> ir.StringValue:
    return credits.finalised_on.isnull().ifelse(CREDIT_UNDATED, ibis.null("string"))


def _credits(finalised: ir.Table, companies: ir.Table, orders: ir.Table, lines: ir.Table) -> ir.Table:
    """Credit note lines as negative rows, under their order where it is known."""
    home = companies.select("company", "base_currency")
    known = orders.select(
        known_key=orders.order_key,
        order_account=orders.account,
        order_channel=orders.channel,
        order_ordered_at=orders.ordered_at,
        order_ordered_on=orders.ordered_on,
        order_excluded=orders.excluded,
    )
    skus = lines.select(sku_line=lines.line_key, line_excluded=lines.excluded)
    joined = (
        finalised.left_join(home, "company")
        .mutate(named_key=order_key(ibis._.company, ibis._.for_order))
        .left_join(known, ibis._.named_key == known.known_key)
        .left_join(skus, ibis._.line_key == skus.sku_line)
    )
    rate = exchange_rate(joined.currency, joined.base_currency, joined.exchange_rate)
    is_charge = joined.charge_code.nullif("").notnull()
    is_goods = joined["product"].nullif("").notnull()
    own_key = credit_key(joined.company, joined.credit_number)
    amounts: dict[str, ir.Value] = {"quantity": is_charge.ifelse(0, -joined.quantity).cast("int64")}
    for vat in ("incl_vat", "excl_vat"):
        amounts[f"value_{vat}"] = -joined[f"value_{vat}"]
        amounts[f"base_{vat}"] = -in_base(joined[f"value_{vat}"], rate)
    amounts["base_discount"] = _NOTHING
    return _row(
        joined,
        sale_key=joined.key + "|credit",
        kind=CREDIT,
        nature=ibis.cases((is_charge, CHARGE), (is_goods, GOODS), else_=GOODWILL),
        posted_at=joined.finalised_at,
        posted_on=joined.finalised_on,
        document=joined.credit_document,
        amounts=amounts,
        order_key=ibis.coalesce(joined.known_key, own_key),
        order_number=joined.for_order.fill_null(""),
        line_number=joined.order_line_number.fill_null(""),
        account=ibis.coalesce(joined.order_account, account_id(joined.company, joined.customer_code)),
        channel=joined.order_channel,
        sku=is_charge.ifelse(joined.charge_code, sku_id(joined)),
        ordered_at=ibis.coalesce(joined.order_ordered_at, joined.finalised_at),
        ordered_on=ibis.coalesce(joined.order_ordered_on, joined.finalised_on),
        excluded=ibis.cases(
            (joined.order_excluded.notnull(), joined.order_excluded),
            (joined.line_excluded.notnull(), joined.line_excluded),
            (joined.for_order.notnull() & joined.known_key.isnull(), "order-unknown"),
            (rate.isnull(), "missing-rate"),
            else_=_undated(joined),
        ),
    )


def _charges(books: Books, orders: ir.Table) -> list[ir.Table]:
    """Charges on orders, and their cancellation with the whole order."""
    joined = books.charges.mutate(order_key=order_key(books.charges.company, books.charges.order_number)).inner_join(
        orders, "order_key"
    )
    charges = joined.mutate(
        key=joined.order_key + "|charge-" + joined.charge_number,
        document=joined.company + "|" + joined.order_number,
        line_number=joined.charge_number,
        sku=joined.charge_code,
        product=ibis.literal(""),
        base_incl_vat=in_base(joined.value_incl_vat, joined.rate),
        base_excl_vat=in_base(joined.value_excl_vat, joined.rate),
        base_discount=_NOTHING,
    )
    gone = charges.filter(charges.order_cancelled)
    zero = ibis.literal(0, type="int64")
    return [
        _row(
            charges,
            sale_key=charges.key + "|sale",
            kind=SALE,
            nature=CHARGE,
            posted_at=charges.ordered_at,
            posted_on=charges.ordered_on,
            amounts={"quantity": zero, **{name: charges[name] for name in _AMOUNTS}},
        ),
        _row(
            gone,
            sale_key=gone.key + "|cancellation",
            kind=CANCELLATION,
            nature=CHARGE,
            posted_at=ibis.coalesce(gone.order_cancelled_at, gone.ordered_at),
            posted_on=ibis.coalesce(gone.order_cancelled_on, gone.ordered_on),
            amounts={"quantity": zero, **{name: -gone[name] for name in _AMOUNTS}},
        ),
    ]


def orphans(books: Books) -> tuple[ir.Table, ir.Table]:
    """Returns, and credit lines, that name an order line which the mirror does not hold.

    Columns: record (`return|…` or `credit|…`), detail, money (with VAT, null for a return), currency. Two tables: as
    one they would be held in memory together.
    """
    line = ["company", "order_number", "line_number"]
    returns = books.returns.rename(return_line="line_number", line_number="order_line_number").anti_join(
        books.lines, line
    )
    # Joined on columns as they are: a key put together for every line would cost more than all the rest.
    notes = books.credits.filter(books.credits.status == "finalised").select(
        "company", "credit_number", "currency", note_order=books.credits.order_number
    )
    credits = books.credit_lines.inner_join(notes, ["company", "credit_number"])
    lost = (
        credits.select(
            "company",
            "credit_number",
            "line_number",
            "value_incl_vat",
            "currency",
            order_number=_order_of_credit(credits),
        )
        .filter(ibis._.order_number.notnull())
        .anti_join(books.orders, ["company", "order_number"])
    )
    return (
        returns.select(
            record=ibis.literal("return|") + returns.company + "|" + returns.return_number + "|" + returns.return_line,
            detail=ibis.literal("names order line ")
            + order_key(returns.company, returns.order_number)
            + "|"
            + returns.line_number,
            money=ibis.null("decimal(18,4)"),
            currency=ibis.null("string"),
        ),
        lost.select(
            record=ibis.literal("credit|") + lost.company + "|" + lost.credit_number + "|" + lost.line_number,
            detail=ibis.literal("names order ") + order_key(lost.company, lost.order_number),
            money=lost.value_incl_vat,
            currency=lost.currency,
        ),
    )


def refunds_above_sales(ledger: ir.Table) -> ir.Table:
    """Order lines of which more was refunded than was sold. Columns: record, money (the excess), currency."""
    goods = ledger.filter(ledger.nature == GOODS, ledger.excluded.isnull(), ledger.line_number != "")
    net = goods.group_by(["order_key", "line_number", "currency"]).agg(net=ibis._.value_incl_vat.sum())
    over = net.filter(net.net < 0)
    return over.select(
        record=ibis.literal("order-line|") + over.order_key + "|" + over.line_number,
        money=-over.net.cast("decimal(18,4)"),
        currency=over.currency,
    )
