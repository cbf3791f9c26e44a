"""No personal value and no secret is stored or printed by what runs, whether it goes well or ends in an error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys_tests.defs.house import House, account_of, failures, metadata, untouched

PERSON = {
    "forename": "Canaryforename",
    "surname": "Canarysurname",
    "email": "canary.person@canary.example",
    "phone": "07700 900123",
    "mobile": "07700 900124",
}
PASSWORD, HASH_KEY = "canary-database-password", "canary-hash-key-0123456789abcdef"
WRONG_SECRET = "canary-of-a-wrong-secret"
CONTACTS = ("prima/customers", "core/persons", "emarsys/contacts")


def stored(house: House) -> Iterator[tuple[str, str]]:
    """All that Dagster keeps: the cells of its databases, and its other files (what the steps printed)."""
    for path in sorted((house.folder / "dagster").rglob("*")):
        if path.suffix == ".db":
            yield from ((str(path), text) for text in cells(path))
        elif path.is_file():
            yield str(path), path.read_bytes().decode("utf-8", "replace")


def cells(path: Path) -> Iterator[str]:
    with sqlite3.connect(path) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 (our own database's names)
                yield from (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in row)


def ledger_rows(url: str) -> str:
    """The ledger as text. Its tables are those of no schema of the warehouse."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names(schema="public")
        assert "sync_record" in tables
        rows = [
            str(tuple(row))
            for name in tables
            for row in connection.execute(sa.text(f'SELECT * FROM "{name}"'))  # noqa: S608 (our own database's names)
        ]
    engine.dispose()
    return "\n".join(rows)


def test_a_person_and_the_secrets_leave_no_trace_on_any_path(
    first_sync: Path,
    tmp_path: Path,
    postgres_url: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = sa.make_url(postgres_url).set(password=PASSWORD).render_as_string(hide_password=False)
    stores = {"PRIMA_EMARSYS_LEDGER": url, "PRIMA_EMARSYS_WAREHOUSE": url, "PRIMA_EMARSYS_HASH_KEY": HASH_KEY}
    with untouched(first_sync, tmp_path / "house", **stores) as house:
        # It goes well, on PostgreSQL.
        first = house.run()
        assert first.success, failures(first)
        desired = house.desired()
        assert house.held() == desired
        person = house.person()
        account = account_of(desired[person])
        assert metadata(house.run(), "emarsys/contacts")["planned"] == 0
        # The person is changed, refused, lost on the way, and cannot be written to.
        house.amend("customer", account, **PERSON)
        house.emarsys.faults = Faults(Fault(kind="row-errors", rows=1.0))
        assert metadata(house.run(*CONTACTS), "emarsys/contacts")["refused"] == 1
        house.emarsys.faults = Faults()
        house.amend("customer", account, **{**PERSON, "email": "canary.person@@canary.example", "gender": "canary"})
        assert house.run(*CONTACTS).success
        house.amend("customer", account, **PERSON)
        assert house.run(*CONTACTS).success
        assert house.held()[person]["last_name"] == PERSON["surname"]
        house.write(person, last_name="Canaryother")
        assert house.run("proof/contacts").success
        # What is wrong ends the run, with an explanation.
        with monkeypatch.context() as wrong:
            wrong.setenv("EMARSYS_CLIENT_SECRET", WRONG_SECRET)
            assert "client_secret" in str(failures(house.run("emarsys/contacts")))
        with monkeypatch.context() as wrong:
            closed = f"postgresql+psycopg://prima:{PASSWORD}@127.0.0.1:9/nowhere"
            wrong.setenv("PRIMA_URL", closed)
            assert failures(house.run("prima/customers"))
            wrong.setenv("PRIMA_EMARSYS_LEDGER", closed)
            assert failures(house.run("core/persons"))
            wrong.setenv("PRIMA_EMARSYS_WAREHOUSE", closed)
            assert failures(house.run("core/sales"))
        assert house.run("emarsys/contacts").success
        assert house.held() == house.desired()

        personal = [*PERSON.values(), "canary.person", "Canaryother"]
        secret = [PASSWORD, HASH_KEY, WRONG_SECRET, house.emarsys.client_secret]
        printed = capfd.readouterr()
        places = [*stored(house), ("printed", printed.out), ("printed as errors", printed.err)]
        assert sum(len(text) for _, text in places) > 100_000
        hits = [(place, word) for place, text in places for word in (*personal, *secret) if word in text]
        assert hits == []
        ledger = ledger_rows(postgres_url)
        assert person in ledger
        assert [word for word in (*personal, *secret) if word in ledger] == []
