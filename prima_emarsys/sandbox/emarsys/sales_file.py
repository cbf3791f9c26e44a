"""The rules of a sales data file: which header it may have, and which rows.

Documented are the required columns, that names are case-sensitive, that `price` is the row's total with a decimal
point, ISO 8601 times in UTC (a bare date is midnight), and custom columns typed by prefix (`s_` text, `i_` integer,
`f_` decimal, `t_` time; another name gets a prefix). Our choice are: the prefix follows from the first row's value; a
time without an offset is UTC in an upload and refused in a batch; a missing `quantity` column means 1; numbers have at
most four decimals; an empty custom value is none, and one of the wrong type rejects its row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import Any, Literal, NamedTuple, Self

from prima_emarsys.sandbox.emarsys.csv_file import RefusedFile

Route = Literal["upload", "batch"]
"""How a file comes: by HTTP, whose rows add up, or by the batch folder, whose orders replace."""

REQUIRED = ("item", "price", "order", "timestamp")
BUYER_COLUMNS = ("customer", "email")
MOST_CUSTOM_COLUMNS_OF_A_BATCH = 20

SCALE = 4
"""Amounts and quantities are kept as whole ten-thousandths, so that sums are exact."""

_NUMBER = re.compile(r"-?\d{1,14}(\.\d{1,4})?")
_INTEGER = re.compile(r"-?\d{1,18}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(?P<seconds>:\d\d(\.\d{1,6})?)?(?P<offset>Z|[+-]\d\d:\d\d)?)?")


class SalesRow(NamedTuple):
    """A row that fits. `quantity` and `price` are ten-thousandths, `at` is UTC.

    `custom` holds the custom columns' values, one a line: no value contains a line break.
    """

    buyer: str
    order: str
    item: str
    quantity: int
    price: int
    at: str
    custom: str


@dataclass(frozen=True)
class SalesHeader:
    """The columns of a file as they were sent, and their names with every custom column prefixed."""

    columns: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, route: Route, columns: tuple[str, ...], first_row: Sequence[str]) -> Self:
        """The header of an account's first file by this route; `RefusedFile` if it breaks a rule."""
        if missing := [name for name in REQUIRED if name not in columns]:
            raise RefusedFile(f"Missing column: {', '.join(missing)}")
        if len([name for name in BUYER_COLUMNS if name in columns]) != 1:
            raise RefusedFile("Exactly one of customer and email is required")
        names = tuple(map(_prefixed, columns, first_row))
        if len(set(names)) < len(names):
            raise RefusedFile("Two custom columns have the same name")
        header = cls(columns, names)
        if route == "batch" and len(header.custom) > MOST_CUSTOM_COLUMNS_OF_A_BATCH:
            raise RefusedFile(
                f"{len(header.custom)} custom columns; at most {MOST_CUSTOM_COLUMNS_OF_A_BATCH} are loaded"
            )
        return header

    @property
    def buyer_column(self) -> str:
        """The column that identifies the buyer."""
        return next(name for name in BUYER_COLUMNS if name in self.columns)

    @property
    def custom(self) -> tuple[str, ...]:
        """Names of the custom columns, in their order."""
        return tuple(name for name in self.names if name[:2] in _CUSTOM)


@dataclass(frozen=True)
class _Kind:
    parse: Callable[[str], Any]
    """The stored form; `ValueError` for a text that is of another kind."""
    words: str


def _text(text: str) -> str:
    if not text:
        raise ValueError
    return text


@lru_cache(maxsize=65_536)
def scaled(text: str) -> int:
    """A number with a decimal point, in ten-thousandths; `ValueError` for anything else."""
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return int(Decimal(text).scaleb(SCALE))


def _integer(text: str) -> str:
    if text and not _INTEGER.fullmatch(text):
        raise ValueError
    return text


def _decimal(text: str) -> str:
    if text:
        scaled(text)
    return text


@lru_cache(maxsize=65_536)
def _time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError
    moment = datetime.fromisoformat(text)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="microseconds")


def _time_or_none(text: str) -> str:
    return text and _time(text)


@lru_cache(maxsize=65_536)
def _full_time(text: str) -> str:
    match = _TIME.fullmatch(text)
    if not (match and match["seconds"] and match["offset"]):
        raise ValueError
    return _time(text)


_TEXT = _Kind(_text, "is empty")
_NUMERIC = _Kind(scaled, "is no number with a decimal point")
_MOMENT = _Kind(_time, "is no ISO 8601 time")
_FULL_MOMENT = _Kind(_full_time, "is no ISO 8601 time with seconds and an offset")
_CUSTOM = {
    "s_": _Kind(str, "is no text"),
    "i_": _Kind(_integer, "is no integer"),
    "f_": _Kind(_decimal, _NUMERIC.words),
    "t_": _Kind(_time_or_none, _MOMENT.words),
}


def _prefixed(column: str, value: str) -> str:
    if column in (*REQUIRED, *BUYER_COLUMNS, "quantity") or column[:2] in _CUSTOM:
        return column
    fitting = (prefix for prefix in ("i_", "f_", "t_") if value and _fits(_CUSTOM[prefix], value))
    return f"{next(fitting, 's_')}{column}"


def _fits(kind: _Kind, value: str) -> bool:
    try:
        kind.parse(value)
    except ValueError:
        return False
    return True


def compile_judge(route: Route, header: SalesHeader) -> Callable[[Sequence[Sequence[str]]], list[SalesRow | str]]:
    """What judges rows under a header: each becomes a `SalesRow`, or the reason why it is rejected.

    Rows are parsed by columns, which is quick, and halved where a column does not fit, until the bad rows are found.
    """
    kinds = {
        header.buyer_column: _TEXT, "order": _TEXT, "item": _TEXT, "quantity": _NUMERIC, "price": _NUMERIC,
        "timestamp": _FULL_MOMENT if route == "batch" else _MOMENT,
    }  # fmt: skip
    places = {name: place for place, name in enumerate(header.names)}
    kinds |= {name: _CUSTOM[name[:2]] for name in header.custom}

    def parsed(rows: Sequence[Sequence[str]]) -> list[SalesRow | str]:
        columns = list(zip(*rows, strict=True))
        fitting: dict[str, Sequence[Any]] = {}
        for name, kind in kinds.items():
            if name in places:
                try:
                    fitting[name] = list(map(kind.parse, columns[places[name]]))
                except ValueError:
                    raise ValueError(f"{name} {kind.words}") from None
            else:
                fitting[name] = [10**SCALE] * len(rows)
        values = (
            zip(*(fitting.pop(name) for name in header.custom), strict=True) if header.custom else repeat((), len(rows))
        )
        return list(map(SalesRow._make, zip(*fitting.values(), map("\n".join, values), strict=True)))

    def judge(rows: Sequence[Sequence[str]]) -> list[SalesRow | str]:
        try:
            return parsed(rows)
        except ValueError as reason:
            if len(rows) == 1:
                return [str(reason)]
            middle = len(rows) // 2
            return judge(rows[:middle]) + judge(rows[middle:])

    return judge
