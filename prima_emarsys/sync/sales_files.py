"""Sealed files of sales data: what was put into them, where each stands, and what a person said of it.

The endpoint adds whatever it is given and knows no duplicates. So lines are sealed into files whose content never
changes, and a file moves from state to state:

    sealed ──▶ sending ──▶ accepted
      ▲           ├──▶ refused ──▶ (a person) sealed, or absent
      └───────────┴──▶ unknown ──▶ (a person) accepted, or absent

`sending` is committed before the first byte goes out. A file that is found in it after its sender is gone, or whose
reply was lost, is unknown: it may be in Emarsys, so it never goes again by itself. An absent file counts for nothing;
its lines are free, and the next plan puts them into another file, as they are by then.

Here is nothing that sends (see `upload`) and nothing that decides lines (see `sales_plan`).
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.finding import Finding
from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.exceptions import observe
from prima_emarsys.sync.failpoints import failpoint
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import sales_file as table
from prima_emarsys.sync.schema import sales_line as line

SEALED, SENDING, ACCEPTED, REFUSED, UNKNOWN, ABSENT = "sealed", "sending", "accepted", "refused", "unknown", "absent"
STATES = (SEALED, SENDING, ACCEPTED, REFUSED, UNKNOWN, ABSENT)
LINE_COLUMNS = tuple(column.name for column in line.columns if column.name != "file_id")
_LOST = "the process that was sending it ended before the reply was known"


class NotResolvable(Exception):
    """There is no such file, or it is in a state in which nothing is to be decided. The message says which."""


@dataclass(frozen=True)
class SalesFile:
    """One file, without its content. `value` is the sum of its lines' prices."""

    id: int
    name: str
    sink: str
    sha256: str
    rows: int
    value: Decimal
    currency: str
    state: str
    attempts: int
    sealed_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None
    reason: str | None
    resolution: str | None
    resolved_by: str | None
    resolved_at: datetime | None
    note: str | None


@dataclass(frozen=True)
class Sending:
    """A file that this process, and no other, is sending now. `content` is the CSV, by gzip."""

    id: int
    name: str
    rows: int
    content: bytes
    token: str
    attempts: int


_COLUMNS = [table.c[name] for name in SalesFile.__dataclass_fields__]


