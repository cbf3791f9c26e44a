"""Reading a site's Prima by SQL: page by page, resumable, read-only, and stopped by no single bad row.

`SqlReader` puts the parts together: statements for the site's tables, a stream that runs them, the door that judges
each page. It keeps nothing: the high-water mark of a read is the caller's, who moves it when the rows are safe.
"""

# pyarrow.compute makes its functions while it is imported, where no type checker sees them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
import stamina
from sqlalchemy.exc import NoSuchTableError

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.finding import Finding
from prima_emarsys.prima.columns import Reading, type_column
from prima_emarsys.prima.pages import records, type_page
from prima_emarsys.prima.statements import CHANGED_AT, GONE, MappingError, Place, Raw, Statements
from prima_emarsys.prima.streams import (
    DATABASE_ERRORS,
    CursorStream,
    Stream,
    is_about_the_statement,
    is_passing,
    open_stream,
    safe_words,
    sqlstate,
)
from prima_emarsys.site import Site

MOST_UNREADABLE = 100
"""So many unreadable rows of one page mean that the table, not the row, is at fault."""

_WIDTH = re.compile(r"Column (\S+) in table (\S+) has value exceeding", re.IGNORECASE)

Ask = Callable[[Raw | None, Raw | None], sa.Select]
"""Makes the SELECT for the rows after one place in the order and up to another."""


class ReadError(Exception):
    """A table cannot be read now. The message names entity, table and cause; no value of any row is in it."""


class WritableRoleError(Exception):
    """The role that reads Prima could also write it."""


@dataclass(frozen=True, order=True)
class Mark:
    """How far a table has been read: every row changed up to this instant (aware, UTC) is known."""

    at: datetime

    def __str__(self) -> str:
        return self.at.astimezone(UTC).isoformat(timespec="microseconds")

    @classmethod
    def parse(cls, text: str) -> Mark:
        """The mark that `str` wrote."""
        return cls(datetime.fromisoformat(text))


@dataclass(frozen=True)
class Page:
    """One judged page. `read` = `good.num_rows` + `quarantined` + rows that are `gone`.

    `mark` is what the caller may note once this page is safe (None: note nothing yet); `last_key` is the key of the
    last good row; `gone` holds the keys, in the order of `entity.key`, of rows deleted logically or filtered away.
    """

    entity: Entity
    good: pa.Table
    findings: list[Finding]
    read: int
    quarantined: int
    gone: list[tuple[Any, ...]] = field(default_factory=list)
    mark: Mark | None = None
    last_key: tuple[Any, ...] | None = None
    repairs: Counter[str] = field(default_factory=Counter)


class _Reading:
    """One ordered read that knows how far it is, so that it can be taken up again after a lost connection."""

    def __init__(self, statements: Statements, stream: Stream, ask: Ask, rows: int) -> None:
        self.after: Raw | None = None
        self._statements, self._stream, self._ask, self._rows = statements, stream, ask, rows
        self._open: Generator[pa.Table] | None = None

    def next(self) -> pa.Table | None:
        """The next rows, or None at the end. After a database error the next call asks anew from where it was."""
        statement = self._ask(self.after, None)
        if self._open is None:
            self._open = self._stream.batches(statement, self._rows)
        try:
            batch = next(self._open, None)
        except DATABASE_ERRORS:
            self._open = None
            raise
        if batch is not None:
            self.after = self._statements.order_values(statement, batch.slice(batch.num_rows - 1))[0]
        return batch

    def close(self) -> None:
        """Free the connection, also when the consumer stops half-way."""
        if self._open is not None:
            self._open.close()


