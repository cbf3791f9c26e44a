"""Collecting order events: what happened in Prima since it was last looked at, written into the outbox.

Read from Prima itself and not from the mirror: a run may hold the embedded warehouse for seconds. What changed names
the orders, each order is then read whole, and `rules.events` says which facts it shows; so rows may come late, twice
and in any order. The cursors move in the transaction that writes the facts down.

Three ages matter. A fact older than its kind's limit, or than our first look, is withheld: a first load tells nobody
anything. One older than `outbox.HISTORY` is not even written down, so that a table which is touched as a whole costs
little more than reading it.
"""

# pyarrow.compute makes its functions while it is imported, where no type checker sees them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.finding import Owner
from prima_emarsys.prima.sql import Mark, Page
from prima_emarsys.rules.events import Fact, OrderRows, Row, facts
from prima_emarsys.site import EventKind, EventMap, SalesRules
from prima_emarsys.steps.buyers import Buyers, Lookup
from prima_emarsys.sync.database import batches
from prima_emarsys.sync.outbox import (
    CANCELLED,
    FILTERED,
    HISTORY,
    NO_ORDER,
    PENDING,
    QUARANTINED,
    TOO_OLD,
    WITHHELD,
    Entered,
    Entry,
    Outbox,
)
from prima_emarsys.sync.refusals import MANY_AMENDED

WATCHED = ("sales_order", "sales_order_line", "despatch", "customer_return", "credit_note", "credit_note_line")
"""Entities whose rows show order events."""

ORDERS_AT_ONCE = 200
"""Orders read whole and written down in one go."""

AMENDED_AT_ONCE = 50
"""So many amended orders among them are no daily business (a mapping, prices computed anew): a person looks first."""

RESTLESS = timedelta(seconds=5)
"""A table whose latest stamp is no older may change again under the same stamp."""

RESTLESS_EVERY_SECONDS = 0.5
"""How often it is looked at for that."""

SHORT_OVERLAP = timedelta(seconds=30)
"""Read again each time: stamps are set before the commit that shows them."""

WIDE_EVERY_SECONDS = 60.0
"""How often the site's whole overlap is read again, and what waits for its order is looked up."""

_REMEMBERED = 50_000
"""Rows of which a reader that stays knows that it has seen them."""

OrderKey = tuple[str, str]
"""Company and order number."""


class Reader(Lookup, Protocol):
    """A reader of Prima; `SqlReader` is one."""

    def changed(self, entity: Entity, since: Mark | None, overlap: timedelta | None = None) -> Iterator[Page]:
        """Pages of rows that changed since a mark, less an overlap."""
        ...

    def latest(self, entity: Entity) -> Mark | None:
        """The highest change stamp."""
        ...


@dataclass
class Collected:
    """Counts of one look. Facts: new ones by state, known ones, and those too old to be written down."""

    orders: int = 0
    new: dict[str, int] = field(default_factory=dict)
    known: int = 0
    resolved: int = 0
    overtaken: int = 0
    history: int = 0

    def __add__(self, other: Collected) -> Collected:
        return Collected(
            self.orders + other.orders,
            dict(Counter(self.new) + Counter(other.new)),
            self.known + other.known,
            self.resolved + other.resolved,
            self.overtaken + other.overtaken,
            self.history + other.history,
        )

    def add(self, entered: Entered) -> None:
        """Count what was written down."""
        for state, number in entered.new.items():
            self.new[state] = self.new.get(state, 0) + number
        self.known += entered.known
        self.resolved += entered.resolved
        self.overtaken += entered.overtaken


@dataclass
class _Touched:
    """Orders and credit notes that changed rows name, and how far the rows were read that name them."""

    orders: dict[OrderKey, bool] = field(default_factory=dict)
    """Whether something recent happened to it; else that is seen from its header."""
    credits: set[OrderKey] = field(default_factory=set)
    marks: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.orders) + len(self.credits)

    def order(self, company: str, number: str | None, *, recent: bool) -> None:
        """Note an order."""
        if number:
            self.orders[company, number] = recent or self.orders.get((company, number), False)


