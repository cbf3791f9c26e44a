"""The ledger's database: opening it safely, one transaction at a time, on SQLite and on PostgreSQL.

Here are the rules that keep a commit a commit (journal, synchronisation, locks, repeats). What the tables mean is in
`schema`; what is done with them is in `ledger` and its neighbours.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

T = TypeVar("T")

REPEATS = 6
"""How often one transaction is tried when the database asks for a repeat."""

SERIALIZATION_FAILURE, DEADLOCK = "40001", "40P01"


class LedgerUnusable(Exception):
    """The ledger cannot be used as it is; the message says why and what to do. Nothing was lost or half-written."""


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite is free of the WAL-reset bug, by which two writers could lose commits.

    SQLite docs, "The WAL-reset bug": 3.7.0 to 3.51.2 are affected; mended in 3.51.3, 3.50.7 and 3.44.6.
    """
    return (
        version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51, 0)
        or (3, 44, 6) <= version < (3, 45, 0)
        or version < (3, 7, 0)
    )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def insert_ignoring(connection: Connection, table: sa.Table, values: dict[str, Any]) -> None:
    """Insert one row unless its key is there already."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(table).values(values).on_conflict_do_nothing())


class Database:
    """Transactions on the ledger's database: `write` and `read` each run a function in one."""

    def __init__(self, url: str, *, busy_timeout: float, journal: str) -> None:
        self.url = sa.make_url(url)
        self.busy_timeout = busy_timeout
        if self.url.get_backend_name() == "sqlite":
            self.engine = _sqlite_engine(self.url, busy_timeout, journal)
        elif self.url.get_backend_name() == "postgresql":
            self.engine = sa.create_engine(self.url, pool_pre_ping=True)
        else:
            raise LedgerUnusable(
                f"a ledger on {self.url.get_backend_name()} is not supported; use sqlite:///FILE or postgresql+psycopg://…"
            )

    @property
    def name(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and commit it.

        `work` may run more than once (deadlock, serialization failure, a connection lost at the commit), so it must
        do no harm when repeated. Raises `LedgerUnusable` when the database refuses: locked too long, full, corrupt.
        """
        for attempt in range(1, REPEATS + 1):
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not _asks_for_a_repeat(error):
                    raise self._explained(error) from error
                if attempt == REPEATS:
                    raise LedgerUnusable(f"the ledger's database wants repeat after repeat: {error.orig}") from error
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 (jitter, no secret)
        raise AssertionError("unreachable")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction that takes no write lock."""
        try:
            with self.engine.connect().execution_options(reads_only=True) as connection:
                return work(connection)
        except DBAPIError as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _explained(self, error: DBAPIError) -> Exception:
        """`error` as `LedgerUnusable` where it is the store's fault; else as it is, for then it is ours."""
        text = str(error.orig)
        where = self.url.render_as_string(hide_password=True)
        for sign, remedy in _REMEDIES.items():
            if sign in text:
                return LedgerUnusable(f"ledger {where}: {text}; {remedy.format(timeout=self.busy_timeout)}")
        if error.connection_invalidated or (self.name == "postgresql" and isinstance(error, OperationalError)):
            return LedgerUnusable(f"ledger {where}: {text}; check that the database server runs and may be reached")
        return error

    # -- shape ---------------------------------------------------------------------------------------------------

    def upgrade(self, *, create: bool) -> None:
        """Bring the tables to this version's shape; make them where there are none, if `create`."""
        config = _alembic()
        scripts = ScriptDirectory.from_config(config)

        def apply(connection: Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            found = _revision(connection)
            if found == scripts.get_current_head():
                return
            if found is None and not create:
                raise LedgerUnusable(
                    f"there is no ledger at {self.url.render_as_string(hide_password=True)}. A missing ledger is not"
                    " replaced by an empty one, as that would send everything again; restore it, or allow creation"
                )
            if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
                raise LedgerUnusable(f"the ledger is of a newer version ({found}) than this software; upgrade that")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

        self.write(apply)

    @property
    def head(self) -> str | None:
        """The version of the tables' shape that this software wants."""
        return ScriptDirectory.from_config(_alembic()).get_current_head()

    def revision(self) -> str | None:
        """The version of the tables' shape."""
        return self.read(_revision)


_UPGRADE_LOCK = 7_701_031
"""Advisory lock number under which one process at a time upgrades a ledger in PostgreSQL."""

_REMEDIES = {
    "database is locked": "another process held it for more than {timeout:g} s; find that process, then run again",
    "disk is full": "nothing was half-written; make room, then run again",
    "readonly database": "the process may not write the file; correct its rights",
    "unable to open database file": "check that the folder exists and may be written",
    "file is not a database": "the file is damaged or is something else; restore it from a backup",
    "malformed": "the file is damaged; restore it from a backup and clear the acknowledgements",
    "disk I/O error": "check the disk; no network file system may hold a ledger",
}


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", "prima_emarsys.sync:migrations")
    return config


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _asks_for_a_repeat(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state in (SERIALIZATION_FAILURE, DEADLOCK) or error.connection_invalidated


def _sqlite_engine(url: sa.URL, busy_timeout: float, journal: str) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise LedgerUnusable("a ledger in memory would forget what was sent; name a file: sqlite:///ledger.db")
    if journal not in ("delete", "wal"):
        raise LedgerUnusable(f"journal {journal!r} is unknown; use `delete` (default) or `wal`")
    if journal == "wal" and not wal_is_safe(sqlite3.sqlite_version_info[:3]):
        raise LedgerUnusable(
            f"SQLite {sqlite3.sqlite_version} may lose commits in WAL mode (WAL-reset bug, mended in 3.51.3);"
            " leave the journal at `delete`"
        )
    engine = sa.create_engine(url, connect_args={"timeout": busy_timeout})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `_begin` does
        found = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if found != journal:
            found = connection.execute(f"PRAGMA journal_mode={journal}").fetchone()[0]
        if found != journal:
            raise LedgerUnusable(f"the ledger's journal is {found!r} and another process keeps it so; end that process")
        # With a rollback journal only EXTRA also syncs the folder, without which a power cut just after a commit
        # may undo it (SQLite docs, PRAGMA synchronous).
        connection.execute(f"PRAGMA synchronous={'EXTRA' if journal == 'delete' else 'FULL'}")
        connection.execute("PRAGMA foreign_keys=ON")
        # A page of staged records must fit, or SQLite syncs its journal in the middle of the transaction.
        connection.execute("PRAGMA cache_size=-65536")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer that began as a reader cannot wait for the lock, it fails at once; so it begins as a writer.
        reads_only = connection.get_execution_options().get("reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine
