"""A ledger on each database, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prima_emarsys.sync.ledger import Ledger

HASH_KEY = b"a key for tests, 32 bytes long .."


class MovedClock:
    """A clock that stands until it is moved; `sleep` moves it, so that a delivery's waits take no time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a ledger that does not exist yet, on each of the two databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def ledger(ledger_url: str, clock: MovedClock) -> Iterator[Ledger]:
    with Ledger.open(ledger_url, HASH_KEY, clock=clock) as ledger:
        yield ledger
