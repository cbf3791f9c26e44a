"""The one list of exceptions: what needs a person, since when, how much money is at stake, and when it was mended.

A check reports all that is wrong now; this module remembers, opens, and closes. Which kinds there are stands in
`prima_emarsys.finding`; who is told, and how, is decided elsewhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.finding import KINDS, Finding, Owner
from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import exception as table

DETAIL_LENGTH = 1_000

State = Literal["open", "acknowledged", "accepted", "resolved"]
OPEN, ACKNOWLEDGED, ACCEPTED, RESOLVED = "open", "acknowledged", "accepted", "resolved"


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
    assigned: bool
    resolved_at: datetime | None

    @property
    def runbook(self) -> str:
        """Where its owner's handbook says what to do; below `docs/`."""
        return f"handbook/{KINDS[self.kind].owner}.md#{self.kind}"


@dataclass(frozen=True)
class Changes:
    """What an observation changed. All but `updated` is news."""

    opened: tuple[Finding, ...]
    reopened: tuple[Finding, ...]
    """Somebody had accepted them, and they are no longer what was accepted."""
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
        still = [(known[key], finding) for key, finding in found.items() if key in known]
        reopened = [finding for row, finding in still if row.state == ACCEPTED and _said(finding) != _accepted(row)]
        resolved = [row for key, row in known.items() if key not in found]
        if opened:
            rows = [_row(ledger, finding, now) | _opening(scope, finding, now) for finding in opened]
            connection.execute(sa.insert(table), rows)
        if still:
            rows = [
                _row(ledger, finding, now)
                | ({"owner": row.owner} if row.assigned else {})
                | {"the_id": row.id, "state": OPEN if finding in reopened else row.state}
                for row, finding in still
            ]
            connection.execute(_update().values(times_seen=table.c.times_seen + 1), rows)
        if resolved:
            mended = _update().values(state=RESOLVED, resolved_at=sa.bindparam("at"))
            connection.execute(mended, [{"the_id": row.id, "at": now} for row in resolved])
        return Changes(
            tuple(opened),
            tuple(reopened),
            tuple(finding for _, finding in still),
            tuple(_case(row, state=RESOLVED, resolved_at=now) for row in resolved),
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


def find(ledger: Ledger, exception_id: int) -> ExceptionCase | None:
    """One exception, resolved or not."""
    select = sa.select(table).where(table.c.id == exception_id)
    row = ledger.read(lambda connection: connection.execute(select).one_or_none())
    return None if row is None else _case(row)


def mark(ledger: Ledger, exception_id: int, state: State, by: str, note: str) -> bool:
    """Say where an exception stands. Audited; False if it is resolved already.

    `acknowledged`: somebody works on it. `accepted`: it is lived with, until it changes. `resolved`: it needs nobody
    any more; should its check find it again, it is a new one.
    """
    values: dict[str, Any] = {"state": state}
    if state == RESOLVED:
        values["resolved_at"] = ledger.clock()
    return _by_a_person(ledger, exception_id, values, by, f"exception-{state}", note)


def assign(ledger: Ledger, exception_id: int, owner: Owner, by: str, note: str) -> bool:
    """Give an exception to another owner, for as long as it lasts. Audited; False if it is resolved already."""
    return _by_a_person(
        ledger, exception_id, {"owner": str(owner), "assigned": True}, by, "exception-assign", f"{note} (to {owner})"
    )


_CSV = (
    "number", "owner", "severity", "kind", "record", "detail", "money", "currency", "first seen", "last seen",
    "times seen", "state", "what to do",
)  # fmt: skip


def as_csv(cases: Iterable[ExceptionCase]) -> str:
    """Exceptions for a spreadsheet; moments are UTC. Nothing in it is taken for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_CSV)
    for one in cases:
        seen = [f"{at:%Y-%m-%d %H:%M:%S}" for at in (one.first_seen, one.last_seen)]
        what = KINDS[one.kind].what_to_do
        row = [one.id, one.owner, one.severity, one.kind, one.record, one.detail, one.money, one.currency, *seen]
        writer.writerow([_as_text(cell) for cell in (*row, one.times_seen, one.state, what)])
    return out.getvalue()


def _as_text(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t")) else cell


def _by_a_person(ledger: Ledger, exception_id: int, values: Mapping[str, Any], by: str, what: str, note: str) -> bool:
    def work(connection: Connection) -> bool:
        current = sa.and_(table.c.id == exception_id, table.c.resolved_at.is_(None))
        changed = connection.execute(sa.update(table).where(current).values(**values)).rowcount == 1
        if changed:
            write_audit(connection, ledger, by, what, str(exception_id), note)
        return changed

    return ledger.write(work)


def _joined(one: Finding, other: Finding) -> Finding:
    details = one.detail if other.detail in one.detail.split("; ") else f"{one.detail}; {other.detail}"
    largest = max((one, other), key=lambda finding: finding.money or Decimal(0))
    return Finding(one.kind, one.record, details, one.owner, largest.money, largest.currency)


def _update() -> sa.Update:
    return sa.update(table).where(table.c.id == sa.bindparam("the_id"))


def _said(finding: Finding) -> tuple[Any, ...]:
    return finding.detail[:DETAIL_LENGTH], finding.money, finding.currency


def _accepted(row: sa.Row[Any]) -> tuple[Any, ...]:
    return row.detail, row.money, row.currency


def _row(ledger: Ledger, finding: Finding, now: datetime) -> dict[str, Any]:
    return {
        "owner": str(ledger.owners.get(finding.kind, finding.owned_by)),
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
        "state": OPEN,
        "assigned": False,
    }


def _case(row: sa.Row[Any], **changes: Any) -> ExceptionCase:
    return ExceptionCase(**row._asdict() | changes)
