"""Order events: what happened to an order, as single facts that Emarsys hears of at once.

Pure functions over the contract's rows of one order, a few at a time and without an engine, so that one order costs
microseconds. Prima keeps states, not a log: a fact is what a document says (the order, a despatch note, a return, a
credit note), and its identity comes from that document's business content alone, so that reading it again, in whatever
order and however late, is the same fact with the same id for ever.

What counts as a version, by document:

- the order: its lines with SKU, ordered quantity and value, and its currency. An order amended after its confirmation
  is a new fact of the same kind; one put back to what it was before is not.
- cancellations of an order: how much of which line is cancelled.
- a despatch note, a return, a credit note: its lines.

Whom a fact is told to, whether it is too old, and whether it was told already, is not decided here.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson

from prima_emarsys.site import EventKind, SalesRules

Row = Mapping[str, Any]
"""A row as the contract types it, by column name."""

_IDS = uuid.UUID("0c8f4a52-6d0e-4f57-9a35-5d1d5f0f5a11")
"""Under which all ids are made. It never changes: every id would, and Emarsys would take each fact for a new one."""

_FAMILY = {
    EventKind.ORDER_CONFIRMED: "confirmation",
    EventKind.ORDER_PART_DESPATCHED: "despatch",
    EventKind.ORDER_DESPATCHED: "despatch",
    EventKind.ORDER_PART_CANCELLED: "cancellation",
    EventKind.ORDER_CANCELLED: "cancellation",
    EventKind.RETURN_RECEIPTED: "return",
    EventKind.CREDIT_FINALISED: "credit",
}
"""A document is told once, although a later look may find that the order is complete with it by now."""

_PENNY = Decimal("0.01")


@dataclass(frozen=True)
class OrderRows:
    """What Prima holds about one order. `order` is None if Prima does not hold it (or the credit names none)."""

    company: str
    order_number: str | None
    order: Row | None = None
    lines: Sequence[Row] = ()
    charges: Sequence[Row] = ()
    despatches: Sequence[Row] = ()
    returns: Sequence[Row] = ()
    credits: Sequence[Row] = ()
    credit_lines: Sequence[Row] = ()


@dataclass(frozen=True)
class Fact:
    """One fact about an order. `document` is the record of Prima that shows it; facts of one `aggregate` are told one
    after the other, by `dated_at`.

    `dated_at` is when it happened by the document's own date, `stamped_at` when its rows were last written.
    """

    kind: EventKind
    document: str
    version: str
    aggregate: str
    account: str | None
    dated_at: datetime
    stamped_at: datetime
    data: Mapping[str, Any] = field(repr=False)
    excluded: str | None = None
    """The rule that keeps it from everybody."""
    overtaken_by: EventKind | None = None
    """A later fact by which it is no longer true enough to be told."""
    order_known: bool = True

    @property
    def event_id(self) -> str:
        """The same for ever for the same fact: Emarsys's `trigger_id`."""
        return event_id(self.kind, self.document, self.version)


def event_id(kind: EventKind, document: str, version: str) -> str:
    """UUIDv5 of what is told about which document in which version."""
    return str(uuid.uuid5(_IDS, "|".join((_FAMILY[kind], document, version))))


def relatives(kind: EventKind) -> list[EventKind]:
    """The kinds under which one document may be told: it, and those that differ only by what is left of the order."""
    return [one for one, family in _FAMILY.items() if family == _FAMILY[kind]]


def sku(row: Row) -> str:
    """As `rules.sales.sku_id`: style and its matrix codes, `_` between them; empty levels at the end fall away."""
    return "_".join(row.get(name) or "" for name in ("product", *(f"matrix_{n}" for n in "1234"))).rstrip("_")


def money(value: Decimal) -> str:
    """An amount as exact text with at least two decimals.

    >>> money(Decimal("12.3000")), money(Decimal("0.1250"))
    ('12.30', '0.125')
    """
    least = value.quantize(_PENNY)
    return format(least if least == value else value.normalize(), "f")


