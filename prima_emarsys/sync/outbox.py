"""The outbox: facts about orders that Emarsys is to hear of, each by itself and each once.

One row a fact, never joined with another. It goes pending → sending → sent; or it ends elsewhere, with a cause and an
owner: `withheld` (too old, or nobody may be told), `cancelled` (a rule, a later fact or a person took it back), `held`
(nobody knows whether Emarsys took it), `quarantined` (refused). The row is written in the transaction that moves the
cursor of whoever read the fact. It may go when its contact is acknowledged and no earlier event of its order is still
on its way. `deliver` sends it, with the machinery that sends contacts: this is its other `Stock`.

A call whose reply was lost is repeated with the same `trigger_id`, which Emarsys processes once. How long it remembers
one is not published, so after an hour the event is held for a person.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.emarsys.events import MAX_DATA_BYTES, trigger_record
from prima_emarsys.emarsys.outcome import Refusal
from prima_emarsys.finding import KINDS, Finding, Owner
from prima_emarsys.rules.events import Fact, relatives
from prima_emarsys.site import EventKind
from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.database import insert_ignoring
from prima_emarsys.sync.failpoints import failpoint
from prima_emarsys.sync.lanes import CONTACTS
from prima_emarsys.sync.ledger import Acknowledged, Claim, Counts, Ledger, withdraw_acknowledgement
from prima_emarsys.sync.refusals import (
    DISPUTES,
    EVENT_MISSING,
    NO_OPT_IN,
    NO_SUCH_CONTACT,
    POISON,
    POISON_LOSSES,
    TOO_LARGE,
    UNKNOWN_EVENT,
    event_treatment,
)
from prima_emarsys.sync.schema import Utc, source_cursor, sync_record
from prima_emarsys.sync.schema import outbox as table

PENDING, SENDING, SENT, HELD = "pending", "sending", "sent", "held"
QUARANTINED, WITHHELD, CANCELLED = "quarantined", "withheld", "cancelled"
ENDED = (SENT, WITHHELD, CANCELLED)
STATES = (PENDING, SENDING, HELD, QUARANTINED, *ENDED)
UNFINISHED = (PENDING, SENDING)
"""Later events of the order wait for these."""
UNDECIDED = (PENDING, HELD, QUARANTINED, WITHHELD)
"""What a later fact can still take back."""

HOLD_AFTER = timedelta(hours=1)
"""How long an event is repeated after a lost reply; Emarsys's memory of a `trigger_id` is not published."""

WAIT_FOR_ORDER = timedelta(hours=24)
"""How long a return or credit waits for the order, or an order for the account, that Prima has not shown."""

HISTORY = timedelta(days=30)
"""A fact that was older than this when it was read is not written down at all; the retention rule is much longer."""

NO_ORDER, TOO_OLD, RELEASED, OVERTAKEN, SWITCHED_OFF = "no-order", "too-old", "released", "overtaken", "switched-off"
FILTERED, DROPPED, DOUBTFUL = "filtered", "dropped", "doubtful"
"""Codes of ours, beside those of `refusals`."""

_PREFIX = "events/"
_CURSOR = "events/"


def lane_of(kind: str) -> str:
    """The lane on which events of this kind go: each external event stops, pauses and breaks by itself."""
    return f"{_PREFIX}{kind}"


@dataclass(frozen=True)
class Entry:
    """A fact with what is to become of it: `state` is pending, withheld, cancelled or quarantined."""

    fact: Fact
    state: str = PENDING
    depends_on: str | None = None
    code: str | None = None
    cause: str | None = None
    owner: Owner | None = None


@dataclass
class Entered:
    """Facts written down, by state; `known` were there already, `resolved` had waited for their order."""

    new: dict[str, int]
    known: int = 0
    resolved: int = 0
    overtaken: int = 0


@dataclass(frozen=True)
class Event:
    """One event as an operator sees it. `since`: when it came to where it is."""

    event_id: str
    kind: str
    document: str
    state: str
    reason: str
    owner: str
    since: datetime
    dated_at: datetime


