"""The same world as a real OpenEdge site might keep it: other names, other types, other words.

**Every name here is ours.** No table or column name of any real Prima is public; only the behaviour is real: schema
`PUB`, hyphens in names, blank-padded codes, a date with integer seconds for a time, LOGICAL with an unknown state,
arrays (extents) that SQL reads as one text, rows deleted by a mark, several companies in one table.
`sites/openedge-example.yaml` maps all of it back onto the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from prima_emarsys.contract import TABLES, Column, Entity, Type
from prima_emarsys.sandbox.world.columns import pc
from prima_emarsys.sandbox.world.flavour import Encoded, Flavour, Layout, Plain, Stand

ORDER_WORDS = {
    "held": "HLD",
    "confirmed": "ACC",
    "picking": "PIC",
    "part despatched": "PTD",
    "despatched": "DSP",
    "invoiced": "INV",
    "cancelled": "CAN",
}
"""This site's words for what the contract flavour writes in full; a word that is not listed stays as it is."""
WORDS: dict[str, dict[str, dict[str, str]]] = {
    "sales_order": {"status": ORDER_WORDS},
    "sales_order_line": {"status": ORDER_WORDS},
    "customer_address": {"address_type": {"invoice": "I", "delivery": "D"}},
    "credit_note": {
        "status": {"draft": "NEW", "finalised": "FIN", "cancelled": "CAN"},
        "credit_type": {"refund": "REF", "exchange": "EXC", "goodwill": "GWL"},
    },
    "accounting_period": {"status": {"open": "O", "closed": "C"}},
}
NAMES = {
    "customer_code": "cust-num",
    "merged_into_code": "into-cust-num",
    "order_number": "order-num",
    "line_number": "line-num",
    "order_line_number": "order-line-num",
    "product": "style",
    "matrix_1": "mtrx-code1",
    "matrix_2": "mtrx-code2",
    "matrix_3": "mtrx-code3",
    "matrix_4": "mtrx-code4",
    "email": "e-mail",
    "surname": "last-name",
    "forename": "first-name",
    "quantity": "qty",
    "quantity_cancelled": "qty-canc",
    "quantity_despatched": "qty-desp",
    "warehouse": "whse",
    "postcode": "post-code",
    "currency": "curr-code",
    "exchange_rate": "curr-rate",
}
"""Names that are not just the contract's with hyphens."""
PADDED = {"customer_code": 12, "merged_into_code": 12, "product": 16}
"""Codes that are filled up with blanks."""
DELETED = ("record-status", "D")
DELETED_BY_MARK = ("customer", "customer_address", "sales_order", "sales_order_line")
TRAINING_COMPANY = "9"


@dataclass(frozen=True)
class _One:
    """A contract column in one database column of another name, type or writing."""

    column: Column
    name: str

    @property
    def covers(self) -> tuple[str, ...]:
        """The column itself."""
        return (self.column.name,)


