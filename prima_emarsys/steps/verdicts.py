"""Business checks over whole tables, computed where the tables are: what must hold, and by how much it fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.contract import ENTITIES
from prima_emarsys.prima.mirror import Landing, Mirror
from prima_emarsys.prima.schemas import KEY_UNIQUE, violations
from prima_emarsys.rules.availability import SKU
from prima_emarsys.rules.sales import CHARGE
from prima_emarsys.rules.sales_data import colliding_orders
from prima_emarsys.steps.availability import AVAILABILITY
from prima_emarsys.steps.stock import BELIEVED
from prima_emarsys.sync import lanes
from prima_emarsys.sync.ledger import Counts, Ledger
from prima_emarsys.sync.plan import LANE
from prima_emarsys.sync.sales_files import REFUSED, UNKNOWN, SalesFile
from prima_emarsys.sync.sales_plan import FILES, LINES, SEALED
from prima_emarsys.warehouse import Warehouse


@dataclass(frozen=True)
class Verdict:
    """What a check found. `figures` are counts and sums that explain it; nothing personal."""

    passed: bool
    sentence: str
    figures: Mapping[str, int | Decimal | str] = field(default_factory=dict)


def mirror_keeps_contract(warehouse: Warehouse, landings: Sequence[Landing], *, whole: bool) -> Verdict:
    """No stored row breaks the contract: the door's rules, asked of what is already inside.

    `whole` asks every row; else only those that the landings changed, and whether their keys are unique in the whole.
    """
    broken: dict[str, int] = {}
    mirror = Mirror(warehouse)
    for landing in landings:
        name = landing.entity
        table = live = mirror.live(name)
        if not whole:
            if not landing.changed:
                continue
            table = warehouse.settle(mirror.above(name, landing.load - 1).filter(~ibis._.gone).drop("load", "gone"))
            live = live.semi_join(table, list(ENTITIES[name].key))
        rules = {rule: find for rule, find in violations(ENTITIES[name]).items() if rule != KEY_UNIQUE}
        counted = warehouse.read(table.agg(**{rule: _count(find(table)) for rule, find in rules.items()})).to_pylist()[
            0
        ]
        keys = live.group_by(list(ENTITIES[name].key)).agg(rows=ibis._.count()).filter(ibis._.rows > 1)
        broken |= {f"{name}: {rule}": int(rows) for rule, rows in counted.items() if rows}
        if twice := warehouse.count(keys):
            broken[f"{name}: key is not unique"] = twice
    if broken:
        return Verdict(False, f"{sum(broken.values()):,} breaches of the contract in the mirror.", broken)
    return Verdict(True, "Every row in the mirror keeps the contract.")


def _count(condition: ir.BooleanValue) -> ir.IntegerValue:
    return condition.fill_null(False).ifelse(1, 0).sum().fill_null(0)


def no_internal_person(warehouse: Warehouse) -> Verdict:
    """No account that a rule excludes belongs to a person."""
    accounts, persons = warehouse.table("core.accounts"), warehouse.table("core.persons")
    slipped = persons.semi_join(accounts.filter(accounts.excluded.notnull()), "account")
    return _none(warehouse, slipped, "internal or erased accounts are part of a person")


def every_account_placed(warehouse: Warehouse) -> Verdict:
    """Each account in the mirror is one person's, or excluded by a named rule: none is lost."""
    accounts, persons = warehouse.table("core.accounts"), warehouse.table("core.persons")
    lost = accounts.filter(accounts.excluded.isnull()).anti_join(persons, "account")
    missing = warehouse.size("core.accounts") - warehouse.count(Mirror(warehouse).live("customer"))
    if missing:
        return Verdict(
            False, f"The accounts differ from the mirror's customers by {missing:,}.", {"difference": missing}
        )
    return _none(warehouse, lost, "accounts belong to nobody and no rule excludes them")


