"""A small world on each database, as the tests of this room read it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

NOW = datetime(2026, 10, 5, 12, tzinfo=UTC)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'prima.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database of each kind."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def fresh_url(tmp_path: Path) -> Callable[[], str]:
    """Gives URLs of further SQLite files."""
    numbers = iter(range(100))
    return lambda: f"sqlite:///{tmp_path / f'prima{next(numbers)}.db'}"
