"""The product catalogue as Emarsys holds it: pulled or pushed as a whole, with the items that came back into stock.

Every file is the full catalogue: an item that is missing in it goes. An item whose `available` turns from false to true
between two files that follow each other is back in stock, and those who wait for it are mailed; a new item is not back.
Our invention or choice are: the list of those who wait (the vendor's shop script makes it); that a mail ends the wait,
and that it needs opt-in 1; that a file without one good row, or that cannot be had, leaves the catalogue as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import fsspec
import orjson
import requests

from prima_emarsys.sandbox.emarsys.catalogue_file import CatalogueRow, check_header, judge_catalogue
from prima_emarsys.sandbox.emarsys.csv_file import CsvFile, RefusedFile, Reject, complete_files, unpacked
from prima_emarsys.sandbox.emarsys.settings import Settings
from prima_emarsys.sandbox.emarsys.store import Store, now
from prima_emarsys.sandbox.emarsys.system_fields import OPT_IN

_SCHEMA = """
CREATE TABLE IF NOT EXISTS catalogue_file (
    number INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, sha256 TEXT, at TEXT NOT NULL, status TEXT NOT NULL,
    rows INTEGER NOT NULL, rejects TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS catalogue_item (item TEXT PRIMARY KEY, available INTEGER NOT NULL, fields BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS back_in_stock (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL, at TEXT NOT NULL, item TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS waiting (item TEXT, external_id TEXT, PRIMARY KEY (item, external_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stock_mail (flip INTEGER NOT NULL, external_id TEXT NOT NULL, contact INTEGER NOT NULL);
"""
_AT_ONCE = 10_000
_GZIP_MAGIC = b"\x1f\x8b"
_PULL_SECONDS = 60


@dataclass(frozen=True)
class CatalogueReport:
    """What became of a catalogue file. Times are ISO 8601 in UTC.

    `Full` without a reject, `Partial` with some, `Failed` if the catalogue stayed as it was; then one reject on line 1
    says why if the file as a whole is the reason.
    """

    number: int
    source: str
    """Where it was pulled from, without user and password; `push` if it was pushed."""
    sha256: str | None
    """Of the file, unpacked; `None` if there was none."""
    at: str
    status: Literal["Full", "Partial", "Failed"]
    rows: int
    rejects: tuple[Reject, ...]


@dataclass(frozen=True)
class BackInStock:
    """An item that came back, and who was mailed. Others who wait for it have no opt-in, or are no contact."""

    file: int
    at: str
    item: str
    mailed: tuple[str, ...]


@dataclass(frozen=True)
class StockMail:
    """One mail about an item that came back."""

    at: str
    item: str
    contact: int
    external_id: str


class Catalogue:
    """The catalogue side of the account's file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.define(_SCHEMA)

    def pull(self, place: str | Path, settings: Settings) -> CatalogueReport:
        """Fetch a file and take it in: of a local folder the newest complete one, or from any address of `fsspec`."""
        source = _without_password(str(place))
        try:
            body = _fetch(place)
        except (OSError, ValueError, ImportError, requests.RequestException) as error:
            return self._fail(source, None, f"cannot be fetched: {type(error).__name__}")
        try:
            return self.take(source, unpacked(body) if body.startswith(_GZIP_MAGIC) else body, settings)
        except RefusedFile as refused:
            return self._fail(source, body, str(refused))

    def take(self, source: str, body: bytes, settings: Settings) -> CatalogueReport:
        """Replace the catalogue by an unpacked file; `RefusedFile` for what its header shows."""
        file = CsvFile(body)
        check_header(file.columns)
        rejects: list[tuple[int, str]] = []
        rows = 0
        with self._store.transaction() as db:
            db.execute("DROP TABLE IF EXISTS temp.arrived")
            db.execute("CREATE TEMP TABLE arrived (item TEXT PRIMARY KEY, available INTEGER, fields BLOB)")
            lines = iter(file)
            while some := list(islice(lines, _AT_ONCE)):
                rows += len(some)
                rejects += [(line, reason) for line, reason in some if isinstance(reason, str)]
                readable = [(line, values) for line, values in some if isinstance(values, list)]
                judged = judge_catalogue(file.columns, [values for _, values in readable])
                for (line, _), row in zip(readable, judged, strict=True):
                    if reason := row if isinstance(row, str) else _keep(db, row):
                        rejects.append((line, reason))
            if not rows:
                raise RefusedFile("The file has no rows")
            if len(rejects) == rows:
                return self._report(db, source, body, "Failed", rows, rejects)
            report = self._report(db, source, body, "Partial" if rejects else "Full", rows, rejects)
            back = db.execute(
                "SELECT item FROM temp.arrived AS new JOIN catalogue_item AS old USING (item)"
                " WHERE new.available AND NOT old.available ORDER BY new.rowid"
            ).fetchall()
            for (item,) in back:
                self._come_back(db, report, item, settings)
            db.execute("DELETE FROM catalogue_item")
            db.execute("INSERT INTO catalogue_item SELECT item, available, fields FROM temp.arrived ORDER BY rowid")
        return report

    def _come_back(self, db: Connection, report: CatalogueReport, item: str, settings: Settings) -> None:
        """Log that an item is back, and mail those who wait for it."""
        sql = "INSERT INTO back_in_stock (file, at, item) VALUES (?, ?, ?) RETURNING number"
        (flip,) = db.execute(sql, (report.number, report.at, item)).fetchone()
        waiting = [one for (one,) in db.execute("SELECT external_id FROM waiting WHERE item = ? ORDER BY 1", (item,))]
        field = next((one.id for one in self._store.fields.values() if one.string_id == settings.customer_field), None)
        found = self._store.find(field, waiting) if field is not None else {}
        for external_id, [(contact, values), *_] in sorted(found.items()):
            if values.get(str(OPT_IN)) == "1":
                db.execute("INSERT INTO stock_mail VALUES (?, ?, ?)", (flip, external_id, contact))
                db.execute("DELETE FROM waiting WHERE item = ? AND external_id = ?", (item, external_id))

    def _fail(self, source: str, body: bytes | None, reason: str) -> CatalogueReport:
        with self._store.transaction() as db:
            return self._report(db, source, body, "Failed", 0, [(1, reason)])

    def _report(
        self, db: Connection, source: str, body: bytes | None, status: Literal["Full", "Partial", "Failed"], rows: int,
        rejects: list[tuple[int, str]],
    ) -> CatalogueReport:  # fmt: skip
        digest = None if body is None else hashlib.sha256(body).hexdigest()
        at, found = now(), tuple(Reject(*one) for one in sorted(rejects))
        (number,) = db.execute(
            "INSERT INTO catalogue_file (source, sha256, at, status, rows, rejects) VALUES (?, ?, ?, ?, ?, ?)"
            " RETURNING number",
            (source, digest, at, status, rows, orjson.dumps(sorted(rejects)).decode()),
        ).fetchone()
        return CatalogueReport(number, source, digest, at, status, rows, found)

    # What can be seen

    def reports(self) -> list[CatalogueReport]:
        """What became of every file, oldest first."""
        rows = self._store.read("SELECT number, source, sha256, at, status, rows, rejects FROM catalogue_file")
        return [
            CatalogueReport(*row, rejects=tuple(Reject(*one) for one in orjson.loads(found))) for *row, found in rows
        ]

    def items(self) -> dict[str, dict[str, str]]:
        """The catalogue: what was sent of each item, empty values left out, in the order of the file."""
        rows = self._store.read("SELECT item, fields FROM catalogue_item ORDER BY rowid")
        return {item: orjson.loads(fields) for item, fields in rows}

    def back_in_stock(self) -> list[BackInStock]:
        """Every item that came back, oldest first."""
        mailed: dict[int, list[str]] = {}
        for flip, external_id in self._store.read("SELECT flip, external_id FROM stock_mail ORDER BY rowid"):
            mailed.setdefault(flip, []).append(external_id)
        rows = self._store.read("SELECT number, file, at, item FROM back_in_stock ORDER BY number")
        return [BackInStock(*row, mailed=tuple(mailed.get(number, ()))) for number, *row in rows]

    def mails(self) -> list[StockMail]:
        """Every mail about an item that came back, oldest first."""
        rows = self._store.read(
            "SELECT b.at, b.item, m.contact, m.external_id FROM stock_mail AS m JOIN back_in_stock AS b"
            " ON b.number = m.flip ORDER BY m.rowid"
        )
        return [StockMail(*row) for row in rows]

    # Those who wait

    def wait_for(self, item: str, external_ids: Iterable[str]) -> None:
        """Let contacts (named by the agreed external id) wait for an item."""
        with self._store.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?)", ((item, one) for one in external_ids))

    def waiting(self) -> Mapping[str, list[str]]:
        """Who waits for what, by item."""
        found: dict[str, list[str]] = {}
        for item, external_id in self._store.read("SELECT item, external_id FROM waiting ORDER BY item, external_id"):
            found.setdefault(item, []).append(external_id)
        return found

    def forget_waiting(self) -> None:
        """Nobody waits any more."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM waiting")


def _keep(db: Connection, row: CatalogueRow) -> str | None:
    added = db.execute("INSERT OR IGNORE INTO temp.arrived VALUES (?, ?, ?)", row).rowcount
    return None if added else "the item was in an earlier row"


def _fetch(place: str | Path) -> bytes:
    if Path(place).is_dir():
        newest = max(complete_files(Path(place)), key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None:
            raise FileNotFoundError(place)
        return newest.read_bytes()
    if str(place).startswith(("http://", "https://")):
        reply = requests.get(str(place), timeout=_PULL_SECONDS)
        reply.raise_for_status()
        return reply.content
    with fsspec.open(str(place), "rb") as file:
        return file.read()  # type: ignore[union-attr]


def _without_password(place: str) -> str:
    parts = urlsplit(place)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
