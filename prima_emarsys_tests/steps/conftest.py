"""Stores for the steps: a warehouse on each engine, and a ledger whose clock a test moves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.people import People
from prima_emarsys_tests.rules.conftest import warehouse

__all__ = ["warehouse"]

HASH_KEY = b"a key for tests, 32 bytes long .."


class TickingClock:
    """Each look at it is a second later, so that no two persons are of one age."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a ledger that nobody has used; copies of it are quicker than new ones."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    Ledger.open(f"sqlite:///{path}", HASH_KEY).close()
    return path


@pytest.fixture
def people_in(empty_ledger: Path, tmp_path: Path) -> Iterator[Callable[..., People]]:
    """`people_in(name)` opens the person keys of a new ledger, `people_in(name, like=other)` those of a copy."""
    opened: list[Ledger] = []
    clock = TickingClock()

    def open_people(name: str, like: str | None = None) -> People:
        path = tmp_path / f"{name}.db"
        shutil.copy(tmp_path / f"{like}.db" if like else empty_ledger, path)
        opened.append(Ledger.open(f"sqlite:///{path}", HASH_KEY, clock=clock))
        return People(opened[-1])

    yield open_people
    for ledger in opened:
        ledger.close()
