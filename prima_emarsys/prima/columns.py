"""One column of a page, from what a database hands out to the contract's type, with pyarrow's vectorised functions.

Here belong the readings of a single value: padding, words, money, dates, instants, flags. A reading never guesses: what
it cannot read becomes null and is marked `unreadable`, and who decides what that means for the row is `pages`.
"""

# pyarrow.compute makes its functions while it is imported, where no type checker sees them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prima_emarsys.contract import Column, Type
from prima_emarsys.prima.codes import COUNTRY_ALIASES

_CONTROL = r"[\x00-\x1f\x7f]"
_LINE_OR_TAB = r"[\t\r\n]+"
_ZONED = r"[0-9]:[0-9]{2}.*([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)$"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_DAY_FIRST = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})(.*)", re.DOTALL)
_FLAGS = {"yes": True, "y": True, "true": True, "1": True, "no": False, "n": False, "false": False, "0": False}
_PLACEHOLDER_YEAR = 1753
"""SQL Server's first year: Progress Pro2 writes every earlier (unknown) date as a day of it."""


@dataclass(frozen=True)
class TypedColumn:
    """A column as the contract types it. `unreadable` marks values that were there and could not be read.

    `day` is the calendar day at the site that stands beside a timestamp. `repairs` counts values that were mended, by
    the name of the repair.
    """

    values: pa.Array
    unreadable: pa.BooleanArray
    day: pa.Array | None = None
    repairs: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Reading:
    """What a reading needs to know of the site: its time zone, its words for one column, and the latest instant that
    can be true (None: any). `day_first`: a date is `dd/mm/yyyy`, and nothing else is one."""

    zone: ZoneInfo
    words: Mapping[str, str] = field(default_factory=dict)
    latest: datetime | None = None
    day_first: bool = False


def type_column(column: Column, raw: pa.Array, reading: Reading) -> TypedColumn:
    """Type one column. Blank text is null in every type; the length never changes."""
    match column.type:
        case Type.CODE:
            return _codes(column, raw)
        case Type.TEXT:
            return _text(raw)
        case Type.WORD:
            return _words(column, raw, reading.words)
        case Type.MONEY | Type.RATE:
            return _decimals(raw, column.type.arrow)
        case Type.INTEGER:
            return _integers(raw)
        case Type.FLAG:
            return _flags(raw)
        case Type.DATE:
            return _dates_day_first(raw) if reading.day_first else _dates(raw, reading.zone)
        case Type.TIMESTAMP:
            return _timestamps(raw, reading)


def plain_word(text: str) -> str:
    """A word without the differences that do not count: case, spaces, hyphens, underscores."""
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()


def _text(raw: pa.Array) -> TypedColumn:
    """Text without control characters and without blanks around it; blank is null."""
    values, unreadable = _decoded(_as_text(raw))
    repairs: Counter[str] = Counter()
    if _may_hold_controls(values) and (controls := pc.sum(pc.match_substring_regex(values, _CONTROL)).as_py()):
        repairs["control-characters"] = controls
        values = pc.replace_substring_regex(values, _LINE_OR_TAB, " ")
        values = pc.replace_substring_regex(values, _CONTROL, "")
    values = pc.utf8_trim_whitespace(values)
    blank = pc.equal(values, "")
    if pc.any(blank).as_py():
        values = pc.if_else(blank, pa.scalar(None, pa.string()), values)
    return TypedColumn(values, unreadable, repairs=repairs)


def _may_hold_controls(values: pa.StringArray) -> bool:
    """A look at the bytes as a whole: thirty times as fast as asking each value, and almost always enough."""
    _, offsets, characters = values.buffers()
    if characters is None or not len(values):
        return False
    bounds = np.frombuffer(offsets, np.int32, len(values) + 1, values.offset * 4)
    data = np.frombuffer(characters, np.uint8)[bounds[0] : bounds[-1]]
    return bool(data.size) and (data.min() < 0x20 or bool((data == 0x7F).any()))


