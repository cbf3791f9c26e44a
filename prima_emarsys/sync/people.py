"""Which person key was given to which account: what only the ledger remembers, for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from prima_emarsys.sync.database import batches
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import person, person_link

_PAGE = 10_000
_HASH_LENGTH = 22
"""Of 43 characters: 132 bits are plenty, and a million of them are held in memory at once."""
_SELECT_LINKS = sa.select(
    person_link.c.company + "-" + person_link.c.customer_code,
    person_link.c.person_key,
    person_link.c.reason,
    person_link.c.email_hash,
)
_LINKS = pa.schema([(name, pa.string()) for name in ("account", "person_key", "reason", "email_hash")])
_PERSONS = pa.schema([("person_key", pa.string()), ("account", pa.string()), ("created_at", pa.timestamp("us", "UTC"))])


class People:
    """Person keys and links in the ledger. Accounts are written `company-code`; a company holds no hyphen."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def email_hashes(self, emails: Iterable[str | None]) -> list[str | None]:
        """A keyed hash of each normalised address: equal for equal addresses, and of no use to who has no key."""
        return [email and self._ledger.digest(email.encode(), "e-mail")[:_HASH_LENGTH] for email in emails]

    def links(self, accounts: Iterable[str] | None) -> pa.Table:
        """account, person_key, reason, email_hash: of these accounts, or of all."""
        key = sa.tuple_(person_link.c.company, person_link.c.customer_code)
        wanted = None if accounts is None else (tuple(account.split("-", 1)) for account in accounts)
        return self._read(_SELECT_LINKS, key, wanted, _LINKS)

    def by_email(self, hashes: Iterable[str]) -> dict[str, str]:
        """Hash of an address → the person with an account that has it; of several, the first that was founded."""
        select = (
            sa.select(person_link.c.email_hash, person_link.c.person_key)
            .join(person, person.c.person_key == person_link.c.person_key)
            .order_by(person.c.created_at.desc(), person.c.person_key.desc())
        )
        found: dict[str, str] = {}
        for page in batches(hashes, _PAGE):
            wanted = select.where(person_link.c.email_hash.in_(page))
            rows = self._ledger.read(lambda connection, wanted=wanted: connection.execute(wanted).all())
            found |= {row.email_hash: row.person_key for row in rows}
        return found

    def accounts(self, keys: Iterable[str]) -> pa.Table:
        """account, person_key, reason, email_hash: of all accounts of these persons."""
        return self._read(_SELECT_LINKS, person_link.c.person_key, keys, _LINKS)

    def persons(self, keys: Iterable[str] | None) -> pa.Table:
        """person_key, account (its founder), created_at: of these keys, or of all."""
        founder = person.c.founding_company + "-" + person.c.founding_code
        select = sa.select(person.c.person_key, founder, person.c.created_at)
        return self._read(select, person.c.person_key, keys, _PERSONS)

    def remember(self, links: pa.Table) -> int:
        """Store new or changed links, and each person that they name for the first time.

        A key is `P` + its founder's account. Safe when two processes found the same person at once. Returns how many
        persons are new.
        """
        now = self._ledger.clock()
        rows = links.select(_LINKS.names).to_pylist()
        new = 0
        for page in batches(rows, _PAGE):

            def store(connection: Connection, page: list[dict[str, Any]] = page) -> int:
                upsert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
                founded = [_founded(key, now) for key in sorted({row["person_key"] for row in page})]
                fresh = upsert(person).on_conflict_do_nothing().returning(person.c.person_key)
                number = len(connection.execute(fresh, founded).all())
                link = upsert(person_link)
                given = {name: link.excluded[name] for name in ("person_key", "reason", "linked_at", "email_hash")}
                linked = sorted(page, key=lambda row: row["account"])
                connection.execute(
                    link.on_conflict_do_update(index_elements=["company", "customer_code"], set_=given),
                    [
                        _named(row["account"])
                        | {name: row[name] for name in ("person_key", "reason", "email_hash")}
                        | {"linked_at": now}
                        for row in linked
                    ],
                )
                return number

            new += self._ledger.write(store)
        return new

    def _read(
        self, select: sa.Select[*tuple[Any, ...]], key: Any, wanted: Iterable[Any] | None, schema: pa.Schema
    ) -> pa.Table:
        if wanted is None:
            # One transaction that only reads: a snapshot, streamed so that a million rows need no second copy.
            def stream(connection: Connection) -> pa.Table:
                result = connection.execution_options(yield_per=_PAGE).execute(select)
                return pa.Table.from_batches([_batch(part, schema) for part in result.partitions(_PAGE)], schema)

            return self._ledger.read(stream)
        parts = [
            self._ledger.read(
                lambda connection, page=page: _batch(connection.execute(select.where(key.in_(page))), schema)
            )
            for page in batches(wanted, _PAGE)
        ]
        return pa.Table.from_batches(parts, schema)


def _batch(rows: Iterable[Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _named(account: str) -> dict[str, str]:
    company, _, code = account.partition("-")
    return {"company": company, "customer_code": code}


def _founded(key: str, now: Any) -> dict[str, Any]:
    company, _, code = key.removeprefix("P").partition("-")
    return {"person_key": key, "founding_company": company, "founding_code": code, "created_at": now}
