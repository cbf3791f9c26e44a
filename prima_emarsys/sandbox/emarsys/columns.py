"""Judging the rows of a CSV file by the kinds of its columns.

Rows are parsed by columns, which is quick, and halved where a column does not fit, until the bad rows are found. Which
columns a file has, and of which kinds they are, is for the modules that own the kind of file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

Built = TypeVar("Built")

SCALE = 4
"""Amounts and quantities are kept as whole ten-thousandths, so that sums are exact."""

_NUMBER = re.compile(r"-?\d{1,14}(\.\d{1,4})?", re.ASCII)


@dataclass(frozen=True)
class Kind:
    """What a column may hold."""

    parse: Callable[[str], Any]
    """The stored form; `ValueError` for a text that does not fit."""
    words: str
    """What is wrong with such a text; the column's name goes before."""

    def fits(self, text: str) -> bool:
        """Whether a text is of this kind."""
        try:
            self.parse(text)
        except ValueError:
            return False
        return True


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


def _decimal_or_none(text: str) -> str:
    if text:
        scaled(text)
    return text


ANY = Kind(str, "is no text")
TEXT = Kind(_text, "is empty")
NUMBER = Kind(scaled, "is no number with a decimal point")
NUMBER_OR_NONE = Kind(_decimal_or_none, NUMBER.words)


def judge(
    kinds: Mapping[str, Kind],
    places: Mapping[str, int],
    build: Callable[[dict[str, list[Any]]], Sequence[Built]],
    rows: Sequence[Sequence[str]],
) -> list[Built | str]:
    """What `build` makes of each row that fits, given the parsed columns by name; or the reason why it does not.

    `places` says which of a row's values is which column; a kind without a place is passed by.
    """
    if not rows:
        return []
    columns = list(zip(*rows, strict=True))
    parsed: dict[str, list[Any]] = {}
    for name, kind in kinds.items():
        if name in places:
            try:
                parsed[name] = list(map(kind.parse, columns[places[name]]))
            except ValueError:
                if len(rows) == 1:
                    return [f"{name} {kind.words}"]
                middle = len(rows) // 2
                return [*judge(kinds, places, build, rows[:middle]), *judge(kinds, places, build, rows[middle:])]
    return list(build(parsed))