def _codes(column: Column, raw: pa.Array) -> TypedColumn:
    typed = _text(raw)
    if column.name == "country":
        values = pc.utf8_upper(typed.values)
        for alias, code in COUNTRY_ALIASES.items():
            mended = pc.equal(values, alias)
            if count := pc.sum(mended).as_py():
                typed.repairs["country-alias"] += count
                values = pc.if_else(mended, code, values)
        return TypedColumn(values, typed.unreadable, repairs=typed.repairs)
    if column.name in ("currency", "base_currency"):
        return TypedColumn(pc.utf8_upper(typed.values), typed.unreadable, repairs=typed.repairs)
    return typed


def _words(column: Column, raw: pa.Array, words: Mapping[str, str]) -> TypedColumn:
    known = {plain_word(theirs): ours for theirs, ours in words.items()}
    # The contract's own words last: they always mean themselves, so typing a typed page changes nothing.
    known |= {plain_word(word): word for word in column.words}
    typed = _text(raw)
    values, unreadable = _by_value(typed.values, lambda text: known[plain_word(text)], pa.string())
    return TypedColumn(values, pc.or_(unreadable, typed.unreadable), repairs=typed.repairs)


def _flags(raw: pa.Array) -> TypedColumn:
    if pa.types.is_boolean(raw.type):
        return TypedColumn(raw, _nowhere(raw))
    typed = _text(raw)
    values, unreadable = _by_value(typed.values, lambda text: _FLAGS[text.casefold()], pa.bool_())
    return TypedColumn(values, pc.or_(unreadable, typed.unreadable))


def _decimals(raw: pa.Array, type_: pa.Decimal128Type) -> TypedColumn:
    """Exact numbers, rounded half up (away from zero) to the type's scale. A float goes through its shortest text."""
    if raw.type == type_:
        return TypedColumn(raw, _nowhere(raw))
    typed = _text(raw)
    try:
        return TypedColumn(pc.cast(typed.values, type_), typed.unreadable)
    except pa.ArrowInvalid:
        pass  # at least one value is no number, too long, or has more places than are kept
    whole = type_.precision - type_.scale
    plain = pc.match_substring_regex(typed.values, rf"^[+-]?[0-9]{{1,{whole}}}(\.[0-9]{{1,{type_.scale}}})?$")
    nothing = pa.scalar(None, pa.string())
    easy = pc.cast(pc.if_else(plain, typed.values, nothing), type_)
    hard, unreadable = _by_value(
        pc.if_else(plain, nothing, typed.values), lambda text: _exact(text, type_.scale, whole), type_
    )
    return TypedColumn(pc.coalesce(easy, hard), pc.or_(unreadable, typed.unreadable))


def _exact(text: str, scale: int, whole: int) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    number = Decimal(text)
    if number and number.adjusted() >= whole:
        raise ValueError(text)
    # Far too small to count; quantising would otherwise need a thousand places.
    if number and number.adjusted() < -scale - 1:
        return Decimal(0)
    rounded = number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)
    if rounded and rounded.adjusted() >= whole:
        raise ValueError(text)
    return rounded


def _integers(raw: pa.Array) -> TypedColumn:
    if pa.types.is_signed_integer(raw.type):
        return TypedColumn(raw.cast(pa.int64()), _nowhere(raw))
    typed = _text(raw)
    # Checked before the cast because Arrow also reads hexadecimal.
    plain = pc.match_substring_regex(typed.values, r"^-?[0-9]{1,18}$")
    nothing = pa.scalar(None, pa.string())
    easy = pc.cast(pc.if_else(plain, typed.values, nothing), pa.int64())
    if pc.all(plain).as_py() is not False:
        return TypedColumn(easy, typed.unreadable)
    hard, unreadable = _by_value(pc.if_else(plain, nothing, typed.values), _whole, pa.int64())
    return TypedColumn(pc.coalesce(easy, hard), pc.or_(unreadable, typed.unreadable))


def _whole(text: str) -> int:
    number = _exact(text, scale=4, whole=18)
    if number != number.to_integral_value():
        raise ValueError(text)
    return int(number)


