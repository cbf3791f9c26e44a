"""The plan: desired minus acknowledged, field by field; and handing it to the ledger.

The warehouse holds three tables of one shape (person_key, one text column a field): `emarsys.contacts` (desired),
`emarsys.contacts_staged` (handed to the ledger, with the ledger's digest) and `emarsys.contacts_acknowledged`. The
ledger alone decides what was acknowledged; these tables say which field changed from what to what. If the warehouse is
rebuilt, everything is staged again, the ledger finds nothing new, and nothing is sent.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce

import ibis
import ibis.expr.types as ir
import orjson
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prima_emarsys.sync.database import batches
from prima_emarsys.sync.guard import Volume
from prima_emarsys.sync.lanes import CONTACTS
from prima_emarsys.sync.ledger import Desired, Ledger, Staged
from prima_emarsys.sync.payload import canonical, json_objects
from prima_emarsys.sync.schema import sync_record
from prima_emarsys.warehouse import Warehouse

LANE = CONTACTS
FIRST_CONTACT = "first-contact"
"""Mapping of the contacts that were staged for an order event, before or without a plan. The next plan sends them
whole: Emarsys holds less of them than the warehouse may believe."""
DESIRED, STAGED, ACKNOWLEDGED = "emarsys.contacts", "emarsys.contacts_staged", "emarsys.contacts_acknowledged"
EXCLUDED = "emarsys.contacts_excluded"
WITHDRAWN = "emarsys.contacts_withdrawn"
"""Persons of whom the ledger was told that they are not sent, and by which rule. Acknowledged rows of theirs stay: if
such a person comes back, the plan knows which old values to clear."""
_TOLD = pa.schema([("person_key", pa.string()), ("rule", pa.string())])
_PAGE = 5_000


@dataclass(frozen=True)
class Route:
    """How attributes travel: attribute → field id in Emarsys, and the key's. Its version is part of every hash."""

    key_field: int
    fields: Mapping[str, int]

    @cached_property
    def version(self) -> str:
        """Changes when any attribute travels to another field. Short, for the ledger keeps it with every record."""
        return hashlib.sha256(canonical({"key": self.key_field, **self.fields})).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """Counts of a plan. contacts = creates + updates + unchanged; removals are no longer contacts, by rule."""

    contacts: int
    creates: int
    updates: int
    unchanged: int
    acknowledged: int
    removals: Mapping[str, int] = field(default_factory=dict)

    @property
    def volume(self) -> Volume:
        """What the volume guard looks at."""
        return Volume(self.creates, self.updates, sum(self.removals.values()), self.acknowledged)


def _shape(names: Sequence[str]) -> pa.Schema:
    return pa.schema([("person_key", pa.string()), *((name, pa.string()) for name in names)])


def _known(warehouse: Warehouse, name: str, schema: pa.Schema) -> ir.Table:
    """A table of this shape; one of another shape (the site's fields changed) is begun anew."""
    if warehouse.has(name) and set(warehouse.table(name).columns) != set(schema.names):
        warehouse.drop(name)
    return warehouse.ensure(name, schema)


def _columns(desired: ir.Table) -> list[str]:
    return [name for name in desired.columns if name != "person_key"]


def changes(warehouse: Warehouse) -> ir.Table:
    """Desired contacts that differ from what was acknowledged: the desired columns, `is_new`, and `cleared`.

    `cleared` names, separated by blanks, the fields that were acknowledged with a value and have none now.
    """
    desired = warehouse.table(DESIRED)
    names = _columns(desired)
    acknowledged = _known(warehouse, ACKNOWLEDGED, _shape(names))
    before = acknowledged.rename({f"was_{name}": name for name in names}).mutate(known=True)
    joined = desired.left_join(before, "person_key")
    differs = reduce(lambda a, b: a | b, [~joined[name].identical_to(joined[f"was_{name}"]) for name in names])
    cleared = [(joined[name].isnull() & joined[f"was_{name}"].notnull()).ifelse(name + " ", "") for name in names]
    return joined.filter(joined.known.isnull() | differs).select(
        "person_key", *names, is_new=ibis._.known.isnull(), cleared=ibis.literal("").concat(*cleared)
    )


