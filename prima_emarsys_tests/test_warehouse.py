"""The warehouse writes on every engine alike: whole, by parts, in transactions, in bounded batches."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from prima_emarsys.warehouse import SCHEMAS, Warehouse, WarehouseBusyError, open_warehouse

COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("amount", pa.decimal128(18, 4)),
        ("at", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("number", pa.int64()),
        ("flag", pa.bool_()),
    ]
)
NAME = "core.things"


@pytest.fixture(params=["duckdb", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty warehouse that outlives its connection, on each engine."""
    if request.param == "duckdb":
        return f"duckdb:///{tmp_path / 'deep' / 'warehouse.duckdb'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def warehouse(url: str) -> Iterator[Warehouse]:
    with open_warehouse(url) as opened:
        yield opened


def things(*keys: str, amount: str = "1.2345") -> pa.Table:
    row = {
        "amount": Decimal(amount),
        "at": datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        "day": date(2026, 3, 29),
        "number": 2**40,
        "flag": None,
    }
    return pa.Table.from_pylist([{"key": key} | row for key in keys], schema=COLUMNS)


def keys(warehouse: Warehouse) -> list[str]:
    return sorted(warehouse.read(warehouse.table(NAME))["key"].to_pylist())


def test_values_come_back_as_they_went_in(warehouse: Warehouse) -> None:
    warehouse.ensure(NAME, COLUMNS)
    warehouse.append(NAME, things("00123", "NA", "quote \" and ' and ; -- too"))
    found = warehouse.read(warehouse.table(NAME).order_by("key"))
    assert found["key"].to_pylist() == ["00123", "NA", "quote \" and ' and ; -- too"]
    first = found.to_pylist()[0]
    assert first["amount"] == Decimal("1.2345")
    assert first["at"] == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert (first["day"], first["number"], first["flag"]) == (date(2026, 3, 29), 2**40, None)


def test_what_is_written_is_there_for_the_next_connection_and_what_is_settled_is_not(url: str) -> None:
    with open_warehouse(url) as warehouse:
        warehouse.write(NAME, things("a"))
        names = [warehouse.settle(rows).op().name for rows in (things("b"), warehouse.table(NAME))]
    with open_warehouse(url) as warehouse:
        assert keys(warehouse) == ["a"]
        assert not any(warehouse.has(f"{schema}.{name}") for schema in SCHEMAS for name in names)


def test_a_table_is_known_as_it_is_now(warehouse: Warehouse) -> None:
    assert not warehouse.has(NAME)
    warehouse.ensure(NAME, COLUMNS)
    assert warehouse.size(NAME) == 0
    assert warehouse.ensure(NAME, COLUMNS).columns == tuple(COLUMNS.names)
    warehouse.write(NAME, pa.table({"other": ["x"]}))
    assert warehouse.table(NAME).columns == ("other",)
    warehouse.drop(NAME)
    warehouse.drop(NAME)
    assert not warehouse.has(NAME)


def test_rows_may_be_written_over_the_table_that_they_come_from(warehouse: Warehouse) -> None:
    warehouse.write(NAME, things("a", "b"))
    warehouse.write(NAME, warehouse.table(NAME).filter(ibis._.key != "a"))
    assert keys(warehouse) == ["b"]


def test_columns_are_matched_by_name_when_rows_are_added(warehouse: Warehouse) -> None:
    warehouse.write(NAME, things("a"))
    warehouse.append(NAME, things("b").select(sorted(COLUMNS.names)))
    warehouse.append(NAME, warehouse.table(NAME).filter(ibis._.key == "b").mutate(key=ibis.literal("c")))
    assert keys(warehouse) == ["a", "b", "c"]


