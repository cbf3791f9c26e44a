"""A Prima small enough for laws: a few customers, orders and credits that tie to each other in every way, and change.

It is a reader like any other: the mirror lands its pages. Rows are made at random from small pools of codes, so that
merges, shared addresses, references to nothing and records that move are the rule and not the exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.prima.mirror import Landing, Mirror
from prima_emarsys.prima.sql import Mark, Page
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import page

TODAY = date(2026, 11, 20)
CUSTOMERS, ORDERS, CREDITS = 14, 16, 8
STEADY = range(90, 95)
"""Numbers of customers and orders that never change, so that there are buyers to score the others by."""
_EMAILS = [*(f"{name}@shop.example" for name in "abcdefg"), None, "na@na.com", "a..b@shop.example", " B@shop.example "]
_WEIGHTS = {
    "customer": 10,
    "customer_address": 2,
    "customer_merge": 6,
    "sales_order": 6,
    "sales_order_line": 6,
    "order_charge": 1,
    "customer_return": 5,
    "credit_note": 4,
    "credit_note_line": 5,
}

Key = tuple[Any, ...]


class SmallPrima:
    """Its tables, what changed since somebody last read, and a reader's two ways of reading."""

    def __init__(self, seed: int, *, empty: bool = False) -> None:
        self._random = Random(seed)
        self._rows: dict[str, dict[Key, dict[str, Any]]] = {name: {} for name in ENTITIES}
        self._dirty: dict[str, set[Key]] = {name: set() for name in ENTITIES}
        self.put("company", {"company": "1", "base_currency": "GBP"})
        if empty:
            return
        for number in STEADY:
            self.put("customer", {"customer_code": f"C{number}", "email": f"c{number}@shop.example"})
            self.put("sales_order", {"order_number": f"O{number}", "customer_code": f"C{number}"})
            self.put("sales_order_line", {"order_number": f"O{number}", "value": f"{number}.00"})
        for name, number in (("customer", 12), ("sales_order", 14), ("sales_order_line", 26), ("customer_return", 8)):
            for _ in range(number):
                self.put(name, self._made(name))
        for name in ("customer_merge", "credit_note", "credit_note_line", "customer_address", "order_charge"):
            for _ in range(6):
                self.put(name, self._made(name))

    # -- what happens in it ------------------------------------------------------------------------------------------

    def put(self, name: str, row: dict[str, Any]) -> None:
        """Write a row, new or over the one with its key."""
        key = self._key(name, row)
        self._rows[name][key] = row
        self._dirty[name].add(key)

    def drop(self, name: str, key: Key) -> None:
        """Delete a row."""
        del self._rows[name][key]
        self._dirty[name].add(key)

    def happen(self, changes: int) -> None:
        """So many changes at random: rows come, go, and become others under the same key."""
        for _ in range(changes):
            [name] = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            steady = {f"{letter}{number}" for letter in "CO" for number in STEADY}
            rows = {key: row for key, row in self._rows[name].items() if key[1] not in steady}
            if rows and self._random.random() < 0.25:
                self.drop(name, self._random.choice(sorted(rows, key=str)))
            elif rows and self._random.random() < 0.5:
                old = rows[self._random.choice(sorted(rows, key=str))]
                new = self._made(name)
                kept = ENTITIES[name].key
                changed = self._random.sample(sorted(new), k=2)
                self.put(name, old | {column: new[column] for column in changed if column not in kept})
            else:
                self.put(name, self._made(name))

    def _made(self, name: str) -> dict[str, Any]:
        pick, number = self._random.choice, self._random.randint

        def day(back: int = 800) -> date:
            return TODAY - timedelta(days=pick([number(0, back), 90, 91, 365, 366]))

        def customer() -> str:
            return f"C{number(1, CUSTOMERS):02}"

        def order() -> str:
            return f"O{number(1, ORDERS):02}"

        amount = str(Decimal(number(1, 99_999)) / 100)
        made: dict[str, dict[str, Any]] = {
            "customer": {
                "customer_code": customer(),
                "email": pick(_EMAILS),
                "surname": pick("XYZ"),
                "account_type": pick(["RETAIL"] * 6 + ["STAFF"]),
                "opened_at": pick([None, day(), day(), day()]),
                "erased_at": pick([None] * 14 + [day()]),
                "date_of_birth": pick([None, date(1980, 2, 3), date(1900, 1, 1)]),
            },
            "customer_address": {
                "customer_code": customer(),
                "address_number": str(number(1, 2)),
                "address_type": pick(["invoice", "delivery"]),
                "line_1": pick([None, "1 High Street", "x" * 300]),
                "country": pick(["GB", "FR", "AQ", None]),
            },
            "customer_merge": {
                "customer_code": customer(),
                "merged_into_code": customer(),
                "merged_at": TODAY - timedelta(days=number(1, 3)),
                "unmerged_at": pick([None, None, None, TODAY]),
            },
            "sales_order": {
                "order_number": order(),
                "customer_code": customer(),
                "status": pick(["confirmed"] * 6 + ["held", "cancelled"]),
                "order_type": pick(["WEB"] * 8 + ["SAMPLE"]),
                "currency": pick(["GBP", "GBP", "EUR"]),
                "exchange_rate": pick(["1", "0.86123", None]),
                "ordered_at": day(),
            },
            "sales_order_line": {
                "order_number": order(),
                "line_number": str(number(1, 2)),
                "product": pick(["BOOT", "SHOE", "SOCK", "VOUCHER"]),
                "status": pick(["confirmed"] * 8 + ["cancelled"]),
                "quantity": number(0, 4),
                "quantity_cancelled": pick([0, 0, 0, 1, 2]),
                "cancelled_at": pick([None, day()]),
                "value": amount,
            },
            "order_charge": {"order_number": order(), "value": amount},
            "customer_return": {
                "return_number": f"R{number(1, 10):02}",
                "order_number": order(),
                "order_line_number": str(number(1, 3)),
                "quantity": number(0, 3),
                "receipted_at": day(60),
            },
            "credit_note": {
                "credit_number": f"K{number(1, CREDITS):02}",
                "customer_code": customer(),
                "order_number": pick([None, "", order(), order(), order()]),
                "status": pick(["finalised"] * 5 + ["draft"]),
                "currency": pick(["GBP", "GBP", "EUR"]),
                "exchange_rate": pick(["1", "0.9", None]),
                "finalised_at": day(60),
            },
            "credit_note_line": {
                "credit_number": f"K{number(1, CREDITS):02}",
                "line_number": str(number(1, 2)),
                "order_number": pick([None, "", order()]),
                "order_line_number": pick([None, "1", "1", "2"]),
                "charge_code": pick([None] * 5 + ["CARR"]),
                "quantity": number(0, 2),
                "value": amount,
            },
        }
        return made[name]

    # -- what a reader sees ------------------------------------------------------------------------------------------

    def changed(self, entity: Entity, since: Mark | None) -> Iterator[Page]:
        """What changed since somebody last read; a deleted row is reported as gone."""
        dirty = self._dirty[entity.name]
        there = {key: row for key, row in self._rows[entity.name].items() if key in dirty}
        gone = sorted(dirty - set(there), key=str)
        self._dirty[entity.name] = set()
        if dirty:
            yield self._page(entity, there, gone if since else [])

    def everything(self, entity: Entity) -> Iterator[Page]:
        """All rows."""
        yield self._page(entity, self._rows[entity.name], [])

    def land(self, warehouse: Warehouse) -> list[Landing]:
        """Bring a mirror up to date with what changed."""
        mirror = Mirror(warehouse)
        changed = [name for name, keys in self._dirty.items() if keys]
        return [mirror.land(self, name, sweep=False, short_share=1.0) for name in changed]

    def land_everything(self, warehouse: Warehouse) -> None:
        """Fill an empty mirror; rows come in another order than they were written in."""
        mirror = Mirror(warehouse)
        for name, rows in self._rows.items():
            if rows:
                mirror.land(self, name, sweep=True, short_share=1.0)

    def _page(self, entity: Entity, rows: dict[Key, dict[str, Any]], gone: list[Key]) -> Page:
        shuffled = list(rows.values())
        self._random.shuffle(shuffled)
        good: pa.Table = page(entity.name, *shuffled)
        mark = Mark(datetime(2026, 11, 20, tzinfo=UTC))
        return Page(entity, good, [], good.num_rows + len(gone), 0, gone=gone, mark=mark)

    def _key(self, name: str, row: dict[str, Any]) -> Key:
        filled = page(name, row).to_pylist()[0]
        return tuple(filled[column] for column in ENTITIES[name].key)
