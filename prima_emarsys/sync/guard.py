"""The volume guard: a plan that would touch far more than usual waits until a person has looked at it.

A changed mapping, a lost grant or a wrong filter all show as a plan of unusual size. What a plan contains is made in
`plan`; the guard only sees its counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.finding import Finding
from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.exceptions import observe
from prima_emarsys.sync.ledger import Ledger, know_lane
from prima_emarsys.sync.schema import lane as table

TOLERANCE = 0.10
"""A released plan may have grown by this share, count by count, when it is made again: sources do not stand still."""


@dataclass(frozen=True)
class Volume:
    """What a plan would touch, in records.

    `creates` are records that the ledger has never held, so an interrupted first load does not count twice.
    """

    creates: int
    updates: int
    removals: int
    total_acknowledged: int


@dataclass(frozen=True)
class Limits:
    """Shares of the acknowledged records above which a plan is held."""

    updates: float = 0.20
    creates: float = 0.50
    removals: float = 0.02
    floor: int = 1_000
    """Below so many acknowledged records nothing is held: a first load is all creates."""


@dataclass(frozen=True)
class Released:
    """The plan may go."""


@dataclass(frozen=True)
class Held:
    """The plan waits for a person."""

    reason: str


def check(ledger: Ledger, lane: str, planned: Volume, limits: Limits = Limits()) -> Released | Held:  # noqa: B008 (frozen)
    """Hold a plan of unusual size, or let it go; a release by a person is used up by the plan that it lets through.

    A held plan is on the list of exceptions until it is released, or small again.
    """
    return hold(ledger, lane, planned, _unusual(planned, limits))


def hold(ledger: Ledger, lane: str, planned: Volume, reason: str | None, *, kind: str = "plan-held") -> Released | Held:
    """The same where the caller knows better what is unusual: `reason`, or None if nothing is.

    `kind` is the exception that its owner reads.
    """

    def work(connection: Connection) -> Released | Held:
        know_lane(connection, lane)
        row = connection.execute(sa.select(table).where(table.c.lane == lane).with_for_update()).one()
        verdict = Released() if reason is None or _covered(planned, row.released_plan) else Held(reason)
        held = isinstance(verdict, Held)
        values = {"held_plan": json.dumps(asdict(planned)) if held else None, "held_reason": reason if held else None}
        if reason is not None and not held:
            values["released_plan"] = None
        connection.execute(sa.update(table).where(table.c.lane == lane).values(values))
        return verdict

    verdict = ledger.write(work)
    held = [Finding(kind, lane, verdict.reason)] if isinstance(verdict, Held) else []
    observe(ledger, f"guard/{lane}", held)
    return verdict


def release(ledger: Ledger, lane: str, by: str, note: str) -> Volume | None:
    """Let the plan that is held go once, grown by at most 10 % a count. Audited. None if no plan is held."""

    def work(connection: Connection) -> Volume | None:
        row = connection.execute(sa.select(table).where(table.c.lane == lane).with_for_update()).one_or_none()
        if row is None or row.held_plan is None:
            return None
        freed = {"released_plan": row.held_plan, "held_plan": None, "held_reason": None}
        connection.execute(sa.update(table).where(table.c.lane == lane).values(freed))
        write_audit(connection, ledger, by, "release-plan", lane, f"{note} ({row.held_reason})")
        return Volume(**json.loads(row.held_plan))

    released = ledger.write(work)
    if released is not None:
        observe(ledger, f"guard/{lane}", [])
    return released


def _unusual(planned: Volume, limits: Limits) -> str | None:
    """Which counts are unusual, in a person's words; None if none is."""
    if planned.total_acknowledged < limits.floor:
        return None
    shares = {"updates": limits.updates, "creates": limits.creates, "removals": limits.removals}
    counts = asdict(planned)
    parts = [
        f"{counts[name]:,} {name} ({counts[name] / planned.total_acknowledged:.1%}, limit {share:.0%})"
        for name, share in shares.items()
        if counts[name] > share * planned.total_acknowledged
    ]
    return f"{' and '.join(parts)} against {planned.total_acknowledged:,} acknowledged records" if parts else None


def _covered(planned: Volume, released_plan: str | None) -> bool:
    if released_plan is None:
        return False
    released = json.loads(released_plan)
    counts = asdict(planned)
    return all(counts[name] <= released[name] * (1 + TOLERANCE) for name in ("creates", "updates", "removals"))
