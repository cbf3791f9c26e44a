"""The database under a world: its tables, bulk loading, and single rows as contract rows.

Bulk goes as Arrow columns, straight into SQLite by ADBC and into PostgreSQL by COPY; single rows go through SQLAlchemy.
Nothing here knows what a customer or an order is.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES
from prima_emarsys.sandbox.world.columns import raw_schema
from prima_emarsys.sandbox.world.flavour import CONTRACT, Flavour, FlavourName
from prima_emarsys.sandbox.world.openedge import OPENEDGE

Row = dict[str, Any]
"""One row by contract column name; times are naive local."""

_ALSO_INDEXED = {
    "despatch": ("order_number",),
    "customer_return": ("order_number",),
    "credit_note": ("order_number",),
    "credit_note_line": ("order_number",),
}
FLAVOURS: dict[FlavourName, Flavour] = {"contract": CONTRACT, "openedge": OPENEDGE}
"""Every way in which the same world can stand in a database."""


class Store:
    """A world's tables in one SQLite file or one PostgreSQL database."""

    def __init__(self, url: str, flavour: Flavour) -> None:
        self.url = sa.make_url(url)
        if self.url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ValueError(f"{self.url.drivername}: the sandbox keeps its Prima in SQLite or PostgreSQL")
        if self.sqlite and self.url.database in (None, "", ":memory:"):
            raise ValueError("the sandbox's Prima needs a file: sqlite:///FILE")
        self.flavour = flavour
        self.engine = sa.create_engine(url)
        schema = None if self.sqlite else flavour.schema
        metadata = sa.MetaData(schema=schema)
        self.tables: dict[str, sa.Table] = {}
        prefix = f"{flavour.schema}_" if self.sqlite and flavour.schema else ""
        for name, layout in flavour.layouts.items():
            self.tables[name] = layout.build(metadata, prefix)
        self.metadata = metadata

    @property
    def sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.url.get_backend_name() == "sqlite"

    def close(self) -> None:
        """Give up the database's connections."""
        self.engine.dispose()

    # -- bulk -----------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Create the tables. Raises `ValueError` if there already is a world."""
        with self.engine.begin() as connection:
            if self.metadata.schema:
                connection.execute(sa.schema.CreateSchema(self.metadata.schema, if_not_exists=True))
            present = set(sa.inspect(connection).get_table_names(schema=self.metadata.schema))
            if clash := present & {table.name for table in self.tables.values()}:
                raise ValueError(f"the database already holds {', '.join(sorted(clash))}; give an empty one")
            self.metadata.create_all(connection)
            _state.create_all(connection)

    @contextmanager
    def loading(self) -> Iterator[Loader]:
        """Bulk loading; everything is committed at the end."""
        if self.sqlite:
            import adbc_driver_sqlite.dbapi

            with adbc_driver_sqlite.dbapi.connect(self.url.database) as connection:
                yield Loader(self, connection)
                connection.commit()
        else:
            with self.engine.begin() as connection:
                yield Loader(self, connection.connection.driver_connection)

    def index(self) -> None:
        """Index keys, change stamps and what documents refer to. A primary index of Prima need not be unique."""
        with self.engine.begin() as connection:
            for name, table in self.tables.items():
                layout = self.flavour.layouts[name]
                wanted = {"key": ENTITIES[name].key, "changed": ("changed_at",)}
                if name in _ALSO_INDEXED:
                    wanted["order"] = ("company", *_ALSO_INDEXED[name])
                for purpose, columns in wanted.items():
                    physical = [table.c[made] for column in columns for made in layout.names(column)]
                    sa.Index(f"{table.name}_{purpose}", *physical, quote=True).create(connection)
        if not self.sqlite:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sa.text("ANALYZE"))

    # -- what the sandbox keeps for itself --------------------------------------------------------------------------

    def settings(self) -> dict[str, str]:
        """What the sandbox noted about its world."""
        with self.engine.connect() as connection:
            return {name: value for name, value in connection.execute(sa.select(_world.c.name, _world.c.value))}

    def cases(self) -> dict[str, list[str]]:
        """Records of each case made on purpose."""
        found: dict[str, list[str]] = {}
        with self.engine.connect() as connection:
            query = sa.select(_case.c.name, _case.c.record).order_by(_case.c.name, _case.c.record)
            for name, record in connection.execute(query):
                found.setdefault(name, []).append(record)
        return found

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """Single rows, in one transaction."""
        with self.engine.begin() as connection:
            yield Rows(self, connection)


