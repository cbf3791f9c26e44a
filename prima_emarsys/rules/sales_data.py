"""What Emarsys should know of sales: one line for each sale, cancellation, credit and charge of the signed ledger.

A refund is a line of its own: negative, under the order that it refers to, dated at the credit note. A return that
waits for its credit is no line yet. Here is decided what a line says and which rule keeps one out; what was sent
already, and so what is still to be sent, is the plan's matter (`sync/sales_plan.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from string import Formatter

import ibis
import ibis.expr.types as ir

from prima_emarsys.rules.exact import in_base
from prima_emarsys.rules.sales import CANCELLATION, CHARGE, CREDIT, GOODWILL, SALE
from prima_emarsys.site import SalesData

COLUMNS = (
    "line_key", "order_key", "order_line", "order_id", "item", "customer", "account", "company", "channel", "kind",
    "price", "quantity", "gross", "net", "discount", "currency", "order_value", "happened_at", "ordered_on",
    "posted_on", "excluded",
)  # fmt: skip
"""Columns of a line. `price`, `gross`, `net` and `discount` are signed, in the Emarsys account's currency, to the
penny; `order_value` is the same with VAT in the order's own `currency`. `excluded` names the rule that keeps the line
out of Emarsys, or is null."""

SALE_KIND, CANCELLATION_KIND, RETURN_KIND, CREDIT_KIND, ADJUSTMENT_KIND = (
    "sale", "cancellation", "return", "credit", "adjustment",
)  # fmt: skip
"""Kinds of a line: credited goods are a `return`, credited money without goods is a `credit`, and what changed about a
line that was sent already is an `adjustment`."""

_ONE = ibis.literal(Decimal(1), type="decimal(18,8)")


def sales_lines(
    ledger: ir.Table, accounts: ir.Table, persons: ir.Table, kept_out: ir.Table, settings: SalesData, currency: str
) -> ir.Table:
    """All lines, those that a rule keeps out among them. See `COLUMNS`.

    `ledger` is `core.sales` (whole orders of it), `accounts` and `persons` are `core.accounts` and `core.persons`,
    `kept_out` is `emarsys.contacts_excluded`; `currency` is the Emarsys account's.
    """
    happened = ledger.filter(ledger.kind.isin([SALE, CANCELLATION, CREDIT]))
    worth = happened.group_by("order_key").agg(worth=ibis._.value_incl_vat.abs().max())
    owners = (
        accounts.select("account", internal="excluded")
        .left_join(persons.select("account", "person_key"), "account")
        .left_join(kept_out.select("person_key", "rule"), "person_key")
        .select("account", "internal", "person_key", "rule", known=ibis.literal(True))
    )
    lines = happened.left_join(owners, "account").inner_join(worth, "order_key")
    rate = account_rate(lines.base_currency, settings, currency)
    item = _item(lines, settings)
    money = {
        "gross": in_base(lines.base_incl_vat, rate),
        "net": in_base(lines.base_excl_vat, rate),
        "discount": in_base(lines.base_discount, rate),
    }
    return lines.select(
        line_key=lines.sale_key,
        order_key=lines.order_key,
        order_line=lines.order_key + "|" + lines.line_number,
        order_id=_order_id(lines, settings),
        item=item,
        customer=lines.person_key,
        account=lines.account,
        company=lines.company,
        channel=lines.channel.fill_null(""),
        kind=ibis.cases(
            (lines.kind == SALE, SALE_KIND),
            (lines.kind == CANCELLATION, CANCELLATION_KIND),
            (~_is_money(lines) & (lines.quantity != 0), RETURN_KIND),
            else_=CREDIT_KIND,
        ),
        price=money["gross" if settings.vat == "incl" else "net"],
        # One carriage is bought, or given back.
        quantity=_is_money(lines).ifelse(lines.value_incl_vat.sign().cast("int64"), lines.quantity),
        **money,
        currency=lines.currency,
        order_value=lines.value_incl_vat.cast("decimal(18,4)"),
        happened_at=lines.posted_at,
        ordered_on=lines.ordered_on,
        posted_on=lines.posted_on,
        excluded=ibis.coalesce(
            lines.excluded,
            lines.known.isnull().ifelse("account-unknown", ibis.null("string")),
            lines.internal,
            lines.rule,
            lines.person_key.isnull().ifelse("no-person", ibis.null("string")),
            rate.isnull().ifelse("foreign-currency", ibis.null("string")),
            item.isnull().ifelse("charge-kept-out", ibis.null("string")),
            (lines.worth == 0).ifelse("zero-amount", ibis.null("string")),
        ),
    )


def _is_money(lines: ir.Table) -> ir.BooleanValue:
    """Whether a line is no goods."""
    return lines.nature.isin([CHARGE, GOODWILL])


def account_rate(base_currency: ir.StringValue, settings: SalesData, currency: str) -> ir.DecimalValue:
    """The account's currency for one unit of the books' currency; null where the site file gives none."""
    given = [(base_currency == code, ibis.literal(rate, type="decimal(18,8)")) for code, rate in settings.rates.items()]
    return ibis.cases((base_currency == currency, _ONE), *given, else_=ibis.null("decimal(18,8)"))


def _item(lines: ir.Table, settings: SalesData) -> ir.StringValue:
    """The catalogue's SKU, or the name under which money that is no goods goes; null where it is to be kept out."""
    code = lines.sku
    goods = item_of(lines.company, code, settings)
    charge: ir.StringValue = ibis.literal("charge-") + code
    if settings.charge_items:
        charge = ibis.cases(*((code == one, _named(item)) for one, item in settings.charge_items.items()), else_=charge)
    return ibis.cases(
        (lines.nature == CHARGE, charge), (lines.nature == GOODWILL, _named(settings.goodwill_item)), else_=goods
    )


