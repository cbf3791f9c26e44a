"""The doctor: is the ledger what it promises to be? Read-only, for production.

Each check names what must hold and counts what breaks it. Whether Emarsys holds what was acknowledged is the proof's
question; the doctor looks at our own books.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.rules.events import event_id
from prima_emarsys.site import EventKind
from prima_emarsys.sync import lanes, sales_files, schema
from prima_emarsys.sync.audit import first_fault
from prima_emarsys.sync.database import wal_is_safe
from prima_emarsys.sync.ledger import IS_FILTERED, IS_IN_DOUBT, IS_LEASED, IS_QUARANTINED, IS_SETTLED, Ledger
from prima_emarsys.sync.outbox import CANCELLED, HELD, QUARANTINED, SENDING, SENT, WITHHELD
from prima_emarsys.sync.periods import CLOCKS, figures_of, net_and_late, unpacked
from prima_emarsys.sync.retention import outdated

record = schema.sync_record
event = schema.outbox
closed_period = schema.closed_period

LATE = timedelta(minutes=15)
"""How long a lease may have ended before somebody should have taken its records back."""


@dataclass(frozen=True)
class Check:
    """One check: whether it holds, and in a person's words what was found."""

    name: str
    ok: bool
    detail: str


def examine(ledger: Ledger, source_counts: Mapping[str, int] | None = None) -> list[Check]:
    """All checks. `source_counts` (lane → records in the source) lets the conservation of records be checked too."""

    def work(connection: Connection) -> list[Check]:
        return [
            *_database(connection, ledger),
            *_books(connection, ledger),
            *_events(connection, ledger),
            *_conservation(connection, ledger, source_counts or {}),
            *_sales(connection, ledger),
            *_periods(connection),
            *_audit(connection, ledger),
            *_sizes(connection, ledger),
        ]

    return [*ledger.read(work), *_lanes(ledger)]


def _database(connection: Connection, ledger: Ledger) -> Iterator[Check]:
    if connection.dialect.name == "sqlite":
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        safe = synchronous == 3 if journal == "delete" else wal_is_safe(sqlite3.sqlite_version_info[:3])
        detail = f"SQLite {sqlite3.sqlite_version}, journal {journal}, synchronous {synchronous} (3 is EXTRA)"
        yield Check("commits survive a power cut", safe, detail)
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        yield Check("the file is sound", found == "ok", found)
    else:
        version = connection.exec_driver_sql("SHOW server_version").scalar_one()
        synchronous = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
        detail = f"PostgreSQL {version}, synchronous_commit {synchronous}"
        yield Check("commits survive a power cut", synchronous != "off", detail)
    found, head = ledger.database.revision(), ledger.database.head
    yield Check("the tables are of this version", found == head, f"{found}, software {head}")


def _books(connection: Connection, ledger: Ledger) -> Iterator[Check]:
    """Each pairs a promise with the rows that break it."""
    now = ledger.clock()
    cases = schema.exception
    listed = sa.exists().where(
        cases.c.scope == sa.literal("delivery/") + record.c.lane,
        cases.c.record == record.c.key,
        cases.c.resolved_at.is_(None),
    )
    broken = {
        "what is on its way counts as unacknowledged": sa.and_(IS_LEASED, record.c.acked_hash.is_not(None)),
        "acknowledged records hold no payload": sa.and_(IS_SETTLED, record.c.payload.is_not(None)),
        "an acknowledgement has its time": record.c.acked_hash.is_(None) != record.c.acked_at.is_(None),
        "a lease has its holder, its end and its content": sa.or_(
            record.c.lease_token.is_(None) != record.c.lease_until.is_(None),
            record.c.lease_token.is_(None) != record.c.inflight_hash.is_(None),
        ),
        "no lease outlives its end": sa.and_(IS_LEASED, record.c.lease_until < now - LATE),
        "no doubt lasts a day": sa.and_(IS_IN_DOUBT, record.c.in_doubt_until < now - timedelta(days=1)),
        "what waits for a person has cause, owner and time": sa.and_(
            IS_QUARANTINED, sa.or_(record.c.quarantine_owner.is_(None), record.c.quarantine_since.is_(None))
        ),
        "what waits for a person is on the list of exceptions": sa.and_(IS_QUARANTINED, sa.not_(listed)),
        "every record is desired or filtered": sa.and_(record.c.desired_hash.is_(None), sa.not_(IS_FILTERED)),
    }
    for name, condition in broken.items():
        number = connection.execute(sa.select(sa.func.count()).select_from(record).where(condition)).scalar_one()
        yield Check(name, number == 0, f"{number:,} records break it")


