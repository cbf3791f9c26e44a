"""Each verdict is green over sound tables and goes red when somebody tampers with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from tempfile import TemporaryDirectory

import ibis
import ibis.expr.types as ir
import pytest

from prima_emarsys.contract import ENTITIES
from prima_emarsys.prima.mirror import Landing
from prima_emarsys.steps import verdicts
from prima_emarsys.steps.verdicts import Verdict
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.people import People
from prima_emarsys.warehouse import Warehouse, open_warehouse
from prima_emarsys_tests.steps.small_prima import TODAY, SmallPrima
from prima_emarsys_tests.steps.test_increments import derive

SWEPT = [Landing(name, swept=True) for name in ENTITIES]
VERDICTS: dict[str, Callable[[Warehouse], Verdict]] = {
    "contract": lambda warehouse: verdicts.mirror_keeps_contract(warehouse, SWEPT, whole=True),
    "internal": verdicts.no_internal_person,
    "placed": verdicts.every_account_placed,
    "sales": verdicts.sales_tie,
    "attributes": verdicts.attributes_tie,
    "composed": verdicts.every_person_composed,
}


def _without_one(table: ir.Table, key: str) -> ir.Table:
    return table.filter(table[key] != table[key].max().as_scalar())


def _with_another(table: ir.Table, key: str, **changed: object) -> ir.Table:
    """With one row twice, the second time with other values."""
    one = table.filter(table[key] == table[key].min().as_scalar()).limit(1)
    values = {name: ibis.literal(value).cast(table[name].type()) for name, value in changed.items()}
    return table.union(one.mutate(**values).select(*table.columns))


def _of_first(table: ir.Table, key: str, value: ir.Value, other: ir.Value) -> ir.Value:
    """`value` in the first row, `other` in the rest."""
    return (table[key] == table[key].min().as_scalar()).ifelse(value, other).cast(other.type())


TAMPERING: dict[str, tuple[str, Callable[[ir.Table], ir.Table], set[str]]] = {
    "a sale is worth a penny more": (
        "core.sales",
        lambda table: _with_another(
            table.filter(table.kind == "sale", table.excluded.isnull(), table.nature == "goods"),
            "sale_key",
            value_incl_vat=Decimal("0.0001"),
        ),
        {"sales", "attributes"},
    ),
    "a credit is lost": (
        "core.sales",
        lambda table: table.filter(table.kind != "credit"),
        {"sales"},
    ),
    "a charge is booked twice": (
        "core.sales",
        lambda table: table.union(table.filter(table.nature == "charge", table.kind == "sale")),
        {"sales"},
    ),
    "a person's net is a penny off": (
        "emarsys.rfm_clv",
        lambda table: table.mutate(
            net_value=_of_first(table, "person_key", table.net_value + Decimal("0.01"), table.net_value)
        ),
        {"attributes"},
    ),
    "a contact is lost": ("emarsys.contacts", lambda table: _without_one(table, "person_key"), {"composed"}),
    "an account is nobody's": (
        "core.persons",
        lambda table: _without_one(table, "account"),
        {"placed"},
    ),
    "an internal account is somebody": (
        "core.accounts",
        lambda table: table.filter(table.excluded.isnull()).mutate(
            excluded=_of_first(table, "account", ibis.literal("internal:staff"), table.excluded)
        ),
        {"internal"},
    ),
    "the accounts lack one": ("core.accounts", lambda table: _without_one(table, "account"), {"placed"}),
    "a mirror row has an unknown status": (
        "mirror.sales_order",
        lambda table: table.mutate(status=ibis.literal("teleported")),
        {"contract"},
    ),
    "a mirror row is there twice": (
        "mirror.order_charge",
        lambda table: table.union(table.limit(1)),
        {"contract"},
    ),
    "a mirror row lost its money": (
        "mirror.order_charge",
        lambda table: table.mutate(value_excl_vat=ibis.null(table.value_excl_vat.type())),
        {"contract"},
    ),
}  # fmt: skip


def _red(warehouse: Warehouse) -> dict[str, Verdict]:
    return {name: found for name, judge in VERDICTS.items() if not (found := judge(warehouse)).passed}


@pytest.fixture(scope="module")
def sound() -> Iterator[Warehouse]:
    """A derived warehouse. (That the verdicts are green over sound tables is asked on both engines elsewhere.)"""
    with open_warehouse("duckdb://") as warehouse, TemporaryDirectory() as folder:
        SmallPrima(seed=3).land(warehouse)
        with Ledger.open(f"sqlite:///{folder}/ledger.db", b"a key for tests, 32 bytes long ..") as ledger:
            derive(warehouse, People(ledger), TODAY)
        yield warehouse


def test_over_sound_tables_every_verdict_is_green(sound: Warehouse) -> None:
    assert _red(sound) == {}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_tampering_turns_the_verdicts_red_that_watch_it(sound: Warehouse, tampering: str) -> None:
    name, tamper, expected = TAMPERING[tampering]
    kept = sound.settle(sound.table(name))
    sound.write(name, sound.settle(tamper(kept)))
    try:
        red = _red(sound)
    finally:
        sound.write(name, kept)
    assert expected <= set(red) <= expected | {"attributes", "composed", "placed", "sales"}
    for found in red.values():
        assert found.figures
        assert "@" not in found.sentence + str(found.figures)


def test_the_sales_tie_names_the_side_and_the_difference(
    warehouse: Warehouse, people_in: Callable[..., People]
) -> None:
    prima = SmallPrima(seed=3)
    prima.land(warehouse)
    derive(warehouse, people_in("people"), TODAY)
    for kind, entity in (("sold", "sales_order_line"), ("charged", "order_charge"), ("credited", "credit_note_line")):
        stored = warehouse.settle(warehouse.table(f"mirror.{entity}"))
        dearer = (stored.value_incl_vat + 1).cast("decimal(18,4)")
        warehouse.write(f"mirror.{entity}", stored.mutate(value_incl_vat=dearer))
        found = verdicts.sales_tie(warehouse)
        assert not found.passed
        assert set(found.figures) == {f"{kind} in Prima", f"{kind} in the ledger", f"{kind} difference"}
        prima_says, booked = found.figures[f"{kind} in Prima"], found.figures[f"{kind} in the ledger"]
        assert isinstance(prima_says, Decimal)
        assert isinstance(booked, Decimal)
        assert found.figures[f"{kind} difference"] == booked - prima_says < 0
        warehouse.write(f"mirror.{entity}", stored)