class Collector:
    """Writes into the outbox what happened to orders. Keep it for as long as Prima is watched: it remembers rows."""

    def __init__(
        self,
        prima: Reader,
        outbox: Outbox,
        buyers: Buyers,
        kinds: Mapping[EventKind, EventMap],
        rules: SalesRules,
    ) -> None:
        """`kinds`: those that are on. Their facts count from the first look that finds them on."""
        self._prima, self._outbox, self._buyers, self._kinds, self._rules = prima, outbox, buyers, kinds, rules
        self._since: dict[EventKind, datetime] = {}
        self._widely_at: float | None = None
        self._looked_at = float("-inf")
        self._seen: dict[str, dict[Any, int]] = {name: {} for name in WATCHED}

    def stirs(self) -> bool:
        """Whether a look may find something: a cheap question, to be asked a few times a second."""
        if not self._kinds:
            return False
        if self._wide_is_due():
            return True
        now, marks = self._outbox.clock(), self._outbox.marks()
        rested = time.monotonic() - self._looked_at >= RESTLESS_EVERY_SECONDS
        for name in WATCHED:
            latest = self._prima.latest(ENTITIES[name])
            if latest is not None and (str(latest) > marks.get(name, "") or (rested and now - latest.at < RESTLESS)):
                return True
        return False

    def collect(self) -> Iterator[Collected]:
        """Read what changed and write it down, a few hundred orders at a time; yields after each commit."""
        if not self._kinds:
            return
        wide = self._wide_is_due()
        self._looked_at = time.monotonic()
        try:
            yield from self._collect(wide)
        except BaseException:
            # Rows count as seen only once they are written down, and who knows which were.
            self._seen = {name: {} for name in WATCHED}
            raise
        if wide:
            self._widely_at = time.monotonic()

    def _collect(self, wide: bool) -> Iterator[Collected]:
        marks = self._begin()
        touched = _Touched()
        for aggregate in self._outbox.unresolved() if wide else ():
            self._wait_no_longer(touched, aggregate)
        for name in WATCHED:
            overlap = None if wide else SHORT_OVERLAP
            for page in self._prima.changed(ENTITIES[name], Mark.parse(marks[name]), overlap):
                self._note(touched, page)
                if page.mark is not None:
                    touched.marks[name] = str(page.mark)
                if len(touched) >= ORDERS_AT_ONCE:
                    yield from self._write_down(touched)
                    touched = _Touched()
        yield from self._write_down(touched)

    def _wide_is_due(self) -> bool:
        return self._widely_at is None or time.monotonic() - self._widely_at >= WIDE_EVERY_SECONDS

    def _begin(self) -> dict[str, str]:
        """The cursors; at a first look they begin as far back as the longest age limit."""
        now = self._outbox.clock()
        second = now.replace(microsecond=0).isoformat()  # as fine as Prima's own dates are at best
        for kind in self._kinds.keys() - self._since.keys():
            self._since[kind] = datetime.fromisoformat(self._outbox.begin(f"since/{kind}", second))
        marks = self._outbox.marks()
        start = str(Mark(now - max(one.oldest for one in self._kinds.values())))
        return {name: marks.get(name) or self._outbox.begin(name, start) for name in WATCHED}

    # -- what changed --------------------------------------------------------------------------------------------

    def _note(self, touched: _Touched, page: Page) -> None:
        """Note the orders that the page's rows are about. What is too old for an event is passed over as a column."""
        name, rows = page.entity.name, page.good
        horizon = self._outbox.clock() - HISTORY
        match name:
            case "sales_order":
                rows = rows.filter(_any_since(rows, ("ordered_at", "cancelled_at"), horizon))
            case "despatch":
                rows = rows.filter(_any_since(rows, ("despatched_at",), horizon))
            case "customer_return":
                rows = rows.filter(_any_since(rows, ("receipted_at",), horizon))
            case "credit_note":
                rows = rows.filter(_any_since(rows, ("finalised_at", "raised_at"), horizon))
        for row in self._fresh(name, page.entity.key, rows):
            company = row["company"]
            match name:
                case "credit_note" | "credit_note_line":
                    touched.credits.add((company, row["credit_number"]))
                case "sales_order_line":
                    cancelled = row["cancelled_at"]
                    touched.order(company, row["order_number"], recent=cancelled is not None and cancelled > horizon)
                case _:
                    touched.order(company, row["order_number"], recent=True)

    def _fresh(self, name: str, key: tuple[str, ...], rows: pa.Table) -> Iterator[Row]:
        """The rows that this reader has not seen just so."""
        seen = self._seen[name]
        if len(seen) + rows.num_rows > _REMEMBERED:
            seen.clear()
        remembers = rows.num_rows <= _REMEMBERED // 10
        for row in rows.to_pylist():
            if remembers:
                digest, own = hash(tuple(row.values())), tuple(row[part] for part in key)
                if seen.get(own) == digest:
                    continue
                seen[own] = digest
            yield row

    def _wait_no_longer(self, touched: _Touched, aggregate: str) -> None:
        company, _, number = aggregate.partition("-")
        if number.startswith("credit-"):
            touched.credits.add((company, number.removeprefix("credit-")))
        else:
            touched.order(company, number, recent=True)

    # -- what it means -------------------------------------------------------------------------------------------

    def _write_down(self, touched: _Touched) -> Iterator[Collected]:
        """Read the orders whole, and write their facts down; the cursors move with the last of them."""
        read_at = self._outbox.clock()
        books = _Books(self._prima)
        alone = books.credits_without_order(touched)
        headers = books.headers(touched.orders)
        # A line does not say how old its order is; a table that was touched as a whole names mostly old ones.
        keys = [
            key
            for key, recent in touched.orders.items()
            if recent or (key in headers and headers[key]["ordered_at"] >= read_at - HISTORY)
        ]
        parts: list[list[OrderKey]] = list(batches(keys, ORDERS_AT_ONCE)) or [[]]
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            orders = books.orders(part, headers)
            done = Collected(orders=len(part))
            found = list(self._facts([*orders, *(alone if last else [])], done))
            if found or (last and touched.marks):
                done.add(self._outbox.enter(found, touched.marks if last else {}, read_at))
            yield done

    def _facts(self, orders: Sequence[OrderRows], done: Collected) -> Iterator[Entry]:
        """The facts of these orders with what is to become of them; those that are known already are counted."""
        now = self._outbox.clock()
        names = [f"{one.company}-{one.order_number}" for one in orders]
        versions = self._outbox.confirmed_versions(names)
        found: list[Fact] = []
        for name, one in zip(names, orders, strict=True):
            for fact in facts(one, self._rules, versions.get(name, ())):
                if fact.kind not in self._kinds:
                    continue
                if fact.dated_at < now - HISTORY:
                    done.history += 1
                else:
                    found.append(fact)
        known = self._outbox.known(fact.event_id for fact in found)
        done.known += sum(fact.event_id in known and not fact.overtaken_by for fact in found)
        found = [fact for fact in found if fact.event_id not in known or fact.overtaken_by]
        going = {fact.account for fact in found if fact.account and fact.order_known and not self._ends(fact, now)}
        buyers = self._buyers.of(going) if going else {}
        entries = [self._ends(fact, now) or _entry(fact, buyers.get(fact.account or "")) for fact in found]
        amended = [one for one in entries if one.state == PENDING and one.fact.data.get("is_amended")]
        cause = f"{len(amended)} orders are amended at once; release them if that is so"
        for one in entries:
            unusual = len(amended) > AMENDED_AT_ONCE and one in amended
            yield replace(one, state=QUARANTINED, code=MANY_AMENDED, cause=cause) if unusual else one

    def _ends(self, fact: Fact, now: datetime) -> Entry | None:
        """What becomes of a fact that is told to nobody, whoever bought; None if it depends on the buyer."""
        if fact.overtaken_by is not None:
            return Entry(fact)
        if fact.excluded is not None:
            cause = f"kept from everybody by the rule {fact.excluded}"
            return Entry(fact, CANCELLED, code=FILTERED, cause=cause)
        oldest = self._kinds[fact.kind].oldest
        if fact.dated_at < now - oldest:
            return Entry(fact, WITHHELD, code=TOO_OLD, cause=f"more than {oldest} old when it was first seen")
        if fact.dated_at < self._since[fact.kind]:
            return Entry(fact, WITHHELD, code=TOO_OLD, cause="older than the first look for events of its kind")
        return None


