"""What a contact field accepts: one compiled check per field.

A batch is checked by columns first, since nearly all values are text that fits; only where a column does not pass as a
whole are its rows checked one by one. Which field exists and who may write it is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any, Literal

Type = Literal["shorttext", "longtext", "largetext", "numeric", "date", "url", "singlechoice", "multichoice"]
Stored = str | list[str]

CREATABLE_TYPES = frozenset({"shorttext", "longtext", "largetext", "date", "url", "numeric"})
"""Types of custom fields that the API may create; choice fields need the user interface or support."""

LENGTHS: Mapping[str, int | None] = {"shorttext": 60, "longtext": 255, "url": 255, "largetext": None}
"""Greatest length in characters. That of `url` is our choice."""

# At most 24 digits and no leading zero are documented; sign and decimals are our choice.
_NUMBER = re.compile(r"-?(?=(?:\.?\d){1,24}$)(?:0|[1-9]\d*)(?:\.\d+)?$")
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?: ([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?)?$")


@dataclass(frozen=True)
class ContactField:
    """A field of the account's contact database. `choices` maps choice id to label."""

    id: int
    name: str
    string_id: str
    application_type: Type
    custom: bool = True
    read_only: bool = False
    indexed: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)


class InvalidValue(Exception):
    """A value does not fit its field; the argument is the text of reply code 2007."""


@dataclass(frozen=True, slots=True)
class Check:
    """The check of one field."""

    one: Callable[[Any], Stored]
    """Returns a value in its stored form (`""` clears the field), or raises `InvalidValue`."""
    column: Callable[[Sequence[Any]], bool]
    """Whether all these values are text that fits, or `None`, so that they can be stored as they are."""


_TEXT_OR_NONE = frozenset({str, type(None)})


def compile_check(contact_field: ContactField, over_long: Literal["refuse", "truncate"]) -> Check:
    """The check of one field, with everything looked up that can be looked up once."""
    number = contact_field.id
    match contact_field.application_type:
        case "multichoice":
            return _multiple_choice(number, contact_field.choices)
        case "singlechoice":
            known = frozenset(contact_field.choices)
            return _scalar(number, known.__contains__, f"Invalid choice id for field id: {number}")
        case "date":
            return _scalar(number, _is_date, f"Invalid date format for field id: {number}")
        case "numeric":
            return _scalar(number, _is_number, f"Invalid data format for field id: {number}")
        case _:
            return _text(number, LENGTHS[contact_field.application_type], over_long == "truncate")


def _text(number: int, length: int | None, truncate: bool) -> Check:
    def one(value: Any) -> str:
        text = _as_text(number, value)
        if length is None or len(text) <= length:
            return text
        if truncate:
            return text[:length]
        raise InvalidValue(f"Invalid data format for field id: {number}")

    def column(values: Sequence[Any]) -> bool:
        texts = _TEXT_OR_NONE.issuperset(map(type, values))
        return texts and (length is None or max(map(len, filter(None, values)), default=0) <= length)

    return Check(one, column)


def _scalar(number: int, fits: Callable[[str], object], otherwise: str) -> Check:
    def one(value: Any) -> str:
        text = _as_text(number, value)
        if not text or fits(text):
            return text
        raise InvalidValue(otherwise)

    def column(values: Sequence[Any]) -> bool:
        return _TEXT_OR_NONE.issuperset(map(type, values)) and all(map(fits, filter(None, set(values))))

    return Check(one, column)


def _multiple_choice(number: int, choices: Mapping[str, str]) -> Check:
    known = frozenset(choices)

    def one(value: Any) -> Stored:
        if value is None or value == "":
            return ""
        if not isinstance(value, list):
            raise InvalidValue(f"Invalid data format for field id: {number}. Array expected")
        if not value:
            raise InvalidValue(f"No choice provided for field id: {number}")
        chosen = [_as_text(number, choice) for choice in value]
        if not known.issuperset(chosen):
            raise InvalidValue(f"Invalid choice id for field id: {number}")
        return chosen

    return Check(one, lambda _: False)


def _as_text(number: int, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidValue(f"Invalid data format for field ID: {number}. Scalar expected.")


@lru_cache(maxsize=65_536)
def _is_date(text: str) -> bool:
    if not (match := _DATE.fullmatch(text)):
        return False
    try:
        date.fromisoformat(match[1])
    except ValueError:
        return False
    return True


@lru_cache(maxsize=65_536)
def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None