@contextmanager
def open_world(url: str) -> Iterator[Store]:
    """The world that stands at `url`, in the flavour it was built in. Raises `LookupError` if there is none."""
    plain = Store(url, CONTRACT)
    try:
        if not sa.inspect(plain.engine).has_table(_world.name):
            raise LookupError("the database holds no world of the sandbox; build one first")
        built_in = plain.settings()["flavour"]
    finally:
        plain.close()
    store = Store(url, next(flavour for name, flavour in FLAVOURS.items() if name == built_in))
    try:
        yield store
    finally:
        store.close()


_state = sa.MetaData()
_world = sa.Table("sandbox_world", _state, sa.Column("name", sa.Text), sa.Column("value", sa.Text))
_case = sa.Table("sandbox_case", _state, sa.Column("name", sa.Text), sa.Column("record", sa.Text))


class Loader:
    """Writes whole tables."""

    def __init__(self, store: Store, connection: Any) -> None:
        self._store, self._connection = store, connection

    def load(self, entity: str, rows: pa.Table) -> None:
        """Append contract rows."""
        table = self._store.tables[entity]
        stored = _as_text(self._store.flavour.layouts[entity].encode(rows), self._store.sqlite)
        if self._store.sqlite:
            with self._connection.cursor() as cursor:
                cursor.adbc_ingest(table.name, stored, mode="append")
            return
        buffer = io.BytesIO()
        pyarrow.csv.write_csv(stored, buffer, pyarrow.csv.WriteOptions(include_header=False))
        target = self._store.engine.dialect.identifier_preparer.format_table(table)
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in stored.column_names)
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {target} ({names}) FROM STDIN CSV") as copy:
            copy.write(buffer.getbuffer())

    def load_training(self, tables: Mapping[str, pa.Table]) -> None:
        """If the flavour has a training company: copies of a few rows in it, which a reader must filter away."""
        company = self._store.flavour.training_company
        if company is None:
            return
        for entity in ("customer", "customer_address", "sales_order", "sales_order_line"):
            rows = tables[entity].slice(0, 25)
            self.load(entity, rows.set_column(0, rows.field(0), pa.array([company] * len(rows))))


def _as_text(rows: pa.Table, sqlite: bool) -> pa.Table:
    """Decimals and times as the text that SQLite keeps and COPY reads; SQLite's booleans are 0 and 1."""
    arrays = []
    for column in rows.columns:
        kind = column.type
        if pa.types.is_decimal(kind) or pa.types.is_temporal(kind):
            arrays.append(column.cast(pa.string()))
        elif pa.types.is_boolean(kind) and sqlite:
            arrays.append(column.cast(pa.int8()))
        else:
            arrays.append(column)
    return pa.table(arrays, names=rows.column_names)


