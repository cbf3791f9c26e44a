"""`proof/contacts`: read back what Emarsys holds and compare it with the desired contacts, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.finding import Finding, mask
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.plan import ACKNOWLEDGED, DESIRED, FIRST_CONTACT, LANE, Route
from prima_emarsys.warehouse import Warehouse

HELD = "proof.contacts_held"
_SHOWN = 500
"""Differences listed in one proof; all are counted."""


class Holds(Protocol):
    """One part of what Emarsys holds: key value → field id → value."""

    @property
    def contacts(self) -> Mapping[str, Mapping[str, str | list[str] | None]]: ...


@dataclass
class ContactsProof:
    """desired = equal + differing + missing + waiting. `unexpected` contacts carry a key of ours that is not desired;
    `explained` of them are known to the ledger as no longer sent, or as buyers whom the next run will compose."""

    desired: int = 0
    equal: int = 0
    differing: int = 0
    missing: int = 0
    waiting: int = 0
    held: int = 0
    unexpected: int = 0
    explained: int = 0
    by_field: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list, repr=False)
    unsettled: list[str] = field(default_factory=list, repr=False)

    @property
    def holds(self) -> bool:
        """Whether Emarsys holds the desired state, and nothing of ours besides that is not explained."""
        return self.equal == self.desired and self.unexpected == self.explained


def prove_contacts(
    warehouse: Warehouse, ledger: Ledger, held: Iterable[Holds], route: Route, personal: frozenset[str]
) -> ContactsProof:
    """Compare all contacts. `held` walks Emarsys; `personal` names the fields whose values are masked in findings.

    A field that is not desired counts as equal unless we acknowledged a value there: what others write is theirs.
    Acknowledgements that turn out untrue are withdrawn, so that the next run sends those contacts again.
    """
    desired = warehouse.table(DESIRED)
    names = [name for name in desired.columns if name != "person_key"]
    ids = {name: str(route.fields[name]) for name in names}
    shape = pa.schema([("person_key", pa.string()), *((name, pa.string()) for name in names)])
    warehouse.drop(HELD)
    theirs = warehouse.ensure(HELD, shape)
    for part in held:
        rows = [{"person_key": key, **{n: _text(c.get(i)) for n, i in ids.items()}} for key, c in part.contacts.items()]
        if rows:
            warehouse.append(HELD, pa.Table.from_pylist(rows, schema=shape))
    first = list(ledger.of_mapping(LANE, FIRST_CONTACT))
    unsettled = {*ledger.unsettled(LANE), *first}
    waiting = warehouse.settle(pa.table({"person_key": pa.array(list(unsettled), pa.string())}))
    settled = desired.anti_join(waiting, "person_key")
    proof = ContactsProof(desired=warehouse.size(DESIRED), held=warehouse.size(HELD))
    proof.waiting = proof.desired - warehouse.count(settled)
    proof.missing = warehouse.count(settled.anti_join(theirs, "person_key"))
    both = _compared(settled, theirs, warehouse.table(ACKNOWLEDGED), names)
    # Only what differs is kept of the comparison: three copies of every value would fill the memory.
    compared = warehouse.settle(both.select("person_key", *(f"differs_{name}" for name in names)))
    flags = {name: compared[f"differs_{name}"] for name in names}
    any_differs = reduce(lambda one, other: one | other, flags.values())
    totals = warehouse.read(
        compared.agg(
            compared=ibis._.count(),
            differing=any_differs.ifelse(1, 0).sum(),
            **{f"by_{name}": flag.ifelse(1, 0).sum() for name, flag in flags.items()},
        )
    ).to_pylist()[0]
    proof.differing = int(totals["differing"] or 0)
    proof.equal = totals["compared"] - proof.differing
    proof.by_field = {name: int(totals[f"by_{name}"]) for name in names if totals[f"by_{name}"]}
    unexpected = theirs.select("person_key").anti_join(desired, "person_key")
    proof.unexpected = warehouse.count(unexpected)
    known = {*ledger.filtered(LANE), *first}
    explained = warehouse.settle(pa.table({"person_key": pa.array(list(known), pa.string())}))
    proof.explained = warehouse.count(unexpected.semi_join(explained, "person_key"))
    untrue = warehouse.read(
        compared.filter(any_differs)
        .select("person_key")
        .union(settled.anti_join(theirs, "person_key").select("person_key"))
    )["person_key"].to_pylist()
    proof.unsettled = sorted(untrue)
    if untrue:
        ledger.clear_acknowledgement(LANE, untrue, "proof/contacts", "Emarsys holds something else")
    proof.findings = _findings(
        warehouse, both.semi_join(compared.filter(any_differs), "person_key"), names, personal, proof
    )
    return proof


def _text(value: str | list[str] | None) -> str | None:
    return ",".join(value) if isinstance(value, list) else value or None


def _compared(settled: ir.Table, theirs: ir.Table, acknowledged: ir.Table, names: list[str]) -> ir.Table:
    """One row a contact that both sides have: both values and whether they differ, for each field."""
    joined = (
        settled.inner_join(theirs.rename({f"held_{name}": name for name in names}), "person_key")
        .left_join(acknowledged.rename({f"was_{name}": name for name in names}), "person_key")
        .drop("person_key_right")
    )
    differs = {
        f"differs_{name}": joined[name]
        .notnull()
        .ifelse(
            ~joined[name].identical_to(joined[f"held_{name}"]),
            joined[f"was_{name}"].notnull() & joined[f"held_{name}"].notnull(),
        )
        for name in names
    }
    return joined.mutate(**differs)


def _findings(
    warehouse: Warehouse, differing: ir.Table, names: list[str], personal: frozenset[str], proof: ContactsProof
) -> list[Finding]:
    if not proof.by_field:
        return []
    rows = warehouse.settle(differing)
    listed = [
        rows.filter(rows[f"differs_{name}"]).select(
            "person_key", field=ibis.literal(name), ours=rows[name], theirs=rows[f"held_{name}"]
        )
        for name in names
        if name in proof.by_field
    ]
    found = []
    for row in warehouse.read(ibis.union(*listed).order_by("person_key", "field").limit(_SHOWN)).to_pylist():
        ours, theirs = (mask(v) if row["field"] in personal else v or "(empty)" for v in (row["ours"], row["theirs"]))
        detail = f"{row['field']}: Prima says {ours}, Emarsys holds {theirs}"
        found.append(Finding("contact-differs", f"person|{row['person_key']}", detail))
    return found