IDS_LOOKED_AT = 10_000
"""Events, the latest ones, whose id is made again from the fact."""


def _events(connection: Connection, ledger: Ledger) -> Iterator[Check]:
    state = event.c.state
    uncaused = sa.or_(event.c.code.is_(None), event.c.owner.is_(None))
    broken = {
        "every event that ended has its time, its cause and its owner": sa.or_(
            sa.and_(state.in_((SENT, WITHHELD, CANCELLED)), event.c.finished_at.is_(None)),
            sa.and_(state == SENT, event.c.accepted_at.is_(None)),
            sa.and_(state.in_((WITHHELD, CANCELLED)), uncaused),
            sa.and_(state.in_((HELD, QUARANTINED)), sa.or_(uncaused, event.c.waiting_since.is_(None))),
        ),
        "no event left before its contact was acknowledged": sa.and_(
            event.c.first_sent_at.is_not(None),
            sa.or_(event.c.contact_acked_at.is_(None), event.c.contact_acked_at > event.c.first_sent_at),
        ),
        "an event that is on its way has its holder, and no other has": (state == SENDING)
        != event.c.lease_token.is_not(None),
        "no event's lease outlives its end": event.c.lease_until < ledger.clock() - LATE,
        "events that ended as sent or cancelled hold no payload": sa.and_(
            state.in_((SENT, CANCELLED)), event.c.payload.is_not(None)
        ),
    }
    for name, condition in broken.items():
        number = connection.execute(sa.select(sa.func.count()).select_from(event).where(condition)).scalar_one()
        yield Check(name, number == 0, f"{number:,} events break it")
    latest = sa.select(event.c.event_id, event.c.kind, event.c.document, event.c.version).order_by(event.c.id.desc())
    wrong = sum(
        row.event_id != event_id(EventKind(row.kind), row.document, row.version)
        for row in connection.execute(latest.limit(IDS_LOOKED_AT))
    )
    yield Check("one fact has one event id", wrong == 0, f"{wrong:,} events have another id than their fact")


def _sales(connection: Connection, ledger: Ledger) -> Iterator[Check]:
    """The books of sales data: files and their lines."""
    file, line, cases, lane = schema.sales_file, schema.sales_line, schema.exception, schema.lane
    listed = sa.exists().where(
        cases.c.scope == "sales/files", cases.c.record == file.c.name, cases.c.resolved_at.is_(None)
    )
    lines = (
        sa.select(line.c.file_id, sa.func.count().label("rows"), sa.func.sum(line.c.price).label("value"))
        .group_by(line.c.file_id)
        .subquery()
    )
    of_file = sa.select(lines.c.file_id).where(
        lines.c.file_id == file.c.id, lines.c.rows == file.c.rows, lines.c.value == file.c.value
    )
    sender = sa.exists().where(lane.c.lane == "sales", lane.c.dispatcher_until > ledger.clock() - LATE)
    waits = file.c.state.in_((sales_files.UNKNOWN, sales_files.REFUSED))
    broken = {
        "a file's rows and value are those of its lines": sa.not_(of_file.exists()),
        "every file is in one of six states": file.c.state.not_in(sales_files.STATES),
        "a file that may go again has its content, and no other has": sa.or_(
            sa.and_(
                file.c.state.in_((sales_files.SEALED, sales_files.SENDING, sales_files.REFUSED)),
                file.c.content.is_(None),
            ),
            sa.and_(file.c.state.in_((sales_files.ACCEPTED, sales_files.ABSENT)), file.c.content.is_not(None)),
        ),
        "a file that is being sent has a sender": sa.and_(file.c.state == sales_files.SENDING, sa.not_(sender)),
        "what a person decided names the person": sa.or_(
            sa.and_(file.c.state == sales_files.ABSENT, file.c.resolution.is_(None)),
            file.c.resolution.is_(None) != file.c.resolved_by.is_(None),
        ),
        "what waits for a person about sales is on the list of exceptions": sa.and_(waits, sa.not_(listed)),
    }
    for name, condition in broken.items():
        found = list(connection.scalars(sa.select(file.c.name).where(condition).order_by(file.c.id)))
        yield Check(name, not found, ", ".join(found[:5]) or "no file breaks it")
    unknown = sa.select(sa.func.count(), sa.func.sum(file.c.value)).where(file.c.state == sales_files.UNKNOWN)
    number, value = connection.execute(unknown).one()
    yield Check("files of unknown fate are known as such", True, f"{number:,} files worth {value or 0}")


