"""The audit log: what people decided, chained so that an entry that is changed or taken out shows.

Each entry carries a keyed hash of itself and of the entry before it (HMAC-SHA-256 with the ledger's key), and the
ledger remembers the newest. Whoever can write the database but lacks the key cannot make the chain whole again. A chain
alone cannot show that the whole ledger was put back to an earlier day: note its head elsewhere (`prima-emarsys audit`
prints it). Retention takes entries from the old end only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.sync.database import insert_ignoring
from prima_emarsys.sync.schema import audit, meta

if TYPE_CHECKING:
    from prima_emarsys.sync.ledger import Ledger

HEAD = "audit_head"
"""Name in `meta` of the newest entry's hash."""


@dataclass(frozen=True)
class Entry:
    """One act by a person, or by a part of the product in a person's stead."""

    id: int
    at: datetime
    who: str
    what: str
    subject: str
    detail: str
    previous: str
    mac: str


def write_audit(connection: Connection, ledger: Ledger, who: str, what: str, subject: str, detail: str) -> None:
    """Write down an act by a person in the transaction that does it. Refuses an act without a name."""
    if not who.strip():
        raise ValueError(f"{what} needs the name of the person who decides it")
    insert_ignoring(connection, meta, {"name": HEAD, "value": ""})
    # Locked, so that two writers never follow the same entry.
    head = sa.select(meta.c.value).where(meta.c.name == HEAD).with_for_update()
    previous, at = connection.execute(head).scalar_one(), ledger.clock()
    mac = _mac(ledger, at, who, what, subject, detail, previous)
    entry = {"at": at, "who": who, "what": what, "subject": subject, "detail": detail}
    connection.execute(sa.insert(audit).values(**entry, previous=previous, mac=mac))
    connection.execute(sa.update(meta).where(meta.c.name == HEAD).values(value=mac))


def entries(ledger: Ledger, limit: int) -> list[Entry]:
    """The newest entries, oldest first."""
    newest = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    return ledger.read(lambda connection: [Entry(**row._asdict()) for row in connection.execute(newest)][::-1])


def of_subject(ledger: Ledger, what: str, subject: str) -> list[Entry]:
    """What was decided about one subject, oldest first; `what` is how the act's name begins."""
    chosen = sa.select(audit).where(audit.c.subject == subject, audit.c.what.startswith(what)).order_by(audit.c.id)
    return ledger.read(lambda connection: [Entry(**row._asdict()) for row in connection.execute(chosen)])


def head(ledger: Ledger) -> str:
    """The newest entry's hash: what to note elsewhere."""
    return ledger.read(lambda connection: connection.scalar(sa.select(meta.c.value).where(meta.c.name == HEAD))) or ""


def first_fault(connection: Connection, ledger: Ledger) -> str | None:
    """The first place at which the log is not what was written, in words; None if it is whole."""
    last: Entry | None = None
    for entry in _all(connection):
        if last is not None and entry.previous != last.mac:
            return f"entry {entry.id} does not follow entry {last.id}: what was between them is gone, or it was put in"
        said = (entry.at, entry.who, entry.what, entry.subject, entry.detail, entry.previous)
        if entry.mac != _mac(ledger, *said):
            return f"entry {entry.id} was changed"
        last = entry
    newest = connection.scalar(sa.select(meta.c.value).where(meta.c.name == HEAD))
    if last is not None and last.mac != newest:
        return f"entries after {last.id} are gone"
    return None


def _all(connection: Connection) -> Iterable[Entry]:
    for row in connection.execution_options(yield_per=1_000).execute(sa.select(audit).order_by(audit.c.id)):
        yield Entry(**row._asdict())


def _mac(ledger: Ledger, at: datetime, *said: str) -> str:
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    return ledger.digest(orjson.dumps([moment, *said]), "audit")
