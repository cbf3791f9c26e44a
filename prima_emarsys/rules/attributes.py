"""What a person has bought, net of refunds: recency, frequency, monetary value, lifetime value, lifecycle stage.

All figures are facts with dates, never ages: "last ordered on", not "days since", else every contact would change every
day. Scores follow Hughes's RFM: each measure sorted on its own, five groups of equal size, 5 is best, ties by person
key. The cut points are computed once a day and frozen, so that scoring one person needs that person's rows only.
Amounts are in base currency with VAT; charges (carriage) are not counted, goodwill is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce

import ibis
import ibis.expr.types as ir

from prima_emarsys.rules.exact import cents, from_cents, ratio
from prima_emarsys.rules.sales import CANCELLATION, CHARGE, SALE
from prima_emarsys.site import AttributeRules, FixedThresholds

MEASURES = {"recency": "last_order_date", "frequency": "orders", "monetary": "net_value"}
"""The three measures and the attribute that each is taken from."""

BOUNDARIES = 4
"""Five groups have four boundaries."""


@dataclass(frozen=True)
class Boundary:
    """The least member of a group: scores at or above it are at least that group's. `person_key` breaks ties."""

    value: date | int | Decimal
    person_key: str | None = None


CutPoints = Mapping[str, tuple[Boundary, ...]]
"""measure → its four boundaries, rising. Empty where nobody has bought."""


def one_year_before(as_of: date) -> date:
    """Last day outside the twelve-month figures: the same day a year ago (28 February for the 29th)."""
    try:
        return as_of.replace(year=as_of.year - 1)
    except ValueError:
        return as_of.replace(year=as_of.year - 1, day=28)


def orders_of_persons(ledger: ir.Table, links: ir.Table) -> ir.Table:
    """Counted rows of the signed ledger summed per person and order.

    `links`: account, person_key. Columns: person_key, order_key, ordered_on, sold_units, returned_units, gross, net,
    last_return_date. `gross` is sales less cancellations; `net` is gross less returns and credits.
    """
    counted = ledger.filter(ledger.excluded.isnull(), ledger.nature != CHARGE)
    is_sale = counted.kind.isin([SALE, CANCELLATION])
    is_goods_back = ~is_sale & (counted.quantity < 0)
    per_order = counted.group_by(["account", "order_key"]).agg(
        ordered_on=counted.ordered_on.min(),
        sold_units=is_sale.ifelse(counted.quantity, 0).sum().cast("int64"),
        returned_units=is_sale.ifelse(0, -counted.quantity).sum().cast("int64"),
        gross=is_sale.ifelse(counted.base_incl_vat, 0).sum().cast("decimal(18,2)"),
        net=counted.base_incl_vat.sum().cast("decimal(18,2)"),
        last_return_date=is_goods_back.ifelse(counted.posted_on, ibis.null("date")).max(),
    )
    return per_order.inner_join(links.select("account", "person_key"), "account").drop("account")


def purchases(orders: ir.Table, persons: ir.Table, as_of: date, rules: AttributeRules) -> ir.Table:
    """Everything of `attributes` that needs no comparison with other persons, one row a person.

    `orders` as made by `orders_of_persons`; `persons`: person_key, every person wanted, buyer or not.
    An order counts if something of it was sold and, unless `refunded_orders_count`, something of it was kept.
    """
    counts = (orders.sold_units > 0) & (orders.gross > 0)
    if not rules.refunded_orders_count:
        counts = counts & (orders.net > 0)
    recent = orders.ordered_on > one_year_before(as_of)
    zero = ibis.literal(Decimal("0.00"), type="decimal(18,2)")
    summed = orders.group_by("person_key").agg(
        first_order_date=counts.ifelse(orders.ordered_on, ibis.null("date")).min(),
        last_order_date=counts.ifelse(orders.ordered_on, ibis.null("date")).max(),
        orders=counts.ifelse(1, 0).sum().cast("int64"),
        units=orders.sold_units.sum().cast("int64"),
        units_returned=orders.returned_units.sum().cast("int64"),
        gross_value=orders.gross.sum().cast("decimal(18,2)"),
        net_value=orders.net.sum().cast("decimal(18,2)"),
        net_value_12m=recent.ifelse(orders.net, zero).sum().cast("decimal(18,2)"),
        kept_net=counts.ifelse(orders.net, zero).sum().cast("decimal(18,2)"),
        last_return_date=orders.last_return_date.max(),
    )
    found = persons.select("person_key").left_join(summed, "person_key").drop("person_key_right")
    amounts = {name: found[name].fill_null(zero) for name in ("gross_value", "net_value", "net_value_12m", "kept_net")}
    numbers = {name: found[name].fill_null(0) for name in ("orders", "units", "units_returned")}
    filled = found.mutate(**amounts, **numbers)
    return filled.select(
        "person_key",
        "first_order_date",
        "last_order_date",
        "orders",
        "units",
        "gross_value",
        refunds_value=(filled.gross_value - filled.net_value).cast("decimal(18,2)"),
        net_value=filled.net_value,
        net_value_12m=filled.net_value_12m,
        average_order_value=from_cents(ratio(cents(filled.kept_net.abs()), filled.orders)),
        return_rate=(
            from_cents(ratio(ibis.greatest(filled.units_returned, 0) * 10_000, ibis.greatest(filled.units, 0)))
        ),
        last_return_date=filled.last_return_date,
        lifecycle_stage=lifecycle_stage(filled.orders, filled.last_order_date, as_of, rules),
    )


