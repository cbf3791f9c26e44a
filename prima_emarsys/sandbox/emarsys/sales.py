"""What Smart Insight keeps of sales data: files, buyers and their rows; and what can be computed from them.

Rows of uploads are only ever added, so a file that was sent twice counts twice. A row whose buyer is no contact belongs
to an invented ("generated") buyer until a load finds a contact with that identifier. Deleting a contact takes its
revenue with it; how soon is not published, here at once (our choice). Loading is in `loads`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from sqlite3 import Connection
from typing import Literal, get_args

import orjson

from prima_emarsys.sandbox.emarsys.columns import SCALE
from prima_emarsys.sandbox.emarsys.csv_file import Reject
from prima_emarsys.sandbox.emarsys.sales_file import Route, SalesHeader, SalesRow
from prima_emarsys.sandbox.emarsys.store import Store, now

Status = Literal["In Progress", "Full", "Partial", "Failed"]

# The trigger leaves the rows of a buyer that is gone; nothing sees a row without its buyer.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sales_header (route TEXT PRIMARY KEY, columns TEXT NOT NULL, names TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sales_file (
    number INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL, name TEXT, sha256 TEXT NOT NULL,
    received_at TEXT NOT NULL, loaded_at TEXT, status TEXT NOT NULL, rows INTEGER NOT NULL, rejects TEXT NOT NULL,
    body BLOB
);
CREATE TABLE IF NOT EXISTS buyer (
    number INTEGER PRIMARY KEY AUTOINCREMENT, field TEXT NOT NULL, value TEXT NOT NULL, contact INTEGER,
    UNIQUE (field, value)
);
CREATE INDEX IF NOT EXISTS buyer_contact ON buyer (contact);
CREATE TABLE IF NOT EXISTS sales_row (
    file INTEGER NOT NULL, line INTEGER NOT NULL, buyer INTEGER NOT NULL, order_id TEXT NOT NULL, item TEXT NOT NULL,
    quantity INTEGER NOT NULL, price INTEGER NOT NULL, at TEXT NOT NULL, custom TEXT NOT NULL, image INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS sales_image ON sales_row (order_id) WHERE image = 1;
CREATE TRIGGER IF NOT EXISTS buyer_gone AFTER DELETE ON contact BEGIN DELETE FROM buyer WHERE contact = OLD.id; END;
"""

# Of several contacts with one value the oldest (our choice); without an index on the field there is none.
_CONTACT = "(SELECT min(k.contact) FROM contact_key AS k WHERE k.field = ?2 AND k.value = {})"


@dataclass(frozen=True)
class LoadReport:
    """What became of a file. Times are ISO 8601 in UTC.

    `In Progress` is accepted and not yet loaded, `Full` without a reject, `Partial` with some, `Failed` without a row.
    A file that is refused as a whole while loading is `Failed` with one reject on line 1.
    """

    number: int
    route: Route
    name: str | None
    """File name in a batch folder; an upload has none."""
    sha256: str
    """Of the file, unpacked."""
    received_at: str
    loaded_at: str | None
    status: Status
    rows: int
    rejects: tuple[Reject, ...]

    @property
    def loaded(self) -> int:
        """Number of rows that were loaded."""
        return self.rows - len(self.rejects)


@dataclass(frozen=True)
class Sale:
    """One loaded row. `price` is the row's total; `buyer` is the identifier as it was sent."""

    file: int
    line: int
    buyer: str
    order: str
    item: str
    quantity: Decimal
    price: Decimal
    at: datetime
    custom: Mapping[str, str]


@dataclass(frozen=True)
class Buyer:
    """Somebody with sales rows. `contact` is `None` while the buyer is invented."""

    contact: int | None
    identifiers: tuple[str, ...]
    """Values of `customer` or `email` under which the rows came."""
    turnover: Decimal
    """Sum of all rows, so net of refunds."""
    purchases: int
    """Orders whose rows sum to more than nought. That an order of nought never counts is Emarsys's rule; that one below
    nought does not is our choice."""


