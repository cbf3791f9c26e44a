"""What can be sold: the stock of sellable warehouses, less what is promised, held or kept back.

Prima's web service answers this figure itself; here it follows from the stock that SQL reads, so that both ways end in
the contract's `available_stock`.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from prima_emarsys.contract import ENTITIES

_AVAILABLE = ENTITIES["available_stock"]


def available_stock(stock: ir.Table, warehouses: ir.Table) -> ir.Table:
    """Available to sell of each SKU, in the columns of the contract's `available_stock`.

    In each sellable warehouse: physical − allocated − held − buffer, never below 0; then the sum over them. The day on
    which more is expected is the earliest of them, and is told only while nothing is available. A SKU that no sellable
    warehouse stocks has no row; a warehouse that nobody calls sellable is not.
    """
    sellable = warehouses.filter(warehouses.is_sellable.fill_null(False))
    stocked = stock.semi_join(sellable, ["company", "warehouse"])
    free = stocked.physical - stocked.allocated - stocked.held - stocked.buffer.fill_null(0)
    summed = (
        stocked.mutate(free=ibis.greatest(free, 0))
        .group_by(list(_AVAILABLE.key))
        .agg(
            available=ibis._.free.sum().cast("int64"),
            expected=ibis._.expected_on.min(),
            changed_at=ibis._.changed_at.max(),
            changed_on=ibis._.changed_on.max(),
        )
    )
    return summed.mutate(expected_on=(summed.available == 0).ifelse(summed.expected, ibis.null("date"))).select(
        _AVAILABLE.arrow_schema.names
    )
