"""Both entry points behind the envelope: one XML document in, one out, whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from prima_emarsys.sandbox.prima import invented, orders, stock
from prima_emarsys.sandbox.prima.grammar import SAX_ERROR, Element, Unreadable, read_request, refusal
from prima_emarsys.sandbox.world.clock import local
from prima_emarsys.sandbox.world.moves import Moves
from prima_emarsys.sandbox.world.store import Rows, Store

Read = Callable[[Rows, str, Element], str]
Write = Callable[[Moves, str, Element], str]

READS: dict[str, Read] = {
    "ProductAvailableToSell": stock.product_available_to_sell,
    "MultiAvailableToSell": stock.multi_available_to_sell,
    "OrderStatus": orders.order_status,
    **dict.fromkeys(invented.READS, invented.read),
}
WRITES: dict[str, Write] = {"NewOrder": orders.new_order, "MultiNewOrder": orders.multi_new_order}


def request_type_of(text: str) -> str:
    """The RequestType of a request, as far as it can be read."""
    try:
        return read_request(text).get("RequestType")
    except Unreadable as fault:
        return fault.request_type


def handle(store: Store, company: str, text: str) -> str:
    """Answer one request for one company, in one transaction."""
    try:
        request = read_request(text)
    except Unreadable as fault:
        return refusal(company, fault.request_type, SAX_ERROR)
    request_type = request.get("RequestType")
    with store.rows() as rows:
        if company not in {row["company"] for row in rows.find("company")}:
            return invented.unknown_company(company, request_type)
        if read := READS.get(request_type):
            return read(rows, company, request)
        if write := WRITES.get(request_type):
            now = datetime.now(UTC)
            moves = Moves(rows, np.random.default_rng(now.microsecond), local(now), rows.begin_moves())
            told = write(moves, company, request)
            moves.save()
            return told
    return invented.unknown_request(company, request_type)