def test_replacing_deletes_by_key_then_adds(warehouse: Warehouse) -> None:
    warehouse.write(NAME, things("a", "b", "c"))
    with warehouse.transaction():
        warehouse.replace(NAME, things("b", "d", amount="9"), gone=things("b", "c", "none"), on=["key"])
    rows = warehouse.read(warehouse.table(NAME).order_by("key")).to_pylist()
    assert [(row["key"], row["amount"]) for row in rows] == [
        ("a", Decimal("1.2345")),
        ("b", Decimal("9.0000")),
        ("d", Decimal("9.0000")),
    ]
    with warehouse.transaction():
        warehouse.delete(NAME, warehouse.table(NAME).filter(ibis._.key > "a"), on=["key", "number"])
    assert keys(warehouse) == ["a"]


def test_a_transaction_happens_whole_or_not_at_all(warehouse: Warehouse) -> None:
    warehouse.write(NAME, things("a"))

    def half() -> None:
        with warehouse.transaction():
            warehouse.append(NAME, things("b"))
            warehouse.ensure("core.made_inside", COLUMNS)
            warehouse.delete(NAME, things("a"), on=["key"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert keys(warehouse) == ["a"]
    assert not warehouse.has("core.made_inside")


def test_settled_rows_are_computed_once(warehouse: Warehouse) -> None:
    warehouse.write(NAME, things("a", "b"))
    settled = warehouse.settle(warehouse.table(NAME).select("key", twice=ibis._.amount * 2))
    warehouse.delete(NAME, things("a"), on=["key"])
    assert sorted(warehouse.read(settled)["key"].to_pylist()) == ["a", "b"]
    with warehouse.settled(settled) as same:
        assert same is settled
    with warehouse.settled(warehouse.table(NAME).select("key")) as short_lived:
        assert warehouse.count(short_lived) == 1
    with warehouse.settled(things("c")) as also_short_lived:
        assert warehouse.count(also_short_lived) == 1
    for dropped in (short_lived, also_short_lived):
        with pytest.raises(Exception, match="does not exist"):
            warehouse.read(dropped)
    assert warehouse.read(settled.order_by("key"))["twice"].to_pylist() == [Decimal("2.4690")] * 2


def test_batches_hand_out_every_row_once_while_the_warehouse_is_written(warehouse: Warehouse) -> None:
    warehouse.write(NAME, things(*(f"{n:03}" for n in range(25))))
    sizes, seen = [], []
    for batch in warehouse.batches(warehouse.table(NAME).order_by("key"), rows=10):
        sizes.append(batch.num_rows)
        seen += batch["key"].to_pylist()
        assert batch.column_names == COLUMNS.names
        warehouse.append(NAME, things("later"))
    assert sizes == [10, 10, 5]
    assert sorted(seen) == [f"{n:03}" for n in range(25)]


def test_the_embedded_engine_keeps_to_its_memory(tmp_path: Path) -> None:
    with open_warehouse(f"duckdb:///{tmp_path / 'w.duckdb'}", memory="64MB") as warehouse:
        limit = warehouse.read(ibis.memtable({"n": [1]}))  # any statement; the setting is the connection's
        assert limit.num_rows == 1
        setting = warehouse._backend.raw_sql("SELECT current_setting('memory_limit')").fetchone()[0]
        assert setting.startswith("61.0 MiB")


def test_a_file_that_another_process_holds_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    script = (
        "import sys, duckdb\nconnection = duckdb.connect(sys.argv[1])\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(WarehouseBusyError, match="held by another process"),
            open_warehouse(f"duckdb:///{path}", patience=0.3),
        ):
            pass
        holder.stdin.close()
        holder.wait(timeout=20)
    with open_warehouse(f"duckdb:///{path}", patience=5) as warehouse:
        assert warehouse.engine == "duckdb"


def test_rows_from_memory_are_let_go_once_they_are_written(warehouse: Warehouse) -> None:
    warehouse.ensure("core.things", things("a").schema)
    warehouse.append("core.things", things("a"))
    held = pa.total_allocated_bytes()
    page = things(*(f"{number:06d}" for number in range(20_000)))
    size = page.nbytes
    warehouse.append("core.things", page)
    with warehouse.settled(page) as settled:
        warehouse.read(settled.semi_join(ibis.memtable(page), "key").count().as_table())
    warehouse.delete("core.things", page.select(["key"]), on=["key"])
    del page, settled
    assert pa.total_allocated_bytes() - held < size
