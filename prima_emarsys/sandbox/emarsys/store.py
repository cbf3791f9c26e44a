"""What the local Emarsys remembers, in one SQLite file: fields, contacts, events and who was triggered.

Sales data and catalogue lie in the same file, in tables that their own modules define (`sales`, `catalogue`).

One row a contact, its set fields as one JSON object; the values of indexed fields stand once more in `contact_key`,
which is how contacts are found. Unset is absent. Nothing here judges a value or words a reply.

The file belongs to one process (exclusive lock). It survives the end of that process, however it ends; it is not meant
to survive a power cut, which buys most of its speed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, Literal

import orjson

from prima_emarsys.sandbox.emarsys.system_fields import EMAIL, SYSTEM_FIELDS
from prima_emarsys.sandbox.emarsys.values import ContactField, Stored

Key = int | Literal["id", "uid"]
"""What identifies a contact: a field by its number, or one of the two internal identifiers."""
Values = dict[str, Stored]
"""A contact's set fields, by field number as text."""

PERSON_KEY = "prima_person_key"
FIRST_CUSTOM_FIELD = 10_001
FIRST_CONTACT = 100_000_001

_SCHEMA = """
CREATE TABLE IF NOT EXISTS field (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, string_id TEXT NOT NULL UNIQUE,
    application_type TEXT NOT NULL, custom INTEGER NOT NULL, read_only INTEGER NOT NULL, indexed INTEGER NOT NULL,
    choices TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS contact (id INTEGER PRIMARY KEY AUTOINCREMENT, fields BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS contact_key (
    field INTEGER NOT NULL, value TEXT NOT NULL, contact INTEGER NOT NULL, PRIMARY KEY (field, value, contact)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created TEXT NOT NULL, connected INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS trigger_log (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, event INTEGER NOT NULL, contact INTEGER NOT NULL,
    external_id TEXT NOT NULL, trigger_id TEXT, event_time TEXT, data TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS trigger_once ON trigger_log (event, trigger_id) WHERE trigger_id IS NOT NULL;
"""


@dataclass(frozen=True)
class Event:
    """An external event. `connected` says whether a program listens to it."""

    id: int
    name: str
    created: str
    connected: bool


@dataclass(frozen=True)
class Trigger:
    """One triggering of an external event for one contact, as it was processed (repeats of a `trigger_id` are not)."""

    at: str
    """When it was accepted: ISO 8601 in UTC, to the microsecond."""
    event: int
    contact: int
    external_id: str
    trigger_id: str | None
    event_time: str | None
    data: object