@dataclass(frozen=True)
class Latency:
    """Seconds from Prima's commit to acceptance, of one event, in three parts."""

    event_id: str
    kind: str
    source: float
    """Until we had read it."""
    queue: float
    """Until it was on its way."""
    send: float
    """Until Emarsys had accepted it."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.source + self.queue + self.send


@dataclass(frozen=True)
class Buyer:
    """A contact that events wait for. `payload`: whether the ledger holds something to send for it."""

    key: str
    payload: bool
    filtered_rule: str | None


_contact = sync_record.alias("contact")
_earlier = table.alias("earlier")

_NO_LEASE: dict[str, Any] = {"lease_token": None, "lease_until": None}
_CONTACT_SETTLED = (
    sa.exists()
    .where(
        _contact.c.lane == CONTACTS,
        _contact.c.key == table.c.depends_on,
        _contact.c.acked_hash == _contact.c.desired_hash,
        _contact.c.filtered_rule.is_(None),
    )
    .correlate(table)
)
_EARLIER_UNFINISHED = (
    sa.exists()
    .where(
        _earlier.c.aggregate == table.c.aggregate,
        _earlier.c.state.in_(UNFINISHED),
        sa.or_(
            _earlier.c.dated_at < table.c.dated_at,
            sa.and_(_earlier.c.dated_at == table.c.dated_at, _earlier.c.id < table.c.id),
        ),
    )
    .correlate(table)
)
_MAY_GO = sa.and_(table.c.state == PENDING, _CONTACT_SETTLED, sa.not_(_EARLIER_UNFINISHED))
_UNRESOLVED = sa.and_(table.c.code == NO_ORDER, table.c.state.in_((PENDING, QUARANTINED)))
"""Waits for a record that Prima has not shown; a person is asked after a day, but a new look still resolves it."""


class Outbox:
    """The events in an open ledger. Safe to use from several threads and several processes at once."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.clock = ledger.clock

    # -- writing facts down --------------------------------------------------------------------------------------

    def marks(self) -> dict[str, str]:
        """How far Prima was read, by entity."""
        select = sa.select(source_cursor.c.name, source_cursor.c.mark).where(source_cursor.c.name.startswith(_CURSOR))
        return self.ledger.read(
            lambda connection: {row.name.removeprefix(_CURSOR): row.mark for row in connection.execute(select)}
        )

    def begin(self, name: str, mark: str) -> str:
        """The mark under `name`, which is `mark` if there was none."""

        def work(connection: Connection) -> str:
            row = {"name": _CURSOR + name, "mark": mark, "moved_at": self.clock()}
            insert_ignoring(connection, source_cursor, row)
            return connection.execute(
                sa.select(source_cursor.c.mark).where(source_cursor.c.name == _CURSOR + name)
            ).scalar_one()

        return self.ledger.write(work)

    def known(self, event_ids: Iterable[str]) -> set[str]:
        """Which of these facts are written down and wait for nothing that a new look could tell."""
        wanted = list(event_ids)
        select = sa.select(table.c.event_id).where(table.c.event_id.in_(wanted))
        complete = select.where(sa.func.coalesce(sa.not_(_UNRESOLVED), sa.true()))
        return self.ledger.read(lambda connection: set(connection.scalars(complete))) if wanted else set()

    def confirmed_versions(self, aggregates: Iterable[str]) -> dict[str, set[str]]:
        """Order → versions of it that are written down as confirmed."""
        wanted = list(aggregates)
        select = sa.select(table.c.aggregate, table.c.version).where(
            table.c.aggregate.in_(wanted), table.c.kind == EventKind.ORDER_CONFIRMED.value
        )
        found: dict[str, set[str]] = {}
        for row in self.ledger.read(lambda connection: connection.execute(select).all()) if wanted else ():
            found.setdefault(row.aggregate, set()).add(row.version)
        return found

    def unresolved(self) -> list[str]:
        """Orders of which an event waits for a record that Prima has not shown yet."""
        select = sa.select(table.c.aggregate).distinct().where(_UNRESOLVED, table.c.queued_at > self.clock() - HISTORY)
        return self.ledger.read(lambda connection: list(connection.scalars(select)))

    def enter(self, entries: Sequence[Entry], marks: Mapping[str, str], seen_at: datetime) -> Entered:
        """Write facts down, and move the cursors (entity → mark) in the same transaction.

        What is there already stays as it is, except that an event which waited for its order gets its buyer, and that
        a fact which a later one has overtaken is cancelled if it has not gone yet.
        """

        def work(connection: Connection) -> Entered:
            now = self.clock()
            done = Entered({})
            there = _there(connection, [entry.fact.event_id for entry in entries])
            for entry in entries:
                row = there.get(entry.fact.event_id)
                if row is None:
                    values = _row(entry, now, seen_at)
                    insert_ignoring(connection, table, values)
                    done.new[values["state"]] = done.new.get(values["state"], 0) + 1
                elif row.unresolved and entry.code != NO_ORDER:
                    mine = table.c.event_id == entry.fact.event_id
                    resolved = _pending(now) | _outcome(entry, now)
                    connection.execute(sa.update(table).where(mine).values(resolved))
                    done.resolved += 1
                else:
                    done.known += 1
            for entry in entries:
                done.overtaken += _overtake(connection, entry.fact, now)
            failpoint("mid_collect")
            for name, mark in sorted(marks.items()):
                _move(connection, name, mark, now)
            return done

        done = self.ledger.write(work)
        failpoint("after_collect")
        return done

    # -- what `deliver` asks for: see `deliver.Stock` ---------------------------------------------------------------

    def claim(self, lane: str, limit: int = 1_000, lease: timedelta = timedelta(minutes=2)) -> Claim | None:
        """Lease up to `limit` events of the lane's kind that may go, one a contact; None if none may.

        They are `sending` from here on, before any connection is opened. One whose lease was lost three times goes
        alone and last.
        """
        token = secrets.token_hex(8)
        now = self.clock()
        due = sa.and_(_of(lane), _MAY_GO, table.c.next_attempt_at <= now)

        def some(connection: Connection, which: sa.ColumnElement[bool], limit: int) -> dict[str, Any]:
            select = sa.select(table).where(due, which).order_by(table.c.dated_at, table.c.id).limit(limit)
            chosen: dict[str, Any] = {}
            # A reply tells records apart by their contact, so a call carries one event of each.
            for row in connection.execute(select.with_for_update(skip_locked=True, of=table)):
                chosen.setdefault(row.depends_on, row)
            return {row.event_id: row for row in chosen.values()}

        def work(connection: Connection) -> Claim | None:
            healthy = table.c.lease_losses < POISON_LOSSES
            rows = some(connection, healthy, limit) or some(connection, sa.not_(healthy), 1)
            if not rows:
                return None
            acked_at = (
                sa.select(_contact.c.acked_at)
                .where(_contact.c.lane == CONTACTS, _contact.c.key == table.c.depends_on)
                .scalar_subquery()
            )
            connection.execute(
                sa.update(table)
                .where(table.c.event_id.in_(list(rows)))
                .values(
                    state=SENDING,
                    lease_token=token,
                    lease_until=now + lease,
                    first_sent_at=sa.func.coalesce(table.c.first_sent_at, sa.literal(now, Utc)),
                    contact_acked_at=sa.func.coalesce(table.c.contact_acked_at, acked_at),
                )
            )
            return Claim(
                lane,
                token,
                {
                    key: trigger_record(row.depends_on, row.event_id, row.payload, row.dated_at)
                    for key, row in rows.items()
                },
                attempts=max(row.attempts for row in rows.values()),
            )

        claim = self.ledger.write(work)
        failpoint("after_claim")
        return claim

    def extend(self, claim: Claim, lease: timedelta) -> bool:
        """Prolong the lease; False if any event is no longer held, and then nothing may be sent."""
        return self._change(_held(claim), lease_until=self.clock() + lease) == len(claim.records)

    def acknowledge(self, claim: Claim, accepted: Iterable[str], refused: Mapping[str, Refusal]) -> Acknowledged:
        """Write down what Emarsys accepted and what it refused. Changes nothing for a lease that was lost."""
        accepted = list(accepted)
        now = self.clock()

        def work(connection: Connection) -> Acknowledged:
            sent = _change(connection, _held(claim, accepted), _finished(SENT, now) | {"accepted_at": now})
            aside = again = 0
            for event_id, refusal in sorted(refused.items()):
                held = _held(claim, [event_id])
                if refusal.code == NO_SUCH_CONTACT:
                    withdraw_acknowledgement(connection, _contact_of(held), now)
                    values = {"state": PENDING, "disputes": table.c.disputes + 1, "next_attempt_at": now, **_NO_LEASE}
                    last = table.c.disputes + 1 >= DISPUTES
                    repeated = _change(connection, sa.and_(held, sa.not_(last)), values)
                    again += repeated
                    aside += 0 if repeated else _change(connection, held, _refused(refusal, now))
                else:
                    aside += _change(connection, held, _refused(refusal, now))
            failpoint("before_ack_commit")
            return Acknowledged(sent, aside, again, len(accepted) + len(refused) - sent - aside - again)

        done = self.ledger.write(work)
        failpoint("after_ack")
        return done

    def defer(self, claim: Claim, until: datetime, *, counts_attempt: bool) -> int:
        """Give the events back, certainly not taken, to be sent from `until` on. Returns how many."""
        attempts = table.c.attempts + int(counts_attempt)
        return self._change(_held(claim), state=PENDING, next_attempt_at=until, attempts=attempts, **_NO_LEASE)

    def doubt(self, claim: Claim, grace: timedelta, *, differs: bool = False) -> int:  # noqa: ARG002 (never read back)
        """Give the events back, perhaps taken: the same is sent again, the first time after `grace`, then ever later.

        Returns how many.
        """
        now = self.clock()
        wait = min(grace * 2**claim.attempts, timedelta(minutes=5))
        return self._change(_held(claim), **_doubtful(now), next_attempt_at=now + wait, attempts=table.c.attempts + 1)

    def abandon(self, claim: Claim) -> int:
        """Give the events back as if the lease had ended: the sender failed in a way that nobody foresaw."""
        return self._lose(_held(claim))

    def expire_leases(self, lane: str) -> int:
        """Take back what a dead sender left: it may have been taken. Returns how many events."""
        return self._lose(sa.and_(_of(lane), table.c.state == SENDING, table.c.lease_until <= self.clock()))

    def _lose(self, where: sa.ColumnElement[bool]) -> int:
        now = self.clock()
        alone = sa.and_(where, table.c.lease_losses >= POISON_LOSSES)
        aside = _refused(Refusal(POISON, "sending it alone ended the process"), now)
        values = _doubtful(now) | {"next_attempt_at": now, "lease_losses": table.c.lease_losses + 1}
        return self.ledger.write(lambda c: _change(c, alone, aside) + _change(c, where, values))

    def next_due(self, lane: str) -> datetime | None:
        """When the next event that may go becomes due, or the next lease ends; None if nothing waits."""
        due = sa.select(sa.func.min(table.c.next_attempt_at)).where(_of(lane), _MAY_GO)
        ends = sa.select(sa.func.min(table.c.lease_until)).where(_of(lane), table.c.state == SENDING)
        moments = self.ledger.read(lambda connection: (connection.scalar(due), connection.scalar(ends)))
        return min((moment for moment in moments if moment is not None), default=None)

    def counts(self, lane: str) -> Counts:
        """Where the events of the lane's kind are; what is withheld or cancelled counts as filtered."""
        select = sa.select(table.c.state, sa.func.count()).where(_of(lane)).group_by(table.c.state)
        unsent = sa.select(sa.func.min(table.c.queued_at)).where(_of(lane), table.c.state.in_(UNFINISHED))
        found, oldest = self.ledger.read(
            lambda connection: (dict(connection.execute(select).all()), connection.scalar(unsent))
        )
        return Counts(
            acknowledged=found.get(SENT, 0),
            dirty=found.get(PENDING, 0),
            leased=found.get(SENDING, 0),
            in_doubt=0,
            quarantined=found.get(QUARANTINED, 0) + found.get(HELD, 0),
            filtered={state: found[state] for state in (WITHHELD, CANCELLED) if state in found},
            oldest_dirty=oldest and self.clock() - oldest,
        )

    def findings(self, lane: str) -> Iterator[Finding]:
        """What its owners must do: one finding an event, but one for all where the external event is at fault.

        That a name is missing in Emarsys is found by whoever looks the names up.
        """
        at_fault = sa.and_(table.c.state.in_((HELD, QUARANTINED)), table.c.code != EVENT_MISSING)
        waiting = sa.select(table).where(_of(lane), at_fault).order_by(table.c.id)
        alike: dict[str, list[Any]] = {}
        for row in self.ledger.read(lambda connection: connection.execute(waiting).all()):
            if event_treatment(row.code).of_all:
                alike.setdefault(row.code, []).append(row)
            else:
                yield Finding(_finding_kind(row), f"event|{row.event_id}", f"{row.document}: {row.cause}")
        for code, rows in alike.items():
            detail = f"{len(rows):,} events wait. {rows[0].cause}"
            yield Finding(event_treatment(code).kind, f"event|{rows[0].kind}", detail)

    # -- what keeps events from going ---------------------------------------------------------------------------------

    def age(self, oldest: Mapping[EventKind, timedelta]) -> dict[str, int]:
        """End what has waited too long; returns how many, by code. `oldest`: kinds that are on, with their age limit.

        An event that may have been taken an hour ago is held; one that is too old by now is withheld; one whose order
        has not shown for a day is quarantined; one of a kind that is off is cancelled.
        """
        now = self.clock()
        pending = table.c.state == PENDING
        unsure = table.c.doubtful_since.is_not(None)
        on = [kind.value for kind in oldest]
        rules: list[tuple[str, sa.ColumnElement[bool], dict[str, Any]]] = [
            (DOUBTFUL, table.c.doubtful_since < now - HOLD_AFTER, _waiting(
                HELD, DOUBTFUL, "whether Emarsys took it is unknown, and it was an hour ago", Owner.MARKETING, now)),
            (NO_ORDER, sa.and_(table.c.code == NO_ORDER, table.c.queued_at < now - WAIT_FOR_ORDER), _waiting(
                QUARANTINED, NO_ORDER, "Prima has not shown its order or account for a day", Owner.FINANCE, now)),
            (SWITCHED_OFF, sa.and_(table.c.kind.not_in(on), sa.not_(unsure)), _ended(
                CANCELLED, SWITCHED_OFF, "this kind of event is switched off in the site file", now)),
        ]  # fmt: skip
        late = sa.or_(
            sa.false(),
            *(sa.and_(table.c.kind == kind.value, table.c.dated_at < now - limit) for kind, limit in oldest.items()),
        )
        unasked = table.c.code.is_distinct_from(RELEASED)
        cause = "it was too old when it could have gone"
        rules.append((TOO_OLD, sa.and_(late, unasked, sa.not_(unsure)), _ended(WITHHELD, TOO_OLD, cause, now)))
        ended: dict[str, int] = {}
        for code, condition, values in rules:
            where = sa.and_(pending, condition)
            # Looked up first, since it is nearly always nothing and a writer would keep others waiting.
            if self.ledger.read(lambda c, where=where: c.scalar(sa.select(sa.exists().where(where)))):
                ended[code] = ended.get(code, 0) + self._change(where, **values)
        return {kind: number for kind, number in ended.items() if number}

    def park(self, kind: EventKind, name: str) -> int:
        """Set aside what waits for an external event that Emarsys does not have; returns how many."""
        cause = f"Emarsys has no external event {name!r}"
        values = _waiting(QUARANTINED, EVENT_MISSING, cause, KINDS["event-missing"].owner, self.clock())
        return self._change(sa.and_(table.c.kind == kind.value, table.c.state == PENDING), **values)

    def unpark(self, kind: EventKind) -> int:
        """Let go what waited for an external event that exists now; returns how many."""
        missing = table.c.code.in_((EVENT_MISSING, UNKNOWN_EVENT))
        where = sa.and_(table.c.kind == kind.value, table.c.state == QUARANTINED, missing)
        return self._change(where, **_pending(self.clock()))

    def parked(self) -> set[EventKind]:
        """Kinds of which something waits for its external event to exist."""
        missing = table.c.code.in_((EVENT_MISSING, UNKNOWN_EVENT))
        select = sa.select(table.c.kind).distinct().where(table.c.state == QUARANTINED, missing)
        return {EventKind(kind) for kind in self.ledger.read(lambda connection: connection.scalars(select).all())}

    def buyers(self, limit: int = 1_000, late: timedelta = timedelta(0)) -> list[Buyer]:
        """Contacts that an event waits for which has been due for `late`, and that are not just being sent or waiting
        for a person. One that a dead sender left is among them.
        """
        joined = table.outerjoin(_contact, sa.and_(_contact.c.lane == CONTACTS, _contact.c.key == table.c.depends_on))
        select = (
            sa.select(table.c.depends_on, _contact.c.payload.is_not(None).label("payload"), _contact.c.filtered_rule)
            .select_from(joined)
            .distinct()
            .where(
                table.c.state == PENDING,
                table.c.depends_on.is_not(None),
                table.c.next_attempt_at <= self.clock() - late,
                sa.not_(_CONTACT_SETTLED),
                sa.or_(_contact.c.lease_token.is_(None), _contact.c.lease_until <= self.clock()),
                _contact.c.quarantine_code.is_(None),
                sa.or_(_contact.c.key.is_(None), _contact.c.next_attempt_at <= self.clock()),
            )
            .limit(limit)
        )
        return self.ledger.read(lambda connection: [Buyer(*row) for row in connection.execute(select)])

    def exclude(self, rules: Mapping[str, str]) -> int:
        """Cancel what waits for contacts (key → rule) that are not sent at all; returns how many events."""
        now = self.clock()
        return sum(
            self._change(
                sa.and_(table.c.depends_on == key, table.c.state == PENDING),
                **_ended(CANCELLED, FILTERED, f"its buyer is not sent, by the rule {rule}", now),
            )
            for key, rule in sorted(rules.items())
        )

    def due(self, late: timedelta = timedelta(0)) -> list[EventKind]:
        """Kinds of which something may go, or was left by a dead sender, and has been so for `late`; orders first."""
        now = self.clock() - late
        may_go = sa.and_(_MAY_GO, table.c.next_attempt_at <= now)
        left = sa.and_(table.c.state == SENDING, table.c.lease_until <= now)
        select = sa.select(table.c.kind).distinct().where(sa.or_(may_go, left))
        found = self.ledger.read(lambda connection: set(connection.scalars(select)))
        return [kind for kind in EventKind if kind.value in found]

    # -- looking ------------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, dict[str, int]]:
        """Kind → state → events."""
        select = sa.select(table.c.kind, table.c.state, sa.func.count()).group_by(table.c.kind, table.c.state)
        found: dict[str, dict[str, int]] = {}
        for kind, state, number in self.ledger.read(lambda connection: connection.execute(select).all()):
            found.setdefault(kind, {})[state] = number
        return found

    def oldest_unsent(self) -> timedelta | None:
        """How long the event has waited that waits longest and could go but for us or Emarsys; None if none does.

        What waits for its order in Prima, or for a contact that a person must mend, has an owner already.
        """
        hopeless = sa.exists().where(
            _contact.c.lane == CONTACTS, _contact.c.key == table.c.depends_on, _contact.c.quarantine_code.is_not(None)
        )
        select = sa.select(sa.func.min(table.c.queued_at)).where(
            table.c.state.in_(UNFINISHED), table.c.depends_on.is_not(None), sa.not_(hopeless.correlate(table))
        )
        since = self.ledger.read(lambda connection: connection.scalar(select))
        return since and self.clock() - since

    def unfinished(self, limit: int = 50) -> list[Event]:
        """Events that are on their way or wait for a person, those that wait longest first, with the reason."""
        contact = sa.and_(_contact.c.lane == CONTACTS, _contact.c.key == table.c.depends_on)
        select = (
            sa.select(
                table,
                _EARLIER_UNFINISHED.label("behind"),
                _CONTACT_SETTLED.label("settled"),
                _contact.c.quarantine_code.label("contact_code"),
                _contact.c.quarantine_owner.label("contact_owner"),
            )
            .select_from(table.outerjoin(_contact, contact))
            .order_by(table.c.queued_at, table.c.id)
        )
        return self._shown(select.where(table.c.state.in_((*UNFINISHED, HELD, QUARANTINED))).limit(limit))

    def ended(self, state: str, limit: int = 50) -> list[Event]:
        """Events that ended so, the latest first, with the reason."""
        select = sa.select(table).where(table.c.state == state)
        return self._shown(select.order_by(table.c.finished_at.desc(), table.c.id.desc()).limit(limit))

    def _shown(self, select: sa.Select[*tuple[Any, ...]]) -> list[Event]:
        return [_shown(row) for row in self.ledger.read(lambda connection: connection.execute(select).all())]

    def latencies(self, since: datetime, limit: int = 10_000) -> list[Latency]:
        """How long the events took that Emarsys accepted since then, the latest first."""
        select = (
            sa.select(table)
            .where(table.c.state == SENT, table.c.accepted_at >= since)
            .order_by(table.c.accepted_at.desc())
            .limit(limit)
        )
        return [_latency(row) for row in self.ledger.read(lambda connection: connection.execute(select).all())]

    # -- by a person -------------------------------------------------------------------------------------------------

    def release(self, by: str, note: str, *, event_ids: Sequence[str] = (), kind: EventKind | None = None) -> int:
        """Let held, quarantined or withheld events go, whatever their age: these, or all held and quarantined of a
        kind. Audited; returns how many.
        """
        kept = sa.and_(table.c.payload.is_not(None), table.c.depends_on.is_not(None))
        fresh = _pending(self.clock()) | {"code": RELEASED}
        return self._decide("release-event", by, note, event_ids, kind, kept, fresh)

    def drop(self, by: str, note: str, *, event_ids: Sequence[str] = (), kind: EventKind | None = None) -> int:
        """Cancel held, quarantined or withheld events for good. Audited; returns how many."""
        values = _ended(CANCELLED, DROPPED, f"dropped by {by}: {note}", self.clock())
        return self._decide("drop-event", by, note, event_ids, kind, sa.true(), values)

    def _decide(
        self,
        what: str,
        by: str,
        note: str,
        event_ids: Sequence[str],
        kind: EventKind | None,
        possible: sa.ColumnElement[bool],
        values: Mapping[str, Any],
    ) -> int:
        if kind is not None:
            chosen = sa.and_(table.c.kind == kind.value, table.c.state.in_((HELD, QUARANTINED)))
        else:
            chosen = sa.and_(table.c.event_id.in_(event_ids), table.c.state.in_((HELD, QUARANTINED, WITHHELD)))

        def work(connection: Connection) -> int:
            number = _change(connection, sa.and_(chosen, possible), values)
            subject = kind.value if kind else ", ".join(event_ids)
            write_audit(connection, self.ledger, by, what, subject, f"{note} ({number} events)")
            return number

        return self.ledger.write(work)

    def _change(self, where: sa.ColumnElement[bool], **values: Any) -> int:
        return self.ledger.write(lambda connection: _change(connection, where, values))


