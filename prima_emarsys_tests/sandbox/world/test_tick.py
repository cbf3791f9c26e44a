"""The world moves, and what it says happened is what its tables show."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES
from prima_emarsys.sandbox.world import KINDS, Fact, build, tick
from prima_emarsys_tests.sandbox.world.conftest import NOW

LATER = NOW + timedelta(minutes=5)
STAMP = "2026-10-05 13:05:00.000000"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world that each test copies."""
    file = tmp_path_factory.mktemp("world") / "prima.db"
    build(f"sqlite:///{file}", customers=600, seed=2, now=NOW)
    return file


@pytest.fixture
def world(built: Path, tmp_path: Path) -> str:
    """URL of a copy of the world."""
    copy = tmp_path / "prima.db"
    copyfile(built, copy)
    return f"sqlite:///{copy}"


def query(url: str, text: str) -> list[dict[str, Any]]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.text(text)).mappings()]
    engine.dispose()
    return rows


def row_of(url: str, fact: Fact) -> dict[str, Any]:
    entity, _, codes = fact.key.partition(":")
    key = ENTITIES[entity].key
    where = " AND ".join(
        f"CAST({name} AS text) LIKE '{code}%'" for name, code in zip(key, codes.split("|"), strict=True)
    )
    (row,) = query(url, f"SELECT * FROM {entity} WHERE {where} ORDER BY length({key[-1]}) LIMIT 1")  # noqa: S608
    return row


def available(url: str) -> int:
    (row,) = query(url, "SELECT sum(physical - allocated) AS n FROM stock")
    return int(row["n"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_happens_and_is_stamped(world: str, kind: str) -> None:
    tick(world, now=NOW + timedelta(minutes=1), changes=3, seed=9, kinds=["new-account-order"])
    facts = tick(world, now=LATER, changes=2, seed=1, kinds=[kind])
    assert [fact.kind for fact in facts] == [kind, kind]
    for fact in facts:
        assert fact.at == LATER
        assert row_of(world, fact)["changed_at"] == STAMP


def test_a_hundred_changes_happen_on_both_databases(url: str) -> None:
    build(url, customers=600, seed=2, now=NOW)
    before = query(url, "SELECT count(*) AS n FROM sales_order")[0]["n"]
    facts = tick(url, now=LATER, changes=100, seed=1)
    orders = [fact for fact in facts if fact.kind.endswith("order")]
    assert len(facts) == 100
    assert len({fact.kind for fact in facts}) > 8
    assert query(url, "SELECT count(*) AS n FROM sales_order")[0]["n"] == before + len(orders)
    assert {fact.key.split(":")[0] for fact in orders} == {"sales_order"}


def test_the_same_tick_on_the_same_world_does_the_same(built: Path, tmp_path: Path) -> None:
    contents = []
    for number in range(2):
        copy = tmp_path / f"{number}.db"
        copyfile(built, copy)
        tick(f"sqlite:///{copy}", now=LATER, changes=40, seed=5, deletes=True)
        contents.append(copy.read_bytes())
    assert contents[0] == contents[1]


def test_a_web_order_of_a_known_person_opens_another_account_with_the_same_email(world: str) -> None:
    (fact,) = tick(world, now=LATER, changes=1, seed=1, kinds=["new-account-order"])
    order = row_of(world, fact)
    (account,) = query(world, f"SELECT * FROM customer WHERE customer_code = '{order['customer_code']}'")  # noqa: S608
    alike = query(world, f"SELECT customer_code FROM customer WHERE email = '{account['email']}'")  # noqa: S608
    assert len(alike) > 1
    assert account["opened_at"] == STAMP


def test_stock_falls_on_orders_and_rises_on_goods_in_cancellation_and_return_but_not_on_despatch(world: str) -> None:
    moved: dict[str, int] = {}
    for kind in ("order", "despatch", "order-cancelled", "return-receipted", "goods-in", "credit-finalised"):
        before = available(world)
        tick(world, now=LATER, changes=2, seed=1, kinds=[kind])
        moved[kind] = available(world) - before
    assert moved["order"] < 0
    assert moved["despatch"] == moved["credit-finalised"] == 0
    assert min(moved["order-cancelled"], moved["return-receipted"], moved["goods-in"]) > 0


def test_books_stay_straight_after_many_ticks(world: str) -> None:
    for minute in range(1, 6):
        tick(world, now=NOW + timedelta(minutes=minute), changes=60, seed=minute)
    wrong = query(
        world,
        """
        SELECT l.order_number FROM sales_order_line l LEFT JOIN (
            SELECT order_number, order_line_number, sum(quantity) AS gone FROM despatch
            WHERE company = '1' GROUP BY 1, 2
        ) d ON d.order_number = l.order_number AND d.order_line_number = l.line_number
        WHERE l.company = '1' AND l.quantity_despatched <> coalesce(d.gone, 0)
        """,
    )
    assert wrong == []
    for line in query(world, "SELECT * FROM sales_order_line WHERE quantity <> 'x'"):
        assert line["quantity_cancelled"] + line["quantity_despatched"] <= line["quantity"]
        assert Decimal(line["value_excl_vat"]) <= Decimal(line["value_incl_vat"])


def test_a_late_commit_is_stamped_in_the_past(world: str) -> None:
    (fact,) = tick(world, now=LATER, changes=1, seed=1, kinds=["order"], late=timedelta(minutes=10))
    order = row_of(world, fact)
    assert (order["ordered_at"], order["changed_at"]) == (STAMP, "2026-10-05 12:55:00.000000")


def test_deletes_take_an_order_line_and_an_account_away(world: str) -> None:
    facts = tick(world, now=LATER, changes=0, seed=1, deletes=True)
    assert [fact.kind for fact in facts] == ["order-line-deleted", "customer-deleted"]
    _, order, line = facts[0].key.split("|")
    rows = query(world, f"SELECT line_number FROM sales_order_line WHERE order_number = '{order}'")  # noqa: S608
    assert rows
    assert line not in {row["line_number"] for row in rows}
    code = facts[1].key.split("|")[1]
    assert query(world, f"SELECT 1 FROM customer WHERE customer_code = '{code}'") == []  # noqa: S608


def test_a_tick_is_refused_with_the_reason(world: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such kind of change: earthquake"):
        tick(world, now=LATER, changes=1, seed=1, kinds=["earthquake"])
    with pytest.raises(ValueError, match="time zone"):
        tick(world, now=datetime(2026, 10, 5), changes=1, seed=1)  # noqa: DTZ001
    with pytest.raises(LookupError, match="holds no world"):
        tick(f"sqlite:///{tmp_path / 'none.db'}", now=LATER, changes=1, seed=1)