def removals(warehouse: Warehouse) -> ir.Table:
    """Acknowledged contacts that are no longer desired and that the ledger was not told of yet: person_key, rule."""
    desired = warehouse.table(DESIRED)
    acknowledged = _known(warehouse, ACKNOWLEDGED, _shape(_columns(desired)))
    told = warehouse.ensure(WITHDRAWN, _TOLD)
    gone = acknowledged.select("person_key").anti_join(desired, "person_key").anti_join(told, "person_key")
    reasons = warehouse.table(EXCLUDED)
    return gone.left_join(reasons, "person_key").select(gone.person_key, rule=reasons.rule.fill_null("merged"))


def make_plan(warehouse: Warehouse, changed: ir.Table) -> Plan:
    """Count what would be sent, given the `changes`. Sends nothing and writes nothing."""
    counted = warehouse.read(changed.agg(creates=ibis._.is_new.sum(), changed=ibis._.count())).to_pylist()[0]
    creates, total = int(counted["creates"] or 0), warehouse.size(DESIRED)
    told = warehouse.ensure(WITHDRAWN, _TOLD)
    by_rule = warehouse.read(removals(warehouse).group_by("rule").agg(contacts=ibis._.count()).order_by("rule"))
    return Plan(
        contacts=total,
        creates=creates,
        updates=counted["changed"] - creates,
        unchanged=total - counted["changed"],
        acknowledged=warehouse.count(warehouse.table(ACKNOWLEDGED).anti_join(told, "person_key")),
        removals={row["rule"]: row["contacts"] for row in by_rule.to_pylist()},
    )


def explain(warehouse: Warehouse, limit: int) -> pa.Table:
    """Field by field what would change: person_key, field, old, new; at most `limit` rows, by person."""
    desired = warehouse.table(DESIRED)
    names = _columns(desired)
    acknowledged = _known(warehouse, ACKNOWLEDGED, _shape(names))
    before = acknowledged.rename({f"was_{name}": name for name in names})
    # Joined once, not once a field: thirty joins at a time outgrow the memory that the engine may use.
    joined = warehouse.settle(desired.left_join(before, "person_key").drop("person_key_right"))
    parts = [
        joined.filter(~joined[name].identical_to(joined[f"was_{name}"])).select(
            "person_key", field=ibis.literal(name), old=joined[f"was_{name}"], new=joined[name]
        )
        for name in names
    ]
    return warehouse.read(ibis.union(*parts).order_by("person_key", "field").limit(limit))


def stage(warehouse: Warehouse, ledger: Ledger, route: Route, changed: ir.Table) -> Staged:
    """Hand every contact that differs (`changes`), that the ledger has not settled or was given for an event, or that
    comes back, to the ledger.

    The second part matters: a value that was sent without an answer and then went back to what was acknowledged before
    differs from nothing in the warehouse, yet Emarsys may hold it.
    """
    desired = warehouse.table(DESIRED)
    names = _columns(desired)
    staged_shape = _shape(names).append(pa.field("digest", pa.string()))
    waiting = warehouse.count(_known(warehouse, STAGED, staged_shape))  # seldom any: handed over, not acknowledged yet
    back = warehouse.settle(warehouse.ensure(WITHDRAWN, _TOLD).semi_join(desired, "person_key"))
    open_keys = {
        *ledger.unsettled(LANE),
        *ledger.of_mapping(LANE, FIRST_CONTACT),
        *warehouse.read(back)["person_key"].to_pylist(),
    }
    if open_keys:
        unsettled = desired.semi_join(warehouse.settle(pa.table({"person_key": list(open_keys)})), "person_key")
        again = unsettled.anti_join(changed, "person_key").mutate(is_new=False, cleared=ibis.literal(""))
        changed = changed.union(again.select(changed.columns))
    total = Staged()
    with warehouse.settled(changed) as rows:
        for batch in warehouse.batches(rows, _PAGE):
            records = list(_records(batch, names, route))
            digests = pa.array(
                [ledger.digest(record.values_digest_input, route.version) for record in records], pa.string()
            )
            # First what the ledger is told: if this process ends in between, the digest will not match there.
            told = batch.drop_columns(["is_new", "cleared"]).append_column("digest", digests)
            with warehouse.transaction():
                if waiting:
                    warehouse.delete(STAGED, told.select(["person_key"]), on=["person_key"])
                warehouse.append(STAGED, told)
            total += ledger.stage(LANE, records, route.version)
    warehouse.delete(WITHDRAWN, back, on=["person_key"])
    return total


