"""The SELECTs for one entity of one site: portable, every identifier quoted and known, every value bound.

Here belong the mapping from the contract's columns to the site's (pairs, extents, constants, filters), the order of
reading with its keyset, and the way back: `assemble` makes contract columns of raw ones. Running them belongs to
`streams`, judging the values to `pages`.

Only comparisons, AND, OR, CASE, COALESCE, CAST, MAX and ORDER BY are used: no LIMIT, no OFFSET, no row values, so that
OpenEdge, SQL Server and Oracle understand them too.
"""

# pyarrow.compute makes its functions while it is imported, where no type checker sees them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.sql.elements import quoted_name

from prima_emarsys.contract import Column, Entity, Type
from prima_emarsys.prima.columns import Reading, plain_word, type_column
from prima_emarsys.site import Constant, DateAndSeconds, Element, EntityMap, Filter, Source

GONE = "row is gone"
"""Label of the flag that is 1 for rows deleted logically or outside the filters. No column of a site is called so."""

CHANGED_AT = "changed_at"

Raw = tuple[Any, ...]
"""Values of the ordering columns of one row, exactly as the database handed them out."""


class MappingError(Exception):
    """The site file names what the database does not have, or maps it in a way that cannot be read."""


@dataclass(frozen=True)
class Place:
    """Where an entity stands in the database. `columns`: name → type and nullability, as the database tells them."""

    table: str
    schema: str | None
    columns: Mapping[str, tuple[sa.types.TypeEngine[Any], bool]]


@dataclass(frozen=True)
class _Ordering:
    """One column of the reading order. `absent` is what null counts as there, where the expression says so too."""

    name: str
    expression: sa.ColumnElement[Any]
    absent: object = None

    def values(self, batch: pa.Table) -> list[Any]:
        """The column's values as they compare with the expression."""
        values = [self.absent if value is None else value for value in batch[self.name].to_pylist()]
        if isinstance(self.expression.type, sa.Numeric):
            return [Decimal(str(value)) for value in values]
        if self.absent is None:
            return values
        return [str(value) if self.absent == "" else value or 0 for value in values]