def lifecycle_stage(
    orders: ir.IntegerValue, last_order_date: ir.DateValue, as_of: date, rules: AttributeRules
) -> ir.StringValue:
    """Emarsys's own stages with the site's limits (Emarsys help: "customer lifecycle"; defaults 90 and 365 days).

    Lead: nothing bought. First-time buyer: one order, within the active days. Active: more than one, the last within
    them. Defecting: longer ago, up to the inactive days. Inactive: longer still.
    """
    active_since = as_of - timedelta(days=rules.active_days)
    lost_before = as_of - timedelta(days=rules.inactive_days)
    return ibis.cases(
        (orders == 0, "lead"),
        (last_order_date < lost_before, "inactive"),
        (last_order_date < active_since, "defecting"),
        (orders == 1, "first-time buyer"),
        else_="active",
    )


def quintile_boundaries(bought: ir.Table) -> ir.Table:
    """The boundaries of five groups of equal size for each measure, over everybody who has bought.

    Columns: measure, score (2 … 5), date_value, number_value, person_key. Independent groups, ties by person key.
    """
    buyers = bought.filter(bought.orders > 0)
    parts = []
    for measure, attribute in MEASURES.items():
        order = [buyers[attribute], buyers.person_key]
        grouped = buyers.select(
            "person_key",
            group=ibis.ntile(BOUNDARIES + 1).over(order_by=order),
            value=buyers[attribute],
        )
        first = grouped.mutate(
            place=ibis.row_number().over(group_by="group", order_by=[grouped.value, grouped.person_key])
        ).filter(ibis._.place == 0, ibis._.group > 0)
        is_date = attribute == "last_order_date"
        parts.append(
            first.select(
                measure=ibis.literal(measure),
                score=(first.group + 1).cast("int64"),
                date_value=first.value if is_date else ibis.null("date"),
                number_value=ibis.null("decimal(18,2)") if is_date else first.value.cast("decimal(18,2)"),
                person_key=first.person_key,
            )
        )
    return ibis.union(*parts)


def fixed_boundaries(limits: FixedThresholds, as_of: date) -> CutPoints:
    """Boundaries from the site's fixed limits, as Emarsys's own scores work. Recency limits are days before `as_of`."""
    return {
        "recency": tuple(Boundary(as_of - timedelta(days=days)) for days in reversed(limits.recency_days)),
        "frequency": tuple(Boundary(number) for number in limits.frequency_orders),
        "monetary": tuple(Boundary(amount) for amount in limits.monetary_net),
    }


def _score(table: ir.Table, measure: str, boundaries: tuple[Boundary, ...]) -> ir.IntegerValue:
    value = table[MEASURES[measure]]
    passed = [ibis.literal(1, type="int64")]
    for boundary in boundaries:
        limit = ibis.literal(boundary.value, type=value.type())
        at_least = value >= limit
        if boundary.person_key is not None:
            at_least = (value > limit) | ((value == limit) & (table.person_key >= boundary.person_key))
        passed.append(at_least.ifelse(1, 0).cast("int64"))
    total = reduce(lambda one, other: one + other, passed)
    return (table.orders > 0).ifelse(total, ibis.null("int64"))


def attributes(bought: ir.Table, cuts: CutPoints) -> ir.Table:
    """`purchases` with the three scores (1 … 5, null for those who have not bought) and the named segment."""
    scored = bought.mutate(
        recency_score=_score(bought, "recency", cuts.get("recency", ())),
        frequency_score=_score(bought, "frequency", cuts.get("frequency", ())),
        monetary_score=_score(bought, "monetary", cuts.get("monetary", ())),
    )
    return scored.mutate(rfm_segment=rfm_segment(scored.recency_score, scored.frequency_score))


def rfm_segment(recency: ir.IntegerValue, frequency: ir.IntegerValue) -> ir.StringValue:
    """A name for each cell of recency × frequency; null without scores.

    | recency \\ frequency | 1 | 2 - 3 | 4 - 5 |
    |---|---|---|---|
    | 5 | new | promising | champions |
    | 4 | new | promising | loyal |
    | 3 | cooling | needs attention | loyal |
    | 1 - 2 | hibernating | at risk | must not lose |
    """
    return ibis.cases(
        (recency.isnull() | frequency.isnull(), ibis.null("string")),
        ((recency == 5) & (frequency >= 4), "champions"),
        ((recency >= 3) & (frequency >= 4), "loyal"),
        ((recency >= 4) & (frequency >= 2), "promising"),
        (recency >= 4, "new"),
        ((recency == 3) & (frequency >= 2), "needs attention"),
        (recency == 3, "cooling"),
        (frequency >= 4, "must not lose"),
        (frequency >= 2, "at risk"),
        else_="hibernating",
    )


def crossing_persons(orders: ir.Table, scored: ir.Table, before: date, as_of: date, rules: AttributeRules) -> ir.Table:
    """Persons whose attributes change between two days although nothing happened. Column: person_key.

    An order leaves the twelve months, or the last order becomes older than a limit of the lifecycle.
    """
    leaving = orders.filter(
        orders.ordered_on > one_year_before(before), orders.ordered_on <= one_year_before(as_of)
    ).select("person_key")
    parts = [leaving]
    for days in (rules.active_days, rules.inactive_days):
        earlier, later = before - timedelta(days=days), as_of - timedelta(days=days)
        parts.append(
            scored.filter(scored.last_order_date >= earlier, scored.last_order_date < later).select("person_key")
        )
    return ibis.union(*parts, distinct=True)