class Rows:
    """Contract rows, one at a time, in one transaction."""

    def __init__(self, store: Store, connection: sa.Connection) -> None:
        self.store, self._connection = store, connection

    def find(self, entity: str, **equals: str) -> list[Row]:
        """Rows whose columns equal the given codes, in key order."""
        layout, table = self.store.flavour.layouts[entity], self.store.tables[entity]
        query = sa.select(table).where(*self._alike(entity, equals)).order_by(*self._columns(entity, layout.entity.key))
        return [layout.decode(row._asdict()) for row in self._connection.execute(query)]

    def one(self, entity: str, **equals: str) -> Row | None:
        """The row that `find` would give first."""
        found = self.find(entity, **equals)
        return found[0] if found else None

    def recent(self, entity: str, since: datetime, until: datetime, limit: int) -> list[Row]:
        """At most `limit` rows written between two naive local moments, the latest first."""
        layout, table = self.store.flavour.layouts[entity], self.store.tables[entity]
        stamp = self._columns(entity, ("changed_at",))
        first, last = (self._encoded(entity, {"changed_at": at})[stamp[0].name] for at in (since, until))
        key = self._columns(entity, layout.entity.key)
        query = (
            sa.select(table)
            .where(stamp[0].between(first, last))
            .order_by(*(column.desc() for column in stamp), *key)
            .limit(limit)
        )
        if layout.deleted:
            query = query.where(table.c[layout.deleted[0]] != layout.deleted[1])
        return [layout.decode(row._asdict()) for row in self._connection.execute(query)]

    def write(self, entity: str, row: Mapping[str, Any]) -> None:
        """Insert a row; columns that are not given are null."""
        self._connection.execute(self.store.tables[entity].insert(), self._whole(entity, row))

    def rewrite(self, entity: str, row: Mapping[str, Any]) -> None:
        """Write a row again under its key."""
        key = {name: row[name] for name in ENTITIES[entity].key}
        update = self.store.tables[entity].update().where(*self._alike(entity, key))
        written = self._connection.execute(update, self._whole(entity, row))
        if written.rowcount == 0:
            raise LookupError(f"{entity} {'|'.join(map(str, key.values()))} does not exist")

    def remove(self, entity: str, row: Mapping[str, Any]) -> None:
        """Delete a row; a site that deletes by a mark gets the mark instead."""
        layout, table = self.store.flavour.layouts[entity], self.store.tables[entity]
        alike = self._alike(entity, {name: row[name] for name in layout.entity.key})
        if layout.deleted:
            stamp = self._encoded(entity, {"changed_at": row["changed_at"]})
            mark = {layout.deleted[0]: layout.deleted[1]}
            self._connection.execute(table.update().where(*alike).values(mark | stamp))
        else:
            self._connection.execute(table.delete().where(*alike))

    def spoil(self, entity: str, row: Mapping[str, Any], column: str, text: str) -> bool:
        """Put text where another type belongs. Only SQLite lets us; elsewhere nothing happens and it is False."""
        if not self.store.sqlite:
            return False
        table = self.store.tables[entity]
        alike = self._alike(entity, {name: row[name] for name in ENTITIES[entity].key})
        (name,) = self.store.flavour.layouts[entity].names(column)
        self._connection.execute(table.update().where(*alike).values({name: sa.literal(text, sa.Text())}))
        return True

    def stamp_first(self, entity: str, count: int, at: datetime) -> None:
        """Stamp the first `count` rows by key with one moment, as a batch job does."""
        table = self.store.tables[entity]
        (leading,) = self._columns(entity, (ENTITIES[entity].key[1],))
        bound = self._connection.scalar(sa.select(leading).order_by(leading).offset(count).limit(1))
        self._connection.execute(
            table.update().where(leading <= bound).values(self._encoded(entity, {"changed_at": at}))
        )

    def begin_moves(self) -> dict[str, str]:
        """What the sandbox noted, with the world held until the end: no other move takes the same next number."""
        # A write at first, so that both databases lock before anything is read.
        self._connection.execute(_world.update().values(value=_world.c.value))
        noted = self._connection.execute(sa.select(_world.c.name, _world.c.value))
        return {name: value for name, value in noted}

    def note(self, **values: object) -> None:
        """Keep values in `sandbox_world`."""
        for name, value in values.items():
            self._connection.execute(_world.delete().where(_world.c.name == name))
            self._connection.execute(_world.insert(), {"name": name, "value": str(value)})

    def note_cases(self, cases: Mapping[str, Iterable[str]]) -> None:
        """Add records to `sandbox_case`."""
        rows = [{"name": name, "record": record} for name, records in cases.items() for record in records]
        if rows:
            self._connection.execute(_case.insert(), rows)

    def count(self, entity: str) -> int:
        """Number of rows that exist: neither deleted by a mark nor of the training company."""
        query = sa.select(sa.func.count()).select_from(self.store.tables[entity]).where(*self._alike(entity, {}))
        if training := self.store.flavour.training_company:
            (company,) = self._columns(entity, ("company",))
            query = query.where(company != self._encoded(entity, {"company": training})[company.name])
        return self._connection.scalar(query) or 0

    def _columns(self, entity: str, columns: Iterable[str]) -> list[sa.Column[Any]]:
        layout, table = self.store.flavour.layouts[entity], self.store.tables[entity]
        return [table.c[made] for column in columns for made in layout.names(column)]

    def _encoded(self, entity: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Database values of the given contract values only."""
        wanted = {made for column in values for made in self.store.flavour.layouts[entity].names(column)}
        return {name: value for name, value in self._whole(entity, values).items() if name in wanted}

    def _whole(self, entity: str, row: Mapping[str, Any]) -> dict[str, Any]:
        schema = raw_schema(ENTITIES[entity])
        encoded = self.store.flavour.layouts[entity].encode(pa.Table.from_pylist([dict(row)], schema=schema))
        return encoded.to_pylist()[0]

    def _alike(self, entity: str, equals: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
        table = self.store.tables[entity]
        encoded = self._encoded(entity, equals)
        alike: list[sa.ColumnElement[bool]] = [
            table.c[name].is_(None) if value is None else table.c[name] == value for name, value in encoded.items()
        ]
        deleted = self.store.flavour.layouts[entity].deleted
        return [*alike, table.c[deleted[0]] != deleted[1]] if deleted else alike
