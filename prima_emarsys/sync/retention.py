"""Applies the tables' retention rules, so that the ledger stays bounded. The rules themselves are in `schema`."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.sync import schema
from prima_emarsys.sync.ledger import Ledger

PAGE = 5_000
"""Rows removed in one transaction."""


def apply(ledger: Ledger) -> dict[str, int]:
    """Remove what is older than its table's rule; returns how many rows, by table."""
    return {
        table.name: _remove(ledger, table)
        for table in schema.metadata.sorted_tables
        if schema.retention_of(table).days is not None
    }


def outdated(table: sa.Table, now: datetime) -> sa.ColumnElement[bool]:
    """Which rows of `table` are older than its rule; none where there is no age limit."""
    rule = schema.retention_of(table)
    if rule.days is None or rule.since is None:
        return sa.false()
    return table.c[rule.since] < now - timedelta(days=rule.days)


def _remove(ledger: Ledger, table: sa.Table) -> int:
    old = sa.select(table.c.id).where(outdated(table, ledger.clock())).limit(PAGE)

    def page(connection: Connection) -> int:
        return connection.execute(sa.delete(table).where(table.c.id.in_(old))).rowcount

    removed = 0
    while number := ledger.write(page):
        removed += number
    return removed