def facts(rows: OrderRows, rules: SalesRules, confirmed: Collection[str] = ()) -> list[Fact]:
    """All facts that these rows show, oldest first.

    `confirmed`: versions of the order that were told (or withheld) before. With one of them, another version is an
    amendment, which dates from when it was written and not from when the order was placed. A held order shows nothing,
    an order without lines is not there yet.
    """
    in_order = sorted(rows.lines, key=lambda line: (len(line["line_number"]), line["line_number"]))
    rows = replace(rows, lines=in_order)
    state = _State(rows)
    found: list[Fact] = []
    if rows.order is not None and rows.order["status"] != "held" and rows.lines:
        found += [
            *_confirmation(rows, rows.order, state, confirmed),
            *_cancellation(rows, rows.order, state),
            *_despatches(rows, rows.order, state),
        ]
    if rows.order is None or rows.order["status"] != "held":
        found += [*_returns(rows, state), *_credits(rows, state)]
    order_type = ((rows.order or {}).get("order_type") or "").lower()
    if order_type in {word.lower() for word in rules.excluded_order_types}:
        found = [replace(fact, excluded="order-type") for fact in found]
    rank = list(EventKind).index
    return sorted(_judged(found, state), key=lambda fact: (fact.dated_at, rank(fact.kind), fact.document))