def _dates(raw: pa.Array, zone: ZoneInfo) -> TypedColumn:
    if pa.types.is_timestamp(raw.type):
        raw = _wall_clock(raw, zone)
    if pa.types.is_date(raw.type) or pa.types.is_timestamp(raw.type):
        return _without_placeholders(TypedColumn(pc.cast(raw, pa.date32(), safe=False), _nowhere(raw)))
    typed = _text(raw)
    try:
        return _without_placeholders(TypedColumn(pc.cast(typed.values, pa.date32()), typed.unreadable))
    except pa.ArrowInvalid:
        values, unreadable = _by_value(typed.values, lambda text: _moment(text).date(), pa.date32())
        return _without_placeholders(TypedColumn(values, pc.or_(unreadable, typed.unreadable)))


def _dates_day_first(raw: pa.Array) -> TypedColumn:
    typed = _text(raw)
    values, unreadable = _by_value(typed.values, _day_first, pa.date32())
    return _without_placeholders(TypedColumn(values, pc.or_(unreadable, typed.unreadable), repairs=typed.repairs))


def _day_first(text: str) -> date:
    if len(text) != 10:
        raise ValueError(text)
    return datetime.strptime(text, "%d/%m/%Y").date()  # noqa: DTZ007 (a calendar day has no zone)


def _timestamps(raw: pa.Array, reading: Reading) -> TypedColumn:
    """Instants in UTC. A value without a zone is the site's wall clock."""
    if pa.types.is_timestamp(raw.type):
        moments = pc.cast(raw, pa.timestamp("us", tz=raw.type.tz), safe=False)
        return _instants(*((moments, None) if raw.type.tz else (None, moments)), _nowhere(raw), reading)
    if pa.types.is_date(raw.type):
        return _instants(None, pc.cast(raw, pa.timestamp("us")), _nowhere(raw), reading)
    typed = _text(raw)
    try:
        return _instants(None, pc.cast(typed.values, pa.timestamp("us")), typed.unreadable, reading)
    except pa.ArrowInvalid:
        pass
    try:
        return _instants(pc.cast(typed.values, pa.timestamp("us", tz="UTC")), None, typed.unreadable, reading)
    except pa.ArrowInvalid:
        pass
    spelled, unreadable = _by_value(typed.values, lambda text: _moment(text).isoformat(), pa.string())
    has_zone = pc.match_substring_regex(spelled, _ZONED)
    nothing = pa.scalar(None, pa.string())
    zoned = pc.cast(pc.if_else(has_zone, spelled, nothing), pa.timestamp("us", tz="UTC"))
    naive = pc.cast(pc.if_else(has_zone, nothing, spelled), pa.timestamp("us"))
    return _instants(zoned, naive, pc.or_(unreadable, typed.unreadable), reading)


def _instants(
    zoned: pa.Array | None, naive: pa.Array | None, unreadable: pa.BooleanArray, reading: Reading
) -> TypedColumn:
    repairs: Counter[str] = Counter()
    values = None if zoned is None else pc.cast(zoned, Type.TIMESTAMP.arrow)
    if naive is not None:
        local = pc.cast(_localised(_wall_clock_known(naive, repairs), reading.zone.key, repairs), Type.TIMESTAMP.arrow)
        values = local if values is None else pc.coalesce(values, local)
    if reading.latest is not None:
        ahead = pc.fill_null(pc.greater(values, pa.scalar(reading.latest, Type.TIMESTAMP.arrow)), False)
        if pc.any(ahead).as_py():
            values = pc.if_else(ahead, pa.scalar(None, Type.TIMESTAMP.arrow), values)
            unreadable = pc.or_(unreadable, ahead)
    return TypedColumn(values, unreadable, _day(values, reading.zone), repairs)


def _day(instants: pa.Array, zone: ZoneInfo) -> pa.Array:
    return pc.cast(_wall_clock(instants, zone), pa.date32(), safe=False)


def _wall_clock(moments: pa.Array, zone: ZoneInfo) -> pa.Array:
    if moments.type.tz is None:
        return moments
    return pc.local_timestamp(pc.cast(moments, pa.timestamp(moments.type.unit, tz=zone.key)))