class SqlReader:
    """Reads every entity of the contract from one database. Safe to share between threads; holds no open cursor.

    `url` is any SQLAlchemy URL. `stream` replaces the way of running statements (default: the fastest there is).
    """

    def __init__(self, url: str | sa.URL, site: Site, stream: Stream | None = None) -> None:
        self._site = site
        self._engine = sa.create_engine(url)
        if site.prima.read_uncommitted and "READ UNCOMMITTED" in _isolation_levels(self._engine.dialect):
            self._engine = self._engine.execution_options(isolation_level="READ UNCOMMITTED")
        self._stream = stream or open_stream(self._engine)
        # Small questions go over connections that stay open, which costs a tenth of a new one.
        self._small = stream or CursorStream(self._engine)
        self._known: dict[str, Statements] = {}
        self._widths: dict[tuple[str, str], int] = {}

    def everything(self, entity: Entity) -> Iterator[Page]:
        """All rows that exist and lie inside the filters, ordered by key. Their pages carry no mark."""
        if self._site.prima.entity(entity.name).absent:
            return
        statements = self._statements(entity)
        for batch in self._batches(entity, statements, statements.everything):
            yield self._judged(entity, statements, batch, None)

    def changed(self, entity: Entity, since: Mark | None, overlap: timedelta | None = None) -> Iterator[Page]:
        """Rows changed since the mark, less the overlap (the site's, unless one is given); all rows if there is no mark
        or no change column.

        Rows come in the order of (change stamp, key); a page's mark covers everything up to that page. Rows without a
        stamp come first, and only when there is no mark.
        """
        if self._site.prima.entity(entity.name).absent:
            return
        statements = self._statements(entity)
        if not statements.has_changes:
            yield from self.everything(entity)
            return
        start = since.at - (self._site.prima.overlap if overlap is None else overlap) if since else None
        sample = statements.sample(self._newest(entity, statements))
        if start is None:
            for batch in self._batches(entity, statements, statements.undated):
                yield self._judged(entity, statements, batch, None)
        mark = since
        for batch in self._batches(
            entity, statements, lambda after, upto: statements.changed(start, sample, after, upto)
        ):
            page = self._judged(entity, statements, batch, mark)
            mark = page.mark
            yield page

    def matching(self, entity: Entity, names: Sequence[str], wanted: Iterable[tuple[str, ...]]) -> pa.Table:
        """The good rows whose code columns `names` hold one of the `wanted` combinations, judged at the same door.

        For a few rows at a time, such as one order's lines: the last column needs an index in Prima.
        """
        if self._site.prima.entity(entity.name).absent:
            return entity.arrow_schema.empty_table()
        statements = self._statements(entity)
        raw: list[pa.Table] = []
        for part in _parts(wanted, _LOOKED_UP):
            statement = statements.matching(names, part, self._padding(entity, statements, names))
            if statement is not None:
                raw += self._ask_small(entity, statement, self._site.prima.page_rows)
        # Judged together and only if there is any, since the judging of a page costs more than that of its rows.
        if not any(part.num_rows for part in raw):
            return entity.arrow_schema.empty_table()
        rows = pa.concat_tables(raw, promote_options="permissive")
        return self._judged(entity, statements, rows, None).good

    def _padding(self, entity: Entity, statements: Statements, names: Sequence[str]) -> dict[str, int]:
        """Which of these columns hold codes filled up with blanks, and to what width; seen from one row of each."""
        for name in names:
            if (entity.name, name) not in self._widths and (statement := statements.filled(name)) is not None:
                rows = self._ask_small(entity, statement, 1, first_page=True)
                code = str(rows[0][name][0].as_py()) if rows else ""
                if rows:
                    self._widths[entity.name, name] = len(code) if code.endswith(" ") else 0
        widths = {name: self._widths.get((entity.name, name), 0) for name in names}
        return {name: width for name, width in widths.items() if width}

    def _ask_small(
        self, entity: Entity, statement: sa.Select, rows: int, *, first_page: bool = False
    ) -> list[pa.Table]:
        try:
            return self._fetch(statement, self._small, rows, first_page=first_page)
        except DATABASE_ERRORS as error:
            raise self._cannot_read(entity, error) from None

    def latest(self, entity: Entity) -> Mark | None:
        """The highest change stamp in the table: one MAX, for whoever watches. None without rows or change column.

        A stamp in the future does not count, since it would hide every true change until then.
        """
        if self._site.prima.entity(entity.name).absent:
            return None
        statements = self._statements(entity)
        if not statements.has_changes:
            return None
        now = datetime.now(UTC)
        newest, row = self._highest(entity, statements, None)
        if newest is not None and newest > now:
            # A second more, since the bound of a stamp that is kept as text lies before every spelling of its second.
            soon = statements.upto(now + timedelta(seconds=1), statements.sample(row))
            newest, _ = self._highest(entity, statements, soon)
        return Mark(newest) if newest else None

    def _highest(self, entity: Entity, statements: Statements, upto: Raw | None) -> tuple[datetime | None, pa.Table]:
        """The highest stamp up to a place in the order of change, and the row as the database hands it out."""
        [row] = self._ask_small(entity, statements.latest(upto), 1)
        raw = statements.assemble(row)[CHANGED_AT].combine_chunks()
        return type_column(entity.column[CHANGED_AT], raw, Reading(self._site.zone)).values[0].as_py(), row

    def probe(self) -> None:
        """Refuse a role that could write: raises `WritableRoleError`, unless the site file allows it.

        Each mapped table is asked to delete, update and insert no row (`WHERE 1 = 0`) in a transaction that is rolled
        back: it changes nothing anywhere, and every database checks the right before it looks for rows.
        """
        if self._site.prima.allow_writable_role:
            return
        remedy = "Give PRIMA_URL a role that may only SELECT, or (in a sandbox) set prima.allow_writable_role: true."
        if self._engine.dialect.name == "postgresql":
            with self._engine.connect() as connection:
                question = "SELECT current_setting('is_superuser') = 'on' AND NOT pg_is_in_recovery()"
                if connection.scalar(sa.text(question)):
                    raise WritableRoleError(f"The role that reads Prima is a superuser. {remedy}")
        for entity in ENTITIES.values():
            if self._site.prima.entity(entity.name).absent:
                continue
            for verb, statement in self._statements(entity).writes_of_nothing().items():
                if self._may(statement):
                    raise WritableRoleError(f"The role that reads Prima may {verb} table of {entity.name}. {remedy}")

    def close(self) -> None:
        """Give up the connections."""
        self._engine.dispose()

    # --- the site's tables ------------------------------------------------------------------------------------------

    def _statements(self, entity: Entity) -> Statements:
        if entity.name not in self._known:
            try:
                place = self._place(entity)
            except DATABASE_ERRORS as error:
                raise self._cannot_read(entity, error) from None
            site_map = self._site.prima.entity(entity.name)
            self._known[entity.name] = Statements(entity, site_map, place, self._site.zone, self._engine.dialect.name)
        return self._known[entity.name]

    def _place(self, entity: Entity) -> Place:
        site_map = self._site.prima.entity(entity.name)
        table = site_map.table or entity.name
        schema = site_map.db_schema or self._site.prima.db_schema
        inspector = sa.inspect(self._engine)
        try:
            columns = inspector.get_columns(table, schema=schema)
        except NoSuchTableError:
            columns = []
        if not columns:
            there = sorted({*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)})
            raise MappingError(
                f"prima.entities.{entity.name}.table: this role sees no table or view {table!r} in "
                f"{f'schema {schema!r}' if schema else 'the default schema'}. It sees: {', '.join(there) or 'none'}. "
                f"Name the right one, or set absent: true if the site keeps no such thing."
            )
        return Place(table, schema, {c["name"]: (c["type"], bool(c.get("nullable", True))) for c in columns})

    def _may(self, statement: sa.Executable) -> bool:
        def permitted() -> bool:
            with self._engine.connect() as connection:
                try:
                    connection.execute(statement)
                    return True
                except DATABASE_ERRORS as error:
                    if is_passing(error):
                        raise
                    return False
                finally:
                    connection.rollback()

        return _persistently(permitted)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _batches(self, entity: Entity, statements: Statements, ask: Ask) -> Iterator[pa.Table | Finding]:
        reading = _Reading(statements, self._stream, ask, self._site.prima.page_rows)
        try:
            while True:
                try:
                    rows = _persistently(reading.next)
                except DATABASE_ERRORS as error:
                    if is_passing(error) or is_about_the_statement(error):
                        raise self._cannot_read(entity, error) from None
                    yield from self._around_bad_rows(entity, statements, ask, reading, error)
                    continue
                if rows is None:
                    return
                yield rows
        finally:
            reading.close()

    def _around_bad_rows(
        self, entity: Entity, statements: Statements, ask: Ask, reading: _Reading, error: Exception
    ) -> Iterator[pa.Table | Finding]:
        """Read the page that failed in ever smaller parts, bounded by keys, until only the rows at fault are missing.

        The keys are read first, alone: a row whose other columns are at fault still gives its key.
        """
        statement = statements.keys_only(ask(reading.after, None))
        try:
            keys = self._fetch(statement, first_page=True)
        except DATABASE_ERRORS as again:
            raise self._cannot_read(entity, again) from None
        if not keys:
            raise self._cannot_read(entity, error)
        places = statements.order_values(statement, keys[0])
        unreadable = 0
        spans = [(reading.after, 0, len(places))]
        while spans:
            after, start, end = spans.pop()
            try:
                batches = self._fetch(ask(after, places[end - 1]))
            except DATABASE_ERRORS as fault:
                if is_passing(fault):
                    raise self._cannot_read(entity, fault) from None
                if len(set(places[start:end])) > 1:
                    middle = (start + end) // 2
                    spans += [(places[middle - 1], middle, end), (after, start, middle)]
                    continue
                unreadable += end - start
                if unreadable >= MOST_UNREADABLE:
                    raise self._cannot_read(entity, fault) from None
                for position in range(start, end):
                    row = statements.assemble(keys[0].slice(position, 1))
                    yield _unreadable(entity, row, self._site.zone, fault)
            else:
                yield from batches
        reading.after = places[-1]

    def _fetch(
        self, statement: sa.Select, stream: Stream | None = None, rows: int = 0, *, first_page: bool = False
    ) -> list[pa.Table]:
        def batches() -> list[pa.Table]:
            asked = (stream or self._stream).batches(statement, rows or self._site.prima.page_rows)
            with closing(asked) as found:
                return list(itertools.islice(found, 1)) if first_page else list(found)

        return _persistently(batches)

    def _newest(self, entity: Entity, statements: Statements) -> pa.Table:
        try:
            return self._fetch(statements.latest())[0]
        except DATABASE_ERRORS as error:
            raise self._cannot_read(entity, error) from None

    def _cannot_read(self, entity: Entity, error: Exception) -> ReadError:
        # Whatever was known of the table may have changed; the next read looks again.
        self._known.pop(entity.name, None)
        table = self._site.prima.entity(entity.name).table or entity.name
        state = f" (SQLSTATE {code})" if (code := sqlstate(error)) else ""
        advice = "It is read again by the next run." if is_passing(error) else "Check table, grants and the site file."
        return ReadError(f"{entity.name}: table {table!r} cannot be read{state}: {safe_words(error)} {advice}")

    # --- judging ----------------------------------------------------------------------------------------------------

    def _judged(self, entity: Entity, statements: Statements, rows: pa.Table | Finding, mark: Mark | None) -> Page:
        """Pass raw rows through the door. `mark` is that of the page before; the page's own is never lower."""
        if isinstance(rows, Finding):
            return Page(entity, entity.arrow_schema.empty_table(), [rows], 1, 1, mark=mark)
        read, now = rows.num_rows, datetime.now(UTC)
        words = self._site.prima.entity(entity.name).words
        lost = rows.slice(0, 0)
        if GONE in rows.column_names:
            mark = self._further(entity, mark, statements.assemble(rows), now)
            is_gone = pc.equal(rows[GONE], "1")
            lost, rows = rows.filter(is_gone), rows.filter(pc.invert(is_gone))
        typed = type_page(entity, statements.assemble(rows), self._site.zone, words, now=now)
        findings, quarantined = typed.findings, typed.quarantined
        gone: list[tuple[Any, ...]] = []
        if lost.num_rows:
            keys = type_page(_key_of(entity), statements.assemble(lost), self._site.zone, words)
            alive = set(_tuples(entity, typed.good))
            gone = [key for key in _tuples(entity, keys.good) if key not in alive]
            findings, quarantined = findings + keys.findings, quarantined + keys.quarantined
        last = _tuples(entity, typed.good.slice(max(typed.good.num_rows - 1, 0)))
        return Page(
            entity,
            typed.good,
            findings,
            read,
            quarantined,
            gone,
            mark,
            last[0] if last else None,
            typed.repairs,
        )

    def _further(self, entity: Entity, mark: Mark | None, rows: pa.Table, now: datetime) -> Mark | None:
        """The mark moved on to the newest stamp of these rows. A stamp in the future does not count: it would hide
        every true change until then."""
        stamps = type_column(entity.column[CHANGED_AT], rows[CHANGED_AT].combine_chunks(), Reading(self._site.zone))
        past = pc.less_equal(stamps.values, pa.scalar(now, stamps.values.type))
        newest = pc.max(stamps.values.filter(past)).as_py()
        return max(filter(None, (mark, Mark(newest) if newest else None)), default=None)