def sales_tie(warehouse: Warehouse) -> Verdict:
    """The signed ledger ties to the mirror, summed the other way round and in the order currency.

    Mirror: order lines less cancelled value, plus charges, less credit notes. Ledger: everything but returns that wait
    for their credit. Orders that the ledger leaves out count on neither side. The lines' part must be exact to the
    fourth decimal, since cuts of a line add up to the line.
    """
    mirror, ledger = Mirror(warehouse), warehouse.table("core.sales")
    lines, orders = mirror.live("sales_order_line"), mirror.live("sales_order")
    known = lines.semi_join(orders, ["company", "order_number"])
    credits = mirror.live("credit_note_line").semi_join(
        mirror.live("credit_note").filter(ibis._.status == "finalised"), ["company", "credit_number"]
    )
    theirs = {
        "sold": known.value_incl_vat.sum(),
        "charged": mirror.live("order_charge").semi_join(orders, ["company", "order_number"]).value_incl_vat.sum(),
        "credited": credits.value_incl_vat.sum(),
    }
    ours = {
        "sold": ledger.filter(ledger.kind == "sale", ledger.nature != CHARGE),
        "charged": ledger.filter(ledger.kind == "sale", ledger.nature == CHARGE),
        "credited": ledger.filter(ledger.kind == "credit"),
    }
    figures: dict[str, int | Decimal | str] = {}
    for name, total in theirs.items():
        prima = _amount(warehouse, total)
        booked = _amount(warehouse, ours[name].value_incl_vat.sum())
        if name == "credited":
            booked = -booked
        if prima != booked:
            figures |= {
                f"{name} in Prima": prima,
                f"{name} in the ledger": booked,
                f"{name} difference": booked - prima,
            }
    if figures:
        return Verdict(False, "The signed ledger does not tie to Prima.", figures)
    return Verdict(True, "Sales, charges and credits in the ledger tie to Prima to the fourth decimal.")


def attributes_tie(warehouse: Warehouse) -> Verdict:
    """Net value over all persons equals the counted rows of the signed ledger of their accounts, to the penny."""
    ledger, persons = warehouse.table("core.sales"), warehouse.table("core.persons")
    counted = ledger.filter(ledger.excluded.isnull(), ledger.nature != CHARGE)
    books = _amount(warehouse, counted.semi_join(persons, "account").base_incl_vat.sum())
    persons_net = _amount(warehouse, warehouse.table("emarsys.rfm_clv").net_value.sum())
    if books != persons_net:
        figures = {"ledger": books, "persons": persons_net, "difference": persons_net - books}
        return Verdict(False, f"Net value differs from the books by {persons_net - books}.", figures)
    return Verdict(True, f"Net value {persons_net:,} ties to the books to the penny.", {"net": persons_net})


def availability_follows(warehouse: Warehouse) -> Verdict:
    """Each SKU that is believed to be stocked has its row in availability, with the same quantity; no other has."""
    believed, known = warehouse.table(BELIEVED), warehouse.table(AVAILABILITY)
    columns = [*SKU, "available"]
    differing = (
        believed.select(columns)
        .difference(known.select(columns))
        .union(known.select(columns).difference(believed.select(columns)))
    )
    return _none(warehouse, differing.select(SKU).distinct(), "SKUs differ between stock and availability")


def order_ids_unique(warehouse: Warehouse) -> Verdict:
    """Every order of Prima has an order id of its own in Emarsys."""
    return _none(
        warehouse, colliding_orders(warehouse.table(LINES)), "order ids would stand for several orders of Prima each"
    )


def no_invented_buyers(warehouse: Warehouse, ledger: Ledger, since: datetime) -> Verdict:
    """Every buyer in files of these days is a contact that Emarsys acknowledged; it invents one for any other.

    A contact whose update is on its way counts as known. `since`: Emarsys loads daily, so older files are settled.
    """
    files = warehouse.table(FILES)
    recent = files.filter(files.sealed_at >= since)
    buyers = warehouse.table(SEALED).semi_join(recent, "file_id").select("customer").distinct()
    named = set(warehouse.read(buyers)["customer"].to_pylist())
    strange = named - set(ledger.acknowledged(LANE, sorted(named)))
    if strange:
        strange -= set(ledger.unsettled(LANE)) - {record.key for record in ledger.quarantined(LANE)}
    if strange:
        sentence = f"{len(strange):,} buyers in recent files are no acknowledged contacts: Emarsys invents them."
        return Verdict(False, sentence, {"buyers": len(named), "invented": len(strange)})
    return Verdict(True, f"All {len(named):,} buyers in recent files are acknowledged contacts.")


