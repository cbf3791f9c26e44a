"""Opening a ledger refuses what is unsafe, and a transaction survives what a database may do to it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from prima_emarsys.sync.database import LedgerUnusable, wal_is_safe
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import lane, meta, metadata, retention_of, sync_record
from prima_emarsys_tests.sync.conftest import HASH_KEY
from prima_emarsys_tests.sync.remote import people

LANE = "contacts"


def test_the_migrations_make_what_the_schema_says(ledger_url: str) -> None:
    with Ledger.open(ledger_url, HASH_KEY) as ledger:
        differences = ledger.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    assert differences == []


def test_every_table_and_column_is_explained_and_every_table_has_a_retention_rule() -> None:
    for table in metadata.sorted_tables:
        assert retention_of(table).why
        if table.name in ("sync_record", "lane", "person", "person_link", "outbox"):
            assert all(column.doc for column in table.columns)


def test_row_42_a_missing_ledger_is_not_replaced_by_an_empty_one(ledger_url: str) -> None:
    with pytest.raises(LedgerUnusable, match="restore it"):
        Ledger.open(ledger_url, HASH_KEY, create=False)


def test_row_42_a_damaged_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is no database" * 1_000)
    with pytest.raises(LedgerUnusable, match="restore it from a backup"):
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY)


def test_row_42_a_ledger_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY).close()
    with pytest.raises(LedgerUnusable, match="may not write"):
        Ledger.open(f"sqlite:///file:{tmp_path / 'ledger.db'}?mode=ro&uri=true", HASH_KEY)


def test_a_ledger_of_newer_software_is_refused(ledger_url: str) -> None:
    with Ledger.open(ledger_url, HASH_KEY) as ledger:
        ledger.write(lambda c: c.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(LedgerUnusable, match="newer version"):
        Ledger.open(ledger_url, HASH_KEY)


def test_a_ledger_is_refused_under_another_hash_key(ledger_url: str) -> None:
    Ledger.open(ledger_url, HASH_KEY).close()
    with pytest.raises(LedgerUnusable, match="another hash key"):
        Ledger.open(ledger_url, b"another key of the right length")
    with pytest.raises(LedgerUnusable, match="16 bytes"):
        Ledger.open(ledger_url, b"short")


def test_a_ledger_is_refused_in_another_environment(ledger_url: str) -> None:
    Ledger.open(ledger_url, HASH_KEY, environment="production").close()
    with pytest.raises(LedgerUnusable, match="'production'"):
        Ledger.open(ledger_url, HASH_KEY, environment="test")


def test_a_ledger_in_memory_is_refused() -> None:
    with pytest.raises(LedgerUnusable, match="forget"):
        Ledger.open("sqlite://", HASH_KEY)


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)
def test_row_43_wal_is_known_to_be_unsafe_before_the_bug_was_mended(version: tuple[int, int, int], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_row_43_wal_is_refused_on_an_affected_sqlite_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    with pytest.raises(LedgerUnusable, match="WAL-reset bug"):
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY, journal="wal")


def test_a_ledger_that_somebody_turned_to_wal_is_turned_back(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    Ledger.open(f"sqlite:///{file}", HASH_KEY).close()
    other = sqlite3.connect(file)
    assert other.execute("PRAGMA journal_mode=wal").fetchone() == ("wal",)
    other.close()
    with Ledger.open(f"sqlite:///{file}", HASH_KEY) as ledger:
        assert ledger.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar()) == "delete"
        assert ledger.read(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar()) == 3


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger's file, locked by somebody else until it commits."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url, HASH_KEY) as ledger:
        ledger.stage(LANE, people(3), "m1")
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    yield other
    other.close()


def test_row_40_a_locked_ledger_is_waited_for(tmp_path: Path, locked: sqlite3.Connection) -> None:
    threading.Timer(0.5, locked.execute, ["COMMIT"]).start()
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY, busy_timeout=20) as ledger:
        claim = ledger.claim(LANE)
        assert claim is not None
        assert len(claim.records) == 3


def test_row_40_a_ledger_locked_for_too_long_fails_the_pass_without_loss(
    tmp_path: Path, locked: sqlite3.Connection
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with pytest.raises(LedgerUnusable, match=r"held it for more than 0\.2 s"):
        Ledger.open(url, HASH_KEY, busy_timeout=0.2)
    locked.execute("COMMIT")
    with Ledger.open(url, HASH_KEY) as ledger:
        assert ledger.counts(LANE).dirty == 3


def test_row_41_a_full_disk_undoes_the_transaction_and_work_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", HASH_KEY) as ledger:
        ledger.stage(LANE, people(10), "m1")
        room = 40
        sa.event.listen(  # pyright: ignore[reportAttributeAccessIssue]
            ledger.database.engine,
            "begin",
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={room}"),
        )
        with pytest.raises(LedgerUnusable, match="make room"):
            ledger.stage(LANE, people(3_000), "m1")
        assert ledger.counts(LANE).total == 10
        room = 1_000_000
        ledger.stage(LANE, people(3_000), "m1")
        assert ledger.counts(LANE).total == 3_000


def test_row_44_a_deadlock_in_postgresql_is_repeated_and_has_one_effect(postgres_url: str) -> None:
    with Ledger.open(postgres_url, HASH_KEY) as ledger:
        ledger.stage("a", people(1), "m1")
        ledger.stage("b", people(1), "m1")
        meeting = threading.Barrier(2)
        tries: list[str] = []

        def cross(first: str, second: str) -> None:
            def work(connection: sa.Connection) -> None:
                tries.append(first)
                for name in (first, second):
                    move = sa.update(lane).where(lane.c.lane == name)
                    connection.execute(move.values(breaker_open_seconds=lane.c.breaker_open_seconds + 1))
                    if name == first and len(tries) <= 2:
                        meeting.wait(timeout=10)

            ledger.write(work)

        threads = [threading.Thread(target=cross, args=names) for names in (("a", "b"), ("b", "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(tries) == 3, "one of the two was the victim, and was repeated"
        counted = ledger.read(lambda c: list(c.scalars(sa.select(lane.c.breaker_open_seconds))))
        assert counted == [2, 2]


def test_row_44_a_connection_that_is_cut_is_repeated_on_another(postgres_url: str) -> None:
    with Ledger.open(postgres_url, HASH_KEY) as ledger:
        tries: list[int] = []

        def work(connection: sa.Connection) -> None:
            tries.append(1)
            connection.execute(sa.insert(meta).values(name="once", value="x"))
            if len(tries) == 1:
                connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

        ledger.write(work)
        assert len(tries) == 2
        assert ledger.read(lambda c: c.scalar(sa.select(sa.func.count()).where(meta.c.name == "once"))) == 1


def test_staging_and_acknowledging_at_once_never_deadlock(postgres_url: str) -> None:
    with Ledger.open(postgres_url, HASH_KEY) as ledger:
        ledger.stage(LANE, people(600), "m0")
        until = time.monotonic() + 2
        failures: list[Exception] = []

        def stage() -> None:
            version = 0
            while time.monotonic() < until:
                version += 1
                ledger.stage(LANE, reversed(people(600)), f"m{version}")

        def work() -> None:
            while time.monotonic() < until:
                if claim := ledger.claim(LANE, 100):
                    ledger.acknowledge(claim, claim.records, {})

        def guarded(what: object) -> None:
            try:
                what()  # type: ignore[operator]
            except Exception as error:  # noqa: BLE001 (shown by the assertion)
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(what,)) for what in (stage, stage, work, work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        deadlocks = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert ledger.read(lambda c: c.scalar(deadlocks)) == 0


def test_times_are_aware_and_naive_ones_are_refused(ledger: Ledger) -> None:
    from datetime import datetime

    ledger.stage(LANE, people(1), "m1")
    due = ledger.read(lambda c: c.scalar(sa.select(sync_record.c.next_attempt_at)))
    assert due == ledger.clock()
    assert due is not None
    assert due.tzinfo is not None
    with pytest.raises(Exception, match="timezone-aware"):
        ledger.write(lambda c: c.execute(sa.update(sync_record).values(acked_at=datetime(2026, 1, 1))))  # noqa: DTZ001