def _localised(naive: pa.Array, zone: str, repairs: Counter[str]) -> pa.Array:
    """The earlier instant of a doubled hour; a skipped hour moves forward to the first instant after it."""
    try:
        return pc.assume_timezone(naive, zone)
    except pa.ArrowInvalid:
        early = pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="latest")
        late = pc.assume_timezone(naive, zone, ambiguous="latest", nonexistent="latest")
        before = pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="earliest")
        for name, other in (("ambiguous-hour", late), ("missing-hour", before)):
            if count := pc.sum(pc.not_equal(early, other)).as_py():
                repairs[name] = count
        return early


def _wall_clock_known(naive: pa.Array, repairs: Counter[str]) -> pa.Array:
    old = _is_placeholder(naive)
    if count := pc.sum(old).as_py():
        repairs["placeholder-date"] += count
        return pc.if_else(old, pa.scalar(None, naive.type), naive)
    return naive


def _without_placeholders(typed: TypedColumn) -> TypedColumn:
    values = _wall_clock_known(typed.values, typed.repairs)
    return TypedColumn(values, typed.unreadable, repairs=typed.repairs)


def _is_placeholder(days: pa.Array) -> pa.Array:
    first_believed = datetime(_PLACEHOLDER_YEAR + 1, 1, 1)  # noqa: DTZ001 (a wall clock, compared with wall clocks)
    believed = first_believed.date() if pa.types.is_date(days.type) else first_believed
    return pc.less(days, pa.scalar(believed, days.type))


def _moment(text: str) -> datetime:
    """A date or a date with a time, ISO 8601 or day first (31/12/2026 or 31/12/2026 23:59)."""
    if match := _DAY_FIRST.fullmatch(text):
        day = date(int(match[3]), int(match[2]), int(match[1]))
        text = f"{day.isoformat()}{match[4]}"
    return datetime.fromisoformat(text)


def _as_text(raw: pa.Array) -> pa.Array:
    """Whatever a driver hands out, as text (or the bytes of text)."""
    if isinstance(raw, pa.ExtensionArray):
        raw = raw.storage
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if pa.types.is_string(raw.type) or pa.types.is_binary(raw.type):
        return raw
    if pa.types.is_large_binary(raw.type) or pa.types.is_fixed_size_binary(raw.type):
        return raw.cast(pa.binary())
    if pa.types.is_decimal(raw.type):
        # A code kept as NUMBER(10,2) reads 123.00; trailing noughts after the point mean nothing in any type.
        text = pc.replace_substring_regex(raw.cast(pa.string()), r"(\.[0-9]*?)0+$", r"\1")
        return pc.replace_substring_regex(text, r"\.$", "")
    return raw.cast(pa.string())


def _decoded(text: pa.Array) -> tuple[pa.Array, pa.BooleanArray]:
    """Text, and where the bytes are no UTF-8 (a lone surrogate half, another encoding)."""
    try:
        text.cast(pa.string()).validate(full=True)
        return text.cast(pa.string()), _nowhere(text)
    except pa.ArrowInvalid:
        values: list[str | None] = []
        unreadable: list[bool] = []
        for item in pc.cast(text, pa.binary()).to_pylist():
            try:
                values.append(None if item is None else item.decode("utf-8"))
                unreadable.append(False)
            except UnicodeDecodeError:
                values.append(None)
                unreadable.append(True)
        return pa.array(values, pa.string()), pa.array(unreadable, pa.bool_())


def _by_value(text: pa.Array, read: Callable[[str], object], type_: pa.DataType) -> tuple[pa.Array, pa.BooleanArray]:
    """Apply a reading to each different value once. ValueError and KeyError mean unreadable."""
    encoded = text.dictionary_encode()
    values: list[object] = []
    unreadable: list[bool] = []
    for item in encoded.dictionary.to_pylist():
        try:
            values.append(read(item))
            unreadable.append(False)
        except (ValueError, KeyError, OverflowError):
            values.append(None)
            unreadable.append(True)
    indices = encoded.indices
    return (
        pa.array(values, type_).take(indices),
        pc.fill_null(pa.array(unreadable, pa.bool_()).take(indices), False),
    )


def _nowhere(like: pa.Array) -> pa.BooleanArray:
    return pa.repeat(pa.scalar(False), len(like))
