"""`emarsys/contacts`: the desired contact of each person, in the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.finding import Finding
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.rules.contacts import Field, compose
from prima_emarsys.steps.predictions import PREDICTED
from prima_emarsys.steps.predictions import TABLE as PREDICTIONS
from prima_emarsys.steps.progress import Progress
from prima_emarsys.warehouse import Warehouse

DESIRED, EXCLUDED, WITHHELD = "emarsys.contacts", "emarsys.contacts_excluded", "emarsys.contacts_withheld"
_EXCLUDED = pa.schema([("person_key", pa.string()), ("rule", pa.string())])
_WITHHELD = pa.schema([("person_key", pa.string()), ("field", pa.string()), ("reason", pa.string())])


@dataclass
class ContactCounts:
    """Counts of one run. persons = contacts + excluded (by rule); `composed` were taken in hand."""

    whole: bool
    persons: int = 0
    contacts: int = 0
    composed: int = 0
    withheld: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list, repr=False)


PERSONS_AT_A_TIME = 100_000
"""Persons who are composed together, so that memory does not grow with their number."""
_ANEW = "_anew"
"""What a whole run makes, until it is complete, stands in tables so named."""


def compose_contacts(
    warehouse: Warehouse,
    fields: tuple[Field, ...],
    countries: Mapping[str, str],
    as_of: date,
    *,
    whole: bool = False,
) -> ContactCounts:
    """Bring `emarsys.contacts`, `…_excluded` and `…_withheld` up to date: touched persons, or all."""
    mirror, progress = Mirror(warehouse), Progress(warehouse)
    cursor = None if whole else progress.cursor("contacts")
    shape = pa.schema([("person_key", pa.string()), *((one.name, pa.string()) for one in fields)])
    if warehouse.has(DESIRED) and warehouse.table(DESIRED).columns != tuple(shape.names):
        warehouse.drop(DESIRED)
        cursor = None
    log = progress.last()
    persons = warehouse.table("core.persons")
    shapes = {DESIRED: shape, EXCLUDED: _EXCLUDED, WITHHELD: _WITHHELD}
    for name, columns in shapes.items():
        warehouse.ensure(name, columns)

    def compose_part(persons: ir.Table) -> dict[str, ir.Table]:
        """The rows of these persons, by table."""
        sizes = persons.group_by("person_key").agg(accounts=ibis._.count())
        leads = persons.filter(persons.is_lead).select("person_key", "account").inner_join(sizes, "person_key")
        composed = compose(
            leads.drop("person_key_right") if "person_key_right" in leads.columns else leads,
            warehouse.table("core.accounts"),
            mirror.live("customer"),
            mirror.live("customer_address"),
            warehouse.table("emarsys.rfm_clv"),
            warehouse.ensure(PREDICTIONS, PREDICTED),
            fields=fields,
            countries=countries,
            as_of=as_of,
            settle=warehouse.settle,
        )
        rows = {DESIRED: composed.contacts, EXCLUDED: composed.excluded, WITHHELD: composed.withheld}
        return {name: warehouse.settle(table) for name, table in rows.items()}

    counts = ContactCounts(whole=cursor is None)
    if cursor is None:
        # Each part is committed beside the contacts in force: all at once would be kept in memory.
        for name, columns in shapes.items():
            warehouse.drop(name + _ANEW)
            warehouse.ensure(name + _ANEW, columns)
        everybody = persons.select("person_key").distinct().mutate(place=ibis.row_number())
        placed = warehouse.settle(everybody)
        for first in range(0, warehouse.count(placed), PERSONS_AT_A_TIME):
            with warehouse.settling():
                part = placed.filter(placed.place >= first, placed.place < first + PERSONS_AT_A_TIME)
                for name, rows in compose_part(warehouse.settle(persons.semi_join(part, "person_key"))).items():
                    warehouse.append(name + _ANEW, rows)
        counts.composed = warehouse.size(DESIRED + _ANEW)
        with warehouse.transaction():
            for name in shapes:
                warehouse.take_place(name + _ANEW, of=name)
            progress.move("contacts", log, as_of)
            progress.forget()
    else:
        touched = warehouse.settle(progress.touched_since(cursor.at))
        settled = compose_part(warehouse.settle(persons.semi_join(touched, "person_key")))
        counts.composed = warehouse.count(settled[DESIRED])
        with warehouse.transaction():
            for name, rows in settled.items():
                warehouse.replace(name, rows, gone=touched, on=["person_key"])
            progress.move("contacts", log, as_of)
            progress.forget()
    counts.contacts, counts.withheld = warehouse.size(DESIRED), warehouse.size(WITHHELD)
    by_rule = warehouse.table(EXCLUDED).group_by("rule").agg(persons=ibis._.count()).order_by("rule")
    counts.excluded = {row["rule"]: row["persons"] for row in warehouse.read(by_rule).to_pylist()}
    counts.persons = counts.contacts + sum(counts.excluded.values())
    counts.findings = _findings(warehouse)
    return counts


def _findings(warehouse: Warehouse) -> list[Finding]:
    withheld = warehouse.read(warehouse.table(WITHHELD).order_by("person_key", "field")).to_pylist()
    found = [
        Finding("field-withheld", f"person|{row['person_key']}|{row['field']}", f"{row['field']} {row['reason']}")
        for row in withheld
    ]
    excluded = warehouse.table(EXCLUDED)
    bad = warehouse.read(excluded.filter(excluded.rule == "no-email:invalid").order_by("person_key"))
    found += [
        Finding("bad-email", f"person|{key}", "the e-mail of the lead account cannot be one")
        for key in bad["person_key"].to_pylist()
    ]
    return found