def no_file_waits_long(files: Sequence[SalesFile], now: datetime, hours: float) -> Verdict:
    """No file of sales data has waited for a person for longer than this."""
    limit = now - timedelta(hours=hours)
    late = [file for file in files if file.state in (UNKNOWN, REFUSED) and (file.settled_at or now) < limit]
    if late:
        sentence = f"{len(late):,} files have waited for more than {hours:g} hours; the first is {late[0].name}."
        return Verdict(False, sentence, {"value": sum((file.value for file in late), Decimal(0))})
    return Verdict(True, f"No file has waited for a person for more than {hours:g} hours.")


def every_person_composed(warehouse: Warehouse) -> Verdict:
    """Each person is a desired contact, or excluded by a named rule."""
    persons = warehouse.table("core.persons").select("person_key").distinct()
    contacts = warehouse.table("emarsys.contacts").select("person_key")
    excluded = warehouse.table("emarsys.contacts_excluded").select("person_key")
    return _none(
        warehouse, persons.anti_join(contacts.union(excluded), "person_key"), "persons are neither sent nor excluded"
    )


def every_contact_explained(warehouse: Warehouse, counts: Counts, first: Iterable[str]) -> Verdict:
    """The ledger accounts for every desired contact: acknowledged, on its way, or waiting for a named owner.

    `first`: contacts made for an order event; those that no run has composed yet are not desired so far.
    """
    desired = warehouse.table("emarsys.contacts")
    wanted = warehouse.size("emarsys.contacts")
    buyers = pa.table({"person_key": pa.array(list(first), pa.string())})
    early = warehouse.count(warehouse.settle(buyers).anti_join(desired, "person_key")) if buyers.num_rows else 0
    known = counts.total - sum(counts.filtered.values()) - early
    figures = {
        "desired": wanted,
        "acknowledged": counts.acknowledged,
        "waiting to be sent": counts.dirty + counts.leased + counts.in_doubt,
        "waiting for a person": counts.quarantined,
    }
    if wanted != known:
        return Verdict(False, f"The ledger knows {known:,} of {wanted:,} desired contacts.", figures)
    open_ones = max(wanted + early - counts.acknowledged, 0)
    sentence = "Every contact is acknowledged." if not open_ones else f"{open_ones:,} contacts wait, each explained."
    return Verdict(True, sentence, figures)


def _amount(warehouse: Warehouse, total: ir.DecimalScalar) -> Decimal:
    return warehouse.read(total.as_table())[0][0].as_py() or Decimal("0.00")


def _none(warehouse: Warehouse, table: ir.Table, what: str) -> Verdict:
    number = warehouse.count(table)
    return Verdict(not number, f"{number:,} {what}.", {"found": number})


def no_event_waits_long(oldest: timedelta | None, limit: timedelta) -> Verdict:
    """No event that could go has waited for longer than this. `oldest`: how long the first of them has waited."""
    if oldest is None:
        return Verdict(True, "No event waits.")
    waited = f"{oldest.total_seconds():,.0f} s"
    return Verdict(
        oldest <= limit, f"The event that has waited longest has waited {waited}.", {"oldest unsent": waited}
    )


def lanes_go(ledger: Ledger, lanes: Iterable[str]) -> Verdict:
    """Nothing keeps any of these lanes from sending."""
    found = {lane: lane_goes(ledger, lane) for lane in lanes}
    standing = {lane: verdict.sentence for lane, verdict in found.items() if not verdict.passed}
    if standing:
        return Verdict(False, f"{len(standing)} of {len(found)} lanes stand still.", standing)
    return Verdict(True, f"All {len(found)} lanes are open.")


def lane_goes(ledger: Ledger, lane: str, held: str = "") -> Verdict:
    """Nothing keeps the lane from sending. `held` says why nothing new is handed to it, if so."""
    if held:
        return Verdict(False, held)
    state = lanes.find(ledger, lane)
    if state.stopped_at:
        return Verdict(False, f"The lane is stopped: {state.stop_reason}. {state.stop_remedy}")
    return Verdict(True, "Nothing is held and the lane is open.")