class Store:
    """The state of one account, in `folder/emarsys.sqlite`. Safe to use from several threads of one process."""

    def __init__(self, folder: Path, person_key: Literal["indexed", "unindexed", "absent"] = "indexed") -> None:
        """Open the account in `folder`, or begin a fresh one there.

        `person_key` decides for a fresh account whether the custom field `prima_person_key` exists, and whether Emarsys
        support has put an index on it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = RLock()
        self._db = sqlite3.connect(folder / "emarsys.sqlite", check_same_thread=False, isolation_level=None)
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=PERSIST", "synchronous=OFF", "cache_size=-131072"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self.fields: dict[int, ContactField] = self._read_fields()
        if not self.fields:
            self._begin(person_key)
        self._last_contact = self._last_number("contact")
        self.contact_count = self._count_contacts()

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is stored, or nothing; other threads wait."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                self.contact_count = self._count_contacts()
                raise
            self._db.execute("COMMIT")

    def define(self, schema: str) -> None:
        """Add the tables of another module, unless they are there."""
        with self._lock:
            self._db.executescript(schema)

    def read(self, query: str, bound: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of another module."""
        with self._lock:
            return self._db.execute(query, bound).fetchall()

    # Fields

    def add_field(self, contact_field: ContactField) -> ContactField:
        """Store a new custom field; its number is given here, whatever it says."""
        with self.transaction():
            number = max(self._last_number("field") + 1, FIRST_CUSTOM_FIELD)
            added = replace(contact_field, id=number)
            self._write_field(added)
        self.fields[number] = added
        return added

    def change_field(self, changed: ContactField) -> None:
        """Replace a field's definition. Contacts are indexed by it, or no longer, at once."""
        with self.transaction():
            self._write_field(changed)
            self._db.execute("DELETE FROM contact_key WHERE field = ?", (changed.id,))
            if changed.indexed:
                self._db.execute(
                    "INSERT INTO contact_key SELECT ?1, json_extract(CAST(fields AS TEXT), ?2), id FROM contact"
                    " WHERE json_extract(CAST(fields AS TEXT), ?2) IS NOT NULL",
                    (changed.id, f'$."{changed.id}"'),
                )
        self.fields[changed.id] = changed

    def delete_field(self, number: int) -> None:
        """Forget a field. Its number is never given again, so values left in contacts are never seen."""
        with self.transaction():
            self._db.execute("DELETE FROM field WHERE id = ?", (number,))
            self._db.execute("DELETE FROM contact_key WHERE field = ?", (number,))
        del self.fields[number]

    # Contacts

    def find(self, key: Key, values: Sequence[str]) -> dict[str, list[tuple[int, Values]]]:
        """The contacts behind each key value: number and fields, in order of number. Values without one are absent."""
        found: dict[str, list[tuple[int, Values]]] = {}
        with self._lock:
            if isinstance(key, int):
                rows = self._db.execute(
                    # CROSS JOIN keeps SQLite from walking all keys of the field and looking each up in the list.
                    "SELECT k.value, c.id, c.fields FROM json_each(?) AS wanted"
                    " CROSS JOIN contact_key AS k ON k.field = ? AND k.value = wanted.value"
                    " CROSS JOIN contact AS c ON c.id = k.contact",
                    (orjson.dumps(list(dict.fromkeys(values))).decode(), key),
                )
                for value, contact, fields in rows:
                    found.setdefault(value, []).append((contact, orjson.loads(fields)))
                return found
            numbers = {number: value for value in values if (number := contact_number(key, value)) is not None}
            rows = self._db.execute(
                "SELECT id, fields FROM contact WHERE id IN (SELECT value FROM json_each(?))",
                (orjson.dumps(list(numbers)).decode(),),
            )
            return {numbers[contact]: [(contact, orjson.loads(fields))] for contact, fields in rows}

    def next_contact(self) -> int:
        """A contact number that was never used."""
        self._last_contact += 1
        return self._last_contact

    def add(self, contacts: Iterable[tuple[int, Values]]) -> None:
        """Store new contacts; call inside a transaction."""
        rows = [(number, orjson.dumps(values)) for number, values in contacts]
        self._db.executemany("INSERT INTO contact VALUES (?, ?)", rows)
        self.contact_count += len(rows)

    def replace(self, contacts: Iterable[tuple[int, Values]]) -> None:
        """Store changed contacts; call inside a transaction."""
        self._db.executemany(
            "UPDATE contact SET fields = ? WHERE id = ?",
            ((orjson.dumps(values), number) for number, values in contacts),
        )

    def rekey(self, gone: Iterable[tuple[int, Stored, int]], come: Iterable[tuple[int, Stored, int]]) -> None:
        """Keep `contact_key` true: (field, value, contact) rows that go and that come; call inside a transaction."""
        self._db.executemany("DELETE FROM contact_key WHERE field = ? AND value = ? AND contact = ?", gone)
        self._db.executemany("INSERT INTO contact_key VALUES (?, ?, ?)", come)

    def indexed_fields(self) -> list[tuple[int, str]]:
        """Number of each indexed field, as a number and as text."""
        return [(number, str(number)) for number, one in self.fields.items() if one.indexed]

    def delete(self, numbers: Sequence[int]) -> None:
        """Remove contacts for good; call inside a transaction."""
        for number in numbers:
            (fields,) = self._db.execute("DELETE FROM contact WHERE id = ? RETURNING fields", (number,)).fetchone()
            values = orjson.loads(fields)
            self.rekey([(key, values[name], number) for key, name in self.indexed_fields() if name in values], [])
        self.contact_count -= len(numbers)

    def page(
        self, returned: int, limit: int, offset: int, filtered: tuple[int, str] | None, filled_only: bool
    ) -> list[tuple[int, Stored | None]]:
        """Contact number and value of one field, in order of number.

        `filtered` keeps contacts whose (indexed) field has that value, `""` those without one.
        """
        where, bound = ["1"], {"returned": f'$."{returned}"', "limit": limit, "offset": offset}
        if filtered is not None:
            field, value = filtered
            bound |= {"field": field, "value": value}
            where.append(
                "id IN (SELECT contact FROM contact_key WHERE field = :field AND value = :value)"
                if value
                else "id NOT IN (SELECT contact FROM contact_key WHERE field = :field)"
            )
        if filled_only:
            where.append("json_extract(CAST(fields AS TEXT), :returned) IS NOT NULL")
        with self._lock:
            rows = self._db.execute(
                f"SELECT id, fields FROM contact WHERE {' AND '.join(where)} ORDER BY id LIMIT :limit OFFSET :offset",  # noqa: S608
                bound,
            )
            return [(number, orjson.loads(fields).get(str(returned))) for number, fields in rows]

    def all_contacts(self) -> Iterator[tuple[int, Values]]:
        """Every contact, in order of number. Other threads wait until the iteration ends."""
        with self._lock:
            for number, fields in self._db.execute("SELECT id, fields FROM contact ORDER BY id"):
                yield number, orjson.loads(fields)

    def forget_contacts(self) -> None:
        """Remove all contacts and all records of triggered events; fields and events stay."""
        with self.transaction():
            for table in ("contact", "contact_key", "trigger_log"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
        self.contact_count = 0

    # Events

    def events(self) -> list[Event]:
        """All external events, oldest first."""
        with self._lock:
            rows = self._db.execute("SELECT id, name, created, connected FROM event ORDER BY id").fetchall()
        return [Event(number, name, created, bool(connected)) for number, name, created, connected in rows]

    def event(self, number: int) -> Event | None:
        """The external event of that number, if there is one."""
        return next((event for event in self.events() if event.id == number), None)

    def add_event(self, name: str, connected: bool = True) -> Event | None:
        """Store a new event; `None` if the name is taken."""
        created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        with self._lock:
            row = self._db.execute(
                "INSERT INTO event (name, created, connected) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
                (name, created, connected),
            ).fetchone()
        return Event(row[0], name, created, connected) if row else None

    def connect_event(self, number: int, connected: bool) -> None:
        """Say whether a program listens to the event."""
        with self._lock:
            self._db.execute("UPDATE event SET connected = ? WHERE id = ?", (connected, number))

    def log_trigger(self, trigger: Trigger) -> bool:
        """Record that a contact was triggered; `False` if its `trigger_id` was processed before for this event.

        Call inside a transaction.
        """
        cursor = self._db.execute(
            "INSERT INTO trigger_log (at, event, contact, external_id, trigger_id, event_time, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                trigger.at, trigger.event, trigger.contact, trigger.external_id, trigger.trigger_id, trigger.event_time,
                orjson.dumps(trigger.data).decode(),
            ),
        )  # fmt: skip
        return cursor.rowcount == 1

    def triggers(self, event: int | None = None) -> list[Trigger]:
        """Who was triggered, oldest first; of one event or of all."""
        with self._lock:
            rows = self._db.execute(
                "SELECT at, event, contact, external_id, trigger_id, event_time, data FROM trigger_log"
                " WHERE ?1 IS NULL OR event = ?1 ORDER BY number",
                (event,),
            ).fetchall()
        return [Trigger(*row, data=orjson.loads(data)) for *row, data in rows]

    # Within

    def _begin(self, person_key: str) -> None:
        with self.transaction():
            for number, string_id, application_type, read_only, choices in SYSTEM_FIELDS:
                name = string_id.replace("_", " ").title()
                self._write_field(
                    ContactField(
                        number, name, string_id, application_type, custom=False, read_only=read_only,
                        indexed=number == EMAIL, choices=choices,
                    )
                )  # fmt: skip
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('contact', ?)", (FIRST_CONTACT - 1,))
        self.fields = self._read_fields()
        if person_key != "absent":
            self.add_field(ContactField(0, PERSON_KEY, PERSON_KEY, "shorttext", indexed=person_key == "indexed"))

    def _count_contacts(self) -> int:
        return self._db.execute("SELECT count(*) FROM contact").fetchone()[0]

    def _last_number(self, table: str) -> int:
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return row[0] if row else 0

    def _write_field(self, one: ContactField) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO field VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                one.id, one.name, one.string_id, one.application_type, one.custom, one.read_only, one.indexed,
                orjson.dumps(dict(one.choices)).decode(),
            ),
        )  # fmt: skip

    def _read_fields(self) -> dict[int, ContactField]:
        rows = self._db.execute(
            "SELECT id, name, string_id, application_type, custom, read_only, indexed, choices FROM field ORDER BY id"
        )
        return {
            number: ContactField(
                number, name, string_id, application_type, bool(custom), bool(read_only), bool(indexed),
                orjson.loads(choices),
            )
            for number, name, string_id, application_type, custom, read_only, indexed, choices in rows
        }  # fmt: skip


def now() -> str:
    """This moment as the sandbox writes it down: ISO 8601 in UTC, to the microsecond, so that texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


# An odd multiplier has an inverse modulo a power of two, so that a contact's `uid` needs no column and no index.
_UID_MODULUS = 2**58
_UID_FACTOR = 0x1F3D5B79A8C6E41
_UID_INVERSE = pow(_UID_FACTOR, -1, _UID_MODULUS)
_UID_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def contact_uid(number: int) -> str:
    """The `uid` of a contact: up to ten letters and digits that look random and lead back to its number."""
    scrambled, text = number * _UID_FACTOR % _UID_MODULUS, ""
    while scrambled:
        scrambled, digit = divmod(scrambled, 62)
        text = _UID_DIGITS[digit] + text
    return text


def contact_number(key: Literal["id", "uid"], value: str) -> int | None:
    """The number of the contact with this `id` or `uid`; `None` if the value cannot be one."""
    if key == "id":
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
    scrambled = 0
    for letter in value:
        digit = _UID_DIGITS.find(letter)
        if digit < 0 or len(value) > 10:
            return None
        scrambled = scrambled * 62 + digit
    return scrambled * _UID_INVERSE % _UID_MODULUS if scrambled < _UID_MODULUS else None
