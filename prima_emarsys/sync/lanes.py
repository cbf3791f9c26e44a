"""A lane as a whole: who may send on it, and why it may be standing still.

One row a lane, shared by all processes: the dispatcher's lease, the stop, the pause that Emarsys asked for, the
breaker. The records of a lane are in `ledger`; the loop that obeys all this is in `deliver`.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.emarsys.outcome import Ambiguous, Answered, BatchRefused, Later, Outcome, TooLarge, explain
from prima_emarsys.finding import Finding
from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.exceptions import observe
from prima_emarsys.sync.ledger import Ledger, know_lane
from prima_emarsys.sync.schema import delivery_call
from prima_emarsys.sync.schema import lane as table

CONTACTS = "contacts"
"""The lane of contacts. Order events have a lane a kind; see `outbox`."""

WINDOW = 20
"""Calls that the breaker looks back on."""

CONSECUTIVE = 5
"""Failures in a row that open it; so do more than half of the window."""

OPEN_FIRST, OPEN_AT_MOST = 60, 15 * 60
"""Seconds for which it opens: first, and at most after doubling."""


@dataclass(frozen=True)
class Breaker:
    """Whether an endpoint is worth calling. The window holds the last calls, oldest first: `x` failed, `.` answered."""

    window: str = ""
    open_until: datetime | None = None
    open_seconds: int = 0

    def after(self, *, answered: bool, now: datetime) -> Breaker:
        """The breaker after one more call."""
        probed = self.open_until is not None and self.open_until <= now
        if probed and answered:
            return Breaker()
        window = (self.window.rjust(WINDOW, ".") + (".x"[not answered]))[-WINDOW:]
        if "x" not in window:
            window = ""
        opens = window.endswith("x" * CONSECUTIVE) or window.count("x") * 2 > WINDOW
        if probed or (opens and self.open_until is None):
            seconds = min(self.open_seconds * 2 or OPEN_FIRST, OPEN_AT_MOST)
            return Breaker(window, now + timedelta(seconds=seconds), seconds)
        return Breaker(window, self.open_until, self.open_seconds)

    @property
    def failed_last(self) -> bool:
        """Whether the last call failed."""
        return self.window.endswith("x")


@dataclass(frozen=True)
class Lane:
    """The state of a lane at one moment."""

    name: str
    dispatcher: str | None = None
    dispatcher_until: datetime | None = None
    stopped_at: datetime | None = None
    stop_reason: str | None = None
    stop_remedy: str | None = None
    paused_until: datetime | None = None
    breaker: Breaker = Breaker()
    held_reason: str | None = None


@dataclass(frozen=True)
class Dispatcher:
    """The right to send on a lane, until it is given back or not renewed in time."""

    lane: str
    token: str


@dataclass(frozen=True)
class HeldBy:
    """Another process sends on the lane."""

    holder: str
    until: datetime


def find(ledger: Ledger, lane: str) -> Lane:
    """The lane's state; a lane that nobody used yet is at rest."""
    row = ledger.read(lambda connection: connection.execute(sa.select(table).where(table.c.lane == lane)).one_or_none())
    if row is None:
        return Lane(lane)
    return Lane(
        lane,
        row.dispatcher,
        row.dispatcher_until,
        row.stopped_at,
        row.stop_reason,
        row.stop_remedy,
        row.paused_until,
        Breaker(row.breaker_window, row.breaker_open_until, row.breaker_open_seconds),
        row.held_reason,
    )


def names(ledger: Ledger) -> list[str]:
    """All lanes, in order."""
    select = sa.select(table.c.lane).order_by(table.c.lane)
    return ledger.read(lambda connection: [name for (name,) in connection.execute(select)])


def take(ledger: Ledger, lane: str, lease: timedelta) -> Dispatcher | HeldBy:
    """Become the lane's only sender for `lease`, or learn who is."""
    token = str(uuid.uuid4())
    holder = f"{socket.gethostname()}, process {os.getpid()}"

    def work(connection: Connection) -> Dispatcher | HeldBy:
        know_lane(connection, lane)
        row = connection.execute(sa.select(table).where(table.c.lane == lane).with_for_update()).one()
        now = ledger.clock()
        if row.dispatcher_token is not None and row.dispatcher_until > now:
            return HeldBy(row.dispatcher, row.dispatcher_until)
        _set(connection, lane, dispatcher=holder, dispatcher_token=token, dispatcher_until=now + lease)
        return Dispatcher(lane, token)

    return ledger.write(work)


