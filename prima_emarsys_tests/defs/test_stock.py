"""Stock as Dagster runs it: by SQL and by the web service alike, in runs of its own, and refused where it is short."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import time_machine
import yaml

from prima_emarsys.defs.prima import sensors
from prima_emarsys.defs.prima.sensors import STOCK_DOWNSTREAM, prima_stock
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.prima.webservice import ParkedRequest
from prima_emarsys.project import Project
from prima_emarsys.sandbox.prima.faults import Fault, Faults
from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys.settings import DEFAULT_SITE
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys_tests.defs.house import STOCK, House, checks, in_step, key, metadata

BELIEVED = "mirror.believed_stock"
MOVING = ("order", "despatch", "order-cancelled", "return-receipted", "goods-in")


def believed(house: House) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """SKU → what is believed of it."""
    return {
        tuple(row[name] for name in ("company", "product", "matrix_1", "matrix_2", "matrix_3", "matrix_4")): (
            row["available"],
            row["expected_on"],
            row["absent"],
        )
        for row in house.table(BELIEVED)
    }


@pytest.fixture(scope="module")
def shop(first_sync: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that reads stock by SQL, shared by the tests that leave it in step."""
    with in_step(first_sync, tmp_path_factory.mktemp("stock") / "house") as found:
        yield found


def test_sql_and_the_web_service_believe_the_same_of_every_sku_while_the_world_ticks(
    shop: House, tmp_path: Path
) -> None:
    site = yaml.safe_load(DEFAULT_SITE.read_text())
    site["prima"]["webservice"] = {"entry_point": "comwsomhandler", "companies": ["1", "2"]}
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(site))
    asks = {"PRIMA_EMARSYS_SITE": str(file), "PRIMA_EMARSYS_WAREHOUSE": f"duckdb:///{tmp_path / 'other.duckdb'}"}
    before: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for seed in range(2):
        shop.tick(*MOVING, changes=40, seed=seed)
        with shop.project() as project:
            assert project.stock().source == "sql"
            by_sql = believed(shop)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in asks.items():
                patch.setenv(name, value)
            with shop.project() as project:
                assert project.latest_marks("stock") == {}
                assert project.stock().source == "web service"
            assert believed(shop) == by_sql != before
        before = by_sql


def test_a_run_of_the_branch_follows_only_the_skus_that_moved(shop: House) -> None:
    shop.run(*STOCK)
    shop.tick(*MOVING, changes=30, seed=8)
    result = shop.run(*STOCK)
    assert result.success
    moved = metadata(result, "prima/stock")["changed"]
    assert 0 < moved < 200
    assert metadata(result, "core/availability")["read"] == moved
    assert metadata(result, "prima/products")["changed"] == 0
    found = checks(result)
    red = {name for name, passed in found.items() if not passed}
    assert red <= {"prima/stock:quantities", "prima/stock:quarantine", "prima/products:quarantine"}


def test_a_snapshot_that_is_short_turns_a_check_red_and_stops_what_follows(house: House) -> None:
    house.run(*STOCK)
    stood, available = believed(house), house.table("core.availability")
    engine = sa.create_engine(house.prima_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE warehouse SET is_sellable = 'No' WHERE warehouse <> 'SHOP'"))
        connection.execute(sa.text("DELETE FROM stock WHERE warehouse = 'SHOP' AND product > '310'"))
    engine.dispose()
    result = house.run(*STOCK, sweep=True)
    assert checks(result)["prima/stock:snapshot"] is False
    assert not result.success
    assert (believed(house), house.table("core.availability")) == (stood, available)
    with house.project() as project:
        told = [case.detail for case in open_exceptions(project.ledger) if case.kind == "stock-refused"]
    assert told


# -- the web service's faults, all the way -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["short", "wrong-company"])
def test_an_answer_that_is_not_to_be_believed_changes_nothing(shop: House, tmp_path: Path, fault: Any) -> None:
    site = yaml.safe_load(DEFAULT_SITE.read_text())
    site["prima"]["webservice"] = {}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    with LocalPrima(shop.prima_url) as prima, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIMA_WSDL", prima.wsdl)
        patch.setenv("PRIMA_EMARSYS_SITE", str(tmp_path / "site.yaml"))
        patch.setenv("PRIMA_EMARSYS_WAREHOUSE", f"duckdb:///{tmp_path / 'own.duckdb'}")
        with shop.project() as project:
            assert project.stock().refused is None
        stood = believed(shop)
        prima.faults = Faults(Fault(kind=fault))
        with shop.project() as project:
            assert project.stock().refused
            assert believed(shop) == stood
            prima.faults = Faults()
            assert project.stock().refused is None


def test_a_request_that_prima_refuses_for_good_is_told_until_it_is_released(shop: House, tmp_path: Path) -> None:
    site = yaml.safe_load(DEFAULT_SITE.read_text())
    site["prima"]["webservice"] = {}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))

    def told(project: Project) -> list[str]:
        return [case.kind for case in open_exceptions(project.ledger) if case.kind == "request-parked"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIMA_EMARSYS_SITE", str(tmp_path / "site.yaml"))
        patch.setenv("PRIMA_EMARSYS_WAREHOUSE", f"duckdb:///{tmp_path / 'own.duckdb'}")
        with shop.project() as project:
            project.parked_requests.park(ParkedRequest("abc", "OrderList of company 1", "(E:1) no", "2026-11-20"))
            project.stock()
            assert told(project) == ["request-parked"]
            assert project.release_request("abc", "Ann", "mended")
            project.stock()
            assert told(project) == []


# -- the sensor ------------------------------------------------------------------------------------------------------


def test_the_sensor_asks_for_this_branch_only_when_stock_moves_or_is_old(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "WATCH_SECONDS", 0.0)
    for subject in STOCK_DOWNSTREAM:
        event = house.instance.get_latest_materialization_event(key(f"prima/{subject}"))
        assert event is not None
        assert event.asset_materialization is not None
        house.instance.report_runless_asset_event(event.asset_materialization)

    def tick(ahead: timedelta = timedelta(0)) -> list[set[str]]:
        with time_machine.travel(datetime.now(UTC) + ahead):
            context = dg.build_sensor_context(instance=house.instance, resources={"project": ProjectResource()})
            answer = prima_stock(context)
        if isinstance(answer, dg.SkipReason):
            return []
        assert isinstance(answer, dg.SensorResult)
        return [
            {one.to_user_string() for one in request.asset_selection or ()} for request in answer.run_requests or ()
        ]

    assert tick() == []
    house.tick("goods-in")
    assert tick() == [{"prima/stock", *STOCK_DOWNSTREAM["stock"]}]
    assert tick(timedelta(hours=1)) == [{"prima/stock", "prima/products", *STOCK_DOWNSTREAM["stock"]}]


def test_what_follows_stock_is_what_the_graph_says() -> None:
    from prima_emarsys.definitions import defs

    graph = defs.resolve_asset_graph()
    for subject, names in STOCK_DOWNSTREAM.items():
        below = dg.AssetSelection.assets(key(f"prima/{subject}")).downstream(include_self=False).resolve(graph)
        assert {one.to_user_string() for one in below} == set(names)
