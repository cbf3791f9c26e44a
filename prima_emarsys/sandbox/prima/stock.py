"""What can be sold: `ProductAvailableToSell` (everything, or a range of styles) and `MultiAvailableToSell`.

Available to sell is what is on the shelf, less allocated, held and buffer, in each sellable warehouse, never below 0;
and the day on which more is expected is told only where nothing is available. Both requests know neither warehouse nor
price nor time. That the figure is made so, that ranges include both ends and compare without case: our reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from prima_emarsys.sandbox.prima.grammar import Element, answer, day, element
from prima_emarsys.sandbox.world.store import Row, Rows

SkuKey = tuple[str, ...]
"""Style and four matrix codes; empty where there is none."""


@dataclass(frozen=True)
class Available:
    """Units that can be sold, and when more is expected."""

    units: int = 0
    expected_on: date | None = None

    def and_also(self, stock: Row) -> Available:
        """With what one more sellable warehouse has."""
        free = stock["physical"] - stock["allocated"] - stock["held"] - (stock["buffer"] or 0)
        days = [on for on in (self.expected_on, stock["expected_on"]) if on]
        return Available(self.units + max(free, 0), min(days, default=None))


def sku_key(row: Row) -> SkuKey:
    """The key of anything that names a SKU."""
    return tuple(row[name] or "" for name in ("product", "matrix_1", "matrix_2", "matrix_3", "matrix_4"))


def available_stock(rows: Rows, company: str, products: Iterable[str] = ()) -> dict[SkuKey, Available]:
    """Every SKU that a sellable warehouse of the company stocks, in the order of its key; or those of some styles."""
    sellable = [row["warehouse"] for row in rows.find("warehouse", company=company) if row["is_sellable"]]
    found: dict[SkuKey, Available] = {}
    for warehouse in sellable:
        for only in [{"product": product} for product in products] or [{}]:
            for row in rows.find("stock", company=company, warehouse=warehouse, **only):
                key = sku_key(row)
                found[key] = found.get(key, Available()).and_also(row)
    return dict(sorted(found.items()))


def product_available_to_sell(rows: Rows, company: str, request: Element) -> str:
    """All SKUs between two styles; an empty end is open."""
    asked = request.all("Data")
    first, last = (asked[0].get(name).upper() if asked else "" for name in ("ProductFrom", "ProductTo"))
    told = [
        _told("sku", key, available)
        for key, available in available_stock(rows, company).items()
        if first <= key[0].upper() and (not last or key[0].upper() <= last)
    ]
    return answer(company, request.get("RequestType"), element("Data", {}, *told), RequestStatus="OK")


def multi_available_to_sell(rows: Rows, company: str, request: Element) -> str:
    """The SKUs that were named, in the order in which they were. One that nobody stocks has 0: our choice."""
    named = [named_sku(sku) for data in request.all("Data") for sku in data.all("sku")]
    styles = sorted({_folded(key)[0] for key in named})
    known = {_folded(key): found for key, found in available_stock(rows, company, styles).items()} if named else {}
    told = [_told("SKU", key, known.get(_folded(key), Available())) for key in named]
    return answer(company, request.get("RequestType"), element("Data", {}, *told), RequestStatus="OK")


def named_sku(named: Element) -> SkuKey:
    """The SKU that an element of a request names."""
    return tuple(named.get(name) for name in ("Product", "MtrxCode1", "MtrxCode2", "MtrxCode3", "MtrxCode4"))


def _folded(key: SkuKey) -> SkuKey:
    return tuple(part.strip().upper() for part in key)


def _told(name: str, key: SkuKey, available: Available) -> str:
    product, *matrix = key
    codes = {f"MtrxCode{level}": code for level, code in enumerate(matrix, 1)}
    expected_on = day(available.expected_on) if not available.units else ""
    numbers = {"AvailableQuantity": str(available.units), "AvailableDate": expected_on}
    return element(name, {"Product": product, **codes, **numbers})