def renew(ledger: Ledger, dispatcher: Dispatcher, lease: timedelta) -> bool:
    """Stay the lane's sender for another `lease`; False if another took over, and then nothing may be sent."""
    until = ledger.clock() + lease
    return _as_dispatcher(ledger, dispatcher, dispatcher_until=until)


def give_back(ledger: Ledger, dispatcher: Dispatcher) -> None:
    """Let the next process send at once."""
    _as_dispatcher(ledger, dispatcher, dispatcher=None, dispatcher_token=None, dispatcher_until=None)


def stop(ledger: Ledger, lane: str, reason: str, remedy: str) -> None:
    """Let nothing go until a probe succeeds or a person resumes the lane."""
    now = ledger.clock()
    stopped_at = sa.func.coalesce(table.c.stopped_at, sa.literal(now, table.c.stopped_at.type))
    ledger.write(lambda c: _set(c, lane, stopped_at=stopped_at, stop_reason=reason, stop_remedy=remedy))


def pause(ledger: Ledger, lane: str, until: datetime) -> None:
    """Let nothing go before `until`: Emarsys asked for it. A longer pause stays."""
    shorter = sa.or_(table.c.paused_until.is_(None), table.c.paused_until < until)
    update = sa.update(table).where(table.c.lane == lane, shorter).values(paused_until=until)
    ledger.write(lambda connection: connection.execute(update))


def resume(ledger: Ledger, lane: str, by: str, note: str) -> None:
    """Let a stopped lane, or one with an open breaker, go again. Audited."""

    def work(connection: Connection) -> None:
        _set(connection, lane, **_GOING, breaker_window="", breaker_open_until=None, breaker_open_seconds=0)
        write_audit(connection, ledger, by, "resume", lane, note)

    ledger.write(work)


def report(ledger: Ledger, lane: str) -> None:
    """Put a stopped lane on the list of exceptions, and take it off when it goes."""
    state = find(ledger, lane)
    stopped = [Finding("lane-stopped", lane, f"{state.stop_reason}. {state.stop_remedy}")] if state.stopped_at else []
    observe(ledger, f"lane/{lane}", stopped)


def observe_call(ledger: Ledger, lane: str, *, answered: bool, started: datetime) -> Breaker:
    """Let the breaker know how a call went. An answer to a call that began after a stop ends the stop."""

    def work(connection: Connection) -> Breaker:
        row = connection.execute(sa.select(table).where(table.c.lane == lane).with_for_update()).one()
        before = Breaker(row.breaker_window, row.breaker_open_until, row.breaker_open_seconds)
        after = before.after(answered=answered, now=ledger.clock())
        if answered and row.stopped_at is not None and row.stopped_at < started:
            _set(connection, lane, **_GOING)
        if after != before:
            _set(
                connection,
                lane,
                breaker_window=after.window,
                breaker_open_until=after.open_until,
                breaker_open_seconds=after.open_seconds,
            )
        return after

    return ledger.write(work)


def note_call(
    ledger: Ledger, lane: str, started: datetime, records: int, outcome: Outcome, *, acknowledged: int, refused: int
) -> None:
    """Keep a call for the record, and let the breaker know."""
    row = sa.insert(delivery_call).values(
        lane=lane,
        started_at=started,
        ended_at=ledger.clock(),
        records=records,
        outcome=type(outcome).__name__,
        acknowledged=acknowledged,
        refused=refused,
        detail="" if isinstance(outcome, Answered) else explain(outcome)[:500],
    )
    ledger.write(lambda connection: connection.execute(row))
    failed = isinstance(outcome, Ambiguous) or (isinstance(outcome, Later) and outcome.counts_as_failure)
    if failed or isinstance(outcome, Answered | BatchRefused | TooLarge):
        observe_call(ledger, lane, answered=not failed, started=started)


_GOING = {"stopped_at": None, "stop_reason": None, "stop_remedy": None}


def _set(connection: Connection, lane: str, **values: object) -> None:
    connection.execute(sa.update(table).where(table.c.lane == lane).values(values))


def _as_dispatcher(ledger: Ledger, holder: Dispatcher, **values: object) -> bool:
    own = sa.and_(table.c.lane == holder.lane, table.c.dispatcher_token == holder.token)
    update = sa.update(table).where(own).values(values)
    return ledger.write(lambda connection: connection.execute(update).rowcount == 1)
