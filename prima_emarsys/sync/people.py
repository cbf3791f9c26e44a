"""Which person key was given to which account: what only the ledger remembers, for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.sync.database import batches
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.schema import person, person_link

_PAGE = 10_000
_LINKS = pa.schema([("account", pa.string()), ("person_key", pa.string()), ("reason", pa.string())])
_PERSONS = pa.schema([("person_key", pa.string()), ("account", pa.string()), ("created_at", pa.timestamp("us", "UTC"))])


class People:
    """Person keys and links in the ledger. Accounts are written `company-code`; a company holds no hyphen."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def links(self, accounts: Iterable[str] | None) -> pa.Table:
        """account, person_key, reason: of these accounts, or of all."""
        account = person_link.c.company + "-" + person_link.c.customer_code
        select = sa.select(account, person_link.c.person_key, person_link.c.reason)
        key = sa.tuple_(person_link.c.company, person_link.c.customer_code)
        wanted = None if accounts is None else (tuple(account.split("-", 1)) for account in accounts)
        return self._read(select, key, wanted, _LINKS)

    def persons(self, keys: Iterable[str] | None) -> pa.Table:
        """person_key, account (its founder), created_at: of these keys, or of all."""
        founder = person.c.founding_company + "-" + person.c.founding_code
        select = sa.select(person.c.person_key, founder, person.c.created_at)
        return self._read(select, person.c.person_key, keys, _PERSONS)

    def remember(self, links: pa.Table) -> int:
        """Store new or changed links, and each person that they name for the first time.

        A key is `P` + its founder's account. Returns how many persons are new.
        """
        now = self._ledger.clock()
        rows = links.select(["account", "person_key", "reason"]).to_pylist()
        new = 0
        for page in batches(rows, _PAGE):

            def store(connection: Connection, page: list[dict[str, Any]] = page) -> int:
                keys = sorted({row["person_key"] for row in page})
                known = set(connection.scalars(sa.select(person.c.person_key).where(person.c.person_key.in_(keys))))
                fresh = [key for key in keys if key not in known]
                if fresh:
                    connection.execute(sa.insert(person), [_founded(key, now) for key in fresh])
                linked = [_named(row["account"]) for row in page]
                gone = sa.tuple_(person_link.c.company, person_link.c.customer_code)
                connection.execute(sa.delete(person_link).where(gone.in_([tuple(one.values()) for one in linked])))
                connection.execute(
                    sa.insert(person_link),
                    [
                        name | {"person_key": row["person_key"], "reason": row["reason"], "linked_at": now}
                        for name, row in zip(linked, page, strict=True)
                    ],
                )
                return len(fresh)

            new += self._ledger.write(store)
        return new

    def _read(
        self, select: sa.Select[Any, Any, Any], key: Any, wanted: Iterable[Any] | None, schema: pa.Schema
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
