"""What can happen in this Prima, one event at a time: an order is placed, despatched, cancelled, returned, credited.

Each move writes whole rows with their change stamp and keeps the books straight: a line's status follows from its
quantities, a header's from its lines, and stock available to sell falls when an order is accepted and rises on
goods-in, cancellation and receipted return, never on despatch. Which moves happen belongs to `nasty` and `tick`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property

import numpy as np

from prima_emarsys.contract import ENTITIES
from prima_emarsys.sandbox.world import words
from prima_emarsys.sandbox.world.orders import Numbers
from prima_emarsys.sandbox.world.store import Row, Rows

COMPANY = "1"
"""What happens by itself happens in the large company; an order that is handed in may be another company's."""
_PENNY = Decimal("0.01")


def record(entity: str, row: Row) -> str:
    """A row's business key in writing: `entity:company|code|…`."""
    return f"{entity}:" + "|".join(str(row[name]) for name in ENTITIES[entity].key)


class Moves:
    """Moves of the world at the wall-clock moment `at`; rows are stamped `stamp` (the same unless set)."""

    def __init__(self, rows: Rows, rng: np.random.Generator, at: datetime, settings: dict[str, str]) -> None:
        self.rows, self.rng = rows, rng
        self.at = self.stamp = at
        self.accounts = int(settings["customers"])
        self._next_account = int(settings["next_account"])
        self._numbers = Numbers(**{name: int(settings[f"next_{name}"]) for name in asdict(Numbers())})

    def move_to(self, at: datetime) -> None:
        """Go to another moment."""
        self.at = self.stamp = at

    def save(self) -> None:
        """Keep the next free numbers in the world."""
        numbers = {f"next_{name}": value for name, value in asdict(self._numbers).items()}
        self.rows.note(next_account=self._next_account, **numbers)

    # -- accounts -------------------------------------------------------------------------------------------------

    def open_account(self, person: Row | None = None) -> Row:
        """A web order without an account code opens an account: for a new shopper, or again for a known `person`.

        A person may be of another company than the large one.
        """
        code = f"{self._next_account:010d}"
        self._next_account += 1
        if person is None:
            forename = str(self.rng.choice([*words.FEMALE, *words.MALE]))
            surname = str(self.rng.choice(words.SURNAMES))
            address = f"{forename}.{surname}{int(code)}@{self.rng.choice(words.MAIL_DOMAINS)}".lower()
            person = {"forename": forename, "surname": surname, "email": address}
        account: Row = {
            "company": person.get("company", COMPANY),
            "customer_code": code,
            "account_name": f"{person['forename']} {person['surname']}",
            **{name: person.get(name) for name in ("title", "forename", "surname", "email", "phone", "mobile")},
            "account_type": "RETAIL",
            "channel": "WEB",
            "currency": "GBP",
            "is_trade": False,
            "opened_at": self.at,
            # The shop sends "No" for everything, whether it asked or not.
            **{f"receive_{channel}": False for channel in ("email", "mail", "text", "phone", "mobile")},
            "rent_details": False,
            "changed_at": self.stamp,
        }
        self.rows.write("customer", account)
        self.rows.write("customer_address", self._address(account))
        return account

    def _address(self, account: Row) -> Row:
        postcode = f"{self.rng.choice(words.POST_AREAS)}{self.rng.integers(1, 20)} 1{self.rng.choice(words.POST_ENDS)}"
        return {
            "company": account["company"],
            "customer_code": account["customer_code"],
            "address_number": "1",
            "address_type": "Invoice",
            "line_1": f"{self.rng.integers(1, 180)} {self.rng.choice(words.STREETS)}",
            **{f"line_{n}": "" for n in range(2, 7)},
            "city": str(self.rng.choice(words.TOWNS)),
            "postcode": postcode,
            "country": "GB",
            "changed_at": self.stamp,
        }

    def change_account(self, account: Row, **values: object) -> Row:
        """Write an account again with other values."""
        changed = account | values | {"changed_at": self.stamp}
        self.rows.rewrite("customer", changed)
        return changed

    def move_house(self, account: Row) -> Row:
        """Another invoice address under the same number."""
        address = self._address(account)
        self.rows.rewrite("customer_address", address)
        return address

    def merge(self, loser: Row, survivor: Row, orders: Sequence[Row] = ()) -> Row:
        """`loser` gives way to `survivor`; the given order headers move along."""
        merge: Row = {
            "company": COMPANY,
            "customer_code": loser["customer_code"],
            "merged_into_code": survivor["customer_code"],
            "merged_at": self.at,
            "unmerged_at": None,
            "changed_at": self.stamp,
        }
        self.rows.write("customer_merge", merge)
        for order in orders:
            moved = order | {"customer_code": survivor["customer_code"], "changed_at": self.stamp}
            self.rows.rewrite("sales_order", moved)
        return merge

    # -- orders ---------------------------------------------------------------------------------------------------

    @cached_property
    def _skus(self) -> list[Row]:
        return [sku for sku in self.rows.find("sku", company=COMPANY) if not sku["is_discontinued"]]

    @cached_property
    def _prices(self) -> dict[str, list[Row]]:
        prices: dict[str, list[Row]] = {}
        for price in self.rows.find("price", company=COMPANY, price_list="RETAIL"):
            prices.setdefault(price["product"], []).append(price)
        return prices

    @cached_property
    def _zero_rated(self) -> set[str]:
        products = self.rows.find("product", company=COMPANY)
        return {product["product"] for product in products if product["category"].startswith("Children")}

    def pick_skus(self, count: int) -> list[Row]:
        """SKUs that are sold at this moment."""
        picked: list[Row] = []
        while len(picked) < count:
            sku = self._skus[int(self.rng.integers(len(self._skus)))]
            if self.price(sku["product"]) is not None:
                picked.append(sku)
        return picked

    def price(self, product: str) -> Decimal | None:
        """What the large company asks for one of a style with VAT, if it sells it at this moment."""
        valid = [price for price in self._prices.get(product, ()) if price["valid_from"] <= self.at.date()]
        return max(valid, key=lambda price: price["valid_from"])["price_incl_vat"] if valid else None

    def without_vat(self, value: Decimal, product: str = "") -> Decimal:
        """A value less VAT: children's shoes are zero-rated, all else is not."""
        return value if product in self._zero_rated else (value / Decimal("1.2")).quantize(_PENNY, ROUND_HALF_UP)

    def place_order(
        self, account: Row, skus: Sequence[Row], *, quantity: int = 1, paid_by: str | None = None, free: bool = False
    ) -> Row:
        """A web order of the account; `paid_by` is a credit note's number, `free` takes off everything."""
        number = str(self._numbers.order)
        self._numbers.order += 1
        common = {"company": account["company"], "order_number": number, "changed_at": self.stamp}
        order: Row = common | {
            "customer_code": account["customer_code"],
            "status": "Confirmed",
            "order_type": "WEB",
            "channel": "WEB",
            "source_media": str(self.rng.choice(words.SOURCE_MEDIA)),
            "currency": "GBP",
            "exchange_rate": Decimal(1),
            "prices_include_vat": True,
            "ordered_at": self.at,
            "cancelled_at": None,
            "invoice_address_number": "1",
            "delivery_address_number": "1",
            "order_email": account["email"],
            "exchange_credit_number": paid_by,
        }
        lines: list[Row] = []
        for index, sku in enumerate(skus, 1):
            product = sku["product"]
            full = quantity * (self.price(product) or Decimal(0))
            value = Decimal(0) if free else full
            line = common | {
                "line_number": str(index),
                **{name: sku[name] for name in ("product", "matrix_1", "matrix_2", "matrix_3", "matrix_4")},
                "status": "Confirmed",
                "quantity": quantity,
                "quantity_cancelled": 0,
                "quantity_despatched": 0,
                "value_incl_vat": value,
                "value_excl_vat": self.without_vat(value, product),
                "discount_incl_vat": full - value,
                "warehouse": "MAIN",
                "due_on": (self.at + timedelta(days=3)).date(),
                "cancelled_at": None,
            }
            lines.append(line)
        fee = Decimal("4.95")
        charge = {"charge_number": "1", "charge_code": "RM48", "value_incl_vat": fee}
        return self.accept_order(order, lines, [common | charge | {"value_excl_vat": self.without_vat(fee)}])

    def accept_order(self, order: Row, lines: Sequence[Row], charges: Sequence[Row]) -> Row:
        """Write an order with its lines and charges; what the lines order is allocated. Returns the header."""
        self.rows.write("sales_order", order)
        for line in lines:
            self.rows.write("sales_order_line", line)
            self._stock(line, allocated=line["quantity"])
        for charge in charges:
            self.rows.write("order_charge", charge)
        return order

    def lines(self, order: Row) -> list[Row]:
        """An order's lines."""
        return self.rows.find("sales_order_line", company=order["company"], order_number=order["order_number"])

    def despatch(self, order: Row, *, part: bool = False) -> Row | None:
        """Everything that waits leaves; with `part`, one unit stays. Returns the despatch's first row, if any."""
        waiting = [line for line in self.lines(order) if _waits(line) > 0]
        if not waiting or (part and sum(map(_waits, waiting)) < 2):
            return None
        number = str(self._numbers.despatch)
        self._numbers.despatch += 1
        written: list[Row] = []
        for line in waiting:
            quantity = _waits(line) - (part and line is waiting[-1])
            if not quantity:
                continue
            despatched: Row = {
                "company": order["company"],
                "despatch_number": number,
                "line_number": str(len(written) + 1),
                "order_number": order["order_number"],
                "order_line_number": line["line_number"],
                "quantity": quantity,
                "despatched_at": self.at,
                "carrier": "RM48",
                "tracking_reference": f"ZZ{number}QQ",
                "changed_at": self.stamp,
            }
            self.rows.write("despatch", despatched)
            written.append(despatched)
            self._write_line(line | {"quantity_despatched": line["quantity_despatched"] + quantity})
            self._stock(line, physical=-quantity, allocated=-quantity)
        self._write_header(order)
        return written[0]

    def cancel_line(self, order: Row, line: Row) -> Row | None:
        """What waits of a line is cancelled; None if nothing waits."""
        waiting = _waits(line)
        if waiting <= 0:
            return None
        cancelled = line | {"quantity_cancelled": line["quantity_cancelled"] + waiting, "cancelled_at": self.at}
        self._write_line(cancelled)
        self._stock(line, allocated=-waiting)
        self._write_header(order)
        return cancelled

    def cancel_order(self, order: Row) -> Row | None:
        """What waits of an order is cancelled; None if nothing waits."""
        cancelled = [self.cancel_line(order, line) for line in self.lines(order)]
        return order if any(cancelled) else None

    def _write_line(self, line: Row) -> None:
        status = _status([line]) or line["status"]
        self.rows.rewrite("sales_order_line", line | {"status": status, "changed_at": self.stamp})

    def _write_header(self, order: Row) -> None:
        status = _status(self.lines(order)) or order["status"]
        values = {"status": status, "changed_at": self.stamp}
        if status == "Cancelled":
            values["cancelled_at"] = self.at
        self.rows.rewrite("sales_order", order | values)

    # -- returns and credits ----------------------------------------------------------------------------------------

    def receive_return(self, order: Row, *, units: int | None = None) -> Row | None:
        """Goods of the first line that can come back are receipted: all of it, or `units`. None if nothing can."""
        returned: dict[str, int] = {}
        for row in self.rows.find("customer_return", company=order["company"], order_number=order["order_number"]):
            returned[row["order_line_number"]] = returned.get(row["order_line_number"], 0) + row["quantity"]
        for line in self.lines(order):
            left = line["quantity_despatched"] - returned.get(line["line_number"], 0)
            if left <= 0:
                continue
            quantity = left if units is None else min(units, left)
            came: Row = {
                "company": order["company"],
                "return_number": str(self._numbers.customer_return),
                "line_number": "1",
                "order_number": order["order_number"],
                "order_line_number": line["line_number"],
                "quantity": quantity,
                "receipted_at": self.at,
                "reason": str(self.rng.choice(words.RETURN_REASONS)),
                "changed_at": self.stamp,
            }
            self._numbers.customer_return += 1
            self.rows.write("customer_return", came)
            self._stock(line, physical=quantity)
            return came
        return None

    def credit(
        self,
        account_code: str,
        value: Decimal,
        *,
        order: Row | None = None,
        came: Row | None = None,
        kind: str = "Refund",
        order_number: str | None = None,
    ) -> Row:
        """A finalised credit note of one line: for goods that `came` back, or money only. Value is with VAT."""
        number = str(self._numbers.credit)
        self._numbers.credit += 1
        named = order["order_number"] if order else order_number
        note: Row = {
            "company": COMPANY,
            "credit_number": number,
            "customer_code": account_code,
            "order_number": named,
            "credit_type": kind,
            "status": "Finalised",
            "currency": order["currency"] if order else "GBP",
            "exchange_rate": order["exchange_rate"] if order else Decimal(1),
            "raised_at": self.at - timedelta(minutes=30),
            "finalised_at": self.at,
            "reason": "RETURN" if came else "GOODWILL",
            "changed_at": self.stamp,
        }
        line: Row = {
            "company": COMPANY,
            "credit_number": number,
            "line_number": "1",
            "order_number": named,
            "quantity": 0,
            "value_incl_vat": value,
            "value_excl_vat": self.without_vat(value),
            "changed_at": self.stamp,
        }
        if came and order:
            sold = self._sold(came)
            line |= {name: sold[name] for name in ("product", "matrix_1", "matrix_2", "matrix_3", "matrix_4")}
            line |= {
                "order_line_number": came["order_line_number"],
                "return_number": came["return_number"],
                "quantity": came["quantity"],
                "value_excl_vat": self.without_vat(value, sold["product"]),
            }
        self.rows.write("credit_note", note)
        self.rows.write("credit_note_line", line)
        return note

    def worth(self, came: Row) -> Decimal:
        """What the goods that came back were sold for, with VAT."""
        sold = self._sold(came)
        return (sold["value_incl_vat"] * came["quantity"] / sold["quantity"]).quantize(_PENNY, ROUND_HALF_UP)

    def _sold(self, came: Row) -> Row:
        line = self.rows.one(
            "sales_order_line",
            company=came["company"],
            order_number=came["order_number"],
            line_number=came["order_line_number"],
        )
        if line is None:
            raise LookupError(f"return {came['return_number']} names a line that does not exist")
        return line

    # -- stock ----------------------------------------------------------------------------------------------------

    def goods_in(self, sku: Row, quantity: int) -> Row | None:
        """Goods arrive in the distribution centre; None if the SKU has no stock row."""
        return self._stock(sku | {"warehouse": "MAIN"}, physical=quantity)

    def _stock(self, line: Row, *, physical: int = 0, allocated: int = 0) -> Row | None:
        names = ("company", "warehouse", "product", "matrix_1", "matrix_2", "matrix_3", "matrix_4")
        stock = self.rows.one("stock", **{name: line[name] for name in names})
        if stock is None:
            return None
        moved = stock | {
            "physical": stock["physical"] + physical,
            "allocated": stock["allocated"] + allocated,
            "changed_at": self.stamp,
        }
        self.rows.rewrite("stock", moved)
        return moved


def _waits(line: Row) -> int:
    return line["quantity"] - line["quantity_cancelled"] - line["quantity_despatched"]


def _status(lines: Sequence[Row]) -> str | None:
    """Status by quantities; None where nothing has happened yet, so that the present word stays."""
    ordered, cancelled, despatched = (
        sum(line[name] for line in lines) for name in ("quantity", "quantity_cancelled", "quantity_despatched")
    )
    if cancelled == ordered:
        return "Cancelled"
    if not despatched:
        return None
    return "Despatched" if cancelled + despatched == ordered else "Part Despatched"