def _entry(fact: Fact, buyer: Any) -> Entry:
    """A fact that may be told, if its buyer may."""
    if not fact.order_known:
        return Entry(fact, code=NO_ORDER, cause="its order is not in Prima", owner=Owner.FINANCE)
    if buyer is None:
        return Entry(fact, code=NO_ORDER, cause=f"account {fact.account} is not in Prima", owner=Owner.FINANCE)
    if buyer.rule is not None:
        return Entry(fact, CANCELLED, code=FILTERED, cause=f"its buyer is kept out by the rule {buyer.rule}")
    return Entry(fact, depends_on=buyer.key)


class _Books:
    """Reads orders whole, many at a time and each table once."""

    def __init__(self, prima: Lookup) -> None:
        self._prima = prima

    def credits_without_order(self, touched: _Touched) -> list[OrderRows]:
        """Those of the touched credit notes that name no order; the others' orders are noted as touched."""
        if not touched.credits:
            return []
        notes, lines = self._credits(touched.credits)
        alone = []
        for key, note in notes.items():
            if note["status"] != "finalised":
                continue
            number = _order_of(note, lines.get(key, []))
            if number:
                touched.order(key[0], number, recent=True)
            else:
                alone.append(OrderRows(key[0], None, credits=[note], credit_lines=lines.get(key, [])))
        return alone

    def headers(self, keys: Iterable[OrderKey]) -> dict[OrderKey, Row]:
        """The orders' headers, of those that Prima has."""
        return {key: rows[0] for key, rows in self._by_order("sales_order", keys).items()}

    def orders(self, keys: Sequence[OrderKey], headers: Mapping[OrderKey, Row]) -> list[OrderRows]:
        """These orders whole, but for their headers, which are known."""
        if not keys:
            return []
        lines, charges, despatches, returns = (
            self._by_order(name, keys) for name in ("sales_order_line", "order_charge", "despatch", "customer_return")
        )
        credits, credit_lines = self._credits_of(keys)
        return [
            OrderRows(
                company,
                number,
                headers.get(key),
                lines.get(key, []),
                charges.get(key, []),
                despatches.get(key, []),
                returns.get(key, []),
                credits.get(key, []),
                credit_lines.get(key, []),
            )
            for key in keys
            for company, number in [key]
        ]

    def _credits_of(self, keys: Sequence[OrderKey]) -> tuple[dict[OrderKey, list[Row]], dict[OrderKey, list[Row]]]:
        """Credit notes and their lines by the order that the note is about."""
        named = {
            (row["company"], row["credit_number"])
            for name in ("credit_note", "credit_note_line")
            for rows in self._by_order(name, keys).values()
            for row in rows
        }
        notes: dict[OrderKey, list[Row]] = {}
        parts: dict[OrderKey, list[Row]] = {}
        if named:
            found, lines = self._credits(named)
            for key, note in found.items():
                order = (key[0], _order_of(note, lines.get(key, [])) or "")
                notes.setdefault(order, []).append(note)
                parts.setdefault(order, []).extend(lines.get(key, []))
        return notes, parts

    def _credits(self, wanted: Iterable[OrderKey]) -> tuple[dict[OrderKey, Row], dict[OrderKey, list[Row]]]:
        """Credit notes by company and number, and their lines."""
        names = ("company", "credit_number")
        notes = self._grouped("credit_note", names, wanted)
        return {key: rows[0] for key, rows in notes.items()}, self._grouped("credit_note_line", names, wanted)

    def _by_order(self, name: str, keys: Iterable[OrderKey]) -> dict[OrderKey, list[Row]]:
        return self._grouped(name, ("company", "order_number"), keys)

    def _grouped(self, name: str, by: tuple[str, str], keys: Iterable[OrderKey]) -> dict[OrderKey, list[Row]]:
        found: dict[OrderKey, list[Row]] = {}
        for row in self._prima.matching(ENTITIES[name], by, keys).to_pylist():
            found.setdefault((row[by[0]], row[by[1]]), []).append(row)
        return found


def _order_of(note: Row, lines: Iterable[Row]) -> str | None:
    """The order that a credit note is about: its own, else its first line's; None if it names none."""
    return note["order_number"] or next((line["order_number"] for line in lines if line["order_number"]), None)


def _any_since(rows: pa.Table, names: Iterable[str], horizon: datetime) -> pa.Array:
    """Whether one of a row's moments lies after the horizon."""
    late = pa.array([False] * rows.num_rows)
    for name in names:
        moments = rows[name].combine_chunks()
        late = pc.or_(late, pc.fill_null(pc.greater_equal(moments, pa.scalar(horizon, moments.type)), False))
    return late
