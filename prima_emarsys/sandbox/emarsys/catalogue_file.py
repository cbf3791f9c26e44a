"""The rules of a product catalogue file: which header it may have, and which rows.

Documented are the columns of the vendor's layout, that `item`, `title` and `link` are required, the form of `category`
(levels by `>`, several by `|`), `available` as `true` or `false`, custom columns `c_…`, and that a file is the whole
catalogue. Our choice are: another column refuses the file; a file without `available` offers everything; prices are
numbers with a decimal point and not negative; addresses are `http` or `https`; the first row of an item counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from prima_emarsys.sandbox.emarsys.columns import ANY, TEXT, Kind, judge, scaled
from prima_emarsys.sandbox.emarsys.csv_file import RefusedFile

_ADDRESS = re.compile(r"https?://[^\s/]+(/\S*)?")
_AVAILABLE = {"true": True, "false": False}


class CatalogueRow(NamedTuple):
    """A row that fits. `fields` is a JSON object of the texts that were sent, empty ones left out."""

    item: str
    available: bool
    fields: bytes


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError
    return text


def _address_or_none(text: str) -> str:
    return text and _address(text)


def _price_or_none(text: str) -> str:
    if text and scaled(text) < 0:
        raise ValueError
    return text


def _category(text: str) -> str:
    if text and not all(level.strip() for path in text.split("|") for level in path.split(">")):
        raise ValueError
    return text


def _flag(text: str) -> str:
    if text not in _AVAILABLE:
        raise ValueError
    return text


_PRICE = Kind(_price_or_none, "is no price with a decimal point")
_PICTURE = Kind(_address_or_none, "is no address")
_KINDS = {
    "item": TEXT,
    "title": TEXT,
    "link": Kind(_address, _PICTURE.words),
    "image": _PICTURE,
    "zoom_image": _PICTURE,
    "category": Kind(_category, "has an empty level"),
    "available": Kind(_flag, "is neither true nor false"),
    "description": ANY,
    "price": _PRICE,
    "msrp": _PRICE,
    "brand": ANY,
    "group_id": ANY,
}
REQUIRED = ("item", "title", "link")
_CUSTOM = "c_"


def check_header(columns: tuple[str, ...]) -> None:
    """`RefusedFile` if the header breaks a rule."""
    if missing := [name for name in REQUIRED if name not in columns]:
        raise RefusedFile(f"Missing column: {', '.join(missing)}")
    if unknown := [name for name in columns if name not in _KINDS and not name.startswith(_CUSTOM)]:
        raise RefusedFile(f"Unknown column: {', '.join(unknown)}")


def judge_catalogue(columns: tuple[str, ...], rows: Sequence[Sequence[str]]) -> list[CatalogueRow | str]:
    """The rows under a header: each becomes a `CatalogueRow`, or the reason why it is rejected."""

    def build(parsed: dict[str, list[Any]]) -> list[CatalogueRow]:
        available = parsed.get("available", ["true"] * len(parsed["item"]))
        fields = (
            orjson.dumps({name: text for name, text in zip(columns, texts, strict=True) if text})
            for texts in zip(*(parsed[name] for name in columns), strict=True)
        )
        return list(map(CatalogueRow, parsed["item"], map(_AVAILABLE.__getitem__, available), fields))

    kinds = {name: _KINDS.get(name, ANY) for name in columns}
    return judge(kinds, {name: place for place, name in enumerate(columns)}, build, rows)
