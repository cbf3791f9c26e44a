"""The one list of exceptions: what needs a person, since when, how much money is at stake, and when it was mended.

A check reports all that is wrong now; this module remembers, opens, and closes. Which kinds there are stands in
`prima_emarsys.finding`; who is told, and how, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.finding import KINDS, Finding, Owner
from prima_emarsys.sync.ledger import Ledger, write_audit
from prima_emarsys.sync.schema import exception as table

DETAIL_LENGTH = 1_000


@dataclass(frozen=True)
class ExceptionCase:
    """One episode of a record that needs a person, as the list shows it."""

    id: int
    scope: str
    kind: str
    record: str
    owner: str
    severity: str
    detail: str
    money: Decimal | None
    currency: str | None
    first_seen: datetime
    last_seen: datetime
    times_seen: int
    state: str
    resolved_at: datetime | None


@dataclass(frozen=True)
class Changes:
    """What an observation changed. Only `opened` and `resolved` are news."""

    opened: tuple[Finding, ...]
    updated: tuple[Finding, ...]
    """Known already, and still true."""
    resolved: tuple[ExceptionCase, ...]


def observe(ledger: Ledger, scope: str, findings: Iterable[Finding]) -> Changes:
    """Take in all that is wrong now in `scope`: new ones open, known ones go on, and the rest resolves itself.

    `scope` names the check, for example `delivery/contacts`; a check closes only what it opened. Several findings of
    one kind about one record become one exception, with all their details and the largest sum.
    """
    found: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.kind, finding.record)
        found[key] = _joined(found[key], finding) if key in found else finding

    def work(connection: Connection) -> Changes:
        now = ledger.clock()
        current = sa.select(table).where(table.c.scope == scope, table.c.resolved_at.is_(None)).order_by(table.c.id)
        known = {(row.kind, row.record): row for row in connection.execute(current.with_for_update())}
        opened = [finding for key, finding in found.items() if key not in known]
        updated = [(known[key], finding) for key, finding in found.items() if key in known]
        resolved = [row for key, row in known.items() if key not in found]
        if opened:
            insert = sa.insert(table)
            connection.execute(insert, [_row(finding, now) | _opening(scope, finding, now) for finding in opened])
        if updated:
            update = sa.update(table).where(table.c.id == sa.bindparam("the_id"))
            again = update.values(times_seen=table.c.times_seen + 1)
            connection.execute(again, [_row(finding, now) | {"the_id": row.id} for row, finding in updated])
        if resolved:
            update = sa.update(table).where(table.c.id == sa.bindparam("the_id"))
            mended = update.values(state="resolved", resolved_at=sa.bindparam("at"))
            connection.execute(mended, [{"the_id": row.id, "at": now} for row in resolved])
        return Changes(
            tuple(opened),
            tuple(finding for _, finding in updated),
            tuple(_case(row, state="resolved", resolved_at=now) for row in resolved),
        )

    return ledger.write(work)


def open_exceptions(ledger: Ledger, owner: Owner | str | None = None) -> list[ExceptionCase]:
    """What is not resolved, those first that wait longest; of one owner, if given.

    Accepted ones are among them, with their state: they are still true, and somebody decided to live with them.
    """
    select = sa.select(table).where(table.c.resolved_at.is_(None)).order_by(table.c.first_seen, table.c.id)
    if owner is not None:
        select = select.where(table.c.owner == str(owner))
    return ledger.read(lambda connection: [_case(row) for row in connection.execute(select)])


def mark(
    ledger: Ledger, exception_id: int, state: Literal["open", "acknowledged", "accepted"], by: str, note: str
) -> bool:
    """Say that somebody works on it (`acknowledged`), or lives with it (`accepted`). Audited; False if resolved."""

    def work(connection: Connection) -> bool:
        current = sa.and_(table.c.id == exception_id, table.c.resolved_at.is_(None))
        changed = connection.execute(sa.update(table).where(current).values(state=state)).rowcount == 1
        if changed:
            write_audit(connection, ledger.clock(), by, f"exception-{state}", str(exception_id), note)
        return changed

    return ledger.write(work)


def _joined(one: Finding, other: Finding) -> Finding:
    details = one.detail if other.detail in one.detail.split("; ") else f"{one.detail}; {other.detail}"
    largest = max((one, other), key=lambda finding: finding.money or Decimal(0))
    return Finding(one.kind, one.record, details, one.owner, largest.money, largest.currency)


def _row(finding: Finding, now: datetime) -> dict[str, Any]:
    return {
        "owner": str(finding.owned_by),
        "severity": str(KINDS[finding.kind].severity),
        "detail": finding.detail[:DETAIL_LENGTH],
        "money": finding.money,
        "currency": finding.currency,
        "last_seen": now,
    }


def _opening(scope: str, finding: Finding, now: datetime) -> dict[str, Any]:
    return {
        "scope": scope,
        "kind": finding.kind,
        "record": finding.record,
        "first_seen": now,
        "times_seen": 1,
        "state": "open",
    }


def _case(row: sa.Row[Any], **changes: Any) -> ExceptionCase:
    return ExceptionCase(**row._asdict() | changes)