# -- statements ------------------------------------------------------------------------------------------------------


def _of(lane: str) -> sa.ColumnElement[bool]:
    return table.c.kind == lane.removeprefix(_PREFIX)


def _held(claim: Claim, event_ids: Iterable[str] | None = None) -> sa.ColumnElement[bool]:
    """The claim's events (or these of them) that the claim still holds."""
    wanted = list(claim.records if event_ids is None else event_ids)
    return sa.and_(table.c.lease_token == claim.token, table.c.event_id.in_(wanted))


def _contact_of(event: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    keys = sa.select(table.c.depends_on).where(event)
    return sa.and_(sync_record.c.lane == CONTACTS, sync_record.c.key.in_(keys))


def _change(connection: Connection, where: sa.ColumnElement[bool], values: Mapping[str, Any]) -> int:
    """Update the events that `where` names; returns how many. In PostgreSQL they are locked in order first."""
    if connection.dialect.name == "postgresql":
        locked = sa.select(table.c.id).where(where).order_by(table.c.id).with_for_update(of=table)
        connection.execute(locked)
    return connection.execute(sa.update(table).where(where).values(dict(values))).rowcount


def _there(connection: Connection, event_ids: list[str]) -> dict[str, Any]:
    unresolved = sa.func.coalesce(_UNRESOLVED, sa.false()).label("unresolved")
    select = sa.select(table.c.event_id, unresolved).where(table.c.event_id.in_(event_ids)).order_by(table.c.id)
    return {row.event_id: row for row in connection.execute(select.with_for_update())}


def _row(entry: Entry, now: datetime, seen_at: datetime) -> dict[str, Any]:
    """A new event's row."""
    fact = entry.fact
    return {
        "event_id": fact.event_id,
        "kind": fact.kind.value,
        "document": fact.document,
        "version": fact.version,
        "aggregate": fact.aggregate,
        "lease_losses": 0,
        "attempts": 0,
        "disputes": 0,
        "next_attempt_at": now,
        "dated_at": fact.dated_at,
        "happened_at": min(fact.stamped_at, seen_at),
        "seen_at": seen_at,
        "queued_at": now,
        **_outcome(entry, now),
    }


def _outcome(entry: Entry, now: datetime) -> dict[str, Any]:
    """What is to become of an event, as its row says it."""
    if entry.fact.overtaken_by is not None:
        return _overtaken(entry.fact, now) | {"depends_on": entry.depends_on}
    values = {"depends_on": entry.depends_on, "code": entry.code, "cause": entry.cause}
    if entry.state in (WITHHELD, CANCELLED):
        return values | _ended(entry.state, entry.code or "", entry.cause or "", now, entry.owner)
    data = orjson.dumps(dict(entry.fact.data))
    if len(data) > MAX_DATA_BYTES:
        refusal = Refusal(TOO_LARGE, _largest(entry.fact.data, len(data)))
        return values | {"payload": data} | _refused(refusal, now)
    if entry.state == QUARANTINED:
        owner = entry.owner or Owner.MARKETING
        return values | {"payload": data} | _waiting(QUARANTINED, entry.code or "", entry.cause or "", owner, now)
    return values | {"payload": data, "state": PENDING}


def _largest(data: Mapping[str, Any], size: int) -> str:
    """Names the field that makes the data too large."""
    sizes = {name: len(orjson.dumps(value)) for name, value in data.items()}
    name = max(sizes, key=lambda one: sizes[one])
    return f"its data are {size:,} bytes, {sizes[name]:,} of them in {name!r}; {MAX_DATA_BYTES:,} are passed on"


def _pending(now: datetime) -> dict[str, Any]:
    """On its way (again), with nothing held against it."""
    return {
        "state": PENDING, "code": None, "cause": None, "owner": None, "waiting_since": None, "finished_at": None,
        "next_attempt_at": now, "doubtful_since": None, "attempts": 0, "disputes": 0, "lease_losses": 0,
    }  # fmt: skip


def _doubtful(now: datetime) -> dict[str, Any]:
    since = sa.func.coalesce(table.c.doubtful_since, sa.literal(now, Utc))
    return {"state": PENDING, "doubtful_since": since, **_NO_LEASE}


def _finished(state: str, now: datetime) -> dict[str, Any]:
    ended = {"state": state, "finished_at": now, "waiting_since": None, "payload": None, **_NO_LEASE}
    return ended | {"code": None, "cause": None, "owner": None}


def _ended(state: str, code: str, cause: str, now: datetime, owner: Owner | None = None) -> dict[str, Any]:
    """Nothing more happens to it. What is withheld keeps its data, so that a person may still let it go."""
    why = {"code": code, "cause": cause, "owner": str(owner or Owner.MARKETING)}
    ended = _finished(state, now) | why
    if state == WITHHELD:
        del ended["payload"]
    return ended


def _waiting(state: str, code: str, cause: str, owner: Owner, now: datetime) -> dict[str, Any]:
    """It waits for its owner."""
    why = {"code": code, "cause": cause[:500], "owner": str(owner)}
    return {"state": state, "waiting_since": now, **why, **_NO_LEASE}


def _refused(refusal: Refusal, now: datetime) -> dict[str, Any]:
    if refusal.code == NO_OPT_IN:
        return _ended(WITHHELD, NO_OPT_IN, refusal.text, now) | {"payload": None}
    return _waiting(QUARANTINED, refusal.code, refusal.text, event_treatment(refusal.code).owner, now)


def _overtaken(fact: Fact, now: datetime) -> dict[str, Any]:
    return _ended(CANCELLED, OVERTAKEN, f"{fact.overtaken_by} came first", now)


def _overtake(connection: Connection, fact: Fact, now: datetime) -> int:
    """Take back what has not gone yet of a kind that a later fact has overtaken."""
    if fact.overtaken_by is None:
        return 0
    kinds = [kind.value for kind in relatives(fact.kind)]
    where = sa.and_(table.c.aggregate == fact.aggregate, table.c.kind.in_(kinds), table.c.state.in_(UNDECIDED))
    return _change(connection, where, _overtaken(fact, now))


def _move(connection: Connection, name: str, mark: str, now: datetime) -> None:
    """Move a cursor forward; another reader may have been further."""
    insert_ignoring(connection, source_cursor, {"name": _CURSOR + name, "mark": mark, "moved_at": now})
    behind = sa.and_(source_cursor.c.name == _CURSOR + name, source_cursor.c.mark < mark)
    connection.execute(sa.update(source_cursor).where(behind).values(mark=mark, moved_at=now))


# -- showing ---------------------------------------------------------------------------------------------------------


def _finding_kind(row: Any) -> str:
    if row.state == HELD:
        return "event-held"
    return "event-without-order" if row.code == NO_ORDER else event_treatment(row.code).kind


def _shown(row: Any) -> Event:
    if row.state == SENT:
        reason, owner = f"accepted {row.accepted_at:%Y-%m-%d %H:%M:%S}", ""
    elif row.state not in UNFINISHED:
        reason, owner = f"{row.code}: {row.cause}", row.owner
    elif row.state == SENDING:
        reason, owner = "on its way", ""
    elif row.depends_on is None:
        reason, owner = row.cause or "its order is not in Prima", str(Owner.FINANCE)
    elif row.contact_code is not None:
        reason, owner = f"its contact was refused ({row.contact_code})", row.contact_owner
    elif not row.settled:
        reason, owner = "its contact is not acknowledged yet", ""
    elif row.behind:
        reason, owner = "an earlier event of its order goes first", ""
    else:
        reason, owner = f"due, after {row.attempts} calls without an answer" if row.attempts else "due", ""
    since = row.finished_at or row.waiting_since or row.queued_at
    return Event(row.event_id, row.kind, row.document, row.state, reason, owner, since, row.dated_at)


def _latency(row: Any) -> Latency:
    def between(earlier: datetime, later: datetime) -> float:
        return max((later - earlier).total_seconds(), 0.0)

    return Latency(
        row.event_id,
        row.kind,
        between(row.happened_at, row.seen_at),
        between(row.seen_at, row.first_sent_at),
        between(row.first_sent_at, row.accepted_at),
    )
