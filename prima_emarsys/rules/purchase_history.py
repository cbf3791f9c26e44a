"""When each person bought, in the form that a model of repeat purchases takes: (x, t_x, T, z), from the signed ledger.

The conventions are those of Fader and Hardie's notes on the CDNOW data: one purchase a day and person, the first one is
where the person begins and no repeat, t_x and T count from it. Refunds belong to the day of the order that they refund,
whenever they are posted; a day of which nothing is kept is no purchase. What counts is what counts for the attributes.
"""

from __future__ import annotations

from datetime import date

import ibis
import ibis.expr.types as ir

from prima_emarsys.rules.exact import cents


@ibis.udf.scalar.builtin
def md5(text: str) -> str:  # pyright: ignore[reportReturnType] (the engine's own; it reads UTF-8 and writes hex)
    """Every engine has it under this name, and all agree on it; Ibis's own digests do not reach PostgreSQL."""


def days_of_persons(orders: ir.Table) -> ir.Table:
    """What a person's orders of one day are worth together. `orders` as made by `attributes.orders_of_persons`.

    Columns: person_key, day, net (base currency with VAT; at most 0 if nothing of the day was kept).
    """
    return orders.group_by("person_key", day=orders.ordered_on).agg(net=orders.net.sum().cast("decimal(18,2)"))


def histories(days: ir.Table, as_of: date) -> ir.Table:
    """The history of each person who has kept something, observed to the end of `as_of` or to a later last purchase.

    `days` as made by `days_of_persons`. Persons whose net is not above 0 are kept out: a mean worth must be positive.
    Columns, all whole numbers: person_key, repeats (x), recency_days (t_x: last less first purchase), age_days (T: end
    of observation less first purchase), repeat_cents (net of the repeat purchases; z is that over x).
    """
    bought = days.net > 0
    when = bought.ifelse(days.day, ibis.null("date"))
    summed = days.group_by("person_key").agg(
        first=when.min(),
        last=when.max(),
        purchases=bought.ifelse(1, 0).sum(),
        net=days.net.sum(),
        kept=bought.ifelse(cents(days.net), 0).sum(),
        first_kept=cents(days.net).argmin(days.day, where=bought),
    )
    known = summed.filter(summed.net > 0)
    end = ibis.greatest(known["last"], ibis.literal(as_of))
    return known.select(
        "person_key",
        repeats=(known.purchases - 1).cast("int64"),
        recency_days=known["last"].delta(known["first"], unit="day").cast("int64"),
        age_days=end.delta(known["first"], unit="day").cast("int64"),
        repeat_cents=(known.kept - known.first_kept).cast("int64"),
    )


def sample(table: ir.Table, most: int) -> ir.Table:
    """At most so many rows, chosen by a hash of the person key: the same in every engine and on every day."""
    return table.order_by(md5(table.person_key), table.person_key).limit(most)