PERIODS_LOOKED_AT = 48
"""Closed periods on a clock, the latest ones, whose documents are hashed again."""


def _periods(connection: Connection) -> Iterator[Check]:
    """Closed accounting periods: their figures, the documents behind them, and who signed."""
    names = [name for name in closed_period.c if name is not closed_period.c.content]
    periods = connection.execute(sa.select(*names).order_by(closed_period.c.id.desc())).all()
    content = sa.select(closed_period.c.content)
    unequal, changed, unsigned = [], [], []
    for place, one in enumerate(periods):
        net, late = net_and_late(one.period, figures_of(one.figures))
        if (net, late) != (one.net, one.late):
            unequal.append(one)
        if (one.signed_by is None) != (one.signed_at is None):
            unsigned.append(one)
        if place < PERIODS_LOOKED_AT:
            packed = connection.execute(content.where(closed_period.c.id == one.id)).scalar_one()
            if unpacked(packed, one.digest) is None:
                changed.append(one)
    counting = Counter((one.company, one.period) for one in periods if one.reopened_at is None)
    halves = [key for key, number in counting.items() if number != len(CLOCKS)]
    found = {
        "a closed period's net is what its figures sum to": [(one.company, one.period) for one in unequal],
        "a closed period's documents are as frozen": [(one.company, one.period) for one in changed],
        "a closed period counts once, on both clocks": halves,
        "who signed a period off has a name and a time": [(one.company, one.period) for one in unsigned],
    }
    for name, keys in found.items():
        listed = ", ".join(f"{period} of company {company}" for company, period in keys[:5])
        yield Check(name, not keys, listed or "no period breaks it")


def _conservation(connection: Connection, ledger: Ledger, source_counts: Mapping[str, int]) -> Iterator[Check]:
    number = sa.select(record.c.lane, sa.func.count()).group_by(record.c.lane)
    held = {lane: count for lane, count in connection.execute(number)}
    for lane in sorted(held.keys() | source_counts.keys()):
        counts = ledger.counts(lane)
        expected = source_counts.get(lane, held.get(lane, 0))
        yield Check(
            f"every record of {lane} is in one place",
            counts.total == expected,
            f"{expected:,} = {counts.acknowledged:,} acknowledged + {counts.dirty:,} dirty + {counts.leased:,} leased"
            f" + {counts.in_doubt:,} in doubt + {counts.quarantined:,} quarantined"
            f" + {sum(counts.filtered.values()):,} filtered (sum {counts.total:,})",
        )


def _audit(connection: Connection, ledger: Ledger) -> Iterator[Check]:
    fault = first_fault(connection, ledger)
    yield Check("the audit log is whole", fault is None, fault or "every entry follows the one before it, unchanged")


def _sizes(connection: Connection, ledger: Ledger) -> Iterator[Check]:
    now = ledger.clock()
    for table in schema.metadata.sorted_tables:
        rule = schema.retention_of(table)
        number = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        # A week's slack, so that one missed clean-up is no alarm.
        old = sa.select(sa.func.count()).select_from(table).where(outdated(table, now - timedelta(days=7)))
        overdue = connection.execute(old).scalar_one()
        kept = f"kept {rule.days} days" if rule.days is not None else "kept without limit"
        detail = f"{number:,} rows, {kept}, {overdue:,} overdue. {rule.why}"
        yield Check(f"{table.name} is bounded", overdue == 0, detail)


def _lanes(ledger: Ledger) -> Iterator[Check]:
    for name in lanes.names(ledger):
        lane = lanes.find(ledger, name)
        reasons = []
        if lane.stopped_at is not None:
            since = f"{lane.stopped_at:%Y-%m-%d %H:%M} UTC"
            reasons.append(f"stopped since {since}: {lane.stop_reason}. {lane.stop_remedy}")
        if lane.breaker.open_until is not None:
            reasons.append(f"the endpoint failed; tried again at {lane.breaker.open_until:%H:%M:%S} UTC")
        if lane.held_reason is not None:
            reasons.append(f"a plan is held: {lane.held_reason}")
        yield Check(f"lane {name} goes", not reasons, "; ".join(reasons) or "nothing is in its way")
