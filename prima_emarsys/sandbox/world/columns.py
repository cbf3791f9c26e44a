"""Whole columns at once: from numpy numbers to the Arrow columns of a contract table.

Here belong the few shapes that every generated table needs (codes, money, stamps, words from a pool). What the values
mean belongs to `catalogue`, `people` and `orders`; how a database keeps them belongs to `flavour`.

Inside a world, money is integer pence (or cents), a time is seconds since 1970 on the site's wall clock, a day is days
since 1970, and -1 stands for "not yet" in a time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from prima_emarsys.contract import ENTITIES, Entity, Type

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

pc: Any = pyarrow.compute
"""Arrow's functions; they are made when it is imported, so that type checkers do not see them."""

DAY = 86_400
"""Seconds of a day on the wall clock."""


@functools.cache
def raw_schema(entity: Entity) -> pa.Schema:
    """The entity's columns as Prima keeps them: like the contract's, but with naive local times."""
    return pa.schema(
        (column.name, pa.timestamp("us") if column.type is Type.TIMESTAMP else column.type.arrow)
        for column in entity.columns
    )


def table(name: str, rows: int, /, **columns: pa.Array) -> pa.Table:
    """A table of the entity `name`; columns that are not given are null."""
    schema = raw_schema(ENTITIES[name])
    if unknown := set(columns) - set(schema.names):
        raise ValueError(f"{name} has no column {', '.join(sorted(unknown))}")
    arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def codes(numbers: Ints | Sequence[int], width: int = 0, *, mask: Bools | None = None) -> pa.Array:
    """Numbers as text, zero-padded to `width`. `mask` marks nulls."""
    text = pa.array(np.asarray(numbers, dtype=np.int64), mask=mask).cast(pa.string())
    return pc.utf8_lpad(text, width, "0") if width else text


def const(value: str, rows: int) -> pa.Array:
    """The same text in every row."""
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def pick(pool: Sequence[str] | pa.Array, index: npt.NDArray[np.integer], *, mask: Bools | None = None) -> pa.Array:
    """Words of a pool by position. `mask` marks nulls."""
    words: pa.Array = pa.array(pool, pa.string()) if isinstance(pool, Sequence) else pool
    return words.take(pa.array(index, mask=mask))


def join(*parts: pa.Array | str) -> pa.Array:
    """Texts put together row by row; null if any part is."""
    return pc.binary_join_element_wise(*parts, "")


def where(condition: Bools, yes: pa.Array, no: pa.Array | pa.Scalar) -> pa.Array:
    """`yes` where the condition holds, else `no`."""
    return pc.if_else(pa.array(condition), yes, no)


def flags(values: Bools, *, mask: Bools | None = None) -> pa.Array:
    """Yes, no or unknown (where masked)."""
    return pa.array(values, pa.bool_(), mask=mask)


def money(pence: Ints, *, mask: Bools | None = None) -> pa.Array:
    """Pence as decimal(18,4), exactly."""
    return _decimal(pence * 100, 4, mask)


def rate(hundred_millionths: Ints, *, mask: Bools | None = None) -> pa.Array:
    """Units of 0.00000001 as decimal(18,8), exactly."""
    return _decimal(hundred_millionths, 8, mask)


def _decimal(unscaled: Ints, scale: int, mask: Bools | None) -> pa.Array:
    # A decimal128 is a 16-byte little-endian integer: the number, then its sign.
    words = np.empty((len(unscaled), 2), dtype=np.int64)
    words[:, 0] = unscaled
    words[:, 1] = unscaled >> 63
    array = pa.Array.from_buffers(pa.decimal128(18, scale), len(unscaled), [None, pa.py_buffer(words)])
    return array if mask is None else pc.if_else(pa.array(mask), pa.scalar(None, array.type), array)


def stamps(seconds: Ints) -> pa.Array:
    """Wall-clock seconds as naive timestamps; negative is null."""
    return pa.array(seconds * 1_000_000, mask=seconds < 0).cast(pa.timestamp("us"))


def dates(days: Ints, *, mask: Bools | None = None) -> pa.Array:
    """Days since 1970 as dates."""
    return pa.array(days.astype(np.int32), mask=mask).cast(pa.date32())


def day_number(day: date) -> int:
    """Days since 1970."""
    return day.toordinal() - date(1970, 1, 1).toordinal()


def wall_seconds(moment: datetime) -> int:
    """Seconds since 1970 on the wall clock of a naive local `moment`."""
    return day_number(moment.date()) * DAY + moment.hour * 3600 + moment.minute * 60 + moment.second
