"""The door: every row that enters is typed and judged here, page by page, whoever read it.

A page of raw columns comes in; rows that keep the contract go on; each row or field that does not becomes a finding
that names record and column. Nothing is dropped without being counted: rows in = good + quarantined.
"""

# pyarrow.compute makes its functions while it is imported, where no type checker sees them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pandera.errors
import pyarrow as pa
import pyarrow.compute as pc

from prima_emarsys.contract import Column, Entity, Type
from prima_emarsys.finding import Finding, mask
from prima_emarsys.prima.columns import Reading, TypedColumn, type_column
from prima_emarsys.prima.schemas import rules, schema

AHEAD = timedelta(days=1)
"""How far after the present a timestamp may lie before it is disbelieved (another clock, another zone)."""

_SHOWN = 60
"""Characters of a value that a finding shows."""

_IS_NO = {
    Type.CODE: "is no text",
    Type.TEXT: "is no text",
    Type.WORD: "is no status that the site file or the contract knows",
    Type.MONEY: "is no amount",
    Type.RATE: "is no rate",
    Type.INTEGER: "is no whole number",
    Type.DATE: "is no date",
    Type.TIMESTAMP: "is no time, or lies in the future",
    Type.FLAG: "is neither yes nor no",
}


class PageError(Exception):
    """A page cannot be judged at all, because a required column is not in it. The message names entity and column."""


@dataclass(frozen=True)
class Typed:
    """A judged page. `good` has the entity's `arrow_schema`; `repairs` counts mended values by kind of repair."""

    good: pa.Table
    findings: list[Finding]
    quarantined: int
    repairs: Counter[str] = field(default_factory=Counter)


def type_page(
    entity: Entity,
    raw: pa.Table,
    zone: ZoneInfo,
    words: Mapping[str, Mapping[str, str]] | None = None,
    *,
    now: datetime | None = None,
    day_first: bool = False,
) -> Typed:
    """Type and judge one page of at most some 200,000 rows.

    `raw` holds the contract's columns under the contract's names, as text or as the database's own types; columns that
    are neither required nor there are null. `words` maps column → site's word → contract's word. With `now` (aware),
    timestamps more than a day after it are unreadable; with `day_first`, dates that are not `dd/mm/yyyy` are. An
    unreadable value in a vital column, or in the key, holds the row back; in another column only that field becomes
    null. Typing a good page again changes nothing.
    """
    typed: dict[str, TypedColumn] = {}
    for column in entity.columns:
        reading = Reading(zone, (words or {}).get(column.name, {}), now + AHEAD if now else None, day_first)
        typed[column.name] = type_column(column, _raw_column(entity, column, raw), reading)
    good = _table(entity, typed)
    repairs = sum((column.repairs for column in typed.values()), Counter[str]())

    findings: list[Finding] = []
    held = np.zeros(raw.num_rows, dtype=bool)
    for column in entity.columns:
        unreadable = typed[column.name].unreadable
        if not pc.any(unreadable).as_py():
            continue
        where = np.flatnonzero(unreadable.to_numpy(zero_copy_only=False))
        breaks = _breaks(entity, column)
        if breaks:
            held[where] = True
        kind = "field-withheld" if not breaks else "unknown-status" if column.type is Type.WORD else "contract-breach"
        values = raw[column.name].take(pa.array(where))
        for record, value in zip(records(entity, good.take(pa.array(where))), _shown(column, values), strict=True):
            findings.append(Finding(kind, record, f"{column.name}: {value} {_IS_NO[column.type]}"))

    if held.any():
        good = good.filter(pa.array(~held))
    good, broken, dropped = _judge(entity, good)
    return Typed(good, findings + broken, int(held.sum()) + dropped, repairs)


def records(entity: Entity, rows: pa.Table) -> list[str]:
    """Business keys of typed rows as findings name them: `entity|company|code|…`."""
    parts = [[_key_text(value) for value in rows[name].to_pylist()] for name in entity.key]
    return ["|".join((entity.name, *key)) for key in zip(*parts, strict=True)]