def item_of(company: ir.StringValue, sku: ir.StringValue, settings: SalesData) -> ir.StringValue:
    """The item of a SKU, in sales data and catalogue alike."""
    return _filled(settings.item, {"company": company, "sku": sku})


def _named(item: str | None) -> ir.StringValue:
    return ibis.null("string") if item is None else ibis.literal(item)


def _order_id(lines: ir.Table, settings: SalesData) -> ir.StringValue:
    """The order's id in Emarsys; a credit without an order has one of its own."""
    number = lines.document.substr(lines.company.length() + 1)  # document is company|number
    of_order = _filled(settings.order_id, {"company": lines.company, "order_number": lines.order_number})
    of_credit = _filled(settings.credit_id, {"company": lines.company, "credit_number": number})
    return (lines.order_number == "").ifelse(of_credit, of_order)


def _filled(template: str, values: Mapping[str, ir.StringValue]) -> ir.StringValue:
    """A template with its names replaced."""
    parts: list[ir.StringValue] = []
    for text, name, _, _ in Formatter().parse(template):
        parts += [ibis.literal(text)] * bool(text)
        parts += [values[name]] * (name is not None)
    return ibis.literal("").concat(*parts)


def colliding_orders(lines: ir.Table) -> ir.Table:
    """Order ids under which several orders of Prima would go: order_id, orders, one of them (order_key)."""
    orders = lines.filter(lines.excluded.isnull()).select("order_id", "order_key").distinct()
    found = orders.group_by("order_id").agg(orders=ibis._.count(), order_key=ibis._.order_key.min())
    return found.filter(found.orders > 1)


def uncastable_orders(lines: ir.Table) -> ir.Table:
    """Order ids that change or fail when cast to an integer: letters, leading zeros, too many digits. Column: order_id.

    One of the vendor's two attribution tables is said to keep order ids as integers.
    """
    ids = lines.filter(lines.excluded.isnull()).select("order_id").distinct()
    return ids.filter(~ids.order_id.re_search(r"^(0|[1-9][0-9]{0,17})$"))
