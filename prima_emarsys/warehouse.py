"""The warehouse: mirror and derived tables, in whichever engine one URL names. It can be deleted and rebuilt.

Here belong opening an engine through Ibis and the few ways in which tables are written. What the tables mean belongs
to `prima/` (mirror), `rules/` (derived) and `sync/` (acknowledged). Names are `schema.table`, such as `core.persons`.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.common.exceptions import TableNotFound
from ibis.expr.datatypes import DataType
from ibis.expr.operations import DatabaseTable, InMemoryTable, Namespace

_SETTLED = "settled_"
SCHEMAS = ("mirror", "core", "emarsys", "proof")


class WarehouseBusyError(Exception):
    """Another process holds the warehouse's file. The embedded engine allows one writing process at a time."""


class Warehouse:
    """One open connection. Use `open_warehouse` and close it soon: the embedded engine is exclusive."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._numbers = itertools.count()
        self._known: dict[str, ir.Table] = {}
        self._type_names: dict[DataType, str] = {}
        for schema in SCHEMAS:
            # Not `create_database(force=True)`, which replaces the schema on DuckDB.
            self._run(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')

    @property
    def engine(self) -> str:
        """Ibis's name of the engine, such as `duckdb` or `postgres`."""
        return self._backend.name

    def close(self) -> None:
        """Give the connection back."""
        self._backend.disconnect()

    def has(self, name: str) -> bool:
        """Whether the table exists."""
        # Not by a listing: Ibis 12 lists through a call that DuckDB 2 has dropped.
        try:
            self.table(name)
        except TableNotFound:
            return False
        return True

    def table(self, name: str) -> ir.Table:
        """The table as an Ibis expression."""
        if name not in self._known:
            schema, table = name.split(".")
            self._known[name] = self._backend.table(table, database=schema)
        return self._known[name]

    def size(self, name: str) -> int:
        """Number of rows."""
        return self.count(self.table(name))

    def count(self, expression: ir.Table) -> int:
        """Number of rows of an expression."""
        return self.read(expression.count().as_table())[0][0].as_py()

    def ensure(self, name: str, columns: pa.Schema) -> ir.Table:
        """The table, created empty if it is missing."""
        if not self.has(name):
            schema, table = name.split(".")
            self._backend.create_table(table, schema=ibis.Schema.from_pyarrow(columns), database=schema)
        return self.table(name)

    def write(self, name: str, rows: ir.Table | pa.Table) -> ir.Table:
        """Replace the whole table; `rows` may read the table that it replaces."""
        schema, table = name.split(".")
        self._known.pop(name, None)
        with self._presented(rows) as source:
            self._backend.create_table(table, source, database=schema, overwrite=True)
        return self.table(name)

    def take_place(self, name: str, of: str) -> None:
        """Let a table stand where another (of the same schema) stood, if it did. Call it inside a `transaction`."""
        self.drop(of)
        self._known.pop(name, None)
        schema, table = name.split(".")
        self._run(f'ALTER TABLE "{schema}"."{table}" RENAME TO "{of.split(".")[1]}"')

    def append(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Add rows; columns are matched by name."""
        schema, table = name.split(".")
        target = self.table(name)
        with self._presented(rows) as source:
            cast = {column: kind for column, kind in target.schema().items() if source.schema()[column] != kind}
            self._insert(f'"{schema}"."{table}"', source.cast(cast).select(*target.columns))

    def replace(self, name: str, rows: ir.Table | pa.Table, *, gone: ir.Table | pa.Table, on: Sequence[str]) -> None:
        """Delete the rows whose `on` columns are among `gone`, then add `rows`. Call it inside a `transaction`."""
        with self.settled(rows) as kept:
            self.delete(name, gone, on=on)
            self.append(name, kept)

    def delete(self, name: str, keys: ir.Table | pa.Table, *, on: Sequence[str]) -> None:
        """Delete the rows whose `on` columns are among `keys`. Columns of `on` hold no nulls."""
        schema, table = name.split(".")
        with self.settled(keys) as found:
            quoted = ", ".join(f'"{column}"' for column in on)
            listed = ibis.to_sql(found.select(*on), dialect=self.engine)
            # Row-value IN is standard SQL; every name in it is one of our own.
            self._run(f'DELETE FROM "{schema}"."{table}" WHERE ({quoted}) IN ({listed})')  # noqa: S608

    def drop(self, name: str) -> None:
        """Drop the table if it exists."""
        schema, table = name.split(".")
        self._known.pop(name, None)
        self._backend.drop_table(table, database=schema, force=True)

    def settle(self, rows: ir.Table | pa.Table) -> ir.Table:
        """Compute once into a temporary table that lives as long as the connection, so that what follows reads it.

        Ibis's own `cache()` ends with the Python object, at a moment that nobody chooses.
        """
        name = f"{_SETTLED}{next(self._numbers)}"
        with self._presented(rows) as source:
            # As `create_table` does it, without asking the engine what we know: a step settles a dozen times.
            schema = source.schema()
            columns = ", ".join(f'"{column}" {self._type_name(kind)}' for column, kind in schema.items())
            self._run(f'CREATE TEMPORARY TABLE "{name}" ({columns})')
            self._insert(f'"{name}"', source)
        return DatabaseTable(name, schema=schema, source=self._backend, namespace=Namespace()).to_expr()

    @contextmanager
    def settled(self, rows: ir.Table | pa.Table) -> Iterator[ir.Table]:
        """As `settle`, for the length of a block. What is settled already is not copied."""
        if isinstance(rows, ir.Table) and isinstance(rows.op(), DatabaseTable) and rows.op().name.startswith(_SETTLED):
            yield rows
            return
        table = self.settle(rows)
        yield table
        self._backend.drop_table(table.op().name, force=True)  # `get_name` quotes the whole path as one name

    @contextmanager
    def settling(self) -> Iterator[None]:
        """What is settled within the block is dropped at its end: for work that is done a part at a time."""
        first = next(self._numbers)
        yield
        for number in range(first, next(self._numbers)):
            self._run(f'DROP TABLE IF EXISTS "{_SETTLED}{number}"')

    def read(self, expression: ir.Table) -> pa.Table:
        """The result as one Arrow table: for small results."""
        with self._presented(expression) as source:
            return self._backend.to_pyarrow(source)

    def batches(self, expression: ir.Table, rows: int = 50_000, *, order: Sequence[str] = ()) -> Iterator[pa.Table]:
        """The result in parts of `rows` rows, so that memory is bounded; the warehouse may be written in between.

        With `order`, the parts and the rows in them follow these columns.

        The result is computed once and numbered: a cursor would not outlive the next statement on its connection, and
        Ibis 12 streams through a call that DuckDB 2 has dropped.
        """
        number = ibis.row_number().over(order_by=[expression[name] for name in order])
        with self.settled(expression.mutate(_place=number)) as numbered:
            place: ir.IntegerColumn = numbered["_place"]  # pyright: ignore[reportAssignmentType]
            for first in range(0, self.count(numbered), rows):
                part = numbered.filter(place >= first, place < first + rows)
                yield self.read((part.order_by("_place") if order else part).drop("_place"))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside happen together or not at all."""
        try:
            if self.engine == "postgres":
                with self._backend.con.transaction():
                    yield
                return
            self._run("BEGIN")
            try:
                yield
            except BaseException:
                self._run("ROLLBACK")
                raise
            self._run("COMMIT")
        except BaseException:
            self._known.clear()  # what was made in it is no more
            raise

    @contextmanager
    def _presented(self, rows: ir.Table | pa.Table) -> Iterator[ir.Table]:
        """Rows as an expression; what of it is in memory is known to the engine for the length of the block.

        Ibis would leave it there, data and all, until the process ends.
        """
        expression = rows if isinstance(rows, ir.Table) else ibis.memtable(rows)
        in_memory = expression.op().find(InMemoryTable)
        if in_memory:
            self._backend._run_pre_execute_hooks(expression)
        yield expression
        for table in in_memory:
            self._backend._memtables.discard(table)
            if self.engine == "duckdb":
                self._backend.con.unregister(table.name)
            else:
                self._run(f'DROP TABLE IF EXISTS "{table.name}"')

    def _insert(self, target: str, rows: ir.Table) -> None:
        """Add rows to a table whose columns stand in the same order."""
        # Not by `compile`, which changes its own syntax tree and so leaves a SEMI JOIN in what it says twice.
        select = self._backend.compiler.to_sqlglot(rows).sql(self._backend.dialect)
        self._run(f"INSERT INTO {target} {select}")  # noqa: S608

    def _type_name(self, kind: DataType) -> str:
        """The engine's word for a type, which Ibis takes its time to find."""
        if kind not in self._type_names:
            self._type_names[kind] = self._backend.compiler.type_mapper.to_string(kind)
        return self._type_names[kind]

    def _run(self, statement: str) -> None:
        cursor = self._backend.raw_sql(statement)
        if self.engine == "postgres":
            cursor.close()


@contextmanager
def open_warehouse(url: str, *, memory: str = "384MB", patience: float = 120.0) -> Iterator[Warehouse]:
    """Open the warehouse at `url` (`duckdb:///file`, `duckdb://` in memory, `postgresql://…`) and close it afterwards.

    `memory` bounds the embedded engine, which then spills to disk. `patience` is how many seconds to wait for another
    process to give the file back; then `WarehouseBusyError`.
    """
    warehouse = Warehouse(_connect(url, memory, patience))
    try:
        yield warehouse
    finally:
        warehouse.close()
        pa.default_memory_pool().release_unused()


def _connect(url: str, memory: str, patience: float) -> Any:
    if not url.startswith("duckdb:"):
        # Ibis knows PostgreSQL by its bare name, SQLAlchemy by driver as well.
        return ibis.connect(url.replace("postgresql+psycopg://", "postgresql://", 1))
    import duckdb

    path = url.removeprefix("duckdb://").removeprefix("/") or ":memory:"
    if url.startswith("duckdb:////"):
        path = "/" + path.lstrip("/")
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while True:
        try:
            # Order is kept where a rule asks for it; keeping that of insertion would only cost memory.
            return ibis.duckdb.connect(path, memory_limit=memory, preserve_insertion_order=False)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() > until:
                raise WarehouseBusyError(
                    f"{path} is held by another process after {patience:.0f} s. "
                    "Wait for its run to end, or use a PostgreSQL warehouse where several must write."
                ) from error
            time.sleep(0.2)
