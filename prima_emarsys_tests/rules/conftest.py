"""Every rule is tried on both engines: its examples are the same, and so must be its results, to the penny."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prima_emarsys.warehouse import Warehouse, open_warehouse


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """An empty warehouse: the embedded engine in memory, and a database of its own on a PostgreSQL server."""
    url = "duckdb://" if request.param == "duckdb" else request.getfixturevalue("postgres_url")
    with open_warehouse(url) as opened:
        yield opened
