"""Running one SELECT and handing out its rows as Arrow batches, a bounded number at a time.

Three ways that look the same from outside: ADBC for SQLite and for PostgreSQL (a fifth to a half of a cursor's time), a
SQLAlchemy cursor for every other database. What is asked, and what the answer means, belongs to `statements` and `sql`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import adbc_driver_sqlite.dbapi
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

DATABASE_ERRORS = (DBAPIError, adbc_driver_manager.Error)
"""What a stream raises when the database refuses; everything else is a fault of ours."""

_PASSING_STATES = ("08", "40", "53", "55P03", "57", "HYT0")
"""Starts of SQLSTATEs that pass by themselves: connection, rollback, resources, lock, shutdown, time-out."""

_PASSING_WORDS = re.compile(
    r"lock|busy|time[d ]*-?out|connection|server closed|broken pipe|communication|unable to open", re.IGNORECASE
)

_QUOTED_VALUE = re.compile(r"""'[^']*'|(?<=: )"[^"]*"|\([^()]*\)=\([^()]*\)""")
"""Values as PostgreSQL, SQLite and ODBC drivers quote them; names in double quotes stay."""


class Stream(Protocol):
    """Hands out the rows of a SELECT."""

    def batches(self, statement: sa.Select, rows: int) -> Generator[pa.Table]:
        """Tables of at most `rows` rows, none empty, columns named as selected. Closing the iterator frees the
        connection. Raises one of `DATABASE_ERRORS`."""
        ...


def open_stream(engine: sa.Engine) -> Stream:
    """The fastest stream for the engine's database."""
    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        return SqliteStream(engine.url)
    if engine.dialect.name == "postgresql":
        return PostgresStream(engine.url)
    return CursorStream(engine)


def is_passing(error: Exception) -> bool:
    """Whether the same statement may succeed in a moment: a lock, a time-out, a lost connection."""
    if not isinstance(error, DATABASE_ERRORS):
        return False
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if state := sqlstate(error):
        return state.startswith(_PASSING_STATES)
    return bool(_PASSING_WORDS.search(_words(error)))


def is_about_the_statement(error: Exception) -> bool:
    """Whether no row is at fault but the question: a table, column or right that is not there."""
    return sqlstate(error).startswith("42")


def sqlstate(error: Exception) -> str:
    """The database's five characters for the error, or empty."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(cause, "sqlstate", None) or "")


def safe_words(error: Exception) -> str:
    """The database's first line about the error without the values that it quotes (they may be personal)."""
    line = next(iter(_words(error).strip().splitlines()), "")
    return _QUOTED_VALUE.sub("…", line)[:300]


def _words(error: Exception) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error)


class SqliteStream:
    """SQLite through ADBC, on a connection that refuses to write."""

    def __init__(self, url: sa.URL) -> None:
        self._file = url.database or ""
        self._dialect = sqlite.dialect(paramstyle="qmark")

    def batches(self, statement: sa.Select, rows: int) -> Generator[pa.Table]:
        """See `Stream`."""
        text, values = _compiled(statement, self._dialect)
        with closing(adbc_driver_sqlite.dbapi.connect(self._file, autocommit=True)) as connection:
            with closing(connection.cursor()) as cursor:
                cursor.execute("PRAGMA query_only = ON")
            with closing(connection.cursor()) as cursor:
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": rows})
                cursor.execute(text, values)
                for batch in cursor.fetch_record_batch():
                    if batch.num_rows:
                        yield pa.Table.from_batches([batch])


class PostgresStream:
    """PostgreSQL through ADBC, in a read-only transaction, with a cursor on the server so that a page is a page.

    (ADBC alone streams a COPY, which takes no bound values; with bound values it fetches everything at once.)
    """

    def __init__(self, url: sa.URL) -> None:
        self._uri = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._dialect = postgresql.dialect(paramstyle="numeric_dollar")

    def batches(self, statement: sa.Select, rows: int) -> Generator[pa.Table]:
        """See `Stream`."""
        text, values = _compiled(statement, self._dialect)
        with closing(adbc_driver_postgresql.dbapi.connect(self._uri)) as connection:
            with closing(connection.cursor()) as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute(f"DECLARE page NO SCROLL CURSOR FOR {text}", values)
            with closing(connection.cursor()) as cursor:
                cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
                while True:
                    cursor.execute(f"FETCH FORWARD {int(rows)} FROM page")
                    page = cursor.fetch_arrow_table()
                    if not page.num_rows:
                        return
                    yield _without_extensions(page)
                    if page.num_rows < rows:
                        return


class CursorStream:
    """Any other database through its SQLAlchemy dialect."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def batches(self, statement: sa.Select, rows: int) -> Generator[pa.Table]:
        """See `Stream`."""
        with self._engine.connect() as connection:
            options = connection.execution_options(stream_results=True, max_row_buffer=rows)
            with closing(options.execute(statement)) as result:
                names = list(result.keys())
                while page := result.fetchmany(rows):
                    columns = [_column(values) for values in zip(*page, strict=True)]
                    yield pa.table(columns, names=names)


def _without_extensions(page: pa.Table) -> pa.Table:
    """ADBC marks what Arrow has no type for (numeric) as an extension over its text; the text is what we want."""
    fields = [
        pa.field(field.name, field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type)
        for field in page.schema
    ]
    return page.cast(pa.schema(fields))


def _compiled(statement: sa.Select, dialect: sa.Dialect) -> tuple[str, tuple[object, ...]]:
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ())


def _column(values: Sequence[object]) -> pa.Array:
    """Python values as Arrow. What Arrow finds no one type for is text, from each value's own shortest form."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError):
        return pa.array(
            [None if value is None else str(value).encode("utf-8", "surrogatepass") for value in values], pa.binary()
        )