class SalesBook:
    """The sales side of the account's file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.define(_SCHEMA)

    # Headers and files

    def header(self, route: Route) -> SalesHeader | None:
        """The header of the first accepted file by this route."""
        for columns, names in self._store.read("SELECT columns, names FROM sales_header WHERE route = ?", (route,)):
            return _header(columns, names)
        return None

    def accept(self, route: Route, name: str | None, body: bytes, header: SalesHeader) -> int:
        """Keep a file for the next load, and its header if it is the first; returns its number."""
        texts = [orjson.dumps(part).decode() for part in (header.columns, header.names)]
        with self._store.transaction() as db:
            db.execute("INSERT OR IGNORE INTO sales_header VALUES (?, ?, ?)", (route, *texts))
            return self._add_file(db, route, name, body)

    def fail(self, name: str, body: bytes, reason: str) -> int:
        """Record a batch file that was refused as a whole; returns its number."""
        with self._store.transaction() as db:
            number = self._add_file(db, "batch", name, body)
            self.settle(db, number, 1, [(1, reason)])
        return number

    def _add_file(self, db: Connection, route: Route, name: str | None, body: bytes) -> int:
        status: Status = "In Progress"
        (number,) = db.execute(
            "INSERT INTO sales_file (route, name, sha256, received_at, status, rows, rejects, body)"
            " VALUES (?, ?, ?, ?, ?, 0, '[]', ?) RETURNING number",
            (route, name, hashlib.sha256(body).hexdigest(), now(), status, body),
        ).fetchone()
        return number

    def next_waiting(self) -> int | None:
        """Number of the oldest accepted file that is not loaded."""
        [(number,)] = self._store.read("SELECT min(number) FROM sales_file WHERE status = 'In Progress'")
        return number

    def file(self, number: int) -> tuple[Route, SalesHeader, bytes]:
        """How a waiting file came, its header and its content."""
        [(route, columns, names, body)] = self._store.read(
            "SELECT route, columns, names, body FROM sales_file JOIN sales_header USING (route) WHERE number = ?",
            (number,),
        )
        return route, _header(columns, names), body

    def knows_batch(self, name: str, body: bytes) -> bool:
        """Whether a batch file of this name and content was read before."""
        digest = hashlib.sha256(body).hexdigest()
        bound = (name, digest)
        return bool(
            self._store.read("SELECT 1 FROM sales_file WHERE route = 'batch' AND name = ? AND sha256 = ?", bound)
        )

    def reports(self, numbers: Iterable[int] | None = None) -> list[LoadReport]:
        """What became of these files, or of all, oldest first."""
        rows = self._store.read(
            "SELECT number, route, name, sha256, received_at, loaded_at, status, rows, rejects FROM sales_file"
            " WHERE ?1 IS NULL OR number IN (SELECT value FROM json_each(?1)) ORDER BY number",
            (None if numbers is None else orjson.dumps(list(numbers)).decode(),),
        )
        return [
            LoadReport(*row, rejects=tuple(Reject(*one) for one in orjson.loads(rejects))) for *row, rejects in rows
        ]

    # Loading, inside a transaction

    def join(self, db: Connection, field: str, number: int | None) -> None:
        """Give invented buyers known by `field` (a string id, and its number) to contacts with their identifier."""
        # The plus keeps SQLite to the index of contacts, so that it sees the invented ones only.
        contact = _CONTACT.format("buyer.value")
        db.execute(
            f"UPDATE buyer SET contact = {contact} WHERE contact IS NULL AND +field = ?1 AND {contact} IS NOT NULL",  # noqa: S608
            (field, number),
        )

    def buyers_of(self, db: Connection, field: str, number: int | None, identifiers: Iterable[str]) -> dict[str, int]:
        """The buyer behind each identifier; new ones are made, with their contact or invented."""
        wanted = orjson.dumps(list(dict.fromkeys(identifiers))).decode()
        db.execute(
            "INSERT INTO buyer (field, value, contact)"  # noqa: S608
            f" SELECT ?1, wanted.value, {_CONTACT.format('wanted.value')} FROM json_each(?3) AS wanted"
            " WHERE NOT EXISTS (SELECT 1 FROM buyer WHERE field = ?1 AND value = wanted.value)",
            (field, number, wanted),
        )
        # CROSS JOIN keeps SQLite from walking all buyers and looking each up in the list.
        return dict(
            db.execute(
                "SELECT buyer.value, buyer.number FROM json_each(?) AS wanted"
                " CROSS JOIN buyer ON buyer.field = ? AND buyer.value = wanted.value",
                (wanted, field),
            )
        )

    def add(
        self, db: Connection, file: int, route: Route, rows: Iterable[tuple[int, SalesRow]], buyers: Mapping[str, int]
    ) -> None:
        """Add rows that fit, each with its line."""
        image = route == "batch"
        db.executemany(
            "INSERT INTO sales_row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((file, line, buyers[row[0]], *row[1:], image) for line, row in rows),
        )

    def drop_images(self, db: Connection, orders: Iterable[str]) -> None:
        """Forget the rows of these orders that batches brought."""
        db.executemany("DELETE FROM sales_row WHERE image = 1 AND order_id = ?", ((order,) for order in orders))

    def settle(self, db: Connection, file: int, rows: int, rejects: Sequence[tuple[int, str]]) -> None:
        """Close a file's report; its body is no longer needed."""
        status: Status = "Failed" if len(rejects) == rows else "Partial" if rejects else "Full"
        db.execute(
            "UPDATE sales_file SET loaded_at = ?, status = ?, rows = ?, rejects = ?, body = NULL WHERE number = ?",
            (now(), status, rows, orjson.dumps(rejects).decode(), file),
        )

    # What can be seen

    def sales(self) -> list[Sale]:
        """Every loaded row, in the order of loading."""
        custom = {route: header.custom for route in get_args(Route) if (header := self.header(route))}
        rows = self._store.read(
            "SELECT r.file, r.line, b.value, r.order_id, r.item, r.quantity, r.price, r.at, f.route, r.custom"
            " FROM sales_row AS r JOIN buyer AS b ON b.number = r.buyer JOIN sales_file AS f ON f.number = r.file"
            " ORDER BY r.rowid"
        )
        return [
            Sale(
                *row, quantity=_unscaled(quantity), price=_unscaled(price), at=datetime.fromisoformat(at),
                custom={name: value for name, value in zip(custom[route], values.split("\n"), strict=False) if value},
            )
            for *row, quantity, price, at, route, values in rows
        ]  # fmt: skip

    def buyers(self) -> list[Buyer]:
        """Everybody with rows, contacts first."""
        identifiers: dict[int, list[str]] = {}
        for who, value in self._store.read("SELECT coalesce(contact, -number), value FROM buyer ORDER BY number"):
            identifiers.setdefault(who, []).append(value)
        rows = self._store.read(
            "WITH per_order AS ("
            "  SELECT coalesce(b.contact, -b.number) AS who, sum(r.price) AS amount"
            "  FROM sales_row AS r JOIN buyer AS b ON b.number = r.buyer GROUP BY who, r.order_id"
            ") SELECT who, sum(amount), sum(amount > 0) FROM per_order GROUP BY who ORDER BY who < 0, abs(who)"
        )
        return [
            Buyer(who if who > 0 else None, tuple(identifiers[who]), _unscaled(amount), purchases)
            for who, amount, purchases in rows
        ]


def _header(columns: str, names: str) -> SalesHeader:
    return SalesHeader(tuple(orjson.loads(columns)), tuple(orjson.loads(names)))


def _unscaled(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-SCALE)
