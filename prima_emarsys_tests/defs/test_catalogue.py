"""The catalogue as Dagster sends it and the local Emarsys takes it: whole, and only when something changed."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner

from prima_emarsys.cli import main
from prima_emarsys.rules.catalogue import COLUMNS
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.settings import DEFAULT_SITE
from prima_emarsys_tests.defs.house import STOCK, House, checks, failures, in_step, metadata

FOLLOWING = STOCK[1:]
SKU = ("company", "product", "matrix_1", "matrix_2", "matrix_3", "matrix_4")


@pytest.fixture(scope="module")
def shop(first_sync: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose Emarsys has pulled its first catalogue; each test leaves it in step."""
    with in_step(first_sync, tmp_path_factory.mktemp("catalogue") / "house") as house:
        result = house.run(*STOCK)
        assert result.success, failures(result)
        assert house.emarsys.pull_catalogue(file(house)).status == "Full"
        yield house


def file(house: House) -> Path:
    return house.folder / "catalogue" / "catalogue.csv"


def desired(house: House) -> dict[str, dict[str, str]]:
    """The items that go, empty values left out."""
    return {
        row["item"]: {name: row[name] for name in COLUMNS if row[name]}
        for row in house.table("emarsys.catalogue")
        if row["excluded"] is None
    }


def out_of_stock(house: House) -> dict[str, Any]:
    """A SKU of the shop that is out."""
    rows = sorted(house.table("core.availability"), key=lambda row: row["sku"])
    return next(row for row in rows if row["company"] == "1" and not row["is_available"])


def receive(house: House, row: dict[str, Any]) -> None:
    """Goods of this SKU come in."""
    sku = {name: row[name] for name in SKU}
    house.amend("stock", sku | {"warehouse": "MAIN"}, physical=50, allocated=0, held=0)


def test_emarsys_holds_every_item_as_it_should_be_and_names_it_as_sales_data_do(shop: House) -> None:
    held = shop.emarsys.catalogue()
    assert held == desired(shop)
    assert len(held) > 3_000
    assert {item["available"] for item in held.values()} == {"true", "false"}
    goods = {row["sale_key"] for row in shop.table("core.sales") if row["nature"] == "goods" and row["company"] == "1"}
    sold = {
        row["item"] for row in shop.table("emarsys.sales_data") if row["line_key"] in goods and row["excluded"] is None
    }
    known = {row["item"] for row in shop.table("emarsys.catalogue")}
    assert len(sold) > 100
    assert len(sold - known) < len(sold) / 50


def test_no_file_goes_while_nothing_changed(shop: House) -> None:
    before = file(shop).stat().st_mtime_ns
    result = shop.run(*FOLLOWING)
    assert metadata(result, "emarsys/catalogue")["planned"] == metadata(result, "emarsys/catalogue")["sent"] == 0
    assert file(shop).stat().st_mtime_ns == before


def test_who_waits_is_mailed_once_when_a_sku_is_back_and_the_file_before_is_kept(shop: House) -> None:
    row, before = out_of_stock(shop), file(shop).read_bytes()
    person = shop.person()
    shop.write(person, optin="1")
    shop.emarsys.wait_for(row["sku"], person)
    receive(shop, row)
    planned = CliRunner().invoke(main, ["plan", "catalogue"])
    assert "Plan for the catalogue" in planned.output
    result = shop.run(*FOLLOWING)
    assert result.success
    assert metadata(result, "emarsys/catalogue")["back in stock"] == 1
    assert (file(shop).parent / "previous-catalogue.csv").read_bytes() == before
    assert not list(file(shop).parent.glob(".*"))
    for _ in range(2):
        shop.emarsys.pull_catalogue(file(shop))
    assert [(one.item, one.mailed) for one in shop.emarsys.back_in_stock()] == [(row["sku"], (person,))]
    assert shop.emarsys.catalogue() == desired(shop)


def test_a_file_that_would_turn_very_many_items_waits_for_a_person(house: House) -> None:
    house.run(*STOCK)
    before = file(house).read_bytes()
    engine = sa.create_engine(house.prima_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE stock SET allocated = physical"))
    engine.dispose()
    result = house.run(*FOLLOWING, sweep=True)
    assert result.success, failures(result)
    assert checks(result)["emarsys/catalogue:nothing_held"] is False
    assert file(house).read_bytes() == before
    planned = CliRunner().invoke(main, ["plan", "catalogue", "--limit", "5"])
    assert "c_stock" in planned.output
    words = ["release", "catalogue", "--by", "Ann", "--note", "sold out, sadly"]
    assert CliRunner().invoke(main, words).exit_code == 0
    result = house.run(*FOLLOWING)
    assert checks(result)["emarsys/catalogue:nothing_held"] is True
    assert file(house).read_bytes() != before


def with_catalogue(folder: Path, **settings: Any) -> str:
    """Path of the sandbox's site file with other settings of the catalogue."""
    site = yaml.safe_load(DEFAULT_SITE.read_text())
    site["emarsys"]["catalogue"] |= settings
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(site))
    return str(path)


def test_items_that_collide_stop_the_file_and_the_check_says_what_to_do(
    shop: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIMA_EMARSYS_SITE", with_catalogue(tmp_path, companies=[]))
    with shop.project() as project:
        composed, sent = project.catalogue(), project.send_catalogue()
    assert composed.colliding > 100
    assert sent.held is not None
    assert "emarsys.catalogue.companies" in sent.held
    monkeypatch.undo()
    with shop.project() as project:
        project.catalogue()


def test_a_push_is_taken_and_one_that_fails_goes_again(
    shop: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{shop.emarsys.sales_url}/hapi/merchant/{shop.emarsys.merchant_id}/catalog/api"
    monkeypatch.setenv("EMARSYS_CATALOGUE_URL", address)
    monkeypatch.setenv("EMARSYS_CATALOGUE_TOKEN", shop.emarsys.catalogue_token)
    monkeypatch.setenv("PRIMA_EMARSYS_SITE", with_catalogue(tmp_path, sink="http"))
    receive(shop, out_of_stock(shop))
    with shop.project() as project:
        project.stock()
        project.availability()
        project.catalogue()
        shop.emarsys.faults = Faults(Fault(kind="drop", applied=True, path="hapi/*/catalog/api", calls=1))
        lost = project.send_catalogue()
        assert not lost.accepted
        assert lost.held
        again = project.send_catalogue()
        assert again.accepted
        assert project.send_catalogue().outcome is None
    assert shop.emarsys.catalogue() == desired(shop)


def test_a_packed_file_holds_the_same(shop: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIMA_EMARSYS_SITE", with_catalogue(tmp_path, file="all.csv.gz"))
    receive(shop, out_of_stock(shop))
    with shop.project() as project:
        project.stock()
        project.availability()
        project.catalogue()
        assert project.send_catalogue().accepted
    packed = shop.folder / "catalogue" / "all.csv.gz"
    assert gzip.decompress(packed.read_bytes()).startswith(b'"item","title"')
    assert shop.emarsys.pull_catalogue(packed).status == "Full"
    assert shop.emarsys.catalogue() == desired(shop)
