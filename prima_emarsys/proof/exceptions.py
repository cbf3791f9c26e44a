"""What waits for whom: the open exceptions by owner, with their age and the money at stake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from prima_emarsys.finding import Owner, Severity
from prima_emarsys.sync.exceptions import ACCEPTED, ExceptionCase

AGES = (("under a day", timedelta(days=1)), ("under a week", timedelta(days=7)), ("under 30 days", timedelta(days=30)))
OLDER = "30 days and more"


@dataclass(frozen=True)
class Waiting:
    """What waits for one owner. Accepted ones are counted apart: nobody waits for them."""

    owner: Owner
    errors: int = 0
    warnings: int = 0
    accepted: int = 0
    by_age: Mapping[str, int] = field(default_factory=dict)
    """Errors and warnings by age (`AGES`, `OLDER`)."""
    money: Mapping[str, Decimal] = field(default_factory=dict)
    """Money at stake by currency."""
    overdue: Sequence[ExceptionCase] = ()
    """Errors that have waited longer than the owner's hours, the longest first."""


def waiting(cases: Sequence[ExceptionCase], now: datetime, overdue_hours: Mapping[Owner, int]) -> list[Waiting]:
    """One line an owner. `cases` are the open exceptions (`open_exceptions`), those that wait longest first."""
    return [_of(owner, [case for case in cases if case.owner == owner], now, overdue_hours[owner]) for owner in Owner]


def _of(owner: Owner, cases: Sequence[ExceptionCase], now: datetime, hours: int) -> Waiting:
    waits = [case for case in cases if case.state != ACCEPTED]
    errors = [case for case in waits if case.severity == Severity.ERROR]
    money: dict[str, Decimal] = {}
    for case in waits:
        if case.money is not None:
            currency = case.currency or ""
            money[currency] = money.get(currency, Decimal(0)) + case.money
    ages = Counter(_age(now - case.first_seen) for case in waits)
    return Waiting(
        owner,
        errors=len(errors),
        warnings=len(waits) - len(errors),
        accepted=len(cases) - len(waits),
        by_age={name: ages[name] for name in (*(name for name, _ in AGES), OLDER)},
        money=money,
        overdue=[case for case in errors if now - case.first_seen > timedelta(hours=hours)],
    )


def _age(age: timedelta) -> str:
    return next((name for name, limit in AGES if age < limit), OLDER)