class SalesFiles:
    """The files in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # -- sealing -----------------------------------------------------------------------------------------------------

    def seal(self, sink: str, currency: str, lines: Sequence[Mapping[str, Any]], csv: bytes) -> SalesFile:
        """Fix a file's lines (`LINE_COLUMNS`) and its content, in one transaction.

        Raises `sqlalchemy.exc.IntegrityError` if another process has sealed one of the lines: then nothing is written.
        """
        now = self.ledger.clock()
        digest = hashlib.sha256(csv).hexdigest()
        values = {
            "name": f"sales-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.csv",
            "sink": sink,
            "sha256": digest,
            "rows": len(lines),
            "value": sum((one["price"] for one in lines), Decimal("0.00")),
            "currency": currency,
            "content": gzip.compress(csv, 6, mtime=0),
            "state": SEALED,
            "attempts": 0,
            "sealed_at": now,
        }
        file = self.ledger.write(lambda connection: _insert(connection, values, lines))
        failpoint("after_seal")
        return file

    def adopt(self, file: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], reason: str) -> SalesFile:
        """Take in a file that the warehouse remembers and the ledger does not: it may have been sent."""
        now = self.ledger.clock()
        values = {name: file[name] for name in ("name", "sink", "rows", "value", "currency", "sealed_at")}
        values |= {"sha256": "", "state": UNKNOWN, "attempts": 0, "settled_at": now, "reason": reason}
        return self.ledger.write(lambda connection: _insert(connection, values, lines))

    # -- on its way --------------------------------------------------------------------------------------------------

    def next_sealed(self, sink: str) -> SalesFile | None:
        """The file that is to be sent next."""
        select = sa.select(*_COLUMNS).where(table.c.state == SEALED, table.c.sink == sink)
        select = select.order_by(table.c.id).limit(1)
        return self.ledger.read(lambda connection: _one(connection.execute(select).one_or_none()))

    def begin(self, file: SalesFile) -> Sending | None:
        """Commit that the file is being sent, before anything of it goes out; None if another process does it."""
        token = secrets.token_hex(8)
        mine = sa.and_(table.c.id == file.id, table.c.state == SEALED)
        update = (
            sa.update(table)
            .where(mine)
            .values(state=SENDING, token=token, sent_at=self.ledger.clock(), attempts=table.c.attempts + 1, reason=None)
        )
        content = sa.select(table.c.content, table.c.attempts).where(table.c.id == file.id, table.c.token == token)

        def work(connection: Connection) -> Sending | None:
            if not connection.execute(update).rowcount:
                return None
            row = connection.execute(content).one()
            return Sending(file.id, file.name, file.rows, row.content, token, row.attempts)

        sending = self.ledger.write(work)
        if sending is not None:
            failpoint("before_send")
        return sending

    def accept(self, sending: Sending) -> bool:
        """Emarsys took it. False if the file was taken away meanwhile: then nothing is changed."""

        def work(connection: Connection) -> bool:
            changed = _move(connection, sending, state=ACCEPTED, settled_at=self.ledger.clock(), content=None)
            failpoint("before_accept")
            return changed

        accepted = self.ledger.write(work)
        failpoint("after_accept")
        return accepted

    def put_back(self, sending: Sending, reason: str) -> bool:
        """It certainly did not arrive, and may go again as it is."""
        return self._settle(sending, state=SEALED, token=None, reason=reason[:500])

    def refuse(self, sending: Sending, reason: str) -> bool:
        """Emarsys does not want its content: a person must look."""
        return self._settle(sending, state=REFUSED, settled_at=self.ledger.clock(), reason=reason[:500])

    def lose(self, sending: Sending, reason: str) -> bool:
        """It may have arrived: nobody knows."""
        return self._settle(sending, state=UNKNOWN, settled_at=self.ledger.clock(), reason=reason[:500])

    def _settle(self, sending: Sending, **values: Any) -> bool:
        return self.ledger.write(lambda connection: _move(connection, sending, **values))

    def recover(self, sink: str, *, repeatable: bool) -> int:
        """Settle what a dead sender left: unknown, or sealed again if sending it twice does no harm. Returns how many.

        Only for whoever holds the lane: nobody else is sending then.
        """
        left = sa.and_(table.c.state == SENDING, table.c.sink == sink)
        if repeatable:
            values: dict[str, Any] = {"state": SEALED, "reason": _LOST}
        else:
            values = {"state": UNKNOWN, "reason": _LOST, "settled_at": self.ledger.clock()}
        update = sa.update(table).where(left).values(token=None, **values)
        return self.ledger.write(lambda connection: connection.execute(update).rowcount)

    # -- by a person -------------------------------------------------------------------------------------------------

    def resolve(self, name: str, resolution: Literal["arrived", "absent"], by: str, note: str) -> SalesFile:
        """Say of an unknown file whether it is in Emarsys, or give up a refused one (`absent`). Audited."""
        settled = {"arrived": ACCEPTED, "absent": ABSENT}[resolution]
        allowed = (UNKNOWN,) if resolution == "arrived" else (UNKNOWN, REFUSED)
        now = self.ledger.clock()
        said = {"resolution": resolution, "resolved_by": by, "resolved_at": now, "note": note}
        values = {"state": settled, "content": None, "token": None, "settled_at": now, **said}
        return self._decide(name, allowed, values, by, f"sales-{resolution}", note)

    def release(self, name: str, by: str, note: str) -> SalesFile:
        """Let a refused file go again as it is. Audited."""
        values = {"state": SEALED, "token": None, "settled_at": None, "reason": None}
        return self._decide(name, (REFUSED,), values, by, "sales-release", note)

    def _decide(
        self, name: str, allowed: Sequence[str], values: Mapping[str, Any], by: str, what: str, note: str
    ) -> SalesFile:
        found = sa.select(*_COLUMNS).where(table.c.name == name).with_for_update()

        def work(connection: Connection) -> SalesFile:
            row = connection.execute(found).one_or_none()
            if row is None:
                raise NotResolvable(f"there is no file {name}; `prima-emarsys sales files` lists them")
            if row.state not in allowed:
                raise NotResolvable(f"{name} is {row.state}; only {' or '.join(allowed)} files can be decided so")
            connection.execute(sa.update(table).where(table.c.id == row.id).values(dict(values)))
            detail = f"{note} ({row.rows} rows worth {row.value} {row.currency}; {row.reason or 'no reason'})"
            write_audit(connection, self.ledger, by, what, name, detail)
            return SalesFile(**connection.execute(found).one()._asdict())

        return self.ledger.write(work)

    # -- reading -----------------------------------------------------------------------------------------------------

    def all(self, *states: str) -> list[SalesFile]:
        """All files, or those in these states, oldest first."""
        select = sa.select(*_COLUMNS).order_by(table.c.id)
        if states:
            select = select.where(table.c.state.in_(states))
        return self.ledger.read(lambda connection: [SalesFile(**row._asdict()) for row in connection.execute(select)])

    def lines(self, ids: Iterable[int]) -> Iterator[list[dict[str, Any]]]:
        """The lines (with file_id) of each file."""
        select = sa.select(line)
        for file_id in ids:
            of_file = select.where(line.c.file_id == file_id)
            yield self.ledger.read(lambda c, of_file=of_file: [row._asdict() for row in c.execute(of_file)])

    def content(self, name: str) -> bytes | None:
        """What a file says (CSV by gzip), for a person who looks for it; None once its fate is known."""
        select = sa.select(table.c.content).where(table.c.name == name)
        return self.ledger.read(lambda connection: connection.scalar(select))

    def by_state(self) -> dict[str, tuple[int, int, Decimal]]:
        """State → files, rows, value; every state is named."""
        select = sa.select(
            table.c.state, sa.func.count(), sa.func.sum(table.c.rows), sa.func.sum(table.c.value)
        ).group_by(table.c.state)
        found = {
            state: (files, int(rows), value)
            for state, files, rows, value in self.ledger.read(lambda connection: connection.execute(select).all())
        }
        return {state: found.get(state, (0, 0, Decimal("0.00"))) for state in STATES}

    def report(self) -> list[Finding]:
        """Put what a person must decide on the list of exceptions, and close the rest."""
        kinds = {UNKNOWN: "sales-file-unknown", REFUSED: "sales-file-refused"}
        findings = [
            Finding(
                kinds[file.state],
                file.name,
                f"{file.rows:,} rows, sealed {file.sealed_at:%Y-%m-%d %H:%M} UTC, SHA-256 {file.sha256[:12]}:"
                f" {file.reason}",
                money=file.value,
                currency=file.currency,
            )
            for file in self.all(UNKNOWN, REFUSED)
        ]
        observe(self.ledger, "sales/files", findings)
        return findings


def _one(row: sa.Row[Any] | None) -> SalesFile | None:
    return None if row is None else SalesFile(**row._asdict())


def _insert(connection: Connection, values: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> SalesFile:
    file_id = connection.execute(sa.insert(table).values(dict(values))).inserted_primary_key[0]  # pyright: ignore[reportOptionalSubscript]
    failpoint("mid_seal")
    rows = [{name: one[name] for name in LINE_COLUMNS} | {"file_id": file_id} for one in lines]
    connection.execute(sa.insert(line), rows)
    return SalesFile(**connection.execute(sa.select(*_COLUMNS).where(table.c.id == file_id)).one()._asdict())


def _move(connection: Connection, sending: Sending, **values: Any) -> bool:
    """Change the file, if it is still this sender's."""
    held = sa.and_(table.c.id == sending.id, table.c.token == sending.token, table.c.state == SENDING)
    return connection.execute(sa.update(table).where(held).values(values)).rowcount == 1
