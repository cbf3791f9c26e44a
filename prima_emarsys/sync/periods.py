"""Closed accounting periods in the ledger: their figures as they were at closing, and who signed them off.

What was frozen never changes. When Prima opens a period again, its row stays and no longer counts; when Prima closes
it again, the next version is frozen. Which documents belong to a period is decided elsewhere (`proof.periods`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import closed_period as table
from prima_emarsys.sync.schema import retention_of

ORDERED, POSTED = "ordered", "posted"
CLOCKS = (ORDERED, POSTED)
KEPT_DAYS = retention_of(table).days or 0
"""Older periods are not frozen: their rows would be removed at once."""


class NotSignable(Exception):
    """There is no such closed period, or it is signed already. The message says which."""


@dataclass(frozen=True)
class Figure:
    """Sums of one channel and order currency, of documents whose own period is `origin`.

    `value` in the order currency, `base` in the company's base currency, both net and with VAT.
    """

    origin: str
    channel: str
    currency: str
    documents: int
    value: Decimal
    base: Decimal


@dataclass(frozen=True)
class ClosedPeriod:
    """A period as it was frozen, on one clock. `net` is what was booked in it: its own documents and `late` ones."""

    id: int
    company: str
    period: str
    clock: str
    version: int
    starts_on: date
    ends_on: date
    closed_at: datetime | None
    frozen_at: datetime
    currency: str
    net: Decimal
    late: Decimal
    figures: str
    digest: str
    reopened_at: datetime | None
    signed_by: str | None
    signed_at: datetime | None
    note: str | None

    @property
    def key(self) -> tuple[str, str]:
        """Company and period."""
        return self.company, self.period

    @cached_property
    def sums(self) -> tuple[Figure, ...]:
        """The figures."""
        return figures_of(self.figures)


def figures_of(text: str) -> tuple[Figure, ...]:
    """The figures as they are stored."""
    money = ("value", "base")
    return tuple(Figure(**one | {name: Decimal(one[name]) for name in money}) for one in json.loads(text))


def net_and_late(period: str, figures: Sequence[Figure]) -> tuple[Decimal, Decimal]:
    """What was booked in a period, and what of it are adjustments of other ones."""
    zero = Decimal("0.00")
    return sum((one.base for one in figures), zero), sum((one.base for one in figures if one.origin != period), zero)


_COLUMNS = [table.c[name] for name in ClosedPeriod.__dataclass_fields__]
_LATEST = table.c.reopened_at.is_(None)


class Periods:
    """The closed periods of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def active(self) -> list[ClosedPeriod]:
        """Periods that are frozen and were not opened again, the oldest first."""
        return self._read(_LATEST)

    def all(self) -> list[ClosedPeriod]:
        """All versions, the oldest period first."""
        return self._read(sa.true())

    def _read(self, where: sa.ColumnElement[bool]) -> list[ClosedPeriod]:
        order = (table.c.starts_on, table.c.company, table.c.clock, table.c.version)
        select = sa.select(*_COLUMNS).where(where).order_by(*order)
        return self._ledger.read(lambda c: [ClosedPeriod(**row._asdict()) for row in c.execute(select)])

    def content(self, period: ClosedPeriod) -> bytes:
        """The CSV of its documents. Raises ValueError if it is not what was frozen."""
        select = sa.select(table.c.content).where(table.c.id == period.id)
        packed = self._ledger.read(lambda connection: connection.execute(select).scalar_one())
        content = unpacked(packed, period.digest)
        if content is None:
            raise ValueError(f"the documents of period {period.period} of company {period.company} were changed")
        return content

    def freeze(
        self,
        company: str,
        period: str,
        clock: str,
        days: tuple[date, date],
        closed_at: datetime | None,
        currency: str,
        figures: Sequence[Figure],
        content: bytes,
        digest: str,
    ) -> ClosedPeriod:
        """Write down a period that Prima closed. `content` is the CSV by gzip, `digest` the SHA-256 of the CSV."""
        mine = sa.and_(table.c.company == company, table.c.period == period, table.c.clock == clock)
        last = sa.select(sa.func.coalesce(sa.func.max(table.c.version), 0)).where(mine)
        net, late = net_and_late(period, figures)
        values: dict[str, Any] = {
            "company": company,
            "period": period,
            "clock": clock,
            "starts_on": days[0],
            "ends_on": days[1],
            "closed_at": closed_at,
            "frozen_at": self._ledger.clock(),
            "currency": currency,
            "net": net,
            "late": late,
            "figures": json.dumps([vars(one) for one in figures], default=str),
            "digest": digest,
            "content": content,
        }

        def work(connection: Connection) -> ClosedPeriod:
            version = connection.execute(last).scalar_one() + 1
            made = connection.execute(sa.insert(table).values(version=version, **values)).inserted_primary_key
            select = sa.select(*_COLUMNS).where(table.c.id == made[0])  # pyright: ignore[reportOptionalSubscript]
            return ClosedPeriod(**connection.execute(select).one()._asdict())

        return self._ledger.write(work)

    def reopen(self, company: str, period: str) -> None:
        """Prima opened the period again: its figures no longer count."""
        mine = sa.and_(table.c.company == company, table.c.period == period, _LATEST)
        update = sa.update(table).where(mine).values(reopened_at=self._ledger.clock())
        self._ledger.write(lambda connection: connection.execute(update))

    def sign(self, company: str, period: str, by: str, note: str) -> list[ClosedPeriod]:
        """Sign the figures of a closed period off, on both clocks. Audited. Raises `NotSignable`."""
        mine = sa.and_(table.c.company == company, table.c.period == period, _LATEST)
        found = sa.select(*_COLUMNS).where(mine).order_by(table.c.clock).with_for_update()

        def work(connection: Connection) -> list[ClosedPeriod]:
            rows = [ClosedPeriod(**row._asdict()) for row in connection.execute(found)]
            if not rows:
                raise NotSignable(
                    f"period {period} of company {company} is not closed; `prima-emarsys periods` lists what is"
                )
            if rows[0].signed_by is not None:
                raise NotSignable(f"period {period} of company {company} was signed by {rows[0].signed_by} already")
            now = self._ledger.clock()
            connection.execute(sa.update(table).where(mine).values(signed_by=by, signed_at=now, note=note))
            for row in rows:
                detail = f"{note} ({row.clock}: net {row.net} {row.currency}, SHA-256 {row.digest})"
                write_audit(connection, self._ledger, by, "sign-period", f"{company}|{period}", detail)
            return [ClosedPeriod(**row._asdict()) for row in connection.execute(found)]

        return self._ledger.write(work)


def unpacked(content: bytes, digest: str) -> bytes | None:
    """A period's CSV, or None if it is not the one of this digest."""
    try:
        text = gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return None
    return text if digest_of(text) == digest else None


def digest_of(content: bytes) -> str:
    """SHA-256 of a period's CSV."""
    return hashlib.sha256(content).hexdigest()