class Statements:
    """The SELECTs for one entity. `dialect` is SQLAlchemy's name of the database."""

    def __init__(self, entity: Entity, site_map: EntityMap, place: Place, zone: ZoneInfo, dialect: str) -> None:
        self._entity = entity
        self._map = site_map
        self._place = place
        self._zone = zone
        self._dialect = dialect
        self._sources = {column.name: self._source(column) for column in entity.columns}
        # SQLite binds and answers text whatever a column was declared as, so its columns have no type here.
        typed = dialect != "sqlite"
        self._table = sa.table(
            quoted_name(place.table, quote=True),
            *(
                sa.column(quoted_name(name, quote=True), type_ if typed else None)
                for name, (type_, _) in place.columns.items()
            ),
            schema=quoted_name(place.schema, quote=True) if place.schema else None,
        )
        self._check_words()
        for rule in self._rules:
            self._known(rule.column, "filters")

    @property
    def has_changes(self) -> bool:
        """Whether the table can be read by its change column."""
        return self._map.change == "watermark" and self._sources[CHANGED_AT] is not None

    def everything(self, after: Raw | None = None, upto: Raw | None = None) -> sa.Select:
        """Rows that exist and lie inside the filters, ordered by key."""
        return self._page(self._key_order, self._existence, after, upto)

    def undated(self, after: Raw | None = None, upto: Raw | None = None) -> sa.Select:
        """Rows without a change stamp, gone or not, ordered by key."""
        stamp = self._column(self._change_columns[0])
        return self._page(self._key_order, [stamp.is_(None)], after, upto, flag=True)

    def changed(
        self, since: datetime | None, sample: str | None, after: Raw | None = None, upto: Raw | None = None
    ) -> sa.Select:
        """Rows stamped at or after `since` (aware; None: all that have a stamp), gone or not, by stamp and key.

        `sample` is one stamp of the column as the database hands it out, where it keeps times as text.
        """
        stamp = self._column(self._change_columns[0])
        conditions: list[sa.ColumnElement[bool]] = [stamp.is_not(None)]
        if since is not None:
            bound = self._bound(since, sample)
            conditions = [_beyond(self._change_order, bound, inclusive=True)]
        return self._page(self._change_order + self._key_order, conditions, after, upto, flag=True)

    def matching(
        self, names: Sequence[str], wanted: Iterable[tuple[str, ...]], widths: Mapping[str, int]
    ) -> sa.Select | None:
        """Rows that exist and whose code columns `names` hold one of the `wanted` combinations; None if none can.

        The last of the columns should tell rows apart best, and have an index. `widths`: columns whose codes are filled
        up with blanks → their width.
        """
        groups: dict[tuple[str, ...], list[str]] = {}
        for *leading, last in wanted:
            groups.setdefault(tuple(leading), []).append(last)
        choices: list[sa.ColumnElement[bool]] = []
        for leading, last in groups.items():
            values = [[value] for value in leading] + [last]
            terms = [self._one_of(name, part, widths) for name, part in zip(names, values, strict=True)]
            possible = [term for term in terms if term is not None]
            if len(possible) == len(terms):
                choices.append(sa.and_(*possible))
        return self._page(self._key_order, [*self._existence, sa.or_(*choices)], None, None) if choices else None

    def filled(self, name: str) -> sa.Select | None:
        """The codes of one column that are there, to see how they are written; None if it cannot be looked up by."""
        source = self._sources[name]
        if not isinstance(source, str):
            return None
        column = self._column(source)
        return sa.select(self._readable(column).label(name)).where(column.is_not(None))

    def _one_of(self, name: str, values: Sequence[str], widths: Mapping[str, int]) -> sa.ColumnElement[bool] | None:
        """Whether a code column holds one of these; None if it never does."""
        match self._sources[name]:
            case None:
                return None
            case Constant(constant=constant):
                return _TRUE if constant in values else None
            case str() as source:
                type_ = self._place.columns[source][0]
                column = self._ordering(source).expression
                if isinstance(type_, sa.Integer | sa.Numeric):
                    fitting: list[Any] = [int(value) for value in values if value.isascii() and value.isdigit()]
                else:
                    padded = (value.ljust(widths[name]) for value in values if name in widths)
                    fitting = list(dict.fromkeys([*values, *padded]))
                return column.in_(fitting) if fitting else None
            case _:
                raise MappingError(
                    f"prima.entities.{self._entity.name}.columns.{name}: rows are looked up by it, so it must be one "
                    "column or a constant"
                )

    def latest(self, upto: Raw | None = None) -> sa.Select:
        """The highest change stamp (`upto`: of those that are no later), as one row that `assemble` understands."""
        first, *rest = (self._column(name) for name in self._change_columns)
        limits = [] if upto is None else [sa.not_(_beyond(self._change_order, upto))]
        newest = sa.func.max(first)
        if not rest:
            return sa.select(self._readable(newest).label(first.name)).where(*limits)
        newest_day = sa.select(newest).where(*limits).scalar_subquery()
        highest = (self._readable(sa.func.max(column)).label(column.name) for column in (first, *rest))
        return sa.select(*highest).where(first == newest_day, *limits)

    def upto(self, moment: datetime, sample: str | None) -> Raw:
        """`moment` as the change columns hold it; `sample` as for `changed`."""
        return self._bound(moment, sample)

    def sample(self, newest: pa.Table) -> str | None:
        """One change stamp as the database keeps it, where it keeps times as text; from an answer to `latest`."""
        [value] = newest[self._change_columns[0]].to_pylist()
        return value if isinstance(value, str) and value else None

    def writes_of_nothing(self) -> dict[str, sa.Executable]:
        """Writes that touch no row, by what they would do: only a role that may write can run them."""
        name = self._raw_columns[0]
        column, never = self._column(name), sa.literal_column("1") == sa.literal_column("0")
        nothing = sa.select(column).where(never)
        return {
            "delete from the": sa.delete(self._table).where(never),
            "update the": sa.update(self._table).values({name: column}).where(never),
            "insert into the": sa.insert(self._table).from_select([name], nothing),
        }

    def order_values(self, statement: sa.Select, batch: pa.Table) -> list[Raw]:
        """The ordering columns' values of each row of a batch, as `after` and `upto` want them."""
        order: list[_Ordering] = statement.get_execution_options()["order"]
        return list(zip(*(part.values(batch) for part in order), strict=True))

    @staticmethod
    def keys_only(statement: sa.Select) -> sa.Select:
        """The same rows, but only the columns that give their order: they can be read when others cannot."""
        names = {part.name for part in statement.get_execution_options()["order"]}
        wanted = [column for column in statement.selected_columns if column.key in names]
        return statement.with_only_columns(*wanted)

    def assemble(self, batch: pa.Table) -> pa.Table:
        """Contract columns from raw ones. Columns that a batch does not hold (of a keys-only read) stay out."""
        columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        extents: dict[str, list[list[str | None] | None]] = {}
        for name, source in self._sources.items():
            match source:
                case None:
                    columns[name] = pa.nulls(batch.num_rows, pa.string())
                case Constant(constant=value):
                    columns[name] = pa.repeat(pa.scalar(value, pa.string()), batch.num_rows)
                case DateAndSeconds(date=day, seconds=seconds) if day in batch.column_names:
                    columns[name] = _moment(batch[day], batch[seconds], self._zone)
                case Element(extent=extent, element=number) if extent in batch.column_names:
                    if extent not in extents:
                        extents[extent] = [split_extent(text) for text in batch[extent].to_pylist()]
                    elements = extents[extent]
                    picked = [row[number - 1] if row and len(row) >= number else None for row in elements]
                    columns[name] = pa.array(picked, pa.string())
                case str() if source in batch.column_names:
                    columns[name] = batch[source]
        return pa.table(columns)

    # --- the site's map ---------------------------------------------------------------------------------------------

    @property
    def _rules(self) -> list[Filter]:
        return self._map.filters + ([self._map.logical_delete] if self._map.logical_delete else [])

    def _source(self, column: Column) -> Source:
        source: Source = self._map.columns.get(column.name, column.name)
        where = f"columns.{column.name}"
        match source:
            case str():
                self._known(source, where)
            case DateAndSeconds():
                self._known(source.date, where)
                self._known(source.seconds, where)
            case Element():
                # SQL targets of Pro2 and DataServers hold each element in a column of its own, name##1, name##2.
                spread = f"{source.extent}##{source.element}"
                if source.extent not in self._place.columns and spread in self._place.columns:
                    return spread
                self._known(source.extent, where)
        return source

    def _known(self, name: str, where: str) -> None:
        if name in self._place.columns:
            return
        near = difflib.get_close_matches(name, self._place.columns, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MappingError(
            f"prima.entities.{self._entity.name}.{where}: table {self._place.table!r} has no column {name!r}.{hint} "
            f"It has: {', '.join(self._place.columns)}. Name the right one, or null where the site keeps no such thing."
        )

    def _check_words(self) -> None:
        for column, words in self._map.words.items():
            own = {plain_word(word): word for word in self._entity.column[column].words}
            for theirs, ours in words.items():
                if own.get(plain_word(theirs), ours) != ours:
                    raise MappingError(
                        f"prima.entities.{self._entity.name}.words.{column}.{theirs}: is itself a word of the contract "
                        f"and always means {own[plain_word(theirs)]!r}; it cannot be mapped to {ours!r}"
                    )

    # --- columns, order, conditions ---------------------------------------------------------------------------------

    @cached_property
    def _raw_columns(self) -> list[str]:
        names: dict[str, None] = {}
        for source in self._sources.values():
            names.update(dict.fromkeys(_names(source)))
        return list(names)

    @cached_property
    def _key_columns(self) -> dict[str, bool]:
        """The site's columns that make up the key, in order → whether null means an empty part of it."""
        names: dict[str, bool] = {}
        for part in self._entity.key:
            optional = not self._entity.column[part].required
            for name in _names(self._sources[part]):
                names.setdefault(name, optional and self._place.columns[name][1])
        return names

    @property
    def _change_columns(self) -> list[str]:
        return _names(self._sources[CHANGED_AT])

    @property
    def _key_order(self) -> list[_Ordering]:
        return [
            _Ordering(name, sa.func.coalesce(self._as_text(name), ""), "") if optional else self._ordering(name)
            for name, optional in self._key_columns.items()
        ]

    @property
    def _change_order(self) -> list[_Ordering]:
        first, *rest = self._change_columns
        return [self._ordering(first), *(_Ordering(name, sa.func.coalesce(self._column(name), 0), 0) for name in rest)]

    def _ordering(self, name: str) -> _Ordering:
        column = self._column(name)
        if self._dialect == "sqlite" and isinstance(self._place.columns[name][0], sa.types.NullType):
            # An expression of a view has no affinity: its numbers would sort before every bound text.
            column = self._readable(column)
        return _Ordering(name, column)

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        return self._table.c[name]

    def _as_text(self, name: str) -> sa.ColumnElement[str]:
        column = self._column(name)
        return column if isinstance(self._place.columns[name][0], sa.String) else sa.cast(column, sa.String(255))

    def _readable(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        if self._dialect == "sqlite":
            # A column of SQLite holds any type in any row, and a driver takes the type from the first. Text holds all.
            # Blank and null mean the same to every type of the contract; ADBC takes a page of nulls for integers.
            return sa.func.coalesce(sa.cast(value, sa.Text()), "")
        if self._dialect == "postgresql" and not isinstance(value.type, _PLAIN):
            return sa.cast(value, sa.Text())
        return value

    def _page(
        self,
        order: list[_Ordering],
        conditions: list[sa.ColumnElement[bool]],
        after: Raw | None,
        upto: Raw | None,
        *,
        flag: bool = False,
    ) -> sa.Select:
        selected = [
            self._readable(self._column(name)).label(quoted_name(name, quote=True)) for name in self._raw_columns
        ]
        if flag:
            exists = sa.and_(*self._existence) if self._existence else _TRUE
            selected.append(sa.case((exists, sa.literal_column("'0'")), else_=sa.literal_column("'1'")).label(GONE))
        where = list(conditions)
        if after is not None:
            where.append(_beyond(order, after))
        if upto is not None:
            where.append(sa.not_(_beyond(order, upto)))
        in_order = (part.expression for part in order)
        return sa.select(*selected).where(*where).order_by(*in_order).execution_options(order=order)

    @property
    def _existence(self) -> list[sa.ColumnElement[bool]]:
        conditions = [self._holds(rule) for rule in self._map.filters]
        if rule := self._map.logical_delete:
            conditions.append(sa.or_(sa.not_(self._holds(rule)), self._column(rule.column).is_(None)))
        return conditions

    def _holds(self, rule: Filter) -> sa.ColumnElement[bool]:
        column = self._column(rule.column)
        values = rule.value if isinstance(rule.value, list) else [rule.value]
        fitting = [self._fitting(rule, value) for value in values]
        match rule.op:
            case "in":
                return column.in_(fitting)
            case "not in":
                return column.not_in(fitting)
            case _:
                return column.op(rule.op, is_comparison=True)(fitting[0])

    def _fitting(self, rule: Filter, value: str | int | bool) -> object:
        """A filter's value as the column's own type, so that the database neither guesses nor refuses."""
        type_ = self._place.columns[rule.column][0]
        try:
            if isinstance(type_, sa.Boolean):
                truth = {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
                return int(truth) if self._dialect == "sqlite" else truth
            if isinstance(type_, sa.Integer):
                return int(value)
            if isinstance(type_, sa.String):
                return str(value)
        except (ValueError, KeyError):
            raise MappingError(
                f"prima.entities.{self._entity.name}.filters.{rule.column}: {value!r} does not fit a column of {type_}"
            ) from None
        return value

    def _bound(self, since: datetime, sample: str | None) -> Raw:
        """`since` as the change column's own type and clock."""
        type_ = self._place.columns[self._change_columns[0]][0]
        if len(self._change_columns) == 2:
            wall = self._earliest_wall_clock(since)
            seconds = wall.hour * 3600 + wall.minute * 60 + wall.second
            return (wall.date().isoformat() if sample is not None else wall.date(), seconds)
        if sample is not None:
            zoned = sample.endswith(("Z", "z")) or "+" in sample[10:] or "-" in sample[10:]
            moment = since.astimezone(UTC) if zoned else self._earliest_wall_clock(since)
            # Without a fraction and a zone it sorts before every spelling of the same second.
            spelled = moment.strftime(f"%Y-%m-%d{sample[10:11] or ' '}%H:%M:%S")
            return (spelled[: len(sample)],)
        if getattr(type_, "timezone", False):
            return (since.astimezone(UTC),)
        wall = self._earliest_wall_clock(since)
        return (wall.date(),) if isinstance(type_, sa.Date) else (wall,)

    def _earliest_wall_clock(self, since: datetime) -> datetime:
        """The lowest time that the site's clocks show at or after `since`: an hour lower if they go back soon after."""
        now, later = (moment.astimezone(self._zone) for moment in (since, since + timedelta(days=1)))
        drop = max(timedelta(0), (now.utcoffset() or timedelta(0)) - (later.utcoffset() or timedelta(0)))
        return (now - drop).replace(tzinfo=None)


_TRUE = sa.literal_column("1") == sa.literal_column("1")
"""Portable: half the databases know no TRUE."""

_PLAIN = (sa.String, sa.Integer, sa.Numeric, sa.Boolean, sa.Date, sa.DateTime)
"""PostgreSQL's types that arrive in Arrow as what they are. The others (enum, uuid, money …) are asked for as text."""


def split_extent(text: str | None) -> list[str | None] | None:
    """An OpenEdge array as SQL shows it: `;` between elements, `~` before a literal `;`, `?` or `~`, `?` for null.

    >>> split_extent("1 High St;?;a~;b")
    ['1 High St', None, 'a;b']
    """
    if text is None:
        return None
    if "~" not in text:
        return [None if part == "?" else part for part in text.split(";")]
    elements: list[str | None] = []
    part, escaped, literal = "", False, False
    for character in f"{text};":
        if escaped:
            part, escaped, literal = part + character, False, True
        elif character == "~":
            escaped = True
        elif character == ";":
            elements.append(None if part == "?" and not literal else part)
            part, literal = "", False
        else:
            part += character
    return elements


def _names(source: Source) -> list[str]:
    match source:
        case str():
            return [source]
        case DateAndSeconds():
            return [source.date, source.seconds]
        case Element():
            return [source.extent]
        case _:
            return []


def _beyond(order: list[_Ordering], values: Raw, *, inclusive: bool = False) -> sa.ColumnElement[bool]:
    """Rows after (or at) a place in the order: a row comparison spelled with AND and OR.

    The first term bounds the leading column alone, so that every database uses its index for it.
    """
    columns = [part.expression for part in order[: len(values)]]
    steps: list[sa.ColumnElement[bool]] = []
    for position, (column, value) in enumerate(zip(columns, values, strict=True)):
        last = position == len(values) - 1
        step = column >= value if last and inclusive else column > value
        steps.append(sa.and_(*(columns[n] == values[n] for n in range(position)), step))
    return steps[0] if len(steps) == 1 else sa.and_(columns[0] >= values[0], sa.or_(*steps))


def _moment(days: pa.ChunkedArray, seconds: pa.ChunkedArray, zone: ZoneInfo) -> pa.Array:
    """A wall clock from a date and seconds since midnight. What is no time of day stays text, to be refused."""
    raw_days, raw_seconds = pc.cast(days.combine_chunks(), days.type), seconds.combine_chunks()
    day = type_column(Column("date", Type.DATE, ""), raw_days, Reading(zone))
    second = type_column(Column("seconds", Type.INTEGER, ""), raw_seconds, Reading(zone))
    count = pc.fill_null(second.values, 0)
    sound = pc.and_(pc.and_(pc.greater_equal(count, 0), pc.less(count, 86_400)), pc.invert(second.unreadable))
    sound = pc.and_(sound, pc.invert(day.unreadable))
    start = pc.cast(day.values, pa.timestamp("s"))
    moment = pc.add(start, pc.cast(pc.if_else(sound, count, 0), pa.duration("s")))
    if pc.all(sound).as_py() is not False:
        return moment
    spelled = pc.binary_join_element_wise(pc.cast(raw_days, pa.string()), pc.cast(raw_seconds, pa.string()), " + s: ")
    return pc.if_else(sound, pc.cast(moment, pa.string()), pc.coalesce(spelled, pc.cast(raw_days, pa.string())))
