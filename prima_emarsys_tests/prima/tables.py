"""Tables by the contract in a real database, filled by a test: what stands for Prima in this room's tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES, Entity, Type
from prima_emarsys.prima.sql import Page, SqlReader
from prima_emarsys.prima.streams import CursorStream
from prima_emarsys.site import Site

TYPES: dict[Type, Any] = {
    Type.MONEY: sa.Numeric(18, 4),
    Type.RATE: sa.Numeric(18, 8),
    Type.INTEGER: sa.Integer(),
    Type.DATE: sa.Date(),
    Type.TIMESTAMP: sa.DateTime(),
    Type.FLAG: sa.Boolean(),
}

NINE = datetime(2026, 3, 2, 9)  # noqa: DTZ001 (Prima keeps the site's wall clock; London is on UTC in March)


def create(url: str, entity: Entity, rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """Make the entity's table under the contract's names and fill it."""
    engine = sa.create_engine(url)
    metadata = sa.MetaData()
    columns = [sa.Column(c.name, TYPES.get(c.type, sa.String(200))) for c in entity.columns]
    table = sa.Table(entity.name, metadata, *columns)
    with engine.begin() as connection:
        metadata.create_all(connection)
        if rows:
            connection.execute(table.insert(), [{**dict.fromkeys(entity.column), **row} for row in rows])
    engine.dispose()


def run(url: str, *statements: str) -> None:
    """Run SQL as the database's owner."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def order(number: int, **changes: Any) -> dict[str, Any]:
    """One sound order; each is stamped a minute after the one before."""
    return {
        "company": "01",
        "order_number": f"{number:06d}",
        "customer_code": "0000000042",
        "status": "Despatched",
        "currency": "GBP",
        "exchange_rate": 1,
        "prices_include_vat": True,
        "ordered_at": NINE,
        "changed_at": NINE + timedelta(minutes=number),
        **changes,
    }


def stock(product: str, **changes: Any) -> dict[str, Any]:
    """One sound row of stock."""
    base = {"company": "01", "warehouse": "MAIN", "product": product, "physical": 3, "allocated": 1, "held": 0}
    return {**base, "changed_at": NINE, **changes}


def site(**prima: Any) -> Site:
    """A site whose names are the contract's, with the smallest pages."""
    return Site.model_validate({"site": "test", "prima": {"page_rows": 100, **prima}})


def reader(url: str, way: str = "fast", **prima: Any) -> SqlReader:
    """A reader by the fastest stream, or by the cursor that every other database is read with."""
    return SqlReader(url, site(**prima), CursorStream(sa.create_engine(url)) if way == "cursor" else None)


def whole(pages: Iterable[Page]) -> pa.Table:
    """The good rows of all pages as one table."""
    return pa.concat_tables(page.good for page in pages)


ORDERS, STOCK = ENTITIES["sales_order"], ENTITIES["stock"]
