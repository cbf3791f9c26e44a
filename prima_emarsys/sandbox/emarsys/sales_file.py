"""The rules of a sales data file: which header it may have, and which rows.

Documented are the required columns, that names are case-sensitive, that `price` is the row's total with a decimal
point, ISO 8601 times in UTC (a bare date is midnight), and custom columns typed by prefix (`s_` text, `i_` integer,
`f_` decimal, `t_` time; another name gets a prefix). Our choice are: the prefix follows from the first row's value; a
time without an offset is UTC in an upload and refused in a batch; a missing `quantity` column means 1; numbers have at
most four decimals; an empty custom value is none, and one of the wrong type rejects its row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, Literal, NamedTuple, Self

from prima_emarsys.sandbox.emarsys.columns import ANY, NUMBER, NUMBER_OR_NONE, SCALE, TEXT, Kind, judge
from prima_emarsys.sandbox.emarsys.csv_file import RefusedFile

Route = Literal["upload", "batch"]
"""How a file comes: by HTTP, whose rows add up, or by the batch folder, whose orders replace."""

REQUIRED = ("item", "price", "order", "timestamp")
BUYER_COLUMNS = ("customer", "email")
MOST_CUSTOM_COLUMNS_OF_A_BATCH = 20

_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(?P<seconds>:\d\d(\.\d{1,6})?)?(?P<offset>Z|[+-]\d\d:\d\d)?)?", re.ASCII)


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


def _integer_or_none(text: str) -> str:
    if text and not _INTEGER.fullmatch(text):
        raise ValueError
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


_MOMENT = Kind(_time, "is no ISO 8601 time")
_FULL_MOMENT = Kind(_full_time, "is no ISO 8601 time with seconds and an offset")
_CUSTOM = {
    "s_": ANY,
    "i_": Kind(_integer_or_none, "is no integer"),
    "f_": NUMBER_OR_NONE,
    "t_": Kind(_time_or_none, _MOMENT.words),
}


def _prefixed(column: str, value: str) -> str:
    if column in (*REQUIRED, *BUYER_COLUMNS, "quantity") or column[:2] in _CUSTOM:
        return column
    fitting = (prefix for prefix in ("i_", "f_", "t_") if value and _CUSTOM[prefix].fits(value))
    return f"{next(fitting, 's_')}{column}"


def judge_sales(route: Route, header: SalesHeader, rows: Sequence[Sequence[str]]) -> list[SalesRow | str]:
    """The rows under a header: each becomes a `SalesRow`, or the reason why it is rejected."""
    kinds = {
        header.buyer_column: TEXT, "order": TEXT, "item": TEXT, "quantity": NUMBER, "price": NUMBER,
        "timestamp": _FULL_MOMENT if route == "batch" else _MOMENT,
    }  # fmt: skip
    kinds |= {name: _CUSTOM[name[:2]] for name in header.custom}

    def build(columns: dict[str, list[Any]]) -> list[SalesRow]:
        count = len(columns["order"])
        extras = zip(*(columns[name] for name in header.custom), strict=True) if header.custom else repeat((), count)
        return list(
            map(
                SalesRow, columns[header.buyer_column], columns["order"], columns["item"],
                columns.get("quantity", repeat(10**SCALE)), columns["price"], columns["timestamp"],
                map("\n".join, extras),
            )
        )  # fmt: skip

    return judge(kinds, {name: place for place, name in enumerate(header.names)}, build, rows)