def _key_of(entity: Entity) -> Entity:
    """The entity reduced to its key."""
    return replace(entity, columns=tuple(column for column in entity.columns if column.name in entity.key))


def _tuples(entity: Entity, rows: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in entity.key), strict=True))


def _unreadable(entity: Entity, row: pa.Table, zone: ZoneInfo, error: Exception) -> Finding:
    typed = type_page(_key_of(entity), row, zone)
    record = records(entity, typed.good)[0] if typed.good.num_rows else f"{entity.name}|(unreadable key)"
    width = _WIDTH.search(safe_words(error))
    cause = f"column {width[1]} holds more than its SQL width" if width else safe_words(error)
    return Finding("unreadable-row", record, f"the database does not hand out this row: {cause}")


_LOOKED_UP = 500
"""Combinations of codes in one question: databases bound the number of values."""


def _parts(items: Iterable[tuple[str, ...]], size: int) -> Iterator[list[tuple[str, ...]]]:
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part


_persistently = stamina.RetryingCaller(attempts=3, timeout=None, wait_initial=0.2, wait_max=5.0).on(is_passing)
"""Calls a function up to three times, a little apart, while its failure is one that passes by itself."""


def _isolation_levels(dialect: sa.Dialect) -> Sequence[str]:
    try:
        # Dialects answer from a list of theirs; asking a connection would need the database to be up.
        return dialect.get_isolation_level_values(None)  # pyright: ignore[reportArgumentType]
    except NotImplementedError:
        return ()