def _key_text(value: object) -> str:
    if value is None:
        return "(none)"
    return value.isoformat() if isinstance(value, date) else str(value)


def _raw_column(entity: Entity, column: Column, raw: pa.Table) -> pa.Array:
    if column.name in raw.column_names:
        chunks = raw[column.name]
        return (
            chunks.chunk(0)
            if chunks.num_chunks == 1
            else pa.concat_arrays(chunks.chunks or [pa.array([], chunks.type)])
        )
    if column.required:
        raise PageError(f"{entity.name}.{column.name} is required and is not in the page; it has {raw.column_names}")
    return pa.nulls(raw.num_rows, pa.string())


def _table(entity: Entity, typed: Mapping[str, TypedColumn]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for column in entity.columns:
        values = typed[column.name].values
        if column.name in entity.key and not column.required:
            values = pc.fill_null(values, "")
        columns[column.name] = values
        if column.type is Type.TIMESTAMP:
            columns[column.day] = typed[column.name].day
    return pa.table(columns, schema=entity.arrow_schema)


def _breaks(entity: Entity, column: Column) -> bool:
    """Whether a bad value there holds the whole row back."""
    return column.required or column.vital or column.name in entity.key


def _judge(entity: Entity, good: pa.Table) -> tuple[pa.Table, list[Finding], int]:
    """Apply the schema; what breaks it leaves as findings. Returns the rest and the number of rows held back."""
    try:
        schema(entity).validate(good.to_pandas(types_mapper=pd.ArrowDtype), lazy=True)
        return good, [], 0
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
    findings: list[Finding] = []
    held = np.zeros(good.num_rows, dtype=bool)
    withheld: dict[str, list[int]] = {}
    twice: set[int] = set()
    known = rules(entity)
    for check, name, row in zip(cases["check"], cases["column"], cases["index"], strict=True):
        if row is None or pd.isna(row):
            raise PageError(f"{entity.name}.{name}: the page does not have the contract's types ({check})")
        place = int(row)
        if check == "multiple_fields_uniqueness":
            twice.add(place)
            continue
        column = entity.column[name]
        [record] = records(entity, good.slice(place, 1))
        if check == "not_nullable":
            detail = f"{name} is empty and is required"
        else:
            [value] = _shown(column, good[name].slice(place, 1))
            detail = f"{name}: {value} {known[check].says}"
        if _breaks(entity, column):
            held[place] = True
            findings.append(Finding("contract-breach", record, detail))
        else:
            withheld.setdefault(name, []).append(place)
            findings.append(Finding("field-withheld", record, detail))
    for place in sorted(twice):
        held[place] = True
        [record] = records(entity, good.slice(place, 1))
        findings.append(Finding("contract-breach", record, f"the key ({', '.join(entity.key)}) occurs more than once"))
    for name, places in withheld.items():
        good = _without(good, entity.column[name], places)
    return good.filter(pa.array(~held)), findings, int(held.sum())


def _without(page: pa.Table, column: Column, places: Iterable[int]) -> pa.Table:
    gone = np.zeros(page.num_rows, dtype=bool)
    gone[list(places)] = True
    names = [column.name, column.day] if column.type is Type.TIMESTAMP else [column.name]
    for name in names:
        position = page.schema.get_field_index(name)
        values = pc.if_else(pa.array(gone), pa.scalar(None, page.schema.field(name).type), page[name])
        page = page.set_column(position, page.schema.field(name), values)
    return page


def _shown(column: Column, values: pa.ChunkedArray) -> list[str]:
    """Values as a finding may show them: masked if personal, short, and printable."""
    shown: list[str] = []
    for value in values.to_pylist():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        shown.append(mask(text) if column.personal else ascii(text[:_SHOWN]))
    return shown
