"""One site's parts put together: another site's Prima by its file alone, and refusals before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from prima_emarsys.prima.sql import WritableRoleError
from prima_emarsys.prima.statements import MappingError
from prima_emarsys.sandbox.world import build
from prima_emarsys.settings import DEFAULT_SITE
from prima_emarsys_tests.defs.house import CUSTOMERS, House, first_sync, house, opened

__all__ = ["first_sync", "house"]

EXAMPLE = Path(__file__).parents[1] / "sites" / "openedge-example.yaml"


def example_for_sqlite() -> dict[str, Any]:
    """The example of an OpenEdge site, with what its first lines say of SQLite, and the sandbox's own rules."""
    site = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    sandbox = yaml.safe_load(DEFAULT_SITE.read_text(encoding="utf-8"))
    del site["prima"]["schema"]
    for entity in site["prima"]["entities"].values():
        entity["table"] = f"PUB_{entity['table']}"
    site["prima"]["allow_writable_role"] = True
    return site | {name: sandbox[name] for name in ("identity", "sales", "emarsys")}


@contextmanager
def world(folder: Path, flavour: Any, made_at: datetime, **environment: str) -> Iterator[House]:
    folder.mkdir()
    build(f"sqlite:///{folder / 'prima.sqlite'}", customers=CUSTOMERS, seed=2, now=made_at, flavour=flavour)
    with opened(folder, **environment) as found:
        yield found


def test_a_differently_named_prima_gives_the_same_contacts_by_its_site_file_alone(tmp_path: Path) -> None:
    made_at = datetime.now(UTC) - timedelta(minutes=20)
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(example_for_sqlite()), encoding="utf-8")
    with world(tmp_path / "openedge", "openedge", made_at, PRIMA_EMARSYS_SITE=str(site)) as other:
        result = other.run()
        assert result.success
        openedge, held = other.desired(), other.held()
    with world(tmp_path / "contract", "contract", made_at) as plain, plain.project() as project:
        for subject in ("customers", "orders", "returns"):
            project.read(subject)
        project.persons()
        project.sales()
        project.attributes()
        project.predict()
        project.compose()
        contract = plain.desired()
    assert len(contract) > 150
    assert openedge == contract
    assert held == contract


def test_a_role_that_may_write_to_prima_is_refused_before_anything_is_read(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(DEFAULT_SITE.read_text().replace("allow_writable_role: true", "allow_writable_role: false"))
    monkeypatch.setenv("PRIMA_EMARSYS_SITE", str(site))
    with house.project() as project, pytest.raises(WritableRoleError, match="prima.allow_writable_role: true"):
        project.read("customers")


def test_a_prima_whose_tables_are_not_seen_leaves_the_mirror_and_its_mark_as_they_were(house: House) -> None:
    before = house.table("mirror.cursor"), house.table("mirror.customer")
    prima = house.folder / "prima.sqlite"
    prima.rename(house.folder / "elsewhere.sqlite")
    prima.write_bytes(b"")
    with house.project() as project, pytest.raises(MappingError, match="this role sees no table"):
        project.read("customers")
    assert (house.table("mirror.cursor"), house.table("mirror.customer")) == before
    prima.unlink()
    (house.folder / "elsewhere.sqlite").rename(prima)
    with house.project() as project:
        assert all(not landing.changed for landing in project.read("customers"))


def test_internal_accounts_and_their_orders_reach_neither_emarsys_nor_a_figure(house: House) -> None:
    excluded = {row["account"] for row in house.table("core.accounts") if row["excluded"]}
    assert excluded
    assert not excluded & {contact["prima_account"] for contact in house.held().values()}
    assert not excluded & {row["account"] for row in house.table("core.persons")}
    assert not any("harrowby-shoes.example" in contact["email"] for contact in house.held().values())


def test_a_company_that_changes_its_name_stays_the_same_contact(house: House) -> None:
    person = house.person()
    account = house.desired()[person]["prima_account"].split("-")
    numbers = {contact["id"] for contact in house.emarsys.all_contacts()}
    house.amend("customer", {"company": account[0], "customer_code": account[1]}, surname="Renamed", forename="Again")
    with house.project() as project:
        project.read("customers")
        project.persons()
        project.compose()
        assert project.send().plan.creates == 0
    assert house.held()[person]["last_name"] == "Renamed"
    assert {contact["id"] for contact in house.emarsys.all_contacts()} == numbers
