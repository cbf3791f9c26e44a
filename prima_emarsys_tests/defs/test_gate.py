"""Nothing is sent on data that is not known to be good, in whichever run the last word about it was said."""

from __future__ import annotations

from pathlib import Path

import duckdb

from prima_emarsys.defs.checks import blocking_checks
from prima_emarsys.defs.emarsys.assets import UPSTREAM
from prima_emarsys_tests.defs.house import (
    House,
    account_of,
    checks,
    failures,
    materialised,
    metadata,
    untouched,
)


def spoil_the_mirror(house: House) -> None:
    """One order in the mirror gets a status that the contract does not know."""
    with duckdb.connect(str(house.folder / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "UPDATE mirror.sales_order SET status = 'lost' WHERE order_number = (SELECT min(order_number) FROM"
            " mirror.sales_order WHERE company = '1') AND company = '1'"
        )


def test_a_failed_blocking_check_keeps_all_later_runs_from_sending_until_it_passes(house: House) -> None:
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), surname="Changed")
    spoil_the_mirror(house)

    spoilt = house.run("prima/customers", "prima/orders", "core/persons", "core/sales", "emarsys/rfm_clv")
    assert not spoilt.success
    assert checks(spoilt)["prima/orders:contract"] is False
    # It stops what follows in its own run, and only that.
    assert sorted(materialised(spoilt)) == ["core/persons", "prima/customers", "prima/orders"]

    refused = house.run("emarsys/contacts")
    assert not refused.success
    assert materialised(refused) == []
    (words,) = failures(refused).values()
    assert "Nothing was sent to Emarsys" in words
    assert f"the check `contract` of prima/orders failed in run {spoilt.run_id[:8]}" in words
    assert house.emarsys.counters.calls["contact.update"] == 0

    mended = house.run("prima/orders", sweep=True)
    assert mended.success
    assert checks(mended)["prima/orders:contract"] is True

    sent = house.run("emarsys/contacts")
    assert sent.success
    assert metadata(sent, "emarsys/contacts")["accepted"] == 1
    assert house.held()[person]["last_name"] == "Changed"


def test_data_that_was_never_checked_is_not_sent(first_sync: Path, tmp_path: Path) -> None:
    with untouched(first_sync, tmp_path / "house") as house:
        refused = house.run("emarsys/contacts")
        assert not refused.success
        (words,) = failures(refused).values()
        for check in blocking_checks(UPSTREAM):
            asset = check.asset_key.to_user_string()
            assert f"the check `{check.name}` of {asset} was never evaluated: materialise {asset} first" in words
        assert not house.emarsys.counters.calls
        assert not (house.folder / "warehouse.duckdb").exists()


def test_a_red_check_that_only_warns_does_not_keep_anything_from_being_sent(house: House) -> None:
    person = house.person()
    house.amend("customer", account_of(house.desired()[person]), surname="Changed")
    result = house.run("prima/customers", "core/persons", "emarsys/contacts")
    assert result.success
    assert checks(result)["prima/customers:quarantine"] is False
    assert house.held()[person]["last_name"] == "Changed"
