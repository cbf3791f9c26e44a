"""How a contract column stands in the world's database: under which name, as which type, written how.

The flavour `contract` keeps the contract's own names; `openedge` has a module of its own. Here belongs the shape of
tables, in both directions; what is in them belongs to the generators, how they are written to `store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from prima_emarsys.contract import TABLES, Column, Entity, Type

FlavourName = Literal["contract", "openedge"]
Encoded = dict[str, Any]
"""Database columns by name, as Arrow arrays."""


class Exact(TypeDecorator[Decimal]):
    """numeric(18, scale); on SQLite, which knows no exact decimal, text with a fixed number of decimals."""

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, scale: int) -> None:
        super().__init__(precision=18, scale=scale)
        self.scale = scale

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """Text on SQLite, numeric elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(sa.Numeric(18, self.scale))

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> Any:
        """Decimal to what the database keeps."""
        return f"{value:.{self.scale}f}" if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:  # noqa: ARG002 (interface)
        """Back to Decimal."""
        return None if value is None else Decimal(value)


def sql_type(kind: Type) -> sa.types.TypeEngine[Any]:
    """The database type that the contract flavour keeps a column in; timestamps are naive local times."""
    match kind:
        case Type.CODE | Type.TEXT | Type.WORD:
            return sa.Text()
        case Type.MONEY:
            return Exact(4)
        case Type.RATE:
            return Exact(8)
        case Type.INTEGER:
            return sa.BigInteger()
        case Type.DATE:
            return sa.Date()
        case Type.TIMESTAMP:
            return sa.DateTime()
        case Type.FLAG:
            return sa.Boolean(create_constraint=False)


class Stand(Protocol):
    """Where and how one contract column (or several) stands in a table."""

    @property
    def covers(self) -> tuple[str, ...]:
        """Contract columns that stand here."""
        ...

    def columns(self) -> list[sa.Column[Any]]:
        """The database's columns."""
        ...

    def encode(self, rows: pa.Table) -> Encoded:
        """Contract columns to database columns."""
        ...

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One row's database values to contract values."""
        ...


@dataclass(frozen=True)
class Plain:
    """As in the contract, perhaps under another name."""

    column: Column
    name: str

    @property
    def covers(self) -> tuple[str, ...]:
        """The column itself."""
        return (self.column.name,)

    def columns(self) -> list[sa.Column[Any]]:
        """One column of the contract's type."""
        return [sa.Column(self.name, sql_type(self.column.type), quote=True)]

    def encode(self, rows: pa.Table) -> Encoded:
        """Nothing but the name changes."""
        return {self.name: rows.column(self.column.name)}

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing but the name changes."""
        return {self.column.name: row[self.name]}


@dataclass(frozen=True)
class Layout:
    """One entity's table: its name, where each column stands, and columns that the contract does not know.

    `extra` maps such a column to its value in every row. `deleted`, if given, is the column and mark by which the site
    deletes a row without removing it.
    """

    entity: Entity
    table: str
    stands: tuple[Stand, ...]
    extra: tuple[tuple[str, str], ...] = ()
    deleted: tuple[str, str] | None = None

    def build(self, metadata: sa.MetaData, prefix: str = "") -> sa.Table:
        """The SQLAlchemy table."""
        columns = [column for stand in self.stands for column in stand.columns()]
        columns += [sa.Column(name, sa.Text(), quote=True) for name, _ in self.extra]
        return sa.Table(prefix + self.table, metadata, *columns, quote=True)

    def encode(self, rows: pa.Table) -> pa.Table:
        """A contract table as the database's columns."""
        arrays: Encoded = {}
        for stand in self.stands:
            arrays |= stand.encode(rows)
        for name, value in self.extra:
            arrays[name] = pa.repeat(pa.scalar(value), len(rows))
        return pa.table(arrays)

    def decode(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A database row as a contract row."""
        decoded: dict[str, Any] = {}
        for stand in self.stands:
            decoded |= stand.decode(row)
        return decoded

    def names(self, column: str) -> list[str]:
        """Database columns in which a contract column stands."""
        return [made.name for stand in self.stands if column in stand.covers for made in stand.columns()]


@dataclass(frozen=True)
class Flavour:
    """All tables. `schema` is used where the database has schemas; SQLite has it as a prefix (`PUB_customer`).

    `training_company`, if given, is one more company in the same tables, whose rows belong to nobody.
    """

    name: FlavourName
    layouts: Mapping[str, Layout]
    schema: str | None = None
    training_company: str | None = None


CONTRACT = Flavour(
    "contract",
    {
        name: Layout(entity, name, tuple(Plain(column, column.name) for column in entity.columns))
        for name, entity in TABLES.items()
    },
)