def _records(batch: pa.Table, names: Sequence[str], route: Route) -> Iterator[Desired]:
    id_of = {name: str(route.fields[name]) for name in names}
    columns = {str(route.key_field): "person_key"} | {number: name for name, number in id_of.items()}
    contents = json_objects({number: batch.column(name) for number, name in sorted(columns.items())})
    keys, cleared = batch.column("person_key").to_pylist(), batch.column("cleared").to_pylist()
    for key, content, gone in zip(keys, contents, cleared, strict=True):
        empty = {id_of[name]: None for name in gone.split()}
        yield Desired(key, content, canonical(orjson.loads(content) | empty) if empty else content)


def withdraw(warehouse: Warehouse, ledger: Ledger) -> int:
    """Tell the ledger who is not to be sent and why, so that its counts add up to every person.

    Only what it was not told before; returns how many that were.
    """
    told = warehouse.ensure(WITHDRAWN, _TOLD)
    due = warehouse.table(EXCLUDED).anti_join(told, ["person_key", "rule"]).union(removals(warehouse), distinct=True)
    number = 0
    for batch in warehouse.batches(due, _PAGE):
        keys, rules = batch.column("person_key").to_pylist(), batch.column("rule").to_pylist()
        ledger.filter(LANE, dict(zip(keys, rules, strict=True)))
        with warehouse.transaction():
            warehouse.replace(WITHDRAWN, batch, gone=batch, on=["person_key"])
        number += len(keys)
    return number


def note_acknowledged(warehouse: Warehouse, ledger: Ledger) -> int:
    """Bring `contacts_acknowledged` up to what the ledger says; returns how many rows were noted.

    Only a staged row whose digest is the acknowledged one is copied; so a crash anywhere leaves at worst an older
    acknowledged row, which makes the next plan longer and never wrong.
    """
    noted = 0
    staged = warehouse.table(STAGED)
    keys = warehouse.read(staged.select("person_key"))["person_key"].to_pylist()
    for page in batches(_acknowledged(ledger, keys), _PAGE):
        known = pa.table({"person_key": [key for key, _ in page], "digest": [digest for _, digest in page]})
        with warehouse.settled(known) as told:
            held = staged.semi_join(told, ["person_key", "digest"])
            with warehouse.settled(held) as rows, warehouse.transaction():
                noted += warehouse.count(rows)
                warehouse.replace(ACKNOWLEDGED, rows.drop("digest"), gone=rows, on=["person_key"])
                warehouse.delete(STAGED, rows, on=["person_key"])
    return noted


def _acknowledged(ledger: Ledger, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Keys that Emarsys holds as last staged, with the acknowledged hash."""
    record = sync_record.c
    select = sa.select(record.key, record.acked_hash).where(
        record.lane == LANE, record.acked_hash == record.desired_hash, record.filtered_rule.is_(None)
    )
    for page in batches(keys, _PAGE // 4):

        def read(connection: Connection, page: list[str] = page) -> list[tuple[str, str]]:
            return [tuple(row) for row in connection.execute(select.where(record.key.in_(page)))]

        yield from ledger.read(read)