class _State:
    """Where the order stands, in units of its lines."""

    def __init__(self, rows: OrderRows) -> None:
        order = rows.order or {}
        wholly = order.get("status") == "cancelled"
        self.line = {line["line_number"]: line for line in rows.lines}
        self.cancelled = {
            number: min(
                line["quantity"] if wholly or line["status"] == "cancelled" else line["quantity_cancelled"],
                line["quantity"],
            )
            for number, line in self.line.items()
        }
        noted = _units(rows.despatches, "order_line_number")
        self.despatched = {
            number: max(line["quantity_despatched"], noted.get(number, 0)) for number, line in self.line.items()
        }
        self.ordered_units = sum(line["quantity"] for line in rows.lines)
        self.cancelled_units = sum(self.cancelled.values())
        self.despatched_units = sum(self.despatched.values())
        self.returned_units = sum(row["quantity"] for row in rows.returns)
        final = {note["credit_number"] for note in rows.credits if note["status"] == "finalised"}
        self.final_credit_lines = [line for line in rows.credit_lines if line["credit_number"] in final]
        self.credited_units = sum(line["quantity"] for line in self.final_credit_lines if not line.get("charge_code"))
        self.remaining_units = max(self.ordered_units - self.cancelled_units - self.despatched_units, 0)
        self.is_cancelled = bool(rows.lines) and (wholly or self.cancelled_units >= self.ordered_units > 0)
        complete = self.despatched_units > 0 and not self.remaining_units
        self.is_fully_returned = complete and self.returned_units >= self.despatched_units
        self.is_fully_credited = complete and self.credited_units >= self.despatched_units
        self._order, self._rows = order, rows

    def told(self, kind: EventKind, number: str, lines: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """What a template reads: the document, its lines, and where the order stands."""
        order, rows = self._order, self._rows
        told: dict[str, Any] = {
            "event": kind.value,
            "company": rows.company,
            "order_number": rows.order_number,
            "document_number": number,
            "lines": lines,
            **more,
        }
        if order:
            goods = sum((line["value_incl_vat"] for line in rows.lines), Decimal(0))
            charges = sum((charge["value_incl_vat"] for charge in rows.charges), Decimal(0))
            told |= {
                "ordered_at": _utc(order["ordered_at"]),
                "order_channel": order.get("channel"),
                "currency": order["currency"],
                "order_value": money(goods + charges),
                "goods_value": money(goods),
                "ordered_quantity": self.ordered_units,
                "cancelled_quantity": self.cancelled_units,
                "despatched_quantity": self.despatched_units,
                "returned_quantity": self.returned_units,
                "credited_quantity": self.credited_units,
                "remaining_quantity": self.remaining_units,
                "is_cancelled": self.is_cancelled,
                "is_complete": not self.remaining_units,
                "is_fully_returned": self.is_fully_returned,
                "is_fully_credited": self.is_fully_credited,
            }
        return told


# -- one function a document -----------------------------------------------------------------------------------------


def _confirmation(rows: OrderRows, order: Row, state: _State, confirmed: Collection[str]) -> Iterator[Fact]:
    said = [(line["line_number"], sku(line), line["quantity"], money(line["value_incl_vat"])) for line in rows.lines]
    version = _version(sorted(said), order["currency"])
    is_amended = bool(confirmed) and version not in confirmed
    stamped = _latest([*rows.lines, order], "changed_at")
    kind = EventKind.ORDER_CONFIRMED
    lines = [_sold(line, line["quantity"]) for line in rows.lines]
    yield _fact(
        rows,
        kind,
        f"sales_order|{rows.company}|{order['order_number']}",
        version,
        dated_at=(stamped if is_amended else None) or order["ordered_at"],
        stamped_at=stamped,
        data=state.told(kind, order["order_number"], lines, is_amended=is_amended),
    )


def _cancellation(rows: OrderRows, order: Row, state: _State) -> Iterator[Fact]:
    gone = [line for line in rows.lines if state.cancelled[line["line_number"]]]
    if not gone:
        return
    kind = EventKind.ORDER_CANCELLED if state.is_cancelled else EventKind.ORDER_PART_CANCELLED
    yield _fact(
        rows,
        kind,
        f"sales_order|{rows.company}|{order['order_number']}",
        _version(sorted((line["line_number"], state.cancelled[line["line_number"]]) for line in gone)),
        # Without any date of its own it is as old as the order: a touched row must not make old news fresh.
        dated_at=_latest([*gone, order], "cancelled_at") or order["ordered_at"],
        stamped_at=_latest([*gone, order], "changed_at"),
        data=state.told(
            kind,
            order["order_number"],
            [_sold(line, state.cancelled[line["line_number"]]) for line in gone],
        ),
    )


def _despatches(rows: OrderRows, order: Row, state: _State) -> Iterator[Fact]:
    notes = sorted(
        _documents(rows.despatches, "despatch_number").items(), key=lambda note: _when(note, "despatched_at")
    )
    gone = 0
    for number, parts in notes:
        gone += sum(part["quantity"] for part in parts)
        complete = state.ordered_units - state.cancelled_units - gone <= 0
        kind = EventKind.ORDER_DESPATCHED if complete else EventKind.ORDER_PART_DESPATCHED
        lines = [_sold(state.line[line], units) for line, units in _units(parts, "order_line_number").items()
                 if line in state.line]  # fmt: skip
        yield _fact(
            rows,
            kind,
            f"despatch|{rows.company}|{number}|{order['order_number']}",
            _version(sorted((part["order_line_number"], part["line_number"], part["quantity"]) for part in parts)),
            dated_at=_latest(parts, "despatched_at"),
            stamped_at=_latest(parts, "changed_at"),
            data=state.told(
                kind,
                number,
                lines,
                carrier=_first(parts, "carrier"),
                tracking_reference=_first(parts, "tracking_reference"),
            ),
        )


def _returns(rows: OrderRows, state: _State) -> Iterator[Fact]:
    for number, parts in _documents(rows.returns, "return_number").items():
        kind = EventKind.RETURN_RECEIPTED
        lines = [_sold(state.line.get(part["order_line_number"]), part["quantity"]) | {"reason": part.get("reason")}
                 for part in parts]  # fmt: skip
        yield _fact(
            rows,
            kind,
            f"customer_return|{rows.company}|{number}|{rows.order_number}",
            _version(sorted((part["order_line_number"], part["line_number"], part["quantity"]) for part in parts)),
            dated_at=_latest(parts, "receipted_at"),
            stamped_at=_latest(parts, "changed_at"),
            data=state.told(kind, number, lines),
        )


def _credits(rows: OrderRows, state: _State) -> Iterator[Fact]:
    lines_of = _documents(state.final_credit_lines, "credit_number")
    for note in rows.credits:
        number = note["credit_number"]
        dated_at = note["finalised_at"] or note["raised_at"]
        parts = lines_of.get(number)
        if not parts or dated_at is None:
            continue
        kind = EventKind.CREDIT_FINALISED
        lines = [
            {
                "sku": sku(part) if part.get("product") else None,
                "charge_code": part.get("charge_code"),
                "quantity": part["quantity"],
                "value": money(part["value_incl_vat"]),
            }
            for part in parts
        ]
        said = [(part["line_number"], part["quantity"], money(part["value_incl_vat"])) for part in parts]
        yield _fact(
            rows,
            kind,
            f"credit_note|{rows.company}|{number}",
            _version(sorted(said), note["currency"]),
            account=f"{rows.company}-{note['customer_code']}",
            dated_at=dated_at,
            stamped_at=_latest([note, *parts], "changed_at"),
            data=state.told(
                kind,
                number,
                lines,
                credit_type=note["credit_type"],
                credit_currency=note["currency"],
                credit_value=money(sum((part["value_incl_vat"] for part in parts), Decimal(0))),
            ),
        )


# -- parts -----------------------------------------------------------------------------------------------------------


def _judged(found: Iterable[Fact], state: _State) -> Iterator[Fact]:
    """The facts, those marked that a later one has made false: above all, no despatch after everything came back."""
    found = list(found)
    ends: dict[EventKind, datetime] = {}
    for fact in found:
        ended = (
            (fact.kind is EventKind.ORDER_CANCELLED)
            or (fact.kind is EventKind.RETURN_RECEIPTED and state.is_fully_returned)
            or (fact.kind is EventKind.CREDIT_FINALISED and state.is_fully_credited)
        )
        if ended:
            ends[fact.kind] = max(fact.dated_at, ends.get(fact.kind, fact.dated_at))
    for fact in found:
        despatch = _FAMILY[fact.kind] == "despatch"
        by = [
            kind
            for kind, at in ends.items()
            if at >= fact.dated_at
            and (despatch or (fact.kind is EventKind.ORDER_CONFIRMED and kind is EventKind.ORDER_CANCELLED))
        ]
        yield replace(fact, overtaken_by=by[0]) if by else fact


def _fact(
    rows: OrderRows,
    kind: EventKind,
    document: str,
    version: str,
    *,
    dated_at: datetime,
    stamped_at: datetime | None,
    data: Mapping[str, Any],
    account: str | None = None,
) -> Fact:
    if rows.order is not None:
        account = f"{rows.company}-{rows.order['customer_code']}"
    number = rows.order_number or f"credit-{document.rpartition('|')[2]}"
    return Fact(
        kind,
        document,
        version,
        f"{rows.company}-{number}",
        account,
        dated_at,
        stamped_at or dated_at,
        data | {"happened_at": _utc(dated_at)},
        order_known=rows.order is not None or rows.order_number is None,
    )


def _sold(line: Row | None, units: int) -> dict[str, Any]:
    """So many units of an order line: their SKU, price a unit and value with VAT, to the penny, half up."""
    if line is None:
        return {"sku": None, "quantity": units}
    ordered, whole = line["quantity"], line["value_incl_vat"]
    value = whole if units == ordered or not ordered else whole * units / ordered
    price = whole / ordered if ordered else Decimal(0)
    return {
        "line_number": line["line_number"],
        "sku": sku(line),
        "product": line["product"],
        "quantity": units,
        "price": money(price.quantize(_PENNY, ROUND_HALF_UP)),
        "value": money(value if units == ordered else value.quantize(_PENNY, ROUND_HALF_UP)),
    }


def _documents(parts: Iterable[Row], number: str) -> dict[str, list[Row]]:
    """Rows by the number of their document, in the order of the documents' numbers and lines."""
    found: dict[str, list[Row]] = {}
    for part in sorted(parts, key=lambda part: (part[number], part["line_number"])):
        found.setdefault(part[number], []).append(part)
    return found


def _units(parts: Iterable[Row], line: str) -> dict[str, int]:
    units: dict[str, int] = {}
    for part in parts:
        units[part[line]] = units.get(part[line], 0) + part["quantity"]
    return units


def _when(note: tuple[str, list[Row]], column: str) -> tuple[datetime, str]:
    number, parts = note
    return max(part[column] for part in parts), number


def _latest(parts: Iterable[Row], column: str) -> Any:
    """The latest of a column's moments, or None."""
    return max((part[column] for part in parts if part.get(column) is not None), default=None)


def _first(parts: Iterable[Row], column: str) -> Any:
    return next((part[column] for part in parts if part.get(column)), None)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(*said: Any) -> str:
    """A short digest of what a document says."""
    return hashlib.sha256(orjson.dumps(said)).hexdigest()[:16]