@dataclass(frozen=True)
class Padded(_One):
    """A code filled up with blanks to `width`."""

    width: int

    def columns(self) -> list[sa.Column[Any]]:
        """A text."""
        return [sa.Column(self.name, sa.Text(), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """Blanks behind."""
        return {self.name: pc.utf8_rpad(rows.column(self.column.name), self.width)}

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Without the blanks."""
        value = row[self.name]
        return {self.column.name: value if value is None else value.rstrip(" ")}


@dataclass(frozen=True)
class Number(_One):
    """A code kept as an integer."""

    def columns(self) -> list[sa.Column[Any]]:
        """An integer."""
        return [sa.Column(self.name, sa.Integer(), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """`"1"` to 1."""
        return {self.name: rows.column(self.column.name).cast(pa.int32())}

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """1 to `"1"`."""
        return {self.column.name: str(row[self.name])}


@dataclass(frozen=True)
class Bit(_One):
    """A flag as 1, 0 or null, as SQL reads OpenEdge's LOGICAL."""

    def columns(self) -> list[sa.Column[Any]]:
        """A small integer."""
        return [sa.Column(self.name, sa.SmallInteger(), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """Yes is 1."""
        return {self.name: rows.column(self.column.name).cast(pa.int8())}

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """1 is yes."""
        value = row[self.name]
        return {self.column.name: None if value is None else bool(value)}


@dataclass(frozen=True)
class YesNo(_One):
    """A flag as the words `Yes` and `No`, or null."""

    def columns(self) -> list[sa.Column[Any]]:
        """A text."""
        return [sa.Column(self.name, sa.Text(), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """In words."""
        return {self.name: pc.if_else(rows.column(self.column.name), "Yes", "No")}

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """From words."""
        return {self.column.name: {"Yes": True, "No": False}.get(row[self.name])}


@dataclass(frozen=True)
class Words(_One):
    """A status under the site's own words."""

    words: Mapping[str, str]

    def columns(self) -> list[sa.Column[Any]]:
        """A text."""
        return [sa.Column(self.name, sa.Text(), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """Into the site's words, whatever case or hyphen the word had."""
        named = pc.dictionary_encode(rows.column(self.column.name).combine_chunks())
        theirs = [self.words.get(word.lower().replace("-", " "), word) for word in named.dictionary.to_pylist()]
        return {self.name: pa.array(theirs, pa.string()).take(named.indices)}

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Out of the site's words."""
        ours = {theirs: word.title() for word, theirs in self.words.items()}
        return {self.column.name: ours.get(row[self.name], row[self.name])}


@dataclass(frozen=True)
class DateAndSeconds(_One):
    """A moment as a date and the seconds since midnight in two columns."""

    @property
    def _names(self) -> tuple[str, str]:
        stem = self.name.removesuffix("-at")
        return f"{stem}-date", f"{stem}-time"

    def columns(self) -> list[sa.Column[Any]]:
        """A date and an integer."""
        day, seconds = self._names
        return [sa.Column(day, sa.Date(), quote=True), sa.Column(seconds, sa.Integer(), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """Taken apart."""
        day, seconds = self._names
        moment = rows.column(self.column.name)
        minutes = pc.add(pc.multiply(pc.hour(moment), 60), pc.minute(moment))
        return {
            day: moment.cast(pa.date32(), safe=False),
            seconds: pc.add(pc.multiply(minutes, 60), pc.second(moment)).cast(pa.int32()),
        }

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Put together."""
        day, seconds = (row[name] for name in self._names)
        moment = None if day is None else datetime.combine(day, time()) + timedelta(seconds=seconds or 0)
        return {self.column.name: moment}


@dataclass(frozen=True)
class Extent:
    """Several contract columns as one array column: joined by `;`, with `~` before `;`, `?` and `~`; null is `?`."""

    covers: tuple[str, ...]
    name: str

    def columns(self) -> list[sa.Column[Any]]:
        """A text."""
        return [sa.Column(self.name, sa.Text(), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """Joined."""
        elements = []
        for name in self.covers:
            escaped = pc.replace_substring_regex(rows.column(name), "([;?~])", "~\\1")
            elements.append(pc.fill_null(escaped, "?"))
        return {self.name: pc.binary_join_element_wise(*elements, ";")}

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Split."""
        elements: list[str | None] = []
        text, element, bare = iter(row[self.name] or ""), "", True
        for character in text:
            if character == ";":
                elements.append(None if bare and element == "?" else element)
                element, bare = "", True
            elif character == "~":
                element, bare = element + next(text, ""), False
            else:
                element += character
        elements.append(None if bare and element == "?" else element)
        return dict(zip(self.covers, elements, strict=False))


def _stands(entity: Entity) -> tuple[Stand, ...]:
    stands: list[Stand] = []
    for column in entity.columns:
        name = NAMES.get(column.name, column.name.replace("_", "-"))
        words = WORDS.get(entity.name, {}).get(column.name)
        if column.name == "company":
            stands.append(Number(column, "company-no"))
        elif column.name in PADDED:
            stands.append(Padded(column, name, PADDED[column.name]))
        elif words:
            stands.append(Words(column, name, words))
        elif column.type is Type.TIMESTAMP:
            stands.append(DateAndSeconds(column, name))
        elif column.type is Type.FLAG:
            stands.append((YesNo if column.name.startswith("receive_") else Bit)(column, name))
        elif column.name == "line_1":
            stands.append(Extent(tuple(f"line_{n}" for n in range(1, 7)), "addr-line"))
        elif not column.name.startswith("line_") or column.name == "line_number":
            stands.append(Plain(column, name))
    return tuple(stands)


def _layout(entity: Entity) -> Layout:
    marked = entity.name in DELETED_BY_MARK
    return Layout(
        entity,
        entity.name.replace("_", "-"),
        _stands(entity),
        extra=((DELETED[0], "A"),) if marked else (),
        deleted=DELETED if marked else None,
    )


OPENEDGE = Flavour(
    "openedge",
    {name: _layout(entity) for name, entity in TABLES.items()},
    schema="PUB",
    training_company=TRAINING_COMPANY,
)
