"""`emarsys/rfm_clv`: what each person has bought, with scores, in the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.rules import attributes as rule
from prima_emarsys.site import AttributeRules, FixedThresholds
from prima_emarsys.steps.progress import Progress, differing
from prima_emarsys.warehouse import Warehouse

TABLE = "emarsys.rfm_clv"
_CUTS = pa.schema(
    [
        ("as_of", pa.date32()),
        ("measure", pa.string()),
        ("score", pa.int64()),
        ("date_value", pa.date32()),
        ("number_value", pa.decimal128(18, 2)),
        ("person_key", pa.string()),
    ]
)


@dataclass
class AttributeCounts:
    """Counts of one run. `computed` persons were taken in hand, `changed` of them have other attributes than before."""

    whole: bool
    as_of: date
    cut_points_of: date | None = None
    persons: int = 0
    computed: int = 0
    changed: int = 0
    crossed_a_day: int = 0
    stages: dict[str, int] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)


def score_persons(warehouse: Warehouse, rules: AttributeRules, as_of: date, *, whole: bool = False) -> AttributeCounts:
    """Bring `emarsys.rfm_clv` up to date for the site's day `as_of`.

    A whole run freezes the day's cut points unless the day has some already, so that repeating it changes nothing. An
    increment scores the touched persons, and those who cross a date boundary, against the latest cut points.
    """
    progress = Progress(warehouse)
    cursor = None if whole or not warehouse.has(TABLE) else progress.cursor("attributes")
    links = warehouse.table("core.persons").select("account", "person_key")
    ledger = warehouse.table("core.sales")
    everybody = links.select("person_key").distinct()
    counts = AttributeCounts(whole=cursor is None, as_of=as_of)
    if cursor is None:
        orders = rule.orders_of_persons(ledger, links)
        bought = warehouse.settle(rule.purchases(orders, everybody, as_of, rules))
        cuts = _freeze(warehouse, bought, rules, as_of, counts)
        gone = None
    else:
        stored = warehouse.table(TABLE)
        touched = progress.touched_since(cursor.at)
        if cursor.as_of is not None and cursor.as_of < as_of:
            orders = rule.orders_of_persons(ledger, links)
            crossing = warehouse.settle(rule.crossing_persons(orders, stored, cursor.as_of, as_of, rules))
            counts.crossed_a_day = warehouse.count(crossing)
            touched = touched.union(crossing, distinct=True)
        gone = warehouse.settle(touched)
        wanted = warehouse.settle(links.semi_join(gone, "person_key"))
        orders = rule.orders_of_persons(ledger.semi_join(wanted, "account"), wanted)
        bought = warehouse.settle(rule.purchases(orders, wanted.select("person_key").distinct(), as_of, rules))
        cuts = _frozen(warehouse, rules, as_of, counts)
    scored = warehouse.settle(rule.attributes(bought, cuts))
    before = warehouse.table(TABLE) if warehouse.has(TABLE) else None
    if before is None:
        changed = scored.select("person_key")
    else:
        concerned = before if gone is None else before.semi_join(gone, "person_key")
        changed = differing(scored, concerned)
    changed = warehouse.settle(changed)
    counts.changed, counts.computed = warehouse.count(changed), warehouse.count(scored)
    with warehouse.transaction():
        progress.touch(changed)
        if gone is None:
            warehouse.write(TABLE, scored)
        else:
            warehouse.replace(TABLE, scored, gone=gone, on=["person_key"])
        # Its own entries are for the steps after it.
        progress.move("attributes", progress.last(), as_of)
    _count(warehouse, counts)
    return counts


def _freeze(
    warehouse: Warehouse, bought: ir.Table, rules: AttributeRules, as_of: date, counts: AttributeCounts
) -> rule.CutPoints:
    """The day's cut points; computed if the day has none. Those of earlier days are forgotten after a year."""
    stored = warehouse.ensure("core.rfm_cut_points", _CUTS)
    if not isinstance(rules.rfm, FixedThresholds) and not warehouse.count(stored.filter(stored.as_of == as_of)):
        day = ibis.literal(as_of)
        warehouse.append("core.rfm_cut_points", warehouse.settle(rule.quintile_boundaries(bought)).mutate(as_of=day))
        old = stored.filter(stored.as_of <= rule.one_year_before(as_of)).select("as_of").distinct()
        warehouse.delete("core.rfm_cut_points", old, on=["as_of"])
    return _frozen(warehouse, rules, as_of, counts)


def _frozen(warehouse: Warehouse, rules: AttributeRules, as_of: date, counts: AttributeCounts) -> rule.CutPoints:
    """The latest cut points up to a day."""
    if isinstance(rules.rfm, FixedThresholds):
        counts.cut_points_of = as_of
        return rule.fixed_boundaries(rules.rfm, as_of)
    stored = warehouse.ensure("core.rfm_cut_points", _CUTS)
    latest = warehouse.read(stored.filter(stored.as_of <= as_of).agg(day=ibis._.as_of.max()))["day"][0].as_py()
    counts.cut_points_of = latest
    if latest is None:
        return {}
    rows = warehouse.read(stored.filter(stored.as_of == latest).order_by("measure", "score")).to_pylist()
    return _boundaries(rows)


def _boundaries(rows: list[dict]) -> Mapping[str, tuple[rule.Boundary, ...]]:
    cuts: dict[str, tuple[rule.Boundary, ...]] = {}
    for row in rows:
        value = row["date_value"]
        if value is None:
            value = int(row["number_value"]) if row["measure"] == "frequency" else row["number_value"]
        cuts[row["measure"]] = (*cuts.get(row["measure"], ()), rule.Boundary(value, row["person_key"]))
    return cuts


def _count(warehouse: Warehouse, counts: AttributeCounts) -> None:
    table = warehouse.table(TABLE)
    for column, into in (("lifecycle_stage", counts.stages), ("rfm_segment", counts.segments)):
        for row in warehouse.read(table.group_by(column).agg(persons=ibis._.count()).order_by(column)).to_pylist():
            into[row[column] or "none"] = row["persons"]
    counts.persons = sum(counts.stages.values())
